"""Claim B37, about ClaDec beside learnt prototypes (section 6.5, Figure 15)."""

import numpy as np
import pandas as pd

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import Claim, Comparison, Evidence, Verdict, judge, unprinted
from cladec_companion.evidence.comparisons import NOT_CONVERGED, measured, satterthwaite, share
from cladec_companion.evidence.measurements import UNKNOWN, where
from cladec_companion.evidence.thresholds import Threshold
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.papers.cladec.limits import OMITTED
from cladec_companion.records.record import Record

LEARNT = Threshold(
    "a trained prototype network",
    0.8,
    "share of the classifier's accuracy; a network below it has not learnt what its prototypes are to show",
    "2026-11-21",
    after_data=True,
)

KEYS = ["dataset", "architecture", "prototypes"]
COLUMNS = {
    "acc_classifier": "accuracy of the classifier",
    "acc_network": "accuracy of the prototype network",
    "fall": "fall of its loss over the second half of the epochs",
    "r1": "R1, prototypes to the nearest test images' codes",
    "r2": "R2, test images' codes to the nearest prototypes",
    "texture_original": "texture: images",
    "texture_cladec": "texture: ClaDec's reconstructions of them",
    "texture_prototype": "texture: prototypes",
    "texture_network": "texture: the network's own reconstructions of all images",
    "to_reconstruction": "distance: prototype to the nearest of ClaDec's reconstructions",
    "to_class_mean": "distance: prototype to the nearest class mean",
    "ordinary": "share of ordinary images nearer to a reconstruction",
    "ordinary_ratio": "log ratio of these two distances, ordinary images: mean",
    "ordinary_ratio_sd": "log ratio of these two distances, ordinary images: sd",
}
OVERALL = {
    "acc_classifier": ("classifier", "accuracy"), "acc_network": ("network", "accuracy"),
    "fall": ("network", "loss_fall"), "r1": ("network", "loss_r1"), "r2": ("network", "loss_r2"),
    "texture_network": ("network", "texture"), "ordinary": ("ordinary", "nearer_reconstruction"),
    "ordinary_ratio": ("ordinary", "log_distance_ratio"), "ordinary_ratio_sd": ("ordinary", "log_distance_ratio_sd"),
    "ordinary_images": ("ordinary", "images"), "falling": ("network", "still_falling"),
}  # fmt: skip
EACH = {
    "texture_original": ("original", "texture"), "texture_cladec": ("cladec", "texture"),
    "texture_prototype": ("prototype", "texture"), "to_reconstruction": ("prototype", "distance_reconstruction"),
    "to_class_mean": ("prototype", "distance_class_mean"), "index": ("original", "index"),
}  # fmt: skip
# Columns of texture of which less than half of the original image's is left, if the claim is true.
TEXTURES = {"prototype": "texture_prototype", "reconstruction": "texture_cladec"}


def printed() -> Evidence:
    """The paper prints no number about prototypes, only Figure 15."""
    index = pd.MultiIndex.from_tuples([], names=[*KEYS, "metric"])
    return Evidence(pd.DataFrame(columns=["mean", "sd", "n"], index=index))


def evidence(record: Record) -> Evidence:
    """What a record of the experiment `prototypes` measured; means over the prototypes of each run."""
    rows, keys = record.rows, [*KEYS, "seed"]
    runs = tables.columns_of(rows[rows["number"] == 0], OVERALL, keys)
    runs = runs.join(by_prototype(record).groupby(level=keys).mean().drop(columns="index"))
    return Evidence(tables.summarise_runs(runs), record, known=printed_tables.known)


def by_prototype(record: Record) -> pd.DataFrame:
    """Textures and distances (mean squared differences) of each prototype, in grey values from 0 to 1."""
    rows = record.rows
    return tables.columns_of(rows[rows["number"] > 0], EACH, [*KEYS, "seed", "number"])


@unprinted()
def b37(evidence: Evidence) -> Verdict:
    """Most prototypes and reconstructions lost half their texture; prototypes are nearer to one than ordinary images.

    Prototypes that share their nearest test image are copies of each other and count once. "Nearer" is the logarithm of
    the distance to the nearest reconstruction over that to the nearest class mean, less the same of ordinary images:
    nearly all of them are nearer to some reconstruction than to a class mean, so that it says nothing by itself.
    """
    assert evidence.record is not None
    found: list[Comparison] = []
    for cell, part in by_prototype(evidence.record).groupby(level=KEYS):
        overall = evidence.summary["mean"].loc[cell]
        different = part.reset_index("seed").drop_duplicates(["seed", "index"])
        own = [
            share(
                where(cell[:2], f"{name} without texture"),
                int((different[texture] < OMITTED.value * different["texture_original"]).sum()),
                len(different), (0.5, 1.0), of="prototypes",
            )
            for name, texture in TEXTURES.items()
        ]  # fmt: skip
        found += [_trained(comparison, overall) for comparison in [*own, _nearer(cell, different, overall)]]
    return judge(found, "as stated")


def _nearer(cell: tuple[str, str, int], different: pd.DataFrame, overall: pd.Series) -> Comparison:
    """How much nearer prototypes are to a reconstruction than to a class mean, less the same of ordinary images."""
    what = where(cell[:2], "log ratio of distances less that of ordinary images")
    ratios = np.log(different["to_reconstruction"] / different["to_class_mean"])
    n, claimed = len(ratios), (-np.inf, 0.0)
    if not {"ordinary_ratio", "ordinary_ratio_sd", "ordinary_images"} <= set(overall.index) or n < 2:
        alone = measured(what, np.nan, np.nan, 1, n, claimed, by="", of="prototypes")
        return alone.barred("the ratio of ordinary images is not recorded yet")
    variances = np.array([ratios.var(ddof=1) / n, overall["ordinary_ratio_sd"] ** 2 / overall["ordinary_images"]])
    freedom = satterthwaite(variances, np.array([n - 1, overall["ordinary_images"] - 1]))
    effect = ratios.mean() - overall["ordinary_ratio"]
    return measured(
        what, effect, np.sqrt(variances.sum()), freedom, n, claimed, by="Welch's t over prototypes", of="prototypes"
    )


def _trained(comparison: Comparison, overall: pd.Series) -> Comparison:
    """The comparison, barred if its prototype network has not learnt, or was still learning."""
    ours, theirs = overall["acc_network"], overall["acc_classifier"]
    if overall.get("falling", 0) > 0:
        return comparison.barred(f"{NOT_CONVERGED}: the prototype network's loss was still falling", too_short=True)
    if ours < LEARNT.value * theirs:
        why = f"a prototype network with an accuracy of {ours:.2f} against the classifier's {theirs:.2f}"
        return comparison.barred(why, too_short=True)
    return comparison if "falling" in overall.index else comparison.with_caveat(UNKNOWN)


CLAIMS = [
    Claim(
        "B37", "6.5",
        "ClaDec and learnt prototypes both omit texture; a prototype resembles the reconstruction of some sample "
        "rather than an average", b37, after_data="which accuracy counts as trained, and the ratio of ordinary images",
        limits=(OMITTED, LEARNT),
    ),
]  # fmt: skip
