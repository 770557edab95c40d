"""What "slightly", "about" and "strongly" mean: every limit that decides a claim, with its reason and its date.

The paper gives no numbers for such words, so someone has to. A limit that was set when numbers on which it decides had
been seen already, printed ones or ours, says so.
"""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Threshold:
    """A limit behind a word of the paper.

    Attributes
    ----------
    word
        What the paper says, or what the limit is called here.
    value
        The limit, in the unit of what it is compared with.
    claims
        Keys of the claims that it decides.
    reason, since
        Why this value, and the day on which it was set.
    after_data
        Whether numbers on which it decides had been seen by then, printed ones or ours.
    """

    word: str
    value: float
    claims: tuple[str, ...]
    reason: str
    since: str
    after_data: bool = False


ALMOST_ALWAYS = Threshold(
    "almost always", 0.9, ("B2", "L36"), "share of the cells; one exception in ten is the usual reading", "2026-11-21"
)
CONSTANT = Threshold(
    "fairly constant", 0.01, ("B7",),
    "change of an accuracy over all layers below the last: a point, over twice the largest seed-to-seed sd printed",
    "2026-11-21", after_data=True,
)  # fmt: skip
ABOUT = Threshold(
    "about (an accuracy)", 0.01, ("B18", "B29"), "one point of an accuracy that is given in whole points", "2026-11-21"
)
SAME_LOSS = Threshold(
    "does not depend (a loss)", 0.05, ("B29",),
    "share of the RefAE's loss: a twentieth of the gap to ClaDec's in Table 6", "2026-11-21", after_data=True,
)  # fmt: skip
SLIGHTLY = Threshold(
    "slightly above the minimum", 0.01, ("B19",),
    "α over grey values, as the paper weighs it: a hundredth of its range", "2026-11-21",
)  # fmt: skip
STRONG_IMPACT = Threshold(
    "strong impact", 0.5, ("B19",), "share of what all larger weights bring together: at least half of it", "2026-11-21"
)
RECOGNISABLE = Threshold(
    "not recognisable", 0.3, ("B20",), "correlation of pixels: below a medium one by Cohen's convention", "2026-11-21"
)
OMITTED = Threshold(
    "omitted", 0.5, ("B12", "B37"), "share of an image's texture that is left: less than half of it", "2026-11-21"
)
KEPT = Threshold(
    "kept", 0.9, ("B12",), "share of the RefAE's overlap of silhouettes: nine tenths of what the decoder could do",
    "2026-11-21", after_data=True,
)  # fmt: skip
PRESERVED = Threshold(
    "preserved (distances)", 0.05, ("B31",),
    "how far the rank correlation of distances may stay below that of a random projection of equal size",
    "2026-11-21", after_data=True,
)  # fmt: skip
FRACTION = Threshold(
    "a fraction of the neurons",
    0.25,
    ("B33",),
    "share of the channels: more than a quarter is no fraction",
    "2026-11-21",
)
SUFFICES = Threshold(
    "suffices", 0.9, ("B33",), "share of the improvement over the mean image that all channels bring", "2026-11-21"
)
GUESSED = Threshold(
    "can only be guessed", 0.5, ("B35",),
    "share of the accuracy above chance that all channels give: nearer to chance than to it",
    "2026-11-21", after_data=True,
)  # fmt: skip
AS_GOOD = Threshold(
    "as good as", 0.1, ("B36",), "relative difference of mean losses that nobody sees in a picture", "2026-11-21"
)
ENOUGH = Threshold(
    "enough subsets", 5, ("B34", "B35", "B36"), "subsets of a kind below which no interval is worth the name",
    "2026-11-21",
)  # fmt: skip
LEARNT = Threshold(
    "a trained prototype network", 0.8, ("B37",),
    "share of the classifier's accuracy; a network below it has not learnt what its prototypes are to show",
    "2026-11-21", after_data=True,
)  # fmt: skip
SMALL = Threshold(
    "small (ΔAcc)", 0.05, ("B40", "B43"), "the largest of Tables 7 and 8 are six times as large", "2026-11-21"
)
VERY_LARGE = Threshold("very large (an sd)", 2.0, ("B48",), "times the sd of the other data sets, pooled", "2026-11-21")
STRONG = Threshold("strong (a correlation)", 0.5, ("B49", "B52", "L51"), "large by Cohen's convention", "2026-11-21")
ALIKE = Threshold(
    "about the same (a cost)", 2.0, ("B50",), "neither takes more than so many times as long as the other", "2026-11-21"
)
STEPS = Threshold(
    "equal steps", 0.05, ("B53",), "relative difference of training steps: the last, smaller batch of an epoch",
    "2026-11-21",
)  # fmt: skip
FEW = Threshold("relatively few", 0.5, ("B54",), "share of the units: fewer than half", "2026-11-21")
OFTEN = Threshold(
    "named often", 0.05, ("B55",), "share of the answers; a concept that fewer name is rare", "2026-11-21"
)
RICH = Threshold("a rich set", 5, ("B55",), "concepts, two more than the study's introduction names", "2026-11-21")
VALID = Threshold(
    "98 % valid", 0.95, ("B55",), "share of the answers, below what is printed by its own error", "2026-11-21"
)
KEEPS_CLASSES = Threshold(
    "hardly ever changes the class", 0.9, ("S3",),
    "F_cls: nine examples in ten keep their class; in our records the mean over examples of the class and over others, "
    "as a low constant keeps nine in ten of all, and only where the mean logit does not pass it, too", "2026-11-22",
    after_data=True,
)  # fmt: skip
CARRIES = Threshold(
    "one x-feature carries the decision", 0.75, ("S16",),
    "share of the positive contributions: midway between two equal reasons and a single one", "2026-11-22",
)  # fmt: skip
MUCH_LARGER = Threshold(
    "far less faithful, or far worse",
    2.0,
    ("S2", "S10", "S11"),
    "times as large an error F_reg: at least twice",
    "2026-11-21",
    after_data=True,
)
ALMOST_MATCHING = Threshold(
    "almost matching (locality)", 0.05, ("S8",),
    "nats above that of single units: a tenth of the gap to the logit's map that is printed", "2026-11-21",
    after_data=True,
)  # fmt: skip
SIMILAR_TABLES = Threshold(
    "similar results", 0.9, ("S9",), "share of pairs of methods in the same order; one exception in ten is usual",
    "2026-11-21",
)  # fmt: skip
STILL_RECOGNISED = Threshold(
    "almost complete", 0.05, ("S14",), "accuracy that is lost; 0.037 is printed", "2026-11-21", after_data=True
)
NO_BETTER = Threshold("no improvement", 0.1, ("S15",), "share by which F_reg may fall all the same", "2026-11-21")
LEARNT_MOSAICS = Threshold(
    "a classifier has learnt the mosaics", 0.95, (),
    "accuracy; below it maps show what was not learnt, and the comparison means little", "2026-11-21",
)  # fmt: skip
TRAINED = Threshold(
    "a control's classifier has learnt", 0.5, ("Q5",),
    "share of the baseline's accuracy; set after max-pooling had not learnt at the common rate", "2026-11-21",
    after_data=True,
)  # fmt: skip
REPEATED = Threshold(
    "noise that the records know", 4, (),
    "degrees of freedom; the runs behind a printed sd have as many. Seeds count once in a record, not once for each "
    "number that was measured with them",
    "2026-11-22", after_data=True,
)  # fmt: skip
CLEARLY = Threshold("points at (your own)", 2.0, (), "times as much as its area, or as the other has", "2026-11-21")
HALF = Threshold("is there (your own)", 0.5, (), "share of a marker; with more of it, it is there", "2026-11-21")
LOOKS_KEPT = Threshold(
    "kept (a vote)", 0.1, (),
    "distance from the image as a share of the way from white to black: faint noise, which nobody sees",
    "2026-11-22", after_data=True,
)  # fmt: skip
LOST_BY_BOTH = Threshold(
    "nothing follows (a vote)", 0.3, (),
    "distance of the reference from ClaDec, as a share of ClaDec's from the image: less than a third, so that most of "
    "what is missing is missing from both",
    "2026-11-22", after_data=True,
)  # fmt: skip

ADDS_UP = Threshold(
    "adds up (attributions)", 0.05, ("L1",),
    "share of the change of the output that is left over: what 32 steps of an integral may miss", "2026-11-21",
)  # fmt: skip
CONSERVED = Threshold(
    "conserved (relevance)", 0.01, (), "share of the output that is lost: rounding in some ten layers",
    "2026-11-21",
)  # fmt: skip
EQUIVALENT = Threshold(
    "equivalent (maps)", 0.99, (), "correlation of pixels, or of sums with outputs: the rest is rounding",
    "2026-11-21",
)  # fmt: skip
APPROXIMATES = Threshold(
    "a good approximation (maps)", 0.9, ("L15",), "correlation of pixels: four fifths of the variance", "2026-11-21"
)
RESEMBLES = Threshold(
    "similar, or heavily affected (maps)", 0.5, ("L8", "L11", "L12", "L14", "L44", "X6", "X18"),
    "correlation of pixels: large by Cohen's convention, so that similar maps are above and affected ones below it",
    "2026-11-21",
)  # fmt: skip

UNMOVED = Threshold(
    "unchanged, or changed (maps)", 0.01, ("L26", "L27", "L29", "L30", "L32", "L34", "L35"),
    "distance as a share of the map's length: what nobody sees in a picture", "2026-11-21",
)  # fmt: skip

NOT_RECOGNISED = Threshold(
    "cannot be recognised", 0.5, ("L36",), "share of what another network recognises of test images: less than half",
    "2026-11-22",
)  # fmt: skip
UNNOTICED = Threshold(
    "hard to notice (an accuracy)", 0.02, ("L46",), "two points, which another seed may bring", "2026-11-22"
)
UNTOLD = Threshold(
    "do not show (colours)", 0.6, ("L49",), "share of classes with the right order: nearer to one half than to 0.7",
    "2026-11-22", after_data=True,
)  # fmt: skip


MOSTLY = Threshold(
    "consistently, most", 0.5, ("X3", "X12", "X14", "X15"), "share of the images: more than half of them", "2026-11-22"
)
INDISTINGUISHABLE = Threshold(
    "cannot be distinguished", 0.01, ("X9",), "share of an image's energy: what nobody sees in a picture", "2026-11-22"
)
SELDOM = Threshold("recognised seldom", 0.5, ("X12",), "share of the 8s; the paper prints 5 %", "2026-11-22")
AS_PLAUSIBLE = Threshold(
    "could take the place of, regardless of",
    0.1,
    ("X8", "X19"),
    "share of the images by which it may fall short",
    "2026-11-22",
)
ANSWERED = Threshold(
    "enough searches ended (contrasts)", 0.8, ("X4", "X5"),
    "share of the searches that met their constraints: of fewer, those that did may be the easy questions",
    "2026-11-22",
)  # fmt: skip
REDRAWN = Threshold(
    "a generator draws the images", 0.25, (),
    "share of an image's energy that it misses: with more of it missing, much of the image cannot be changed",
    "2026-11-22", after_data=True,
)  # fmt: skip
LEARNT_GARMENTS = Threshold(
    "a network has learnt (contrasts)", 0.9, ("X16", "X17"), "accuracy; the paper's have 0.92 on Fashion-MNIST",
    "2026-11-22",
)  # fmt: skip


def table() -> pd.DataFrame:
    """Every threshold, for a page of the book."""
    rows = [found for found in globals().values() if isinstance(found, Threshold)]
    return pd.DataFrame(
        {
            "word": [row.word for row in rows],
            "limit": [f"{row.value:g}" for row in rows],
            "decides": [", ".join(row.claims) or "a check of ours" for row in rows],
            "because": [row.reason for row in rows],
            "since": [row.since + (", after the numbers had been seen" if row.after_data else "") for row in rows],
        }
    ).set_index("word")
