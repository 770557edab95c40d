"""Claims B24-B31, about the training of the encoder (section 6.3, Table 6)."""

import numpy as np
import pandas as pd

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import (
    FAILS,
    HOLDS,
    RUN,
    SIGNIFICANT,
    Claim,
    Evidence,
    Verdict,
    count,
    undecided,
    unprinted,
)
from cladec_companion.evidence.tables import columns_of
from cladec_companion.evidence.trends import (
    Pairs,
    Step,
    adjusted,
    compare,
    ends,
    evidence_of,
    neighbours,
    noise,
    significance,
    trend,
)
from cladec_companion.papers.cladec.encoder_training.experiment import CALIBRATED, INITIAL, REFERENCE, SLOW, TRAINED
from cladec_companion.records.record import Record

KEYS = ["dataset", "architecture", "encoder_epochs"]
PRINTED = {"acc_classifier": "Acc of C", **tables.METRIC_NAMES}
EXTRA = {"agreement": "Agreement with C", "distances": "Rank correlation of distances", "spread": "Spread of the code"}
COLUMNS = {
    "acc_classifier": ("classifier", "accuracy"), "rec_cladec": ("cladec", "loss_raw_sum"),
    "acc_cladec": ("cladec", "accuracy"), "agreement": ("cladec", "agreement"),
    "distances": ("activation", "distance_rank_correlation"), "spread": ("activation", "spread"),
}  # fmt: skip
REFERENCE_COLUMNS = {"rec_refae": ("refae", "loss_raw_sum"), "acc_refae": ("refae", "accuracy")}
CLAIMED = 0.01  # the level of the paper's t-tests


def published_summary() -> pd.DataFrame:
    """Table 6: mean and sd of 5 runs; differences from the means."""
    cells = [(("fashion_mnist", "vgg11", epochs), values) for epochs, values in tables.published()["table6"].items()]
    return tables.published_summary(cells, KEYS, tables.DIFFERENCES)


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
    runs = columns_of(rows[~rows["batchnorm"].isin([REFERENCE, SLOW, other])], COLUMNS, [*KEYS, "seed"])
    runs = runs.join(columns_of(rows, REFERENCE_COLUMNS, [*RUN, "seed"]), on=[*RUN, "seed"])
    return evidence_of(record, tables.with_differences(runs, tables.DIFFERENCES))


def slow_averages(record: Record) -> pd.DataFrame:
    """Accuracy of the least trained classifier with PyTorch's and with TensorFlow's averages in BatchNorm (I15)."""
    rows = record.rows[record.rows["batchnorm"].isin([TRAINED, SLOW]) & (record.rows["method"] == "classifier")]
    rows = rows[rows["metric"] == "accuracy"]
    least = rows.loc[rows["batchnorm"] == SLOW, [*KEYS]].drop_duplicates()
    found = rows.merge(least, on=KEYS).pivot_table("value", [*KEYS, "seed"], "batchnorm")
    return found.rename(columns={TRAINED: "usual averages", SLOW: "slow averages"}).rename_axis(columns=None)


def b24(evidence: Evidence) -> Verdict:
    """Accuracy is higher at the end than at the start, and no step falls clearly."""
    whole, steps = compare(evidence, "acc_cladec", ends), compare(evidence, "acc_cladec")
    falls = {
        step.run for step, p in zip(steps, adjusted(steps, "welch"), strict=True)
        if step.change < 0 and (p < SIGNIFICANT if np.isfinite(p) else step.clear)
    }  # fmt: skip
    found = count(
        (step.change > 0 and step.run not in falls for step in whole), "higher at the end, no step clearly down,",
        clear=(step.clear for step in whole),
    )  # fmt: skip
    rises = sum(step.change > 0 for step in steps)
    return found.plus(f"; up in {rises} of {len(steps)} steps{significance(steps)}" if steps else "")


def _untrained_first(evidence: Evidence, metric: str, pairs: Pairs = neighbours) -> list[Step]:
    """Comparisons of the runs that have an untrained encoder."""
    with_untrained = {run for run, chain in evidence.chains(metric) if chain.index[0] == 0}
    return [step for step in compare(evidence, metric, pairs) if step.run in with_untrained]


def b25(evidence: Evidence) -> Verdict:
    """The loss rises with every step to its peak, falls with every step after it, and ends above its start."""
    steps = _untrained_first(evidence, "rec_cladec")
    whole = {step.run: step for step in _untrained_first(evidence, "rec_cladec", ends)}
    hits, clear = [], []
    for run, chain in evidence.chains("rec_cladec"):
        if run not in whole or len(chain) < 3:
            continue
        peak = chain["mean"].iloc[1:-1].idxmax()
        own = [step for step in steps if step.run == run]
        hits += [(step.change > 0) == (step.after <= peak) for step in own] + [whole[run].change > 0]
        clear += [step.clear for step in (*own, whole[run])]
    if not hits:
        return undecided("needs an untrained encoder and two trained ones")
    found = count(hits, "up before the highest loss, down after it, and the end above the start", clear=clear)
    return found.plus(significance(steps))


def b26(evidence: Evidence) -> Verdict:
    """Welch's test of each step, with Holm's correction."""
    steps = compare(evidence, "rec_cladec")
    p = adjusted(steps, "welch")
    if not np.isfinite(p).any():
        return undecided("needs at least two runs of each row")
    found = count(p < CLAIMED, f"p < {CLAIMED} (Welch, Holm)")
    raw = ", ".join(f"{step.before:g}→{step.after:g}: {step.welch:.2g}" for step in steps)
    paired = adjusted(steps, "paired")
    beside = f"; paired by seed in {int((paired < CLAIMED).sum())}" if np.isfinite(paired).any() else ""
    found = found.plus(f"; Welch, uncorrected: {raw}{beside}")
    runs = min(int(chain["n"].min()) for _, chain in evidence.chains("rec_cladec"))
    if found.verdict == FAILS and runs < tables.PUBLISHED_RUNS:
        return undecided(f"{found.evidence}; {runs} runs have less power than the paper's {tables.PUBLISHED_RUNS}")
    return found


def b27(evidence: Evidence) -> Verdict:
    """The loss without training is below that after the longest training."""
    return trend(_untrained_first(evidence, "rec_cladec", ends), "loss without training below that after all epochs")


def b28(evidence: Evidence) -> Verdict:
    """The loss without training is above that of the RefAE."""
    ours, hits, clear = dict(evidence.chains("rec_cladec")), [], []
    for run, chain in evidence.chains("d_rec"):
        if 0 in chain.index:
            gap, runs = chain.loc[0, ["mean", "n"]]
            hits.append(gap > 0)
            clear.append(runs > 1 or abs(gap) > noise(evidence, run, "rec_cladec", ours[run].loc[0, "mean"]))
    return count(hits, "loss of the untrained encoder above the RefAE's", clear=clear)


def b29(evidence: Evidence) -> Verdict:
    """No step of the RefAE's loss or accuracy is significant; here it is trained once, without the classifier."""
    if evidence.record is not None:
        return Verdict(HOLDS, "one RefAE per seed, trained without the classifier")
    steps = compare(evidence, "rec_refae") + compare(evidence, "acc_refae")
    differ = [step for step in steps if step.welch < SIGNIFICANT]
    what = f"steps of its loss and accuracy with p ≥ {SIGNIFICANT} (Welch, uncorrected): "
    return Verdict(FAILS if differ else HOLDS, f"{what}{len(steps) - len(differ)} of {len(steps)}")


def b30(evidence: Evidence) -> Verdict:
    """ΔAcc is below 0 for the worst classifier, above 0 for the best, and rises with every better one."""
    of_classifier, hits, clear, shown = dict(evidence.chains("acc_classifier")), [], [], []
    for run, chain in evidence.chains("d_acc"):
        if len(chain) < 2:
            continue
        ordered = chain["mean"].loc[of_classifier[run]["mean"].sort_values().index].to_numpy()
        error = noise(evidence, run, "d_acc", 0) if chain["n"].min() < 2 else 0
        changes = np.array([-ordered[0], *np.diff(ordered), ordered[-1]])
        hits += list(changes > 0)
        clear += list((np.abs(changes) > error) | (error == 0))
        shown.append(", ".join(f"{value:+.3f}" for value in ordered))
    found = count(hits, "first ΔAcc below 0, last above, and each step up", clear=clear)
    return found.plus(f" ({'; '.join(shown)})" if shown else "")


@unprinted("the paper argues from theory")
def b31(evidence: Evidence) -> Verdict:
    """The rank correlation of distances between images before and after the encoder falls with training."""
    steps = _untrained_first(evidence, "distances", ends)
    before = [evidence.summary.loc[(*step.run, 0, "distances"), "mean"] for step in steps]
    shown = ", ".join(f"{first:.2f} → {first + step.change:.2f}" for first, step in zip(before, steps, strict=True))
    found = count((step.change < 0 for step in steps), "rank correlation of distances falls with training")
    return found.plus(f" ({shown})" if steps else "")


CLAIMS = [
    Claim("B24", "6.3", "Longer training of the classifier gives a higher evaluation accuracy for ClaDec", b24),
    Claim("B25", "6.3", "ClaDec's loss is lowest without training, rises, and then falls steadily", b25),
    Claim("B26", "6.3", "t-tests between subsequent rows of ClaDec's loss give p < 0.01", b26),
    Claim("B27", "6.3", "An untrained encoder reconstructs better than the fully trained one", b27),
    Claim("B28", "6.3", "An untrained encoder reconstructs worse than the RefAE", b28),
    Claim("B29", "6.3", "The RefAE does not depend on the classifier (control)", b29),
    Claim("B30", "6.3", "ΔAcc grows with the classifier's accuracy and crosses 0", b30),
    Claim("B31", "6.3", "Random weights preserve distances, training destroys this", b31),
]
