"""Claims X1 to X18: sentences of the CDeepEx paper, nearly all of which it supports with pictures alone."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import (
    Claim,
    Comparison,
    Evidence,
    Verdict,
    claims_of,
    every_part,
    judge,
    not_applicable,
)
from cladec_companion.evidence.comparisons import ABOVE, Region, share
from cladec_companion.evidence.measurements import Place, evidence_of, where
from cladec_companion.evidence.thresholds import (
    AS_PLAUSIBLE,
    EQUALLY_LIKELY,
    FEW_INTRUSIONS,
    INDISTINGUISHABLE,
    MOSTLY,
    RESEMBLES,
    SELDOM,
)
from cladec_companion.papers.cdeepex.contrast.experiment import FREE, NETWORKS, OURS
from cladec_companion.papers.cdeepex.contrasts import METHODS
from cladec_companion.records.record import Record

AT = "contrasts"  # the third level of the evidence, which has no axis
OTHERS = 9026  # test images of MNIST that are no 8, of which the paper's 77 % are a share
PICTURES = "the paper shows pictures only"
OF_THE_PAPER = ("VAE", "WGAN")


def column(method: str, metric: str) -> str:
    """The column of a number in the evidence."""
    return f"{method}:{metric}"


def evidence(record: Record) -> Evidence:
    """What the claims need from a record: a column for each method and metric, whatever the experiment.

    Methods of several experiments have names of their own, but for those that explain one class: with the square they
    are `square LIME` and so on.
    """
    rows = record.rows.assign(at=AT)
    inside = (rows["layer"] == "square") & rows["method"].isin(METHODS)
    rows["method"] = rows["method"].where(~inside, "square " + rows["method"])
    for experiment in ("ladder", "cue"):
        of = (rows["layer"] == experiment) & (rows["method"] == "classifier")
        rows["method"] = rows["method"].where(~of, f"{experiment} classifier")
    columns = {column(*pair): pair for pair in zip(rows["method"], rows["metric"], strict=True)}
    wide = tables.columns_of(rows, columns, ["dataset", "architecture", "at", "seed"])
    return evidence_of(record, wide, columns)


@lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """All printed numbers, as transcribed in the paper's folder."""
    return yaml.safe_load(Path(__file__).parents[1].joinpath("published.yml").read_text(encoding="utf-8"))


def printed() -> Evidence:
    """The paper prints two shares, which their claim reads by itself, and no table."""
    return Evidence(pd.DataFrame())


def _places(evidence: Evidence, *columns: str) -> Iterator[Place]:
    if not evidence.summary.empty:
        for place in dict.fromkeys(key[:3] for key in evidence.summary.index):
            if evidence.has(*((*place, name) for name in columns)):
                yield place


def _weighed(
    evidence: Evidence, what: str, weights: dict[str, float], claimed: Region, offset: float = 0.0
) -> list[Comparison]:
    """A weighted sum of numbers, in each data set that has all of them."""
    return [
        evidence.contrast(
            f"{where((place[0], ''))}, {what}", {(*place, name): weight for name, weight in weights.items()}, claimed,
            offset=offset,
        )
        for place in _places(evidence, *weights)
    ]  # fmt: skip


def _pairs(
    evidence: Evidence, first: Iterable[str], second: Iterable[str], metric: str, claimed: Region, offset: float = 0.0
) -> list[Comparison]:
    """Each of some methods against each of others."""
    return [
        one
        for a in first for b in second
        for one in _weighed(
            evidence, f"{a} and {b}", {column(a, metric): 1.0, column(b, metric): -1.0}, claimed, offset
        )
    ]  # fmt: skip


def _each(evidence: Evidence, methods: Iterable[str], metric: str, claimed: Region) -> list[Comparison]:
    return [one for name in methods for one in _weighed(evidence, name, {column(name, metric): 1.0}, claimed)]


def by(kind: str, generators: Sequence[str] = OF_THE_PAPER) -> list[str]:
    """What searches of a kind are called in a record."""
    return [f"{generator} {kind}" for generator in generators]


def x1(evidence: Evidence) -> Verdict:
    """Share of images on which the classifier sees the probe when the explanation is applied: above each other's."""
    return judge(_pairs(evidence, by(OURS), METHODS, "flipped", ABOVE), "CDeepEx turns more predictions")


def x2(evidence: Evidence) -> Verdict:
    """Share on which an independent classifier sees the probe, too: above that of each method for one class."""
    return judge(_pairs(evidence, by(OURS), METHODS, "judged", ABOVE), "CDeepEx convinces the judge more often")


def x3(evidence: Evidence) -> Verdict:
    """Share of searches without constraints that end where a third class is likelier than the probe: above a half."""
    return judge(_each(evidence, by(FREE), "intruded", (MOSTLY.value, 2.0)), "a third class wins in most images")


def x4(evidence: Evidence) -> Verdict:
    """The same share with the constraints: below 5 %."""
    return judge(_each(evidence, by(OURS), "intruded", (-1.0, FEW_INTRUSIONS.value)), "a third class wins hardly ever")


def x5(evidence: Evidence) -> Verdict:
    """Mean difference of the probabilities of true class and probe at the end, in both kinds of search: below 0.05."""
    methods = [*by(OURS), *by(FREE)]
    return judge(_each(evidence, methods, "gap", (-1.0, EQUALLY_LIKELY.value)), "both classes end equally likely")


def x6(evidence: Evidence) -> Verdict:
    """Correlation of explanations from several starts of the WGAN: above 0.5."""
    found = _each(evidence, [f"starts {OURS}"], "alike", (RESEMBLES.value, 2.0))
    return judge(found, "explanations from several starts are similar")


def x7(evidence: Evidence) -> Verdict:
    """The same correlation, with constraints against without: above 0."""
    found = _pairs(evidence, [f"starts {OURS}"], [f"starts {FREE}"], "alike", ABOVE)
    return judge(found, "more alike with constraints")


def x8(evidence: Evidence) -> Verdict:
    """Correlation of explanations by VAE and WGAN: above 0.5."""
    found = _each(evidence, [f"VAE and WGAN {OURS}"], "alike", (RESEMBLES.value, 2.0))
    return judge(found, "explanations by both generators are similar")


def x9(evidence: Evidence) -> Verdict:
    """Share of an image's energy that VAE and WGAN miss at the start: below 1 %."""
    found = _each(evidence, OF_THE_PAPER, "missed", (-1.0, INDISTINGUISHABLE.value))
    return judge(found, "the generator misses less than can be seen")


def x10(evidence: Evidence) -> Verdict:
    """Share of images that the judge takes for an 8: of the classifier that knows 8s, against the one that does not."""
    return judge(_pairs(evidence, ["rung 3"], ["rung 0"], "judged", ABOVE), "rises from the first rung to the last")


def x11(evidence: Evidence) -> Verdict:
    """Correlation of the explanations for the first and the last classifier, by one generator: below 0.5."""
    found = _each(evidence, ["first and last rung"], "alike", (-2.0, RESEMBLES.value))
    return judge(found, "explanations differ with the classifier")


def x12(evidence: Evidence) -> Verdict:
    """Fewer than half of the 8s are known without the square, and more than half of the others fooled with it."""
    if evidence.record is None:
        count = round(published()["biased8"]["others_called_8_with_square"] * OTHERS)
        return judge([share("others with the square", count, OTHERS, (MOSTLY.value, 1.0), of="images")], "most")
    parts = {
        "8s without it": judge(_each(evidence, ["biased"], "known", (-1.0, SELDOM.value)), "few known"),
        "others with it": judge(_each(evidence, ["biased"], "fooled", (MOSTLY.value, 2.0)), "most fooled"),
    }
    return every_part(parts)


def x13(evidence: Evidence) -> Verdict:
    """Share of the explanation's energy inside of the square: above that of each method for one class."""
    found = _pairs(evidence, [f"square VAE {OURS}"], [f"square {name}" for name in METHODS], "energy", ABOVE)
    return judge(found, "more of the energy in the square")


def x14(evidence: Evidence) -> Verdict:
    """Share of images on which CDeepEx turns the cue the way that raises the probe: above a half."""
    return judge(_each(evidence, [f"cue {OURS}"], "agrees", (MOSTLY.value, 2.0)), "the cue is turned the right way")


def x15(evidence: Evidence) -> Verdict:
    """The same without constraints, as a share of the images: below a half."""
    return judge(_each(evidence, [f"cue {FREE}"], "agrees", (-1.0, MOSTLY.value)), "the cue is turned the wrong way")


def x16(evidence: Evidence) -> Verdict:
    """Share of pixels that hold nine tenths of the explanation: more of the VGG than of the ResNet."""
    first, second = ([f"{name} {OURS}"] for name in NETWORKS)
    return judge(_pairs(evidence, first, second, "extent", ABOVE), "the VGG's changes are larger")


def x17(evidence: Evidence) -> Verdict:
    """Share of searches in which a third class wins, without constraints against with them: above 0 for both."""
    found = [
        one for name in NETWORKS for one in _pairs(evidence, [f"{name} {FREE}"], [f"{name} {OURS}"], "intruded", ABOVE)
    ]
    return judge(found, "third classes win more often without constraints")


def x18(evidence: Evidence) -> Verdict:
    """Correlation of explanations by a VAE of the classifier's images and by one of another collection: above 0.5."""
    if evidence.record is None:
        return not_applicable(PICTURES)
    found = _each(evidence, [f"own and foreign {OURS}"], "alike", (RESEMBLES.value, 2.0))
    said = "; in the place of another collection most data sets have their own images, changed"
    return judge(found, "explanations by both are similar").plus(said)


def x19(evidence: Evidence) -> Verdict:
    """The judge sees the probe as often as with the VAE, but for 0.1, and the search ends as often."""
    parts = {
        name: judge(_pairs(evidence, by(OURS, ["ClaDec"]), by(OURS, ["VAE"]), metric, ABOVE, AS_PLAUSIBLE.value), said)
        for name, metric, said in (
            ("judged", "judged", "the judge is convinced as often"),
            ("converged", "met", "the constraints are met as often"),
        )
    }
    return every_part(parts)


_claim = claims_of("CDeepEx", PICTURES)
_with_number = claims_of("CDeepEx")
CLAIMS: list[Claim] = [
    _claim("X1", "Only CDeepEx's explanation does what it says: the others do not turn true into probe", x1, "4.1.1"),
    _claim("X2", "The only meaningful explanation is generated from CDeepEx", x2, "4.1.1"),
    _claim("X3", "Without the constraints a third class consistently has an even higher likelihood", x3, "4.1.2"),
    _claim("X4", "With them the explanation stays with the true class and the probe", x4, "4.1.2"),
    _claim("X5", "Either search ends where both classes are equally likely", x5, "4.1.2"),
    _claim("X6", "Explanations from several starting points of a GAN are consistent", x6, "4.1.3"),
    _claim("X7", "They are less consistent for xGEMs", x7, "4.1.3"),
    _claim("X8", "The method works well regardless of the choice of generator", x8, "4"),
    _claim("X9", "Nobody can tell the original from the synthetic image", x9, "4.1.3"),
    _claim("X10", "As the accuracy on 8 increases, the explanations get closer to the truth", x10, "4.2"),
    _claim("X11", "The explanation comes from the classifier, not from the generator", x11, "4.2"),
    _with_number(
        "X12", "A square on the 8s misleads: 5 % of 8s known without it, 77 % of others fooled with it", x12, "4.3"
    ),
    _claim("X13", "CDeepEx shows the square; the other methods do not explain the bias", x13, "4.3"),
    _claim("X14", "The change that CDeepEx suggests moves the class from true to probe", x14, "4.4"),
    _claim("X15", "xGEMs gives the reverse explanation", x15, "4.4"),
    _claim("X16", "The VGG's changes are of whole parts, the ResNet's subtle", x16, "4.5"),
    _claim("X17", "Without constraints the results refer to other, irrelevant classes", x17, "4.5"),
    _claim("X18", "A generator that was trained on another data set explains alike", x18, "4.6"),
    claims_of("ClaDec", "the paper proposes it and tries nothing")(
        "X19", "ClaDec could take the place of the generator", x19, "2"
    ),
]  # fmt: skip
