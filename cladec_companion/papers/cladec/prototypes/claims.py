"""Claim B37, about ClaDec beside learnt prototypes (section 6.5, Figure 15)."""

import pandas as pd
from scipy import stats

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import SIGNIFICANT, Claim, Evidence, Verdict, count, undecided, unprinted
from cladec_companion.records.record import Record

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
}
OVERALL = {
    "acc_classifier": ("classifier", "accuracy"), "acc_network": ("network", "accuracy"),
    "fall": ("network", "loss_fall"), "r1": ("network", "loss_r1"), "r2": ("network", "loss_r2"),
    "texture_network": ("network", "texture"), "ordinary": ("ordinary", "nearer_reconstruction"),
}  # fmt: skip
EACH = {
    "texture_original": ("original", "texture"), "texture_cladec": ("cladec", "texture"),
    "texture_prototype": ("prototype", "texture"), "to_reconstruction": ("prototype", "distance_reconstruction"),
    "to_class_mean": ("prototype", "distance_class_mean"), "index": ("original", "index"),
}  # fmt: skip
OMITTED = 0.5  # texture counts as omitted where less than this share of the image's is left
LEARNT = 0.8  # of the classifier's accuracy: the prototypes of a less accurate network are no evidence
# What the claim says of a prototype: a column that is smaller than a factor times another.
PARTS = {
    "the prototype has lost its texture": ("texture_prototype", OMITTED, "texture_original"),
    "so has the reconstruction": ("texture_cladec", OMITTED, "texture_original"),
    "nearer to a reconstruction than to a class mean": ("to_reconstruction", 1, "to_class_mean"),
}


def printed() -> Evidence:
    """The paper prints no number about prototypes, only Figure 15."""
    index = pd.MultiIndex.from_tuples([], names=[*KEYS, "metric"])
    return Evidence(pd.DataFrame(columns=["mean", "sd", "n"], index=index))


def evidence(record: Record) -> Evidence:
    """What a record of the experiment `prototypes` measured; means over the prototypes of each run."""
    rows, keys = record.rows, [*KEYS, "seed"]
    runs = tables.columns_of(rows[rows["number"] == 0], OVERALL, keys)
    runs = runs.join(by_prototype(record).groupby(level=keys).mean().drop(columns="index"))
    return Evidence(tables.summarise_runs(runs), record)


def by_prototype(record: Record) -> pd.DataFrame:
    """Textures and distances (mean squared differences) of each prototype, in grey values from 0 to 1."""
    rows = record.rows
    return tables.columns_of(rows[rows["number"] > 0], EACH, [*KEYS, "seed", "number"])


@unprinted()
def b37(evidence: Evidence) -> Verdict:
    """Prototypes and reconstructions have lost texture; prototypes are nearer to a reconstruction than to class means.

    Each of the three is decided by a sign test over prototypes. Those that share their nearest test image are copies of
    each other and count once.
    """
    hits, clear, told = [], [], []
    for run, part in by_prototype(evidence.record).groupby(level=KEYS):
        ours, theirs = evidence.summary["mean"].loc[run][["acc_network", "acc_classifier"]]
        if ours < LEARNT * theirs:
            told.append(f"left out: a prototype network with an accuracy of {ours:.2f} against {theirs:.2f}")
            continue
        different = part.reset_index("seed").drop_duplicates(["seed", "index"])
        for name, (smaller, factor, larger) in PARTS.items():
            agreeing = int((different[smaller] < factor * different[larger]).sum())
            hits.append(agreeing > len(different) / 2)
            clear.append(stats.binomtest(agreeing, len(different)).pvalue < SIGNIFICANT)
            told.append(f"{name} {agreeing} of {len(different)}")
    if not hits and told:
        return undecided(f"{'; '.join(told)}; more epochs would decide")
    found = count(hits, "most different prototypes agree", clear=clear)
    return found.plus(f" ({'; '.join(told)})" if told else "")


CLAIMS = [
    Claim(
        "B37", "6.5",
        "ClaDec and learnt prototypes both omit texture; a prototype resembles the reconstruction of some sample "
        "rather than an average", b37,
    ),
]  # fmt: skip
