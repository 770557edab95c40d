"""Claims B1-B15, about layers (sections 6 and 6.1, Tables 2 and 3)."""

import numpy as np
import pandas as pd
from scipy import stats

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import (
    ALMOST,
    FAILS,
    MOST,
    RUN,
    SIGNIFICANT,
    Claim,
    Evidence,
    Verdict,
    count,
    unprinted,
)
from cladec_companion.records.record import Record
from cladec_core import networks

CHAIN = 3  # layers that a claim about depth needs
BASELINES = {"mnist": 0.99, "fashion_mnist": 0.92, "cifar100": 0.45}


def printed() -> Evidence:
    """What the paper prints: Tables 2 and 3."""
    return Evidence(tables.published_layers())


def evidence(record: Record) -> Evidence:
    """What a record of the experiment `layers` measured."""
    return Evidence(tables.layers_summary(record), record)


def _chains(evidence: Evidence, metric: str) -> list[tuple[tuple[str, str], pd.Series]]:
    """Means over the layers of each dataset and architecture with three or more of them, input to output."""
    return [(run, part["mean"]) for run, part in evidence.chains(metric, CHAIN)]


def _clear(evidence: Evidence, gap: pd.DataFrame) -> pd.Series:
    """Whether the sign of ΔAcc stands out from chance, per cell.

    With several runs the sd speaks for itself, so every cell counts. A single run's accuracies are shares of the test
    images: their difference must exceed two standard errors.
    """
    share = evidence.cells("acc_cladec")["mean"]
    alone = gap["n"] < 2
    noise = [evidence.share_noise(cell[0], share[cell]) if single else 0 for cell, single in alone.items()]
    return ~alone | (gap["mean"].abs() > noise)


def _significant(evidence: Evidence, first: str, second: str) -> str:
    """Welch tests of two metrics, cell by cell, where there are enough runs."""
    one, two = evidence.cells(first), evidence.cells(second)
    tested = (one["n"] > 1) & (two["n"] > 1)
    if not tested.any():
        return "; one run each, so no test"
    columns = [part[tested][name].to_numpy(dtype=float) for part in (one, two) for name in ("mean", "sd", "n")]
    p = stats.ttest_ind_from_stats(*columns, equal_var=False).pvalue
    return f"; {int((p < SIGNIFICANT).sum())} of {len(p)} differ with p < {SIGNIFICANT} (Welch)"


def _without_last(cells: pd.DataFrame) -> pd.DataFrame:
    return cells[cells.index.get_level_values("index") != -1]


def _last(cells: pd.DataFrame) -> pd.DataFrame:
    return cells[cells.index.get_level_values("index") == -1]


def _rising(series: pd.Series) -> bool:
    """Never falling from the input (-5) to the output (-1)."""
    return bool((series.diff().dropna() >= 0).all())


def b1(evidence: Evidence) -> Verdict:
    """ΔRec is above 0 in every cell; of the printed ones the paper itself excepts one."""
    found = count(evidence.cells("d_rec")["mean"] > 0, "ΔRec > 0", allowed=1 if evidence.record is None else 0)
    return found.plus(_significant(evidence, "rec_cladec", "rec_refae"))


def b2(evidence: Evidence) -> Verdict:
    """ΔAcc is above 0 in nine of ten cells below the last layer."""
    cells = _without_last(evidence.cells("d_acc"))
    found = count(cells["mean"] > 0, "ΔAcc > 0 below the last layer", ALMOST, clear=_clear(evidence, cells))
    return found.plus(_significant(evidence, "acc_cladec", "acc_refae"))


def b3(evidence: Evidence) -> Verdict:
    """ΔAcc is below 0 in most cells at layer -1."""
    cells = _last(evidence.cells("d_acc"))
    return count(cells["mean"] < 0, "ΔAcc < 0 at layer -1", share=MOST, clear=_clear(evidence, cells))


def b4(evidence: Evidence) -> Verdict:
    """The loss never falls from a layer to the next one towards the output, for either method."""
    chains = _chains(evidence, "rec_cladec") + _chains(evidence, "rec_refae")
    return count((_rising(part) for _, part in chains), "loss never falls towards the output (both methods)")


def b5(evidence: Evidence) -> Verdict:
    """From the lowest to the top layer ClaDec's loss rises by more than the RefAE's, in every run."""
    pairs = zip(_chains(evidence, "rec_cladec"), _chains(evidence, "rec_refae"), strict=True)
    return count((a.iloc[-1] - a.iloc[0] > b.iloc[-1] - b.iloc[0] for (_, a), (_, b) in pairs), "ClaDec loses more")


def b6(evidence: Evidence) -> Verdict:
    """ΔRec never falls from a layer to the next one towards the output."""
    return count((_rising(part) for _, part in _chains(evidence, "d_rec")), "ΔRec never falls towards the output")


def b7(evidence: Evidence) -> Verdict:
    """ResNet: the drop at the last layer exceeds the range over the layers below it."""
    chains = [part for (_, net), part in _chains(evidence, "acc_cladec") if net == "resnet10" and -1 in part]
    drops = (part[part.index < -1].min() - part[-1] > np.ptp(part[part.index < -1]) for part in chains)
    return count(drops, "the drop at layer -1 exceeds the range below it")


def b8(evidence: Evidence) -> Verdict:
    """ResNet's loss is below VGG's in nine of ten cells, of both methods."""
    hits = []
    for metric in ("rec_cladec", "rec_refae"):
        wide = evidence.cells(metric)["mean"].unstack("architecture")
        if {"vgg11", "resnet10"} <= set(wide):
            pair = wide[["vgg11", "resnet10"]].dropna()
            hits += list(pair["resnet10"] < pair["vgg11"])
    return count(hits, "ResNet lower", ALMOST)


@unprinted()
def b9(evidence: Evidence) -> Verdict:
    """Images of the RefAE differ less between the networks than those of ClaDec, at every recorded layer (Fig. 10)."""
    samples, hits = evidence.record.samples, []
    used = evidence.record.manifest["configuration"]["index_map"]
    pairs = networks.LAYER_INDEX["vgg11"][used], networks.LAYER_INDEX["resnet10"][used]
    for dataset in sorted({name.split("/")[0] for name in samples}):
        for index in pairs[0]:
            gaps = {
                method: _sample_distance(
                    samples, (f"{dataset}/vgg11", pairs[0][index]), (f"{dataset}/resnet10", pairs[1][index]), method
                )
                for method in ("refae", "cladec")
            }
            if None not in gaps.values():
                hits.append(gaps["refae"] < gaps["cladec"])
    return count(hits, "RefAE's differ less between the networks, on the recorded samples,")


def _sample_distance(
    samples: dict[str, np.ndarray], first: tuple[str, str], second: tuple[str, str], method: str
) -> float | None:
    """Mean squared grey difference of the test images that two runs (prefix, layer) both recorded."""
    names = [f"{run}/{layer}/{method}" for run, layer in (first, second)]
    if not all(name in samples for name in names):
        return None
    _, *at = np.intersect1d(samples[f"{first[0]}/index"], samples[f"{second[0]}/index"], return_indices=True)
    mine, theirs = (samples[name][places].astype(float) for name, places in zip(names, at, strict=True))
    return float(np.square((mine - theirs) / 255).mean())


def _measured_chains(evidence: Evidence, method: str, metric: str) -> list[pd.Series]:
    groups = evidence.measured(method, metric).groupby(level=RUN)
    return [part.droplevel(RUN) for _, part in groups if len(part) >= CHAIN]


@unprinted()
def b10(evidence: Evidence) -> Verdict:
    """The mean squared difference of the two methods' images never falls towards the output (Figs. 6, 8)."""
    chains = _measured_chains(evidence, "cladec", "distance_to_refae")
    return count(map(_rising, chains), "mean squared difference never falls towards the output")


@unprinted()
def b11(evidence: Evidence) -> Verdict:
    """An independent classifier sees the predicted class in more of them at the top layer than at the lowest."""
    chains = _measured_chains(evidence, "cladec", "drift_to_predicted")
    found = count((part.iloc[-1] > part.iloc[0] for part in chains), "more look like the predicted class at the top")
    wrong = evidence.measured("cladec", "misclassified")
    return found.plus(f" (at least {int(wrong.min())} misclassified images each)" if len(wrong) else "")


@unprinted()
def b12(evidence: Evidence) -> Verdict:
    """At layer -1 tone and texture are kept less than by the RefAE, and silhouettes overlap (Fig. 5)."""
    hits = []
    for concept in ("grey_tone", "texture"):
        ours, theirs = evidence.measured("cladec", concept), evidence.measured("refae", concept)
        hits += list((ours < theirs)[ours.index.get_level_values("index") == -1])
    shape = evidence.measured("cladec", "shape")
    hits += list((shape > 0.75)[shape.index.get_level_values("index") == -1])
    return count(hits, "grey tone lower, texture lower, silhouette overlap above 0.75, at layer -1,")


@unprinted()
def b13(evidence: Evidence) -> Verdict:
    """The variance within a class is below the RefAE's in nine of ten cells."""
    metric = "within_class_variance"
    return count(
        evidence.measured("cladec", metric) < evidence.measured("refae", metric),
        "variance within a class below RefAE's", ALMOST,
    )  # fmt: skip


def b14(evidence: Evidence) -> Verdict:
    """Accuracy on test images against the printed level of each data set."""
    if evidence.record is None:
        printed = tables.published()["table6"][64]["acc_classifier"][0]
        return Verdict(FAILS, f"Table 6 prints {printed} for 64 epochs on what is Fashion-MNIST")
    found = tables.value_of(evidence.record, "classifier", "accuracy", "classifier")["mean"]
    found = found[found.index.get_level_values("dataset").isin(BASELINES)]
    listed = ", ".join(f"{tables.DATASET_NAMES[key[0]]} {value:.3f}" for key, value in found.items())
    return count((value > BASELINES[key[0]] for key, value in found.items()), f"above the printed level ({listed})")


def b15(evidence: Evidence) -> Verdict:
    """Accuracy at the top layer is above that at the lowest for ClaDec, and below it for the RefAE."""
    ours, theirs = _chains(evidence, "acc_cladec"), _chains(evidence, "acc_refae")
    hits = [a.iloc[-1] > a.iloc[0] and b.iloc[-1] < b.iloc[0] for (_, a), (_, b) in zip(ours, theirs, strict=True)]
    return count(hits, "top layer above the lowest for ClaDec and below it for RefAE")


CLAIMS = [
    Claim("B1", "6.1", "RefAE reconstructs better than ClaDec at every layer", b1),
    Claim("B2", "6.1", "Evaluation accuracy is almost always higher for ClaDec, except at the last layer", b2),
    Claim("B3", "6.1", "At the very last layer RefAE tends to give the higher evaluation accuracy", b3),
    Claim("B4", "6.1", "The reconstruction loss increases with the number of encoder layers", b4),
    Claim("B5", "6.1", "This increase is stronger for ClaDec than for RefAE", b5),
    Claim("B6", "6.1", "The difference between RefAE and ClaDec grows towards the output", b6),
    Claim("B7", "6.1", "ResNet: ClaDec's evaluation accuracy is about constant and drops at the last layer", b7),
    Claim("B8", "6.1", "ResNet's reconstruction losses are lower than VGG's", b8),
    Claim("B9", "6.1", "RefAE's reconstructions agree between VGG and ResNet; ClaDec's vary more", b9),
    Claim("B10", "6.1", "The images of RefAE and ClaDec differ more with each layer", b10),
    Claim("B11", "6.1", "Misclassified samples turn gradually into another class", b11),
    Claim("B12", "6.1", "ClaDec discards grey tone and texture and keeps the shape", b12),
    Claim("B13", "6.1", "ClaDec's reconstructions are more prototypical", b13),
    Claim("B14", "6", "Classifiers reach more than 99 / 92 / 45 % accuracy", b14),
    Claim("B15", "C 5.1", "Evaluation accuracy rises with depth for ClaDec and falls for RefAE", b15),
]
