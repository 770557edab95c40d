"""Claims L36-L54: what units want (chapter 4 of the book), and what they detect (chapter 12), on our networks."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

import pandas as pd

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import (
    MOST,
    Comparison,
    Evidence,
    Verdict,
    by_construction,
    claims_of,
    every_part,
    judge,
)
from cladec_companion.evidence.comparisons import ABOVE, BELOW, FOR, Region
from cladec_companion.evidence.measurements import evidence_of, where
from cladec_companion.evidence.tables import DATASET_NAMES
from cladec_companion.evidence.thresholds import ALMOST_ALWAYS, RESEMBLES, STRONG, Threshold
from cladec_companion.evidence.trends import LEAST, slope
from cladec_companion.papers.xai.maximisation import PRIORS
from cladec_companion.papers.xai.units.activation_maximisation import (
    CLASSES,
    FAR,
    GENERATORS,
    HIDDEN,
    MEAN,
    SHIFTED,
    STARTS_ALONE,
    TITLES,
)
from cladec_companion.papers.xai.units.colour_channels import AT as COLOURS
from cladec_companion.papers.xai.units.colour_channels import BUG, RIGHT
from cladec_companion.papers.xai.units.network_dissection import CHANCE, FEWEST, OWN, TRAINED, TRAINING, TURNED
from cladec_companion.records.record import Record
from cladec_companion.records.samples import by_depth

NOT_RECOGNISED = Threshold(
    "cannot be recognised", 0.5, "share of what another network recognises of test images: less than half", "2026-11-22"
)
UNNOTICED = Threshold("hard to notice (an accuracy)", 0.02, "two points, which another seed may bring", "2026-11-22")
UNTOLD = Threshold(
    "do not show (colours)",
    0.6,
    "share of classes with the right order: nearer to one half than to 0.7",
    "2026-11-22",
    after_data=True,
)

PICTURED = "the book shows pictures of other networks, and no number of these"
OURS = "a question of ours; the book says nothing about it"
HAND_DESIGNED = ("l2", "tv", "blur", "jitter", "mean_start")
SMOOTHING = ("tv", "blur")
DECODED_BY = {"dgn_cladec": "cladec", "dgn_refae": "refae"}  # the decoder of each latent space, without a search
NO_ORDER = "weights of the first layer begin alike for all channels, so that another order is but another seed"
CHANCE_RIGHT = 0.5  # of two orders of the channels, one is right
EPOCHS = " epochs"  # ends the third level of what was dissected after a training of that length


def column(method: str, metric: str) -> str:
    """The column of a number in the evidence."""
    return f"{method}:{metric}"


def evidence(record: Record) -> Evidence:
    """What the claims need from a record of the experiment `units`: a column for each method and metric."""
    rows = record.rows.assign(at=record.rows["layer"])
    found = dict.fromkeys(zip(rows["method"], rows["metric"], strict=True))
    columns = {column(*pair): pair for pair in found}
    wide = tables.columns_of(rows, columns, ["dataset", "architecture", "at", "seed"])
    return evidence_of(record, wide, columns)


def printed() -> Evidence:
    """The book prints no number about these networks."""
    return Evidence(pd.DataFrame())


Terms = Mapping[tuple[str, str, str], float]  # (third level, method, metric) -> weight


def _runs(evidence: Evidence) -> Iterator[tuple[str, str]]:
    """Data sets and architectures."""
    if not evidence.summary.empty:
        yield from dict.fromkeys(key[:2] for key in evidence.summary.index)


def _compared(
    evidence: Evidence, what: str, terms: Terms, claimed: Region, offset: float = 0.0, only: Sequence[tuple] = ()
) -> list[Comparison]:
    """A weighted sum of numbers against a region, in every run that has them all, or in some runs only."""
    found = []
    for run in only or _runs(evidence):
        weights = {(*run, at, column(method, metric)): weight for (at, method, metric), weight in terms.items()}
        if evidence.has(*weights):
            found.append(evidence.contrast(where(run, what), weights, claimed, offset=offset))
    return found


def _less(
    evidence: Evidence, at: str, first: str, other: str, metric: str, claimed: Region = ABOVE
) -> list[Comparison]:
    """A number of one method less that of another, in every run."""
    terms = {(at, first, metric): 1.0, (at, other, metric): -1.0}
    return _compared(evidence, f"{TITLES[first]} less {TITLES[other]}", terms, claimed)


def l36(evidence: Evidence) -> Verdict:
    """Over 90 % are of the class for the network; another recognises less than half of its share of test images."""
    own = _compared(evidence, "", {(CLASSES, "none", "highest"): 1.0}, (ALMOST_ALWAYS.value, float("inf")))
    share = {(CLASSES, "none", "judged"): 1.0, (CLASSES, "test", "judged"): -NOT_RECOGNISED.value}
    what = f"share recognised, less {NOT_RECOGNISED.value:g} times that of test images"
    return every_part({
        "the network": judge(own, "the class in over 90 %"),
        "another": judge(_compared(evidence, what, share, BELOW), "recognises less than half"),
    })  # fmt: skip


def _gained(evidence: Evidence, names: Sequence[str]) -> list[Comparison]:
    """By how much another network is surer of the class with a prior than without, in logarithms of probabilities."""
    return [c for name in names for c in _less(evidence, CLASSES, name, "none", "sure")]


def l37(evidence: Evidence) -> Verdict:
    """Another network gives the class a larger mean log-probability with a prior, in most pairs of prior and data."""
    return judge(_gained(evidence, HAND_DESIGNED), "surer of the class", MOST)


def l38(evidence: Evidence) -> Verdict:
    """What both priors are made to do; the difference of total variation to images without a prior is reported."""
    found = [c for name in SMOOTHING for c in _less(evidence, CLASSES, name, "none", "variation", BELOW)]
    return by_construction("one prior descends the total variation itself, the other is a low-pass filter", found)


def l39(evidence: Evidence) -> Verdict:
    """Images correlate more with a real image with a prior than without, in most pairs of prior and data set."""
    others = [name for name in HAND_DESIGNED if name != "mean_start"]
    found = [c for name in others for c in _less(evidence, CLASSES, name, "none", "unlike", BELOW)]
    return judge([*found, *_from_mean(evidence)], "more like real images", MOST)


def _from_mean(evidence: Evidence) -> list[Comparison]:
    """What began as the mean image less what began as noise, barred where the mean image in it explains as much.

    The control began as noise and had the mean image added at the end: where it is as much like real images, the
    correlation tells of the mean image, and of no search.
    """
    found = _less(evidence, CLASSES, "mean_start", "none", "unlike", BELOW)
    controls = _less(evidence, CLASSES, "mean_start", SHIFTED, "unlike", BELOW)
    why = "noise with the mean image added at the end is as much like real images"
    return [
        one.barred(f"{why} ({control.effect:+.3f})") if one.reading == FOR != control.reading else one
        for one, control in zip(found, controls, strict=True)
    ]


def l40(evidence: Evidence) -> Verdict:
    """Another network gives the class a larger mean log-probability with jitter than without a prior."""
    return judge(_gained(evidence, ("jitter",)), "surer of the class")


def l41(evidence: Evidence) -> Verdict:
    """What began as the mean image correlates more with a real image than what began as noise."""
    return judge(_from_mean(evidence), "more like real images")


def _reaches(evidence: Evidence, run: tuple[str, str], name: str) -> bool:
    """Whether the network takes over 90 % of a method's images for the class, so that they maximise anything."""
    cells, place = evidence.cells(column(name, "highest")), (*run, CLASSES)
    return place in cells.index and cells.loc[place, "mean"] > ALMOST_ALWAYS.value


def _latent(evidence: Evidence, rivals: Mapping[str, str], metric: str) -> list[Comparison]:
    """A number of each latent space less that of its rival, barred where images of either do not maximise the class."""
    found = []
    for run in _runs(evidence):
        for name, rival in rivals.items():
            terms = {(CLASSES, name, metric): 1.0, (CLASSES, rival, metric): -1.0}
            searches = [one for one in (name, rival) if one in {*GENERATORS, *PRIORS}]
            failing = [TITLES[one] for one in searches if not _reaches(evidence, run, one)]
            of_run = _compared(evidence, f"{TITLES[name]} less {TITLES[rival]}", terms, BELOW, only=[run])
            found += [c.barred(f"too few of the class: {', '.join(failing)}") if failing else c for c in of_run]
    return found


def l42(evidence: Evidence) -> Verdict:
    """Images from both latent spaces, of which the network takes over 90 % for the class, are more like real images.

    A space counts where its images resemble real ones more than the mean image does, for which nobody searched.
    """
    alike = []
    for name in GENERATORS:
        controls = _less(evidence, CLASSES, name, MEAN, "unlike", BELOW)
        for one, control in zip(_latent(evidence, {name: "all"}, "unlike"), controls, strict=True):
            why = f"the mean image without a search is as much like real images ({control.effect:+.3f})"
            alike.append(one.barred(why) if one.reading == FOR != control.reading else one)
    sure = [c for name in GENERATORS for c in _less(evidence, CLASSES, name, "all", "sure")]
    told = f"; another network is surer of the class in {sum(c.reading == FOR for c in sure)} of {len(sure)}"
    return judge(alike, "more like real images than with all priors").plus(told if sure else "")


def l43(evidence: Evidence) -> Verdict:
    """Images of a unit differ less from start to start than the same decoder's reconstructions of its best images."""
    return judge(_latent(evidence, DECODED_BY, "spread"), "less spread")


def l44(evidence: Evidence) -> Verdict:
    """Without a prior and with all, images from starts of full contrast correlate by 0.5 more than these starts do."""
    region = (RESEMBLES.value, float("inf"))
    found = []
    for far in FAR.values():
        terms = {(CLASSES, far, "alike"): 1.0, (CLASSES, STARTS_ALONE, "alike"): -1.0}
        found += _compared(evidence, f"{TITLES[far]}, less the starts", terms, region)
    return judge(found, "similar from all starts")


def l45(evidence: Evidence) -> Verdict:
    """More hidden units are active and the highest if the log-softmax is maximised than if the activation is."""
    return judge(_less(evidence, HIDDEN, "selective", "none", "selected"), "more selective")


def l46(evidence: Evidence) -> Verdict:
    """True of any network whose initial weights know no order of the channels; the difference is reported."""
    terms = {(COLOURS, f"fed_{RIGHT}", "accuracy"): 1.0, (COLOURS, f"fed_{BUG}", "accuracy"): -1.0}
    found = _compared(evidence, "", terms, (-UNNOTICED.value, UNNOTICED.value))
    return by_construction(NO_ORDER, found)


def _told(
    evidence: Evidence, methods: Sequence[str], claimed: Region = (CHANCE_RIGHT, float("inf"))
) -> list[Comparison]:
    """Share of the classes for which the nearer order of channels is the right one, over both networks."""
    return [
        c for name in methods
        for c in _compared(evidence, TITLES[name], {(COLOURS, name, "right"): 1.0}, claimed)
    ]  # fmt: skip


def l47(evidence: Evidence) -> Verdict:
    """In both latent spaces, colours tell the order that a network was fed in more than half of the classes."""
    return judge(_told(evidence, tuple(GENERATORS)), "the right order", lacking="needs images in colour")


def l48(evidence: Evidence) -> Verdict:
    """The same of images that were made without a generator, without a prior and with all of them."""
    return judge(_told(evidence, ("none", "all")), "the right order", lacking="needs images in colour")


def l49(evidence: Evidence) -> Verdict:
    """Colours of ClaDec's reconstructions tell the right order in less than 0.6 of the classes.

    The RefAE sees neither network: its image is the same for both, and right for exactly one of them.
    """
    found = _told(evidence, ("cladec",), (float("-inf"), UNTOLD.value))
    return judge(found, "hardly the right order", lacking="needs images in colour")


def _lengths(evidence: Evidence, run: tuple[str, str]) -> list[str]:
    """Lengths of the trainings of a run, from the shortest."""
    cells = evidence.cells(column(TRAINED, "unique_objects"))
    names = [key[2] for key in cells.index if key[:2] == run]
    return sorted((name for name in names if name.endswith(EPOCHS)), key=lambda name: int(name.removesuffix(EPOCHS)))


def _if_spread(found: Sequence[Comparison]) -> list[Comparison]:
    """Counts and ranks take few values: seeds that have the same by chance would make their mean certain."""
    return [c.barred("all seeds have the same value") if c.low == c.high else c for c in found]


def l50(evidence: Evidence) -> Verdict:
    """After the longest training the last convolution detects more different objects than before any."""
    found = []
    for run in _runs(evidence):
        lengths = _lengths(evidence, run)
        if len(lengths) > 1 and lengths[0] == f"0{EPOCHS}":
            terms = {(lengths[-1], TRAINED, "unique_objects"): 1.0, (lengths[0], TRAINED, "unique_objects"): -1.0}
            found += _compared(evidence, f"{lengths[-1]} less {lengths[0]}", terms, ABOVE, only=[run])
    return judge(_if_spread(found), "more objects")


def l51(evidence: Evidence) -> Verdict:
    """Over six or more lengths of training, accuracy and the number of detected objects correlate by more than 0.5."""
    terms = {(TRAINING, TRAINED, "correlation"): 1.0}
    found = _if_spread(_compared(evidence, "", terms, (STRONG.value, float("inf"))))
    return judge(found, "a strong correlation", lacking=f"needs trainings of {FEWEST} different lengths")


def layers_of(evidence: Evidence, run: tuple[str, str]) -> list[str]:
    """Layers that a run dissected, from the input."""
    cells = evidence.cells(column(OWN, "unique"))
    names = {key[2] for key in cells.index if key[:2] == run}
    return [layer.name for layer in by_depth(run[1], names)][::-1]


def l52(evidence: Evidence) -> Verdict:
    """Of as many units of each layer, more detect concepts, seams apart, from layer to layer: the slope over layers."""
    found, told = [], ""
    for run in _runs(evidence):
        layers = layers_of(evidence, run)
        if len(layers) >= LEAST:
            weights = slope(range(len(layers)))
            found += _compared(evidence, "per layer", _over(layers, OWN, weights), ABOVE, only=[run])
            turned = _compared(evidence, "", _over(layers, TURNED, weights), ABOVE, only=[run])
            means = evidence.cells(column(OWN, "unique"))["mean"]
            counts = ", ".join(f"{means[(*run, name)]:.1f}" for name in layers)
            told += f"; on {DATASET_NAMES[run[0]]} {counts} from the first layer to the last"
            told += f", and {turned[0].effect:.2f} more per layer in a random basis" if turned else ""
    return judge(_if_spread(found), "more concepts", lacking=f"needs {LEAST} layers").plus(told)


def _over(layers: Sequence[str], method: str, weights: Iterable[float]) -> Terms:
    """The slope of the number of detected concepts over layers."""
    return {(name, method, "unique"): weight for name, weight in zip(layers, weights, strict=True)}


def l53(evidence: Evidence) -> Verdict:
    """Directions of a random basis of the last convolution detect fewer concepts, seams apart, than as many units."""
    found = []
    for run in _runs(evidence):
        for last in layers_of(evidence, run)[-1:]:
            terms = {(last, TURNED, "unique"): 1.0, (last, OWN, "unique"): -1.0}
            found += _compared(evidence, f"{last}, turned less units", terms, BELOW, only=[run])
    return judge(_if_spread(found), "fewer concepts")


def l54(evidence: Evidence) -> Verdict:
    """Units of each layer overlap more with their best concept, seams apart, than with masks of other scenes."""
    found = []
    for run in _runs(evidence):
        for name in layers_of(evidence, run):
            terms = {(name, OWN, "matched"): 1.0, (name, CHANCE, "matched"): -1.0}
            found += _compared(evidence, name, terms, ABOVE, only=[run])
    return judge(found, "more overlap than by chance")


_claim = claims_of("XAI book", PICTURED)
_bau = claims_of("Bau et al. (2017), of which chapter 12 is a summary", PICTURED)
_ours = claims_of("ours", OURS)
CEILING = "what is compared, as another network recognised all images of a first try"
CONTRAST = "the correlation, as grey images were the nearest of a first try"
# What was settled when first tries had been seen; there was no record yet.
AFTER_DATA = {
    "L37": CEILING,
    "L39": CONTRAST,
    "L40": CEILING,
    "L41": f"{CONTRAST}, and that noise with the mean image added is a control, which had been the rival",
    "L42": f"{CONTRAST}, that a method counts only where the network takes its images for the class, and that the mean "
    "image is a control",
    "L43": "the rival, and that the network is asked, which took few images of a first try for the class",
    "L44": "the starts, which were nearly one image in a first try",
    "L45": "that a silent unit does not count, as the first of a silent layer did in a first try",
    "L49": "the limit, and that the RefAE is left out, after a first try on CIFAR-100 with 4,000 images",
    "L50": "that objects alone are counted, as a first try counted textures and seams, too",
    "L51": "that six lengths are asked for, as in first tries with three the detectors hardly changed",
    "L52": "that seams are left out, as maps of a first try had one cell a tile; the slope, which had been the ends",
    "L53": "that seams are left out, as in L52",
    "L54": "that overlaps are compared, and seams left out, as seams of a first try overlapped by chance, too",
}
_LISTED = [
    _claim(
        "L36",
        "Without a prior, images highly activate a unit and cannot be recognised",
        l36,
        "4.1",
        limits=(ALMOST_ALWAYS, NOT_RECOGNISED),
    ),
    _claim("L37", "Priors make the images more recognisable", l37, "4.2"),
    _claim("L38", "Total variation and blur take away high frequencies", l38, "4.2"),
    _claim("L39", "Priors bring the images nearer to real ones", l39, "4.2"),
    _claim("L40", "Jitter makes images more interpretable", l40, "4.2"),
    _claim("L41", "To start from a mean image improves the coherence of the whole somewhat", l41, "4.2"),
    _claim(
        "L42",
        "In the latent space of a generator, images are much better than with earlier priors",
        l42,
        "4.3",
        limits=(ALMOST_ALWAYS,),
    ),
    _claim("L43", "Images from the latent space have limited diversity", l43, "4.3", limits=(ALMOST_ALWAYS,)),
    _claim("L44", "Different random starts often end in similar images", l44, "4.2", limits=(RESEMBLES,)),
    _claim("L45", "The log of the softmax makes images that are selective for a unit", l45, "4.4.1"),
    _claim("L46", "Swapped colour channels may be hard to notice by the accuracy", l46, "4.5", limits=(UNNOTICED,)),
    _claim("L47", "Activation maximisation with a generator shows the colours that a network was fed", l47, "4.5"),
    _ours("L48", "Activation maximisation without a generator shows them, too", l48),
    _ours("L49", "Reconstructions by ClaDec do not show them", l49, limits=(UNTOLD,)),
    _claim("L50", "Detectors emerge in the course of training", l50, "12.3.2"),
    _claim(
        "L51", "Accuracy and the emergence of object detectors are strongly correlated", l51, "12.3.2", limits=(STRONG,)
    ),
    _bau("L52", "Deeper layers have more unique detectors", l52),
    _bau("L53", "In a random basis there are fewer unique detectors than among units", l53),
    _ours("L54", "Units overlap with concepts by more than chance", l54),
]
CLAIMS = [replace(claim, after_data=AFTER_DATA.get(claim.key, "")) for claim in _LISTED]
