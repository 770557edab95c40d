"""Claims B50-B54, which no table of the paper shows (sections 2, 6.1 and 7): decided from records of `layers`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from cladec_companion.evidence import claims, tables
from cladec_companion.evidence.claims import MOST, RUN, Claim, Verdict, count, undecided, unprinted
from cladec_companion.records.record import Record

ALIKE = 2.0  # "about the same" cost: neither takes more than so many times as long as the other
STRONG = 0.5  # a correlation from here on is large by Cohen's convention
FEW = 0.5  # of the units: fewer are "relatively few"


@dataclass(frozen=True)
class Evidence(claims.Evidence):
    """The evidence of one record, and the other records of the experiment, which B53 compares with it."""

    others: Sequence[Record] = ()


def printed() -> Evidence:
    """The paper prints no number about these claims."""
    return Evidence(pd.DataFrame())


def evidence(record: Record, others: Iterable[Record] = ()) -> Evidence:
    """What the claims need from a record of the experiment `layers`."""
    return Evidence(tables.layers_summary(record), record, others=tuple(others))


def costs(record: Record) -> pd.Series:
    """Seconds of a layer's decoder and RefAE over those of the classifier, per epoch and on the same device.

    Returns
    -------
    Series
        By dataset, architecture, device and layer; layers whose trainings came from the cache are left out.
    """
    runs, epochs = record.manifest["runs"], record.manifest["configuration"]
    rows = []
    for key, cell in record.cells.items():
        dataset, architecture, layer, _ = key.split("/")
        for label, seconds in cell["trainings"].items():
            rows.append([dataset, architecture, runs[cell["run"]]["device"], layer, label.split(" ")[0], seconds])
    columns = [*RUN, "device", "layer", "training"]
    seconds = pd.DataFrame(rows, columns=[*columns, "seconds"]).groupby(columns)["seconds"].mean().unstack("training")
    seconds = seconds.reindex(columns=["decoder", "RefAE", "classifier"])
    classifier = seconds.pop("classifier").groupby(level=[*RUN, "device"]).transform("mean")
    explaining = seconds.sum(axis=1, skipna=False) / epochs["decoder_epochs"]
    return (explaining / (classifier / epochs["classifier_epochs"])).dropna()


@unprinted("the paper states it without numbers")
def b50(evidence: Evidence) -> Verdict:
    """The decoder and the RefAE take between half and twice the classifier's training time, at most layers."""
    ratios = costs(evidence.record)
    found = count(ratios.between(1 / ALIKE, ALIKE), f"within a factor of {ALIKE:g}", MOST)
    listed = ", ".join(f"{layer} {ratio:.1f}" for layer, ratio in ratios.droplevel([0, 1, 2]).items())
    return found.plus(f" (times the classifier's training, per epoch: {listed})" if listed else "")


def b51(evidence: Evidence) -> Verdict:
    """Attacks on GradCAM and on X̂ that leave the prediction as it is: X̂ should change less."""
    return undecided(
        "anticipated by the paper, and no experiment here attacks an explanation. Equal codes give equal X̂ by "
        "construction; attacks on GradCAM and on X̂ within the same distance would decide the rest"
    )


@unprinted("the paper states it without numbers")
def b52(evidence: Evidence) -> Verdict:
    """The losses of RefAE and ClaDec have a strong rank correlation over test images, at every layer."""
    found = evidence.measured("cladec", "loss_rank_correlation")
    listed = f" ({found.min():.2f} to {found.max():.2f})" if len(found) else ""
    return count(found >= STRONG, f"Spearman's correlation at least {STRONG}").plus(listed)


@unprinted("the paper states it without numbers")
def b53(evidence: Evidence) -> Verdict:
    """Fewer training images give both methods a higher loss; at α = 0 no loss reads a label."""
    hits, told = [], []
    for other in _smaller(evidence):
        theirs = claims.Evidence(tables.layers_summary(other), other)
        for method, metric in (("RefAE", "rec_refae"), ("ClaDec", "rec_cladec")):
            pair = pd.concat([evidence.cells(metric)["mean"], theirs.cells(metric)["mean"]], axis=1, join="inner")
            hits += list(pair.iloc[:, 0] < pair.iloc[:, 1])
            told += [f"{method} {before:.3f} → {after:.3f}" for before, after in pair.itertuples(index=False)]
    if not hits:
        return undecided("needs a second record that differs in train_limit only")
    return count(hits, "loss higher with fewer images (and so fewer steps)").plus(f" ({', '.join(told)})")


def _smaller(evidence: Evidence) -> Iterable[Record]:
    """Records of the same configuration with fewer training images."""
    everything = evidence.record.manifest["configuration"]
    for other in evidence.others:
        theirs = other.manifest["configuration"]
        limits = [float(part["train_limit"] or "inf") for part in (everything, theirs)]
        if theirs | {"train_limit": None} == everything | {"train_limit": None} and limits[1] < limits[0]:
            yield other


@unprinted("stated, not shown")
def b54(evidence: Evidence) -> Verdict:
    """At layer -1 few units are active, and the codes have the lowest effective rank of all layers."""
    active, rank = (evidence.measured("activation", metric) for metric in ("active", "effective_rank"))
    hits, told = [], []
    for run, part in rank.groupby(level=RUN):
        chain, share = part.droplevel(RUN), active[run]
        if -1 in chain and len(chain) > 1:
            hits += [share[-1] < FEW, chain[-1] == chain.min()]
            told.append(f"{share[-1]:.0%} active, effective rank {chain[-1]:.1f} against {chain.drop(-1).min():.1f}")
    found = count(hits, "fewer than half of the units active, lowest effective rank,")
    return found.plus(f" ({'; '.join(told)})" if told else "")


CLAIMS = [
    Claim("B50", "7", "Explaining costs about as much as training the model", b50),
    Claim("B51", "2", "Explanations are less sensitive to perturbations that the classifier ignores", b51),
    Claim("B52", "7", "Poor reconstructions of the RefAE go with hard-to-read ones of ClaDec", b52),
    Claim("B53", "7", "Too small a data set spoils both methods; labels are not needed", b53),
    Claim("B54", "6.1", "In the last layer only relatively few neurons are active", b54),
]
