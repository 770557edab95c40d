"""Claims X1 to X19: sentences of the CDeepEx paper, nearly all of which it supports with pictures alone.

X1 and X8 are ours, as the paper's own sentences state no comparison; X19 is of the ClaDec paper.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import (
    Claim,
    Comparison,
    Evidence,
    Verdict,
    by_construction,
    claims_of,
    every_part,
    judge,
    not_applicable,
)
from cladec_companion.evidence.comparisons import ABOVE, BELOW, Region, share
from cladec_companion.evidence.measurements import Place, evidence_of, where
from cladec_companion.evidence.thresholds import RESEMBLES, Threshold
from cladec_companion.evidence.trends import LEAST, slope
from cladec_companion.papers.cdeepex.contrast.experiment import EQUAL, FREE, NETWORKS, OURS, UNBIASED
from cladec_companion.papers.cdeepex.contrast.ladder import RUNGS
from cladec_companion.papers.cdeepex.contrast.titles import titled
from cladec_companion.papers.cdeepex.contrasts import METHODS
from cladec_companion.records.record import Record

MOSTLY = Threshold("consistently, most", 0.5, "share of the images: more than half of them", "2026-11-22")
INDISTINGUISHABLE = Threshold(
    "cannot be distinguished", 0.01, "share of an image's energy: what nobody sees in a picture", "2026-11-22"
)
SELDOM = Threshold("recognised seldom", 0.5, "share of the 8s; the paper prints 5 %", "2026-11-22")
AS_PLAUSIBLE = Threshold(
    "could take the place of, regardless of", 0.1, "share of the images by which it may fall short", "2026-11-22"
)
ANSWERED = Threshold(
    "enough searches ended (contrasts)",
    0.8,
    "share of the searches that met their constraints: of fewer, those that did may be the easy questions",
    "2026-11-22",
)
REDRAWN = Threshold(
    "a generator draws the images",
    0.25,
    "share of an image's energy that it misses: with more of it missing, much of the image cannot be changed",
    "2026-11-22",
    after_data=True,
)
LEARNT_GARMENTS = Threshold(
    "a network has learnt (contrasts)", 0.9, "accuracy; the paper's have 0.92 on Fashion-MNIST", "2026-11-22"
)

AT = "contrasts"  # the third level of the evidence, which has no axis
OTHERS = 9026  # test images of MNIST that are no 8, of which the paper's 77 % are a share
PICTURES = "the paper shows pictures only"
OF_THE_PAPER = ("VAE", "WGAN")
# Epochs of a generator's training, on all images, below which what it misses says nothing of the paper's.
TRAINED = {"VAE": ("decoder_epochs", 20), "WGAN": ("wgan_epochs", 60)}
EIGHTS = 974  # test images of MNIST that are an 8, of which the paper's 5 % are a share


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


def _places(evidence: Evidence) -> list[Place]:
    return [] if evidence.summary.empty else list(dict.fromkeys(key[:3] for key in evidence.summary.index))


def _weighed(
    evidence: Evidence, what: str, weights: dict[str, float], claimed: Region, offset: float = 0.0
) -> list[Comparison]:
    """A weighted sum of numbers, in each data set that has all of them, or whose searches gave too few of them."""
    found = []
    for place in _places(evidence):
        here, cells = f"{where((place[0], ''))}, {what}", {(*place, name): weight for name, weight in weights.items()}
        if evidence.has(*cells):
            one = evidence.contrast(here, cells, claimed, offset=offset)
        else:
            one = Comparison(here, np.nan, np.nan, np.nan, 0, claimed, 1.0, 1.0, "no answer")
        one = _barred(evidence, place, weights, one)
        if one.obstacle or evidence.has(*cells):
            found.append(one)
    return found


def _barred(evidence: Evidence, place: Place, names: Iterable[str], found: Comparison) -> Comparison:
    """The comparison, barred where too few searches were met, a generator hardly draws, or a network has not learnt.

    What is asked of `met` and `missed` themselves is not barred by the same number.
    """
    for name in names:
        method, _, metric = name.rpartition(":")
        network = method.partition(" ")[0]
        if network in NETWORKS and (accuracy := _mean(evidence, place, network, "accuracy")) < LEARNT_GARMENTS.value:
            why = f"{NETWORKS[network]} has an accuracy of {accuracy:.2f}, below {LEARNT_GARMENTS.value}"
            return found.barred(why, too_short=True)
        met, missed = (_mean(evidence, place, method, known) for known in ("met", "missed"))
        said = f"{where((place[0], ''))}, {titled(method)}"
        if metric != "met" and met < ANSWERED.value:
            return found.barred(f"{said}: {met:.0%} of the searches met their constraints", too_short=True)
        if metric != "missed" and missed > REDRAWN.value:
            return found.barred(f"{said}: the generator misses {missed:.0%} of the images' energy", too_short=True)
    return found


def _mean(evidence: Evidence, place: Place, method: str, metric: str) -> float:
    """A number of the summary; NaN where it was not measured."""
    cell = (*place, column(method, metric))
    return float(evidence.summary.loc[cell, "mean"]) if evidence.has(cell) else float("nan")


def _by_the_search(evidence: Evidence, methods: Sequence[str], why: str) -> Verdict:
    """What every search that met its constraints has: the share that did; of too few of these nothing is said."""
    met = _each(evidence, methods, "met", (ANSWERED.value, 2.0))
    few = [one for one in met if one.effect < ANSWERED.value]
    if few or not met:
        said = "too few searches met their constraints within the steps of this run"
        return judge([one.barred(f"{one.what}: {said}", too_short=True) for one in few], why)
    return by_construction(f"{why}; counted is the share of searches that met its constraints", met)


def _pairs(
    evidence: Evidence, first: Iterable[str], second: Iterable[str], metric: str, claimed: Region, offset: float = 0.0
) -> list[Comparison]:
    """Each of some methods against each of others."""
    return [
        one
        for a in first for b in second
        for one in _weighed(
            evidence, f"{titled(a)} less {titled(b)}", {column(a, metric): 1.0, column(b, metric): -1.0}, claimed,
            offset,
        )
    ]  # fmt: skip


def _each(evidence: Evidence, methods: Iterable[str], metric: str, claimed: Region) -> list[Comparison]:
    return [one for name in methods for one in _weighed(evidence, titled(name), {column(name, metric): 1.0}, claimed)]


def by(kind: str, generators: Sequence[str] = OF_THE_PAPER) -> list[str]:
    """What searches of a kind are called in a record."""
    return [f"{generator} {kind}" for generator in generators]


def x1(evidence: Evidence) -> Verdict:
    """With all changes equally long, the classifier sees the probe more often than with another's, or a random one."""
    return _equally_long(evidence, "flipped", "CDeepEx turns more predictions", "turns")


def x2(evidence: Evidence) -> Verdict:
    """Equally long, an independent classifier sees the probe more often, too, than with another's, or a random one."""
    return _equally_long(evidence, "judged", "CDeepEx convinces the judge more often", "convinces the judge in")


def _equally_long(evidence: Evidence, seen: str, said: str, done: str) -> Verdict:
    """Decide by changes of equal length, and tell of a control first that does not decide.

    The control is a step along the pixels' gradient, which needs no generator and need not look like any image.
    """
    metric = seen + EQUAL
    found = _pairs(evidence, by(OURS), [*METHODS, "random"], metric, ABOVE)
    pairs = [
        (_mean(evidence, place, name, metric), _mean(evidence, place, "gradient", metric))
        for place in _places(evidence) for name in by(OURS)
    ]  # fmt: skip
    pairs = [pair for pair in pairs if np.isfinite(pair).all()]
    if not pairs:
        return judge(found, said)
    # A page that cites the count alone has both of them.
    more = f"{sum(own > step for own, step in pairs)} of {len(pairs)} cases"
    what = f"{said} than a step along the pixels' gradient in {more} and than the others"
    return judge(found, what).plus(
        f"; a plain step along the pixels' gradient {done} {_range(step for _, step in pairs)} of the images, an "
        f"equally long change by CDeepEx {_range(own for own, _ in pairs)}; the step does not decide"
    )


def _range(values: Iterable[float]) -> str:
    """The ends of some shares."""
    known = sorted(values)
    return f"{known[0]:.0%} to {known[-1]:.0%}"


def _beside(evidence: Evidence, method: str, metric: str, said: str) -> str:
    """What else a reader has to know: the range of a number over the data sets."""
    values = [_mean(evidence, place, method, metric) for place in _places(evidence)]
    values = [value for value in values if np.isfinite(value)]
    return f"; {said} {_range(values)}" if values else ""


def x3(evidence: Evidence) -> Verdict:
    """Share of searches without constraints that end where a third class is likelier than the probe: above a half."""
    return judge(_each(evidence, by(FREE), "intruded", (MOSTLY.value, 2.0)), "a third class wins in most images")


def x4(evidence: Evidence) -> Verdict:
    """None: a search that meets its constraints ends without a third class."""
    return _by_the_search(evidence, by(OURS), "a constraint for each third class keeps it below both")


def x5(evidence: Evidence) -> Verdict:
    """None: a search that meets its constraints ends where true class and probe are equally likely."""
    return _by_the_search(evidence, [*by(OURS), *by(FREE)], "both searches have this as a constraint")


def x6(evidence: Evidence) -> Verdict:
    """Correlation of explanations from several starts of the WGAN: above 0.5."""
    found = _each(evidence, [f"starts {OURS}"], "alike", (RESEMBLES.value, 2.0))
    return judge(found, "explanations from several starts are similar")


def x7(evidence: Evidence) -> Verdict:
    """The same correlation, with constraints against without: above 0."""
    found = _pairs(evidence, [f"starts {OURS}"], [f"starts {FREE}"], "alike", ABOVE)
    return judge(found, "more alike with constraints")


def x8(evidence: Evidence) -> Verdict:
    """VAE and WGAN convince the judge equally often, and meet their constraints equally often, within 0.1."""
    within = (-AS_PLAUSIBLE.value, AS_PLAUSIBLE.value)
    parts = {
        said: judge(_pairs(evidence, by(OURS, ["VAE"]), by(OURS, ["WGAN"]), metric, within), "equally often")
        for said, metric in (("the judge is convinced", "judged"), ("constraints are met", "met"))
    }
    return every_part(parts)


def x9(evidence: Evidence) -> Verdict:
    """Share of an image's energy that VAE and WGAN miss at the start: below 1 %."""
    found = [
        _if_trained(evidence, generator, one)
        for generator in OF_THE_PAPER
        for one in _each(evidence, by(OURS, [generator]), "missed", (-1.0, INDISTINGUISHABLE.value))
    ]
    return judge(found, "the generator misses less than can be seen")


def _if_trained(evidence: Evidence, generator: str, found: Comparison) -> Comparison:
    """The comparison, barred where a generator that misses something was trained far shorter than the paper's."""
    if evidence.record is None or found.effect < INDISTINGUISHABLE.value:
        return found
    configuration = evidence.record.manifest["configuration"]
    name, enough = TRAINED[generator]
    epochs, images = configuration.get(name, enough), configuration.get("train_limit")
    if epochs >= enough and not images:
        return found
    some = f" on {images:,} images" if images else ""
    return found.barred(f"the {generator} was trained for {epochs} epochs{some}, fewer than {enough}", too_short=True)


def x10(evidence: Evidence) -> Verdict:
    """Share of images that the judge takes for an 8, all changes equally long: its slope over the classifier's rungs.

    A rung whose classifier lets too few searches meet their constraints has no images to judge. As the classifier
    learns the class, the way to it gets shorter, and a judge sees less of the class in a shorter change. So without
    changes of equal length nothing is compared.
    """
    found = []
    for place in _places(evidence):
        rungs = [f"rung {number}" for number in range(len(RUNGS))]
        met = [rung for rung in rungs if _mean(evidence, place, rung, "met") >= ANSWERED.value]
        if any(evidence.has((*place, column(rung, "met"))) for rung in rungs):
            found.append(_over_rungs(evidence, place, met))
    return judge(found, "rises from rung to rung", lacking=f"needs {LEAST} rungs with answers")


def _over_rungs(evidence: Evidence, place: Place, met: Sequence[str]) -> Comparison:
    """How what the judge sees changes over the rungs that have answers."""
    here = where((place[0], ""))
    unknown = Comparison(here, np.nan, np.nan, np.nan, 0, ABOVE, 1.0, 1.0, "no answer")
    if len(met) < LEAST:
        return unknown.barred(f"{here}: {len(met)} rungs have answers, fewer than {LEAST}", too_short=True)
    asked = [column(rung, f"judged{EQUAL}") for rung in met]
    weights = {(*place, name): weight for name, weight in zip(asked, slope(range(len(met))), strict=True)}
    if evidence.has(*weights):
        return _barred(evidence, place, asked, evidence.contrast(f"{here}, per rung from {met[0]}", weights))
    first, last = (f"{_mean(evidence, place, rung, 'size'):.3f}" for rung in (met[0], met[-1]))
    said = f"{here}: the changes are {first} of the range of grey values at {met[0]} and {last} at {met[-1]}"
    return unknown.barred(f"{said}; none of equal length were recorded", too_short=True)


def x11(evidence: Evidence) -> Verdict:
    """Explanations for the first and the last rung are less alike than those for the last and an independent D."""
    found = _pairs(evidence, ["first and last rung"], ["last rung and judge"], "alike", BELOW)
    return judge(found, "explanations differ with what the classifier knows")


def x12(evidence: Evidence) -> Verdict:
    """Fewer than half of the 8s are known without the square, and more than half of the others fooled with it."""
    seldom, mostly = (-1.0, SELDOM.value), (MOSTLY.value, 2.0)
    if evidence.record is None:
        shares = published()["biased8"]
        known, fooled = shares["true8_recognised_without_square"], shares["others_called_8_with_square"]
        return every_part({
            "8s without it": judge([share("", round(known * EIGHTS), EIGHTS, seldom, of="images")], "few known"),
            "others with it": judge([share("", round(fooled * OTHERS), OTHERS, mostly, of="images")], "most fooled"),
        })  # fmt: skip
    parts = {
        "8s without it": judge(_each(evidence, ["biased"], "known", seldom), "few known"),
        "others with it": judge(_each(evidence, ["biased"], "fooled", mostly), "most fooled"),
    }
    said = (
        "; the square is white: a grey one, as the paper's, fooled a third of MNIST in first tries, which is not most"
    )
    return every_part(parts).plus(said)


def x13(evidence: Evidence) -> Verdict:
    """More of the energy is in the square than by other methods, and than for a classifier without the bias."""
    ours, more = [f"square VAE {OURS}"], f"{OURS} with a VAE has more of its energy in the square"
    parts = {
        "other methods": judge(_pairs(evidence, ours, [f"square {name}" for name in METHODS], "energy", ABOVE), more),
        "without the bias": judge(_pairs(evidence, ours, [f"square VAE {UNBIASED}"], "energy", ABOVE), more),
    }
    beside = {
        f"square ClaDec {OURS}": f"of the changes by {OURS} with ClaDec's decoder the square has",
        "two models": "of the difference of two ClaDec decoders' images of the square it has",
    }
    return every_part(parts).plus("".join(_beside(evidence, name, "energy", said) for name, said in beside.items()))


def x14(evidence: Evidence) -> Verdict:
    """CDeepEx turns the cue the way that raises the probe in over half of the images, and more than without the cue."""
    return _turned(evidence, OURS, (MOSTLY.value, 2.0), ABOVE, "the right way")


def x15(evidence: Evidence) -> Verdict:
    """Without constraints the same in less than half of the images, and less than without the cue."""
    return _turned(evidence, FREE, (-1.0, MOSTLY.value), BELOW, "the wrong way")


def _turned(evidence: Evidence, kind: str, share_claimed: Region, than_uncued: Region, way: str) -> Verdict:
    """Which way a search turns the cue, by itself and against one for a classifier that was trained without the cue."""
    told = f"turned {way}"
    uncued = _pairs(evidence, [f"cue {kind}"], [f"cue {UNBIASED} {kind}"], "agrees", than_uncued)
    return every_part({
        "the cue": judge(_each(evidence, [f"cue {kind}"], "agrees", share_claimed), told),
        "against a classifier without it": judge(uncued, f"{told} more often"),
    })  # fmt: skip


SMALLER = f"; {' and '.join(NETWORKS.values())} stand for VGG-16 and ResNet-101"


def x16(evidence: Evidence) -> Verdict:
    """Share of pixels that hold nine tenths of the explanation: more of the VGG than of the ResNet."""
    first, second = ([f"{name} {OURS}"] for name in NETWORKS)
    found = _pairs(evidence, first, second, "extent", ABOVE)
    return judge(found, "the VGG's changes are larger").plus(SMALLER)


def x17(evidence: Evidence) -> Verdict:
    """Share of searches without constraints that end where a third class is likelier than the probe: above a half.

    As in X3; with constraints this share is 0 by construction (X4).
    """
    found = _each(evidence, [f"{name} {FREE}" for name in NETWORKS], "intruded", (MOSTLY.value, 2.0))
    return judge(found, "a third class wins in most images").plus(SMALLER)


def x18(evidence: Evidence) -> Verdict:
    """Correlation of explanations by a VAE of the classifier's images and by one of another collection: above 0.5."""
    if evidence.record is None:
        return not_applicable(PICTURES)
    found = _each(evidence, [f"own and foreign {OURS}"], "alike", (RESEMBLES.value, 2.0))
    said = "; in the place of another collection most data sets have their own images, changed"
    return judge(found, "explanations by both are similar").plus(said)


def x19(evidence: Evidence) -> Verdict:
    """The judge sees the probe as often as with the VAE, but for 0.1, and constraints are met as often."""
    claimed = ABOVE, AS_PLAUSIBLE.value
    parts = {
        said: judge(_pairs(evidence, by(OURS, ["ClaDec"]), by(OURS, ["VAE"]), metric, *claimed), "as often")
        for said, metric in (("the judge is convinced", "judged"), ("constraints are met", "met"))
    }
    return every_part(parts)


BARS = (ANSWERED, REDRAWN)  # see `_barred`
_claim = claims_of("CDeepEx", PICTURES, BARS)
_with_number = claims_of("CDeepEx")
_ours = claims_of("ours, after CDeepEx, 4", "a sentence of ours, about which the paper prints no number", BARS)
# What was settled when the numbers had been seen.
AFTER_DATA = {
    "X2": "that a step along the pixels' gradient is told and does not decide, as in X1",
    "X10": "the slope over rungs that have answers, which had been the ends; and that changes are equally long",
    "X12": "the shade of the square, white, as a grey one fooled fewer in first tries",
    "X17": "the limit, which is that of X3",
}
_LISTED: list[Claim] = [
    _ours("X1", "CDeepEx turns true into probe more often than equally long changes by the other methods", x1),
    _claim("X2", "The only meaningful explanation is generated from CDeepEx (said of one picture)", x2, "4.1.1"),
    _claim(
        "X3",
        "Without the constraints a third class consistently has an even higher likelihood",
        x3,
        "4.1.2",
        limits=(*BARS, MOSTLY),
    ),
    _claim("X4", "With them the explanation stays with the true class and the probe", x4, "4.1.2"),
    _claim("X5", "Either search ends where both classes are equally likely", x5, "4.1.2"),
    _claim(
        "X6",
        "Explanations from several starting points of a GAN are consistent for most inputs",
        x6,
        "4.1.3",
        limits=(*BARS, RESEMBLES),
    ),
    _claim("X7", "They are less consistent for xGEMs", x7, "4.1.3"),
    _ours("X8", "The method works equally well with a VAE and with a WGAN", x8, limits=(*BARS, AS_PLAUSIBLE)),
    _claim(
        "X9", "Nobody can tell the original from the synthetic image", x9, "4.1.3", limits=(ANSWERED, INDISTINGUISHABLE)
    ),
    _claim("X10", "As the accuracy on 8 increases, the explanations get closer to the truth", x10, "4.2"),
    _claim("X11", "The explanation comes from the classifier, not from the generator", x11, "4.2"),
    _with_number(
        "X12",
        "A square on the 8s misleads: 5 % of 8s known without it, 77 % of others fooled with it",
        x12,
        "4.3",
        limits=(*BARS, MOSTLY, SELDOM),
    ),
    _claim("X13", "CDeepEx shows the square; the other methods do not explain the bias", x13, "4.3"),
    _claim(
        "X14", "The change that CDeepEx suggests moves the class from true to probe", x14, "4.4", limits=(*BARS, MOSTLY)
    ),
    _claim("X15", "xGEMs gives the reverse explanation", x15, "4.4", limits=(*BARS, MOSTLY)),
    _claim(
        "X16", "The VGG's changes are of whole parts, the ResNet's subtle", x16, "4.5", limits=(*BARS, LEARNT_GARMENTS)
    ),
    _claim(
        "X17",
        "Without constraints the results refer to other, irrelevant classes",
        x17,
        "4.5",
        limits=(*BARS, LEARNT_GARMENTS, MOSTLY),
    ),
    _claim(
        "X18", "A generator that was trained on another data set explains alike", x18, "4.6", limits=(*BARS, RESEMBLES)
    ),
    claims_of("ClaDec", "the paper proposes it and tries nothing")(
        "X19", "ClaDec could take the place of the generator", x19, "2", limits=(*BARS, AS_PLAUSIBLE)
    ),
]
CLAIMS = [replace(claim, after_data=AFTER_DATA.get(claim.key, "")) for claim in _LISTED]
