"""Claims B38-B49, about occlusions (section 6.6, Tables 7 and 8)."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from companion import tables
from companion.claims import ALMOST, FAILS, HOLDS, MOST, Claim, Verdict, count, undecided
from companion.records import Record

SIGNIFICANT = 0.05
SMALL = 0.05  # a ΔAcc below this is small: the largest in Tables 7 and 8 are six times as large
METHODS = {"cladec": "cladec", "cladec whole": "whole", "gradcam": "gradcam"}
PRINTED_NAMES = {"FashionMNIST": "fashion_mnist", "MNIST": "mnist", "CIFAR-100": "cifar100"}
PICTURES = "the paper shows pictures only"
COLUMNS = {
    "cladec_max": "ClaDec max", "cladec_min": "ClaDec min", "cladec_d": "ClaDec ΔAcc",
    "gradcam_max": "GradCAM max", "gradcam_min": "GradCAM min", "gradcam_d": "GradCAM ΔAcc",
}  # fmt: skip
VARIANTS = {
    "cladec_d": "ClaDec, in the square", "whole_d": "ClaDec, whole image",
    "gradcam_d": "GradCAM, two draws", "gradcam_shared": "GradCAM, one draw",
}  # fmt: skip


@dataclass(frozen=True)
class Evidence:
    """What a claim is decided from.

    Attributes
    ----------
    summary
        Mean, sd, n by dataset, architecture, index and metric (`COLUMNS`, `VARIANTS`).
    record
        The rows behind it; None for the printed numbers.
    """

    summary: pd.DataFrame
    record: Record | None = None

    def cells(self, metric: str) -> pd.DataFrame:
        """One row per dataset, architecture and layer index, deepest layer last."""
        return self.summary.xs(metric, level="metric").sort_index()

    def chains(self, metric: str) -> dict[tuple[str, str], pd.Series]:
        """Means over the layers of each dataset and architecture with two or more of them, input to output."""
        groups = self.cells(metric)["mean"].groupby(level=["dataset", "architecture"])
        return {run: part.droplevel([0, 1]) for run, part in groups if len(part) > 1}

    def error(self, method: str) -> pd.Series:
        """Standard error of ΔAcc per cell: over runs where there are several, else over the images of one."""
        high, low = self.cells(f"{method}_min"), self.cells(f"{method}_max")
        over_runs = np.sqrt((high["sd"] ** 2 + low["sd"] ** 2) / high["n"])
        if self.record is None:
            return over_runs
        return over_runs.fillna(_values(self.record, method, "delta_error"))

    def p_values(self, method: str) -> pd.Series:
        """Welch's test of the two accuracies, or for a single run a normal test over its images."""
        high, low = self.cells(f"{method}_min"), self.cells(f"{method}_max")
        columns = [part[name].to_numpy(float) for part in (high, low) for name in ("mean", "sd", "n")]
        with np.errstate(all="ignore"):
            over_runs = stats.ttest_ind_from_stats(*columns, equal_var=False).pvalue
            over_images = 2 * stats.norm.sf((high["mean"] - low["mean"]).abs() / self.error(method))
        return pd.Series(np.where(high["n"] > 1, over_runs, over_images), high.index)


def _values(record: Record, method: str, metric: str) -> pd.Series:
    """Means over seeds of a record's own measurement, by dataset, architecture and index."""
    rows = record.rows.assign(index=tables.layer_index(record)).dropna(subset="index")
    rows = rows[(rows["method"] == method) & (rows["metric"] == metric)]
    return rows.assign(value=rows["value"].astype(float)).groupby(tables.KEYS)["value"].mean().sort_index()


def summary(record: Record) -> pd.DataFrame:
    """Tables 7 and 8, with the variants, from a record: mean, sd, n by dataset, architecture, index, metric.

    Differences are taken within each seed before averaging.
    """
    rows = record.rows.assign(index=tables.layer_index(record)).dropna(subset="index")
    rows = rows[rows["method"].isin(METHODS)].assign(value=rows["value"].astype(float))
    wide = rows[rows["squares"] == 1]
    wide = wide[~wide["metric"].str.startswith("curve")]
    wide = wide.pivot(index=[*tables.KEYS, "seed", "method"], columns="metric", values="value")
    parts = []
    for method, name in METHODS.items():
        part = wide.xs(method, level="method")
        values = {
            f"{name}_max": part["acc_max"], f"{name}_min": part["acc_min"],
            f"{name}_d": part["acc_min"] - part["acc_max"], f"{name}_shared": part["acc_min_shared"] - part["acc_max"],
        }  # fmt: skip
        parts.append(pd.DataFrame(values))
    long = pd.concat(parts, axis=1).rename_axis(columns="metric").stack().rename("value").reset_index()
    return tables.summarise(long, [*tables.KEYS, "metric"])


def published() -> pd.DataFrame:
    """Tables 7 and 8 in the form of `summary`; differences from the printed means."""
    rows = []
    for table, architecture in (("table7", "vgg11"), ("table8", "resnet10")):
        for name, layers in tables.published()[table].items():
            for index, values in layers.items():
                cell = {"dataset": PRINTED_NAMES[name], "architecture": architecture, "index": index}
                pairs = {metric: tuple(value) for metric, value in values.items() if isinstance(value, list)}
                for method in ("cladec", "gradcam"):
                    pairs[f"{method}_d"] = (pairs[f"{method}_min"][0] - pairs[f"{method}_max"][0], np.nan)
                rows += [
                    {**cell, "metric": metric, "mean": round(mean, 6), "sd": sd, "n": tables.PUBLISHED_RUNS}
                    for metric, (mean, sd) in pairs.items()
                ]
    return pd.DataFrame(rows).set_index([*tables.KEYS, "metric"])


def evidence(record: Record) -> Evidence:
    """What the claims need from a record of the experiment `occlusion`."""
    return Evidence(summary(record), record)


def printed() -> Evidence:
    """The same from the printed Tables 7 and 8."""
    return Evidence(published())


def _by_network(hits: pd.Series) -> str:
    groups = hits.groupby(level="architecture")
    return ", ".join(f"{tables.ARCHITECTURE_NAMES[name]} {part.sum()} of {len(part)}" for name, part in groups)


def b38(evidence: Evidence) -> Verdict:
    """Occluding what is most relevant hurts more; the paper admits exceptions at ResNet's lower layers."""
    gap, p = evidence.cells("cladec_d")["mean"], evidence.p_values("cladec")
    hits = gap > 0
    clear = (p < SIGNIFICANT) | (evidence.cells("cladec_d")["n"] > 1)
    found = count(hits, "ΔAcc > 0", ALMOST, clear=clear)
    significant = int((hits & (p < SIGNIFICANT)).sum())
    return Verdict(found.verdict, f"{found.evidence} ({_by_network(hits)}); {significant} with p < {SIGNIFICANT}")


def b39(evidence: Evidence) -> Verdict:
    """The most relevant square costs more accuracy at the top layer than at the lowest, in most cases."""
    chains = evidence.chains("cladec_max")
    hits = [part.iloc[-1] < part.iloc[0] for part in chains.values()]
    errors, runs = evidence.error("cladec"), evidence.cells("cladec_max")["n"]
    clear = [
        runs[run].max() > 1 or abs(part.iloc[-1] - part.iloc[0]) > 2 * np.hypot(*errors[run].iloc[[0, -1]])
        for run, part in chains.items()
    ]
    return count(hits, "accuracy lower at the top layer than at the lowest", MOST, clear=clear)


def b40(evidence: Evidence) -> Verdict:
    """ResNet: below the top layer ΔAcc tends to be small or negative."""
    gaps = evidence.cells("cladec_d")["mean"]
    index = gaps.index
    lower = gaps[(index.get_level_values("architecture") == "resnet10") & (index.get_level_values("index") < -1)]
    return count(lower < SMALL, f"ΔAcc below {SMALL} under ResNet's top layer", MOST)


def b41(evidence: Evidence) -> Verdict:
    """ΔAcc varies less over the layers of MNIST than of CIFAR-100, and is largest on MNIST."""
    chains, hits = evidence.chains("cladec_d"), []
    for architecture in tables.ARCHITECTURE_NAMES:
        runs = {dataset: part for (dataset, network), part in chains.items() if network == architecture}
        if {"mnist", "cifar100"} <= runs.keys():
            hits.append(np.ptp(runs["mnist"]) < np.ptp(runs["cifar100"]))
            hits.append(runs["mnist"].mean() == max(part.mean() for part in runs.values()))
    return count(hits, "smaller range than on CIFAR-100, largest mean,")


def b42(evidence: Evidence) -> Verdict:
    """MNIST: ResNet is better than VGG, yet worse once a square is occluded."""
    hits = []
    for metric in ("cladec_max", "cladec_min", "gradcam_max", "gradcam_min"):
        means = evidence.cells(metric)["mean"]
        wide = means[means.index.get_level_values("dataset") == "mnist"].unstack("architecture")
        if {"vgg11", "resnet10"} <= set(wide):
            pair = wide[["vgg11", "resnet10"]].dropna()
            hits += list(pair["resnet10"] < pair["vgg11"])
    found = count(hits, "ResNet lower on occluded MNIST")
    if not hits:
        return found
    if evidence.record is None:
        return Verdict(found.verdict, f"{found.evidence}; accuracies without occlusion are not printed")
    clean = tables.value_of(evidence.record, "classifier", "accuracy")["mean"].droplevel("layer")["mnist"]
    verdict = found.verdict if clean["resnet10"] > clean["vgg11"] else FAILS
    return Verdict(verdict, f"{found.evidence}; clean {clean['resnet10']:.3f} against VGG's {clean['vgg11']:.3f}")


def _of_network(series: pd.Series, architecture: str) -> Iterable[pd.Series]:
    chosen = series[series.index.get_level_values("architecture") == architecture]
    return (part.droplevel([0, 1]).sort_index() for _, part in chosen.groupby(level="dataset") if len(part) > 1)


def b43(evidence: Evidence) -> Verdict:
    """VGG: GradCAM's two accuracies differ significantly at the lowest layer and not at the top."""
    chains = list(_of_network(evidence.p_values("gradcam").fillna(1), "vgg11"))
    several = (evidence.cells("gradcam_d")["n"] > 1).all()
    found = count(
        (part.iloc[0] < SIGNIFICANT <= part.iloc[-1] for part in chains),
        f"p < {SIGNIFICANT} at the lowest layer, not at the top,",
        clear=(several or part.iloc[0] < SIGNIFICANT for part in chains),
    )
    between = [p for part in chains for p in part.iloc[1:-1]]
    more = f"; in between p < 0.05 in {sum(p < SIGNIFICANT for p in between)} of {len(between)}" if between else ""
    return Verdict(found.verdict, found.evidence + more)


def b44(evidence: Evidence) -> Verdict:
    """VGG, top layer: GradCAM's map is one pixel, all squares are alike, ΔAcc is zero up to the draw."""
    gaps = evidence.cells("gradcam_d")["mean"]
    index = gaps.index
    top = (index.get_level_values("architecture") == "vgg11") & (index.get_level_values("index") == -1)
    gaps = gaps[top]
    if evidence.record is None:
        found = count(gaps == 0, "ΔAcc exactly 0")
        return Verdict(found.verdict, f"{found.evidence}: one draw for both, as two draws would differ by a little")
    alike = _values(evidence.record, "gradcam", "ties").reindex(gaps.index) == 1
    found = count(alike & (gaps.abs() <= 3 * evidence.error("gradcam")[gaps.index]), "all squares tie, ΔAcc about 0")
    shared = evidence.cells("gradcam_shared")["mean"].reindex(gaps.index).abs().max()
    largest = f"; |ΔAcc| up to {gaps.abs().max():.3f} with two draws, {shared:.3f} with one" if len(gaps) else ""
    return Verdict(found.verdict, found.evidence + largest)


def b45(evidence: Evidence) -> Verdict:
    """ΔAcc is larger for ClaDec than for GradCAM: overall, so in most cells of each network."""
    ours, theirs = evidence.cells("cladec_d"), evidence.cells("gradcam_d")
    margin = ours["mean"] - theirs["mean"]
    hits = margin > 0
    clear = (ours["n"] > 1) | (margin.abs() > 2 * np.hypot(evidence.error("cladec"), evidence.error("gradcam")))
    parts = [count(part, "", MOST, clear=clear[part.index]).verdict for _, part in hits.groupby(level="architecture")]
    overall = FAILS if FAILS in parts else HOLDS if set(parts) == {HOLDS} else None
    p = stats.binomtest(int(hits.sum()), len(hits)).pvalue
    text = (
        f"larger in {hits.sum()} of {len(hits)} ({_by_network(hits)}); means {ours['mean'].mean():.3f} and "
        f"{theirs['mean'].mean():.3f}; sign test p = {p:.2f}"
    )
    return Verdict(overall, text) if overall else undecided(f"{text}; more seeds would decide")


def b46(evidence: Evidence) -> Verdict:
    """Random relevance has a ΔAcc of zero: within three standard errors."""
    if evidence.record is None:
        return undecided("the paper states it without numbers")
    found = {
        metric: tables.value_of(evidence.record, "random", metric) for metric in ("acc_max", "acc_min", "delta_error")
    }
    gap = found["acc_min"]["mean"] - found["acc_max"]["mean"]
    verdict = count(
        gap.abs() <= 3 * found["delta_error"]["mean"] / np.sqrt(found["delta_error"]["n"]),
        "ΔAcc within three standard errors of 0",
    )
    return Verdict(verdict.verdict, f"{verdict.evidence} (largest {gap.abs().max():.3f})")


def b47(evidence: Evidence) -> Verdict:
    """An unclear sentence: GradCAM's "larger changes" on ResNet, without saying larger than what."""
    gaps = evidence.cells("gradcam_d")["mean"]
    chosen = gaps[gaps.index.get_level_values("architecture") == "resnet10"].groupby(level="dataset").max()
    listed = ", ".join(f"{tables.DATASET_NAMES[name]} {value:.3f}" for name, value in chosen.items())
    return undecided(
        "the sentence does not say larger than what; GradCAM's largest ΔAcc on ResNet: " + (listed or "not run")
    )


def b48(evidence: Evidence) -> Verdict:
    """ResNet, MNIST, layer -1, least relevant: a far larger sd than on any other data set."""
    hits = []
    for method in ("cladec", "gradcam"):
        sd = evidence.cells(f"{method}_min")["sd"].dropna()
        sd = sd[sd.index.get_level_values("architecture") == "resnet10"]
        others = sd[sd.index.get_level_values("dataset") != "mnist"]
        if ("mnist", "resnet10", -1) in sd.index and len(others):
            hits.append(sd["mnist", "resnet10", -1] > 2 * others.max())
    return (
        count(hits, "more than twice any sd of the other data sets")
        if hits
        else undecided("needs several seeds of ResNet")
    )


def b49(evidence: Evidence) -> Verdict:
    """At low layers relevance follows the contrast to the filling grey: Spearman higher than at the top."""
    if evidence.record is None:
        return undecided(PICTURES)
    values = _values(evidence.record, "cladec", "contrast_correlation")
    chains = [part.to_numpy() for _, part in values.groupby(level=["dataset", "architecture"]) if len(part) > 1]
    found = count((part[0] > part[-1] for part in chains), "correlation higher at the lowest layer")
    listed = "; ".join(f"{part[0]:.2f} against {part[-1]:.2f}" for part in chains)
    return Verdict(found.verdict, f"{found.evidence} ({listed})" if listed else found.evidence)


def _claim(key: str, text: str, decide: Callable[[Evidence], Verdict]) -> Claim:
    return Claim(key, "6.6", text, decide)


CLAIMS = [
    _claim("B38", "Occluding what is most relevant to ClaDec hurts more than occluding what is least relevant", b38),
    _claim("B39", "For the most relevant area, the impact tends to be larger for upper layers", b39),
    _claim("B40", "ResNet: the differences can be small for lower layers, or even negative", b40),
    _claim("B41", "ΔAcc varies less across layers on MNIST than on CIFAR-100 and is largest on MNIST", b41),
    _claim("B42", "On MNIST, ResNet is better than VGG and more sensitive to occlusions", b42),
    _claim("B43", "VGG: GradCAM gives a significant difference only at lower layers", b43),
    _claim("B44", "VGG, layer -1: GradCAM is uniform, so ΔAcc is zero", b44),
    _claim("B45", "Overall, ΔAcc is larger for ClaDec than for GradCAM", b45),
    _claim("B46", "Choosing areas at random gives a ΔAcc of zero", b46),
    _claim("B47", "ResNet: occluding GradCAM's most relevant areas changes more, except on MNIST", b47),
    _claim("B48", "ResNet, MNIST, layer -1: very large standard deviations for the least relevant area", b48),
    _claim("B49", "At low layers ClaDec's relevance follows the contrast to the filling grey, not the object", b49),
]
