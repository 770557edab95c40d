"""Claims B32-B36, about subsets of the last convolution's channels (section 6.4, Figures 13 and 14)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import RUN, SIGNIFICANT, Claim, Verdict, count, undecided, unprinted
from cladec_companion.records.record import Record

LOSS = "loss_standardised"
NOISE = 0.02  # relative difference of two single trainings' losses that says nothing
FRACTION = 0.25  # of the channels: more than this is no "fraction" any more
IMPROVEMENT = 0.9
ENOUGH = 5  # subsets of each kind for a test of equivalence
EQUIVALENT = 0.1  # relative difference of mean losses that does not matter


@dataclass(frozen=True)
class Evidence:
    """What a claim is decided from: a record of the experiment `subsets`; None for the paper's pictures."""

    record: Record | None = None

    def values(self, method: str, metric: str, *, classes: bool = False) -> pd.DataFrame:
        """The rows of one number, over all test images or for each class."""
        rows = self.record.rows
        chosen = (rows["method"] == method) & (rows["metric"] == metric) & ((rows["class"] != "") == classes)
        return rows[chosen].assign(value=rows["value"].astype(float))

    def nested(self, method: str = "cladec", metric: str = LOSS) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
        """Mean and n over seeds by size, the smallest first, for each data set and architecture."""
        rows = self.values(method, metric)
        for run, part in rows[rows["subset"] == "nested"].groupby(RUN):
            yield run, part.groupby("size")["value"].agg(["mean", "count"]).sort_index()

    def floor(self, run: tuple[str, str]) -> float:
        """Loss of the mean image: what no channel at all would give."""
        return self.values("mean image", LOSS).groupby(RUN)["value"].mean()[run]


def evidence(record: Record) -> Evidence:
    """What the claims need from a record."""
    return Evidence(record)


def printed() -> Evidence:
    """The paper prints no numbers about subsets, only Figures 13 and 14."""
    return Evidence()


def by_size(record: Record) -> pd.DataFrame:
    """Nested subsets: loss in every scale, share of the improvement, accuracy, probe and dead channels.

    Returns
    -------
    DataFrame
        Indexed by data, classifier and channels, the largest subset first; means over seeds.
    """
    found = Evidence(record)
    columns = {
        "standardised mean": ("cladec", LOSS), "raw mean": ("cladec", "loss_raw_mean"),
        "raw sum per image": ("cladec", "loss_raw_sum"), "accuracy of C on X̂": ("cladec", "accuracy"),
        "linear probe": ("probe", "accuracy"), "dead channels": ("activation", "dead_channels"),
    }  # fmt: skip
    parts = []
    for name, number in columns.items():
        for run, part in found.nested(*number):
            cells = part["mean"].rename_axis("channels").reset_index(name="value")
            parts.append(cells.assign(dataset=run[0], architecture=run[1], name=name))
            if name == "standardised mean":
                share = (found.floor(run) - part["mean"]) / (found.floor(run) - part["mean"].iloc[-1])
                cells = share.rename_axis("channels").reset_index(name="value")
                parts.append(cells.assign(dataset=run[0], architecture=run[1], name="share of the improvement"))
    table = pd.concat(parts).pivot(index=[*RUN, "channels"], columns="name", values="value")
    order = ["standardised mean", "share of the improvement", *list(columns)[1:]]
    table = table[order].sort_index(level="channels", ascending=False, sort_remaining=False)
    table["dead channels"] = table["dead channels"].round().astype(int)
    names = tables.DATASET_NAMES | tables.ARCHITECTURE_NAMES
    return table.rename(index=names).rename_axis(["data", "classifier", "channels"]).rename_axis(columns=None).round(4)


def improvement(record: Record) -> pd.DataFrame:
    """Per subset and class: share of the mean image's loss that is gone, accuracy of C, accuracy of a linear probe.

    Returns
    -------
    DataFrame
        Indexed by dataset, architecture, subset, size, number and class; columns `improvement`, `accuracy`,
        `probe`; means over seeds.
    """
    found, keys = Evidence(record), [*RUN, "subset", "size", "number", "class"]
    loss, accuracy, probe, floor = (
        found.values(*number, classes=True).groupby(part)["value"].mean()
        for number, part in (
            (("cladec", LOSS), keys), (("cladec", "accuracy"), keys), (("probe", "accuracy"), keys),
            (("mean image", LOSS), [*RUN, "class"]),
        )
    )  # fmt: skip
    floors = floor.reindex(loss.index.droplevel(["subset", "size", "number"])).to_numpy()
    return pd.DataFrame({"improvement": 1 - loss / floors, "accuracy": accuracy, "probe": probe})


@unprinted()
def b32(evidence: Evidence) -> Verdict:
    """The loss rises from each nested subset to the next smaller one."""
    hits, clear = [], []
    for _, part in evidence.nested():
        steps = -part["mean"].diff().dropna()
        hits += list(steps > 0)
        clear += list((steps.abs() > NOISE * part["mean"].iloc[1:]) | (part["count"].iloc[1:] > 1))
    return count(hits, "loss higher with fewer channels", clear=clear)


@unprinted()
def b33(evidence: Evidence) -> Verdict:
    """A quarter of the channels gives nine tenths of the improvement over the mean image that all of them give."""
    hits, told = [], []
    for run, part in evidence.nested():
        gain = evidence.floor(run) - part["mean"]
        enough = gain.index[gain >= IMPROVEMENT * gain.iloc[-1]]
        if len(part) > 1 and gain.iloc[-1] > 0:
            hits.append(enough[0] <= FRACTION * part.index[-1])
            told.append(f"{enough[0]} of {part.index[-1]}")
    found = count(
        hits, f"{IMPROVEMENT:.0%} of the improvement over the mean image from at most {FRACTION:.0%} of the channels"
    )
    return found.plus(f" ({', '.join(told)})" if told else "")


@unprinted()
def b34(evidence: Evidence) -> Verdict:
    """Classes that a linear probe of the subset reads well are those that it reconstructs well (rank correlation)."""
    table = improvement(evidence.record)
    table = table[table.index.get_level_values("subset") == "disjoint"].dropna()
    hits, clear, told = [], [], []
    for _, part in table.groupby(level=RUN):
        for column in ("improvement", "accuracy"):
            if part["probe"].nunique() < 2 or part[column].nunique() < 2:
                continue
            found = stats.spearmanr(part["probe"], part[column])
            hits.append(found.statistic > 0)
            clear.append(found.pvalue < SIGNIFICANT)
            told.append(f"{column} {found.statistic:.2f}")
    found = count(hits, "rank correlation with the probe's accuracy per class positive", clear=clear)
    return found.plus(f" ({', '.join(told)})" if told else "")


@unprinted()
def b35(evidence: Evidence) -> Verdict:
    """The accuracy of C on images from one channel is at least chance, and under half of that from all channels."""
    hits, told = [], []
    images = evidence.values("classifier", "test_images").groupby("dataset")["value"].mean()
    classes = evidence.values("mean image", LOSS, classes=True).groupby("dataset")["class"].nunique()
    for run, part in evidence.nested(metric="accuracy"):
        chance = 1 / classes[run[0]]
        if part.index[0] == 1 and len(part) > 1:
            one, all_of_them = part["mean"].iloc[0], part["mean"].iloc[-1]
            noise = 2 * np.sqrt(chance * (1 - chance) / images[run[0]])
            hits.append(chance - noise <= one < all_of_them / 2)
            told.append(f"{one:.3f} against {all_of_them:.3f}")
    found = count(hits, "accuracy from one channel at chance or above, and under half of that from all,")
    return found.plus(f" ({', '.join(told)})" if told else "")


@unprinted("stated, not shown")
def b36(evidence: Evidence) -> Verdict:
    """Mean losses of disjoint and of random subsets of equal size are equivalent (two one-sided Welch tests)."""
    rows = evidence.values("cladec", LOSS)
    verdicts, told = [], []
    for _, part in rows[rows["subset"].isin(["disjoint", "random"])].groupby(RUN):
        kinds = {kind: group["value"].to_numpy() for kind, group in part.groupby("subset")}
        if len(kinds) < 2:
            continue
        ours, theirs = kinds["disjoint"], kinds["random"]
        told.append(f"mean loss {ours.mean():.3f} (n={len(ours)}) against {theirs.mean():.3f} (n={len(theirs)})")
        verdicts.append(_equivalent(ours, theirs) if min(len(ours), len(theirs)) >= ENOUGH else None)
    if not verdicts:
        return undecided("needs disjoint and random subsets")
    if None in verdicts:
        return undecided(
            f"{'; '.join(told)}; needs {ENOUGH} subsets of each kind, and a difference or none that is clear"
        )
    found = count(verdicts, f"means within {EQUIVALENT:.0%} of each other")
    return found.plus(f" ({'; '.join(told)})")


def _equivalent(ours: np.ndarray, theirs: np.ndarray) -> bool | None:
    """Whether two means are equivalent; None if the samples are too few to say."""
    margin = EQUIVALENT * theirs.mean()
    above = stats.ttest_ind(ours + margin, theirs, equal_var=False, alternative="greater").pvalue
    below = stats.ttest_ind(ours - margin, theirs, equal_var=False, alternative="less").pvalue
    if max(above, below) < SIGNIFICANT:
        return True
    return False if stats.ttest_ind(ours, theirs, equal_var=False).pvalue < SIGNIFICANT else None


CLAIMS = [
    Claim("B32", "6.4", "Fewer neurons lead to less detailed, more blurry reconstructions", b32),
    Claim("B33", "6.4", "Layers are redundant: a fraction of the neurons suffices to resemble the input", b33),
    Claim("B34", "6.4", "Small subsets are class specific: good for some classes, overlays for others", b34),
    Claim("B35", "6.4", "With a single neuron, classes can only be guessed", b35),
    Claim("B36", "6.4", "A sequence of neurons is as good as a random choice", b36),
]
