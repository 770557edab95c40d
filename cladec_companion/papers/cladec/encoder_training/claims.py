"""Claims B24-B31, about the training of the encoder (section 6.3, Table 6)."""

import numpy as np
import pandas as pd

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import (
    FAIR,
    RUN,
    Claim,
    Comparison,
    Verdict,
    fair_to_reference,
    judge,
    not_applicable,
    not_comparable,
    undecided,
    unprinted,
)
from cladec_companion.evidence.comparisons import ABOVE, BELOW, certain
from cladec_companion.evidence.measurements import FALLING, Evidence, evidence_of, where
from cladec_companion.evidence.tables import columns_of
from cladec_companion.evidence.thresholds import Threshold
from cladec_companion.evidence.trends import LEAST, steps, trend, trends
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.papers.cladec.encoder_training.settings import CALIBRATED, INITIAL, REFERENCE, SLOW, TRAINED
from cladec_companion.papers.cladec.limits import ABOUT
from cladec_companion.records.record import Record

SAME_LOSS = Threshold(
    "does not depend (a loss)",
    0.05,
    "share of the RefAE's loss: a twentieth of the gap to ClaDec's in Table 6",
    "2026-11-21",
    after_data=True,
)
PRESERVED = Threshold(
    "preserved (distances)",
    0.05,
    "how far the rank correlation of distances may stay below that of a random projection of equal size",
    "2026-11-21",
    after_data=True,
)

KEYS = ["dataset", "architecture", "encoder_epochs"]
PRINTED = {"acc_classifier": "Acc of C", **printed_tables.HEADINGS}
EXTRA = {"agreement": "Agreement with C", "distances": "Rank correlation of distances", "spread": "Spread of the code"}
COLUMNS = {
    "acc_classifier": ("classifier", "accuracy"), "rec_cladec": ("cladec", "loss_raw_sum"),
    "acc_cladec": ("cladec", "accuracy"), "agreement": ("cladec", "agreement"),
    "distances": ("activation", "distance_rank_correlation"), "spread": ("activation", "spread"),
    "projected": ("activation", "projection_rank_correlation"),
}  # fmt: skip
REFERENCE_COLUMNS = {"rec_refae": ("refae", "loss_raw_sum"), "acc_refae": ("refae", "accuracy")}
CLAIMED = 0.01  # the level of the paper's t-tests


def published_summary() -> pd.DataFrame:
    """Table 6: mean and sd of 5 runs; differences from the means."""
    cells = [
        (("fashion_mnist", "vgg11", epochs), values) for epochs, values in printed_tables.published()["table6"].items()
    ]
    return tables.published_summary(cells, KEYS, printed_tables.DIFFERENCES)


def printed() -> Evidence:
    """Table 6."""
    return Evidence(published_summary())


def evidence(record: Record, untrained: str = CALIBRATED) -> Evidence:
    """What a record of the experiment `encoder_training` measured.

    Parameters
    ----------
    record
        Its RefAE, one per seed, stands beside every encoder; differences are taken within each seed.
    untrained
        Where the untrained encoder's BatchNorm statistics come from: "calibrated", or "initial" (finding 5).
    """
    rows = record.rows
    other = INITIAL if untrained == CALIBRATED else CALIBRATED
    falling, of_reference = ({name: FALLING[name]} for name in ("falling_cladec", "falling_refae"))
    runs = columns_of(rows[~rows["batchnorm"].isin([REFERENCE, SLOW, other])], COLUMNS | falling, [*KEYS, "seed"])
    runs = runs.join(columns_of(rows, REFERENCE_COLUMNS | of_reference, [*RUN, "seed"]), on=[*RUN, "seed"])
    return evidence_of(record, runs, COLUMNS | REFERENCE_COLUMNS, printed_tables.DIFFERENCES, printed_tables.known)


def slow_averages(record: Record) -> pd.DataFrame:
    """Accuracy of the least trained classifier with PyTorch's and with TensorFlow's averages in BatchNorm (I15)."""
    rows = record.rows[record.rows["batchnorm"].isin([TRAINED, SLOW]) & (record.rows["method"] == "classifier")]
    rows = rows[rows["metric"] == "accuracy"]
    least = rows.loc[rows["batchnorm"] == SLOW, [*KEYS]].drop_duplicates()
    found = rows.merge(least, on=KEYS).pivot_table("value", [*KEYS, "seed"], "batchnorm")
    return found.rename(columns={TRAINED: "usual averages", SLOW: "slow averages"}).rename_axis(columns=None)


def b24(evidence: Evidence) -> Verdict:
    """Accuracy rises with the epochs of the classifier in every network: its mean change per row of Table 6."""
    return judge(trends(evidence, "acc_cladec"), "accuracy rises per row")


def _with_untrained(evidence: Evidence, metric: str) -> list[tuple[tuple[str, str], list[float]]]:
    """Epochs of the runs that have an untrained encoder and a trained one."""
    chains = [(run, list(chain.index)) for run, chain in evidence.chains(metric, 2)]
    return [(run, epochs) for run, epochs in chains if epochs[0] == 0]


def b25(evidence: Evidence) -> Verdict:
    """The loss is higher at every trained encoder than at the untrained one, and falls from trained to trained."""
    found = []
    for run, (_, *trained) in _with_untrained(evidence, "rec_cladec"):
        if len(trained) < 2:
            continue
        for epochs in trained:
            terms = {(*run, epochs, "rec_cladec"): 1.0, (*run, 0, "rec_cladec"): -1.0}
            found.append(evidence.contrast(where(run, f"{epochs:g} epochs, less untrained"), terms, ABOVE))
        found.append(trend(evidence, run, trained, {"rec_cladec": 1.0}, BELOW, label="change per trained row"))
    return judge(found, "lowest untrained, then falling", lacking="needs an untrained encoder and two trained ones")


def b26(evidence: Evidence) -> Verdict:
    """Welch's test of each step, uncorrected as in the paper; its five runs are needed to judge its level."""
    found = steps(evidence, "rec_cladec")
    tested = [step for step in found if np.isfinite(step.welch)]
    if not tested:
        return undecided("needs at least two runs of each row")
    runs = min(int(chain["n"].min()) for _, chain in evidence.chains("rec_cladec"))
    if runs < printed_tables.RUNS:
        return not_comparable(f"{runs} runs have less power than the paper's {printed_tables.RUNS}")
    parts = [
        certain(where(step.run, f"{step.before:g} to {step.after:g}"), step.welch, step.welch < CLAIMED, "Welch's p")
        for step in tested
    ]
    said = ", ".join(f"{step.before:g}→{step.after:g}: {step.welch:.2g}" for step in tested)
    paired = [step.paired for step in tested if np.isfinite(step.paired)]
    beside = f"; paired by seed in {sum(p < CLAIMED for p in paired)}" if paired else "; pairs of runs are not printed"
    return judge(parts, f"p < {CLAIMED}").plus(f"; {said}{beside}")


def b27(evidence: Evidence) -> Verdict:
    """The loss without training is below that after the longest training."""
    found = []
    for run, epochs in _with_untrained(evidence, "rec_cladec"):
        terms = {(*run, 0, "rec_cladec"): 1.0, (*run, epochs[-1], "rec_cladec"): -1.0}
        found.append(evidence.contrast(where(run, f"untrained less {epochs[-1]:g} epochs"), terms, BELOW))
    return judge(found, "the untrained encoder's loss lower", lacking="needs an untrained encoder and a trained one")


def b28(evidence: Evidence) -> Verdict:
    """The loss without training is above that of the RefAE."""
    found = []
    for run, chain in evidence.chains("rec_cladec"):
        terms = {(*run, 0, "rec_cladec"): 1.0, (*run, 0, "rec_refae"): -1.0}
        if 0 in chain.index and evidence.has(*terms):
            one = evidence.contrast(where(run), terms, ABOVE)
            found.append(fair_to_reference(one, evidence.record, loses=one.effect < 0))
    return judge(found, "the untrained encoder's loss higher", lacking="needs an untrained encoder and the RefAE")


def b29(evidence: Evidence) -> Verdict:
    """In print, the RefAE changes by less than 5 % of its loss and 0.01 of its accuracy over all rows."""
    if evidence.record is not None:
        return not_applicable("one RefAE per seed, trained without the classifier: its rows are the same")
    found = []
    for run, chain in evidence.chains("rec_refae", LEAST):
        limits = {"rec_refae": SAME_LOSS.value * chain["mean"].mean(), "acc_refae": ABOUT.value}
        for metric, limit in limits.items():
            whole, label = len(chain) - 1.0, f"{printed_tables.HEADINGS[metric]}, change over all rows"
            found.append(trend(evidence, run, list(chain.index), {metric: whole}, (-limit, limit), label=label))
    return judge(found, "no change that matters")


def b30(evidence: Evidence) -> Verdict:
    """ΔAcc is below 0 for the worst classifier, above 0 for the best, and rises from one to the next better one."""
    of_classifier, found = dict(evidence.chains("acc_classifier")), []
    gap = {"acc_cladec": 1.0, "acc_refae": -1.0}
    for run, chain in evidence.chains("acc_cladec", LEAST):
        if run not in of_classifier or not evidence.has(*((*run, at, "acc_refae") for at in chain.index)):
            continue
        ordered = list(of_classifier[run]["mean"].reindex(chain.index).sort_values().index)
        found.append(trend(evidence, run, ordered, gap, ABOVE, label="ΔAcc per better classifier"))
        for at, claimed, name in ((ordered[0], BELOW, "worst"), (ordered[-1], ABOVE, "best")):
            terms = {(*run, at, metric): sign for metric, sign in gap.items()}
            one = evidence.contrast(where(run, f"ΔAcc of the {name} ({at:g} epochs)"), terms, claimed)
            found.append(fair_to_reference(one, evidence.record, loses=one.effect > 0))
    return judge(found, "ΔAcc as stated", lacking="needs three classifiers")


@unprinted("the paper argues from theory")
def b31(evidence: Evidence) -> Verdict:
    """Untrained, distances keep their order as in a random projection of equal size; with training less and less."""
    found: list[Comparison] = []
    for run, _ in _with_untrained(evidence, "distances"):
        terms = {(*run, 0, "distances"): 1.0, (*run, 0, "projected"): -1.0}
        what, claimed = where(run, "untrained less random projection"), (-PRESERVED.value, np.inf)
        if evidence.has(*terms):
            found.append(evidence.contrast(what, terms, claimed))
        else:
            found.append(
                certain(what, np.nan, False, "").barred(
                    "a random projection's rank correlation of distances is not recorded yet"
                )
            )
    found += trends(evidence, "distances", BELOW, label="per row")
    return judge(found, "preserved by random weights and destroyed by training")


CLAIMS = [
    Claim("B24", "6.3", "Longer training of the classifier gives a higher evaluation accuracy for ClaDec", b24),
    Claim("B25", "6.3", "ClaDec's loss is lowest without training, rises, and then falls steadily", b25),
    Claim(
        "B26",
        "6.3",
        "t-tests between subsequent rows of ClaDec's loss give p < 0.01",
        b26,
        after_data="that fewer than five runs refute nothing",
    ),
    Claim("B27", "6.3", "An untrained encoder reconstructs better than the fully trained one", b27),
    Claim("B28", "6.3", "An untrained encoder reconstructs worse than the RefAE", b28, after_data=FAIR),
    Claim(
        "B29",
        "ours, after 6.3",
        "The RefAE does not depend on the classifier (control)",
        b29,
        limits=(ABOUT, SAME_LOSS),
    ),
    Claim("B30", "6.3, Table 6", "ΔAcc grows with the classifier's accuracy and crosses 0", b30, after_data=FAIR),
    Claim(
        "B31", "6.3", "Random projections preserve distances; training seems to destroy this", b31, limits=(PRESERVED,)
    ),
]
