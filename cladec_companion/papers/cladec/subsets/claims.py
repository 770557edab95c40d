"""Claims B32-B36, about subsets of the last convolution's channels (section 6.4, Figures 13 and 14)."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from scipy import stats

from cladec_companion.evidence import measurements, tables
from cladec_companion.evidence.claims import RUN, Claim, Comparison, Verdict, by_construction, judge, unprinted
from cladec_companion.evidence.comparisons import ABOVE, BELOW, sample, welch
from cladec_companion.evidence.measurements import evidence_of, where
from cladec_companion.evidence.tables import FLOOR
from cladec_companion.evidence.thresholds import Threshold
from cladec_companion.evidence.trends import trends
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.records.record import Record

FRACTION = Threshold(
    "a fraction of the neurons", 0.25, "share of the channels: more than a quarter is no fraction", "2026-11-21"
)
SUFFICES = Threshold(
    "suffices", 0.9, "share of the improvement over the mean image that all channels bring", "2026-11-21"
)
GUESSED = Threshold(
    "can only be guessed",
    0.5,
    "share of the accuracy above chance that all channels give: nearer to chance than to it",
    "2026-11-21",
    after_data=True,
)
ENOUGH = Threshold("enough subsets", 5, "subsets of a kind below which no interval is worth the name", "2026-11-21")

LOSS = "loss_standardised"
NESTED = {"loss": ("cladec", LOSS)}


@dataclass(frozen=True)
class Evidence:
    """What a claim is decided from: a record of the experiment `subsets`; None for the paper's pictures."""

    record: Record | None = None

    @cached_property
    def sizes(self) -> measurements.Evidence:
        """The losses of nested subsets by data set, architecture and size."""
        assert self.record is not None
        rows = self.record.rows
        rows = rows[(rows["subset"] == "nested") & (rows["class"] == "")]
        wide = tables.columns_of(rows, NESTED, [*RUN, "size", "seed"])
        return evidence_of(self.record, wide, NESTED, known=printed_tables.known)

    def values(self, method: str, metric: str, *, classes: bool = False) -> pd.DataFrame:
        """The rows of one number, over all test images or for each class."""
        assert self.record is not None
        rows = self.record.rows
        chosen = (rows["method"] == method) & (rows["metric"] == metric) & ((rows["class"] != "") == classes)
        return rows[chosen].assign(value=rows["value"].astype(float))

    def nested(self, method: str = "cladec", metric: str = LOSS) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
        """Mean and n over seeds by size, the smallest first, for each data set and architecture."""
        rows = self.values(method, metric)
        for run, part in rows[rows["subset"] == "nested"].groupby(RUN):
            yield run, part.groupby("size")["value"].agg(["mean", "count"]).sort_index()

    def floor(self, run: tuple[str, str]) -> float:
        """Loss of the mean training image: what no channel at all would give; NaN if it was not measured."""
        return float(self.values(FLOOR, LOSS).groupby(RUN)["value"].mean().get(run, np.nan))


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
            ((FLOOR, LOSS), [*RUN, "class"]),
        )
    )  # fmt: skip
    floors = floor.reindex(loss.index.droplevel(["subset", "size", "number"])).to_numpy()
    return pd.DataFrame({"improvement": 1 - loss / floors, "accuracy": accuracy, "probe": probe})


@unprinted()
def b32(evidence: Evidence) -> Verdict:
    """The loss falls with the number of channels of nested subsets: the mean relative change per size."""
    return judge(trends(evidence.sizes, "loss", BELOW, log=True), "log loss falls per size")


@unprinted()
def b33(evidence: Evidence) -> Verdict:
    """At most a quarter of the channels gives nine tenths of the improvement over the mean image that all give."""
    found, told = [], []
    for run, chain in evidence.sizes.chains("loss", 2):
        everything, floor = chain.index[-1], evidence.floor(run)
        few = [size for size in chain.index if size <= FRACTION.value * everything]
        if not few or np.isnan(floor):
            continue
        # What the quarter gains less nine tenths of what all gain; the floor is a number of the images alone.
        weights = {(*run, few[-1], "loss"): -1.0, (*run, everything, "loss"): SUFFICES.value}
        label = f"{few[-1]:g} of {everything:g} channels"
        offset = (1 - SUFFICES.value) * floor
        found.append(evidence.sizes.contrast(where(run, label), weights, ABOVE, offset=offset))
        share = (floor - chain["mean"]) / (floor - chain["mean"].iloc[-1])
        told.append(f"{share[few[-1]]:.0%} from {few[-1]:g}, {share.index[share >= SUFFICES.value][0]:g} for 90 %")
    verdict = judge(
        found, "gain of a quarter exceeds nine tenths of the whole", lacking="needs the loss of the mean training image"
    )
    return verdict.plus(f"; share of the improvement: {'; '.join(told)}" if told else "")


@unprinted()
def b34(evidence: Evidence) -> Verdict:
    """Within each class, subsets that a linear probe reads it from well reconstruct it well (rank correlation).

    Correlations are taken over disjoint subsets within one class, so that classes which are easy for every subset count
    for nothing, and averaged over seeds; the interval is over classes.
    """
    keys = [*RUN, "class", "seed", "number"]
    numbers = {"probe": ("probe", "accuracy"), "loss": ("cladec", LOSS), "accuracy of C": ("cladec", "accuracy")}
    wide = pd.DataFrame(
        {name: _disjoint(evidence.values(*number, classes=True), keys) for name, number in numbers.items()}
    )
    found = []
    for run, part in wide.groupby(level=RUN):
        for column, sign in (("loss", -1), ("accuracy of C", 1)):
            pairs = pd.DataFrame({"probe": part["probe"], column: sign * part[column]}).dropna()
            values = [_within(own) for _, own in pairs.groupby(level="class")]
            values = [value for value in values if np.isfinite(value)]
            if values:
                found.append(sample(where(run, f"probe and {column}"), values, ABOVE, of="classes"))
    return judge(found, "better for classes that it reads", lacking=f"needs {ENOUGH.value:g} disjoint subsets")


def _disjoint(rows: pd.DataFrame, keys: list[str]) -> pd.Series:
    return rows[rows["subset"] == "disjoint"].set_index(keys)["value"]


def _within(part: pd.DataFrame) -> float:
    """Mean over seeds of the rank correlation over the subsets of one class; NaN where there is none."""
    found = [
        stats.spearmanr(*own.to_numpy().T).statistic for _, own in part.groupby(level="seed")
        if len(own) >= ENOUGH.value and (own.nunique() > 1).all()
    ]  # fmt: skip
    return float(np.mean(found)) if found else np.nan


@unprinted()
def b35(evidence: Evidence) -> Verdict:
    """From one channel, C is less than half as far above chance as from all channels, on average over channels."""
    rows = evidence.values("cladec", "accuracy")
    classes = evidence.values("cladec", LOSS, classes=True).groupby("dataset")["class"].nunique()
    found = []
    for run, part in rows.groupby(RUN):
        everything = part.loc[(part["subset"] == "nested") & (part["size"] == part["size"].max())]
        whole, chance = everything.groupby("seed")["value"].mean(), 1 / classes.get(run[0], np.nan)
        single = part[(part["size"] == 1) & (part["seed"].isin(whole.index))]
        if single.empty or part["size"].max() == 1 or np.isnan(chance):
            continue
        gained = (single["value"] - chance) / (whole.reindex(single["seed"]).to_numpy() - chance)
        comparison = sample(where(run, "share of the gain"), gained, (-np.inf, GUESSED.value), of="channels")
        if len(gained) < ENOUGH.value:
            comparison = comparison.barred(f"rests on {len(gained)} of {ENOUGH.value:g} or more single channels")
        found.append(comparison)
    return judge(found, "nearer to chance than to all channels", lacking="needs single channels beside all of them")


def b36(evidence: Evidence) -> Verdict:
    """Mean losses of disjoint runs of channels less those of random subsets of equal size, which are alike by symmetry.

    Initial weights and training know no order of the channels of a layer: a run of neighbours has the distribution of
    any other subset, whatever the data.
    """
    found: list[Comparison] = []
    if evidence.record is not None:
        rows = evidence.values("cladec", LOSS)
        rows = rows[rows["subset"].isin(["disjoint", "random"])]
        for run, part in rows[rows["size"] == rows.loc[rows["subset"] == "disjoint", "size"].max()].groupby(RUN):
            kinds = {kind: group["value"].to_numpy() for kind, group in part.groupby("subset")}
            if len(kinds) == 2 and min(map(len, kinds.values())) > 1:
                found.append(welch(where(run), kinds["disjoint"], kinds["random"], ABOVE, of="subsets"))
    return by_construction("neither initial weights nor training know an order of the channels", found)


CLAIMS = [
    Claim("B32", "6.4", "Fewer neurons lead to less detailed, more blurry reconstructions", b32),
    Claim(
        "B33",
        "6.4",
        "Layers are redundant: a fraction of the neurons suffices to resemble the input",
        b33,
        limits=(FRACTION, SUFFICES),
    ),
    Claim(
        "B34",
        "6.4",
        "Small subsets are class specific: good for some classes, overlays for others",
        b34,
        limits=(ENOUGH,),
    ),
    Claim("B35", "6.4", "With a single neuron, classes can only be guessed", b35, limits=(GUESSED, ENOUGH)),
    Claim("B36", "6.4", "A sequence of neurons is as good as a random choice", b36),
]
