"""Claims B38-B49, about occlusions (section 6.6, Tables 7 and 8)."""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd
from scipy import stats

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import (
    ALMOST,
    FAILS,
    HOLDS,
    MOST,
    RUN,
    SIGNIFICANT,
    Claim,
    Evidence,
    Verdict,
    count,
    undecided,
    unprinted,
)
from cladec_companion.records.record import Record

SMALL = 0.05  # a ΔAcc below this is small: the largest in Tables 7 and 8 are six times as large
METHODS = {"cladec": "cladec", "cladec whole": "whole", "gradcam": "gradcam"}
ENDS = ("max", "min", "min_shared")
COLUMNS = {
    "cladec_max": "ClaDec max", "cladec_min": "ClaDec min", "cladec_d": "ClaDec ΔAcc",
    "gradcam_max": "GradCAM max", "gradcam_min": "GradCAM min", "gradcam_d": "GradCAM ΔAcc",
}  # fmt: skip
VARIANTS = {
    "cladec_d": "ClaDec, in the square", "whole_d": "ClaDec, whole image",
    "gradcam_d": "GradCAM, two draws", "gradcam_shared": "GradCAM, one draw",
}  # fmt: skip


def summary(record: Record) -> pd.DataFrame:
    """Tables 7 and 8, with the variants, from a record: mean, sd, n by dataset, architecture, index, metric.

    Differences are taken within each seed before averaging.
    """
    rows = tables.numbered(record)
    columns = {f"{name}_{end}": (method, f"acc_{end}") for method, name in METHODS.items() for end in ENDS}
    wide = tables.columns_of(rows[rows["squares"] == 1], columns, [*tables.KEYS, "seed"])
    for name in METHODS.values():
        wide[f"{name}_d"] = wide[f"{name}_min"] - wide[f"{name}_max"]
        wide[f"{name}_shared"] = wide.pop(f"{name}_min_shared") - wide[f"{name}_max"]
    return tables.summarise_runs(wide)


def evidence(record: Record) -> Evidence:
    """What the claims need from a record of the experiment `occlusion`."""
    return Evidence(summary(record), record)


def printed() -> Evidence:
    """The same from the printed Tables 7 and 8."""
    differences = {f"{method}_d": (f"{method}_min", f"{method}_max") for method in ("cladec", "gradcam")}
    return Evidence(tables.published_by_layer("table7", "table8", differences))


def error(evidence: Evidence, method: str) -> pd.Series:
    """Standard error of ΔAcc per cell: over runs where there are several, else over the images of one."""
    high, low = evidence.cells(f"{method}_min"), evidence.cells(f"{method}_max")
    over_runs = np.sqrt((high["sd"] ** 2 + low["sd"] ** 2) / high["n"])
    return over_runs if evidence.record is None else over_runs.fillna(evidence.measured(method, "delta_error"))


def p_values(evidence: Evidence, method: str) -> pd.Series:
    """Welch's test of the two accuracies, or for a single run a normal test over its images."""
    high, low = evidence.cells(f"{method}_min"), evidence.cells(f"{method}_max")
    columns = [part[name].to_numpy(float) for part in (high, low) for name in ("mean", "sd", "n")]
    with np.errstate(all="ignore"):
        over_runs = stats.ttest_ind_from_stats(*columns, equal_var=False).pvalue
        over_images = 2 * stats.norm.sf((high["mean"] - low["mean"]).abs() / error(evidence, method))
    return pd.Series(np.where(high["n"] > 1, over_runs, over_images), high.index)


def _chains(evidence: Evidence, metric: str) -> dict[tuple[str, str], pd.Series]:
    """Means over the layers of each dataset and architecture with two or more of them, input to output."""
    return {run: part["mean"] for run, part in evidence.chains(metric, 2)}


def _by_network(hits: pd.Series) -> str:
    groups = hits.groupby(level="architecture")
    return ", ".join(f"{tables.ARCHITECTURE_NAMES[name]} {part.sum()} of {len(part)}" for name, part in groups)


def b38(evidence: Evidence) -> Verdict:
    """ΔAcc is above 0 in nine of ten cells; the paper admits exceptions at ResNet's lower layers."""
    gap, p = evidence.cells("cladec_d")["mean"], p_values(evidence, "cladec")
    hits = gap > 0
    clear = (p < SIGNIFICANT) | (evidence.cells("cladec_d")["n"] > 1)
    found = count(hits, "ΔAcc > 0", ALMOST, clear=clear)
    significant = int((hits & (p < SIGNIFICANT)).sum())
    return found.plus(f" ({_by_network(hits)}); {significant} with p < {SIGNIFICANT}")


def b39(evidence: Evidence) -> Verdict:
    """With the most relevant square hidden, accuracy is lower at the top layer than at the lowest, in most runs."""
    chains = _chains(evidence, "cladec_max")
    hits = [part.iloc[-1] < part.iloc[0] for part in chains.values()]
    errors, runs = error(evidence, "cladec"), evidence.cells("cladec_max")["n"]
    clear = [
        runs[run].max() > 1 or abs(part.iloc[-1] - part.iloc[0]) > 2 * np.hypot(*errors[run].iloc[[0, -1]])
        for run, part in chains.items()
    ]
    return count(hits, "accuracy lower at the top layer than at the lowest", MOST, clear=clear)


def b40(evidence: Evidence) -> Verdict:
    """Below ResNet's top layer ΔAcc is small or negative in most cells."""
    gaps = evidence.cells("cladec_d")["mean"]
    index = gaps.index
    lower = gaps[(index.get_level_values("architecture") == "resnet10") & (index.get_level_values("index") < -1)]
    return count(lower < SMALL, f"ΔAcc below {SMALL} under ResNet's top layer", MOST)


def b41(evidence: Evidence) -> Verdict:
    """The range of ΔAcc over layers is smaller on MNIST than on CIFAR-100, and its mean is the largest."""
    chains, hits = _chains(evidence, "cladec_d"), []
    for architecture in tables.ARCHITECTURE_NAMES:
        runs = {dataset: part for (dataset, network), part in chains.items() if network == architecture}
        if {"mnist", "cifar100"} <= runs.keys():
            hits.append(np.ptp(runs["mnist"]) < np.ptp(runs["cifar100"]))
            hits.append(runs["mnist"].mean() == max(part.mean() for part in runs.values()))
    return count(hits, "smaller range than on CIFAR-100, largest mean,")


def b42(evidence: Evidence) -> Verdict:
    """ResNet's accuracy on MNIST is above VGG's without a hidden square, and below it with one."""
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
        return found.plus("; accuracies without occlusion are not printed")
    clean = tables.value_of(evidence.record, "classifier", "accuracy")["mean"].droplevel("layer")["mnist"]
    verdict = found.verdict if clean["resnet10"] > clean["vgg11"] else FAILS
    return Verdict(verdict, f"{found.evidence}; clean {clean['resnet10']:.3f} against VGG's {clean['vgg11']:.3f}")


def _of_network(series: pd.Series, architecture: str) -> Iterable[pd.Series]:
    chosen = series[series.index.get_level_values("architecture") == architecture]
    return (part.droplevel([0, 1]).sort_index() for _, part in chosen.groupby(level="dataset") if len(part) > 1)


def b43(evidence: Evidence) -> Verdict:
    """GradCAM's two accuracies differ significantly at the lowest layer, and do not at the top."""
    chains = list(_of_network(p_values(evidence, "gradcam").fillna(1), "vgg11"))
    several = (evidence.cells("gradcam_d")["n"] > 1).all()
    found = count(
        (part.iloc[0] < SIGNIFICANT <= part.iloc[-1] for part in chains),
        f"p < {SIGNIFICANT} at the lowest layer, not at the top,",
        clear=(several or part.iloc[0] < SIGNIFICANT for part in chains),
    )
    between = [p for part in chains for p in part.iloc[1:-1]]
    lower = sum(p < SIGNIFICANT for p in between)
    return found.plus(f"; in between p < {SIGNIFICANT} in {lower} of {len(between)}" if between else "")


def b44(evidence: Evidence) -> Verdict:
    """All squares are equally relevant, and ΔAcc is zero up to the draw among them."""
    gaps = evidence.cells("gradcam_d")["mean"]
    index = gaps.index
    top = (index.get_level_values("architecture") == "vgg11") & (index.get_level_values("index") == -1)
    gaps = gaps[top]
    if evidence.record is None:
        found = count(gaps == 0, "ΔAcc exactly 0")
        return found.plus(": one draw for both, as two draws would differ by a little")
    alike = evidence.measured("gradcam", "ties").reindex(gaps.index) == 1
    found = count(alike & (gaps.abs() <= 3 * error(evidence, "gradcam")[gaps.index]), "all squares tie, ΔAcc about 0")
    shared = evidence.cells("gradcam_shared")["mean"].reindex(gaps.index).abs().max()
    largest = f"; |ΔAcc| up to {gaps.abs().max():.3f} with two draws, {shared:.3f} with one"
    return found.plus(largest if len(gaps) else "")


def b45(evidence: Evidence) -> Verdict:
    """ClaDec's ΔAcc is the larger one in most cells of each network."""
    ours, theirs = evidence.cells("cladec_d"), evidence.cells("gradcam_d")
    margin = ours["mean"] - theirs["mean"]
    hits = margin > 0
    if hits.empty:
        return count(hits, "")
    clear = (ours["n"] > 1) | (margin.abs() > 2 * np.hypot(error(evidence, "cladec"), error(evidence, "gradcam")))
    parts = [count(part, "", MOST, clear=clear[part.index]).verdict for _, part in hits.groupby(level="architecture")]
    overall = FAILS if FAILS in parts else HOLDS if set(parts) == {HOLDS} else None
    p = stats.binomtest(int(hits.sum()), len(hits)).pvalue
    text = (
        f"larger in {hits.sum()} of {len(hits)} ({_by_network(hits)}); means {ours['mean'].mean():.3f} and "
        f"{theirs['mean'].mean():.3f}; sign test p = {p:.2f}"
    )
    return Verdict(overall, text) if overall else undecided(f"{text}; more seeds would decide")


@unprinted("the paper states it without numbers")
def b46(evidence: Evidence) -> Verdict:
    """ΔAcc of random relevance is within three standard errors of zero."""
    found = {
        metric: tables.value_of(evidence.record, "random", metric) for metric in ("acc_max", "acc_min", "delta_error")
    }
    gap = found["acc_min"]["mean"] - found["acc_max"]["mean"]
    allowed = 3 * found["delta_error"]["mean"] / np.sqrt(found["delta_error"]["n"])
    verdict = count(gap.abs() <= allowed, "ΔAcc within three standard errors of 0")
    return verdict.plus(f" (largest {gap.abs().max():.3f})")


def b47(evidence: Evidence) -> Verdict:
    """The sentence does not say what the changes are larger than."""
    gaps = evidence.cells("gradcam_d")["mean"]
    chosen = gaps[gaps.index.get_level_values("architecture") == "resnet10"].groupby(level="dataset").max()
    listed = ", ".join(f"{tables.DATASET_NAMES[name]} {value:.3f}" for name, value in chosen.items())
    return undecided(
        "the sentence does not say larger than what; GradCAM's largest ΔAcc on ResNet: " + (listed or "not run")
    )


def b48(evidence: Evidence) -> Verdict:
    """The sd is more than twice that of any other data set."""
    hits = []
    for method in ("cladec", "gradcam"):
        sd = evidence.cells(f"{method}_min")["sd"].dropna()
        sd = sd[sd.index.get_level_values("architecture") == "resnet10"]
        others = sd[sd.index.get_level_values("dataset") != "mnist"]
        if ("mnist", "resnet10", -1) in sd.index and len(others):
            hits.append(sd["mnist", "resnet10", -1] > 2 * others.max())
    return count(hits, "more than twice any sd of the other data sets") if hits else undecided("needs several seeds")


@unprinted()
def b49(evidence: Evidence) -> Verdict:
    """Spearman's correlation of relevance and contrast is higher at the lowest layer than at the top."""
    values = evidence.measured("cladec", "contrast_correlation")
    chains = [part.to_numpy() for _, part in values.groupby(level=RUN) if len(part) > 1]
    found = count((part[0] > part[-1] for part in chains), "correlation higher at the lowest layer")
    listed = "; ".join(f"{part[0]:.2f} against {part[-1]:.2f}" for part in chains)
    return found.plus(f" ({listed})" if listed else "")


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
