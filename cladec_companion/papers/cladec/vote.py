"""Vote first: explanations with the reference covered, what readers vote for, and the answer that the numbers give.

The rule, which was made when the five worked cases had been seen: an explanation that is near to the image has *kept*
it. If it is not, *nothing follows* where the reference misses the same, or is no nearer to the image itself. What is
left was lost by the classifier: *replaced by what is typical* if the explanation is nearer to the average explanation
of the other images of the predicted class than to its own image, else *discarded*.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from IPython.display import HTML
from scipy.ndimage import uniform_filter

from cladec_companion.evidence.explorer import vote
from cladec_companion.evidence.style import apart, picture, signed_difference, unit
from cladec_companion.papers.cladec.cases import CASES, Case, found
from cladec_companion.papers.cladec.limits import LOOKS_KEPT, LOST_BY_BOTH
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages, runs_of
from cladec_core.data import DATASETS

OPTIONS = ("kept", "discarded", "replaced by what is typical", "nothing follows")
KEPT, DISCARDED, TYPICAL, NOTHING = range(4)
COARSE = 7  # pixels; what is left of an image without its means over so many is its fine pattern
ABOUT = "An image and ClaDec's reconstruction of it, beside a covered reference; your vote uncovers it"
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Question:
    """What is asked about a case.

    Attributes
    ----------
    case
        The explanation.
    about
        What may have been kept or lost.
    box
        Where that is: top, bottom, left and right in pixels; None for the whole image.
    fine
        Whether it is a pattern, so that the tone around it does not count.
    """

    case: Case
    about: str
    box: Box | None = None
    fine: bool = False


# The votes of the slides. The boxes were settled when the distances in them had been seen.
ASKED = {
    "kept": Question(CASES["kept"], "the trousers"),
    "discarded": Question(CASES["discarded"], "the empty place under the strap", (14, 20, 8, 25)),
    "typical": Question(CASES["typical"], "the tone and the outline of this bag"),
    "trap": Question(CASES["trap"], "the letters, whatever the tone around them", (8, 18, 8, 24), fine=True),
    "drift": Question(CASES["drift"], "the opening and the upper stroke of the 6", (2, 14, 8, 28)),
}


@dataclass(frozen=True)
class Answer:
    """What the numbers say: root mean square distances in the box, as shares of the way from white to black.

    Attributes
    ----------
    explanation, reference
        From the image.
    between
        From one another.
    typical
        Of the explanation from the average of `others`; NaN if there are none.
    others
        How many other recorded images the classifier takes for the same class.
    named
        Name of that class.
    """

    explanation: float
    reference: float
    between: float
    typical: float
    others: int
    named: str

    @property
    def option(self) -> int:
        """Place in `OPTIONS`."""
        if self.explanation < LOOKS_KEPT.value:
            return KEPT
        if self.between < LOST_BY_BOTH.value * self.explanation or self.reference >= self.explanation:
            return NOTHING
        return TYPICAL if self.typical < self.explanation else DISCARDED

    @property
    def reason(self) -> str:
        """The numbers in words."""
        told = f"ClaDec's image is {self.explanation:.0%} from X, the reference's {self.reference:.0%}; "
        told += f"the two are {self.between:.0%} apart."
        if self.option not in (TYPICAL, DISCARDED):
            return told
        if not self.others:
            return f"{told} No other image here is taken for {self.named}."
        side = "nearer to" if self.option == TYPICAL else "no nearer to"
        average = f"the average ClaDec image of the {self.others} others here that are taken for {self.named}"
        if self.others == 1:
            average = f"the ClaDec image of the one other here that is taken for {self.named}"
        return f"{told} ClaDec's is {side} {average} ({self.typical:.0%}) than to X."


def answered(record: Record, question: Question) -> Answer:
    """What the numbers of a record say to a question."""
    case = question.case
    images, at = found(record, case)
    explained = unit(images.aligned(case.layer, "cladec"))
    others = np.flatnonzero(images.predicted == images.predicted[at])
    others = others[others != at]
    original, reference = unit(images.original[at]), unit(images.aligned(case.layer, "refae")[at])

    def distance(first: np.ndarray, second: np.ndarray) -> float:
        top, bottom, left, right = question.box or (0, first.shape[-2], 0, first.shape[-1])
        parts = [
            image - uniform_filter(image, (0, COARSE, COARSE)) if question.fine else image for image in (first, second)
        ]
        return float(apart(*(part[:, top:bottom, left:right] for part in parts)))

    return Answer(
        distance(explained[at], original), distance(reference, original), distance(reference, explained[at]),
        distance(explained[at], explained[others].mean(0)) if len(others) else np.nan,
        len(others), DATASETS[case.dataset].classes[int(images.predicted[at])],
    )  # fmt: skip


def _every(record: Record) -> Iterator[tuple[Question, Answer]]:
    """Every recorded explanation that has another one of the predicted class beside it, asked about as a whole."""
    for run in runs_of(record):
        images = RunImages.of(record, *run)
        for layer in images.layers():
            for image in images.index.tolist():
                question = Question(Case(image, layer.name, *run), "the image as a whole")
                answer = answered(record, question)
                if answer.others:
                    yield question, answer


def clearest(record: Record) -> list[Question]:
    """For each answer the explanation of a record that is clearest in it, and none of the worked ones.

    Of those that kept their image it is the one nearest to that image; of those that lost something together with the
    reference, the nearest to the reference; of typical ones the nearest to its class. Of those that discarded
    something, it is the one that is farthest both from the reference and, beyond its image, from its class.
    """
    rank = {
        KEPT: lambda one: one.explanation, NOTHING: lambda one: one.between / one.explanation,
        TYPICAL: lambda one: one.typical / one.explanation,
        DISCARDED: lambda one: -min(one.between, one.typical - one.explanation),
    }  # fmt: skip
    worked = {(case.dataset, case.image) for case in CASES.values()}
    every = [(question, answer) for question, answer in _every(record) if _image(question) not in worked]
    chosen: list[Question] = []
    for option, clearness in rank.items():
        fitting = [
            (clearness(answer), place)
            for place, (question, answer) in enumerate(every)
            if answer.option == option and _image(question) not in set(map(_image, chosen))
        ]
        chosen += [every[min(fitting)[1]][0]] if fitting else []
    return chosen


def _image(question: Question) -> tuple[str, int]:
    return question.case.dataset, question.case.image


def figure(record: Record) -> HTML:
    """The worked cases, then those of `clearest`, with a vote on each.

    Parameters
    ----------
    record
        Of the experiment `layers`.
    """
    questions = [*ASKED.values(), *sorted(clearest(record), key=_image)]
    shown: dict[str, list[np.ndarray]] = {"X": [], "ClaDec": [], "RefAE": [], "RefAE − ClaDec": []}
    names, notes = [], []
    for question in questions:
        case = question.case
        images, at = found(record, case)
        original, refae, cladec = (
            unit(part[at])
            for part in (images.original, *(images.aligned(case.layer, name) for name in ("refae", "cladec")))
        )
        for name, image in (("X", original), ("ClaDec", cladec), ("RefAE", refae)):
            shown[name].append(picture(image))
        shown["RefAE − ClaDec"].append(signed_difference(refae, cladec))
        (layer,) = (layer.label for layer in images.layers() if layer.name == case.layer)
        title = images.titles(DATASETS[case.dataset].classes, [at])[0].replace("\n→ ", ", taken for ")
        names.append(f"{title}; {layer}")
        where = " (the dashed box)" if question.box else ""
        notes.append(f"What did the layer do with {question.about}{where}?")
    answers = [answered(record, question) for question in questions]
    return vote(
        names, {name: np.stack(images) for name, images in shown.items()}, ["RefAE", "RefAE − ClaDec"], notes, OPTIONS,
        [answer.option for answer in answers], [answer.reason for answer in answers],
        [question.box for question in questions], ABOUT,
    )  # fmt: skip
