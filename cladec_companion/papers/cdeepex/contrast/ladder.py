"""A classifier that learns a class it has never seen, in steps that are kept (section 4.2 of the paper)."""

import copy
from dataclasses import replace

import torch
from torch import Tensor, nn

from cladec_companion.engine.setup import Setup
from cladec_companion.papers.cdeepex.contrast.trainings import exact
from cladec_companion.papers.cdeepex.scenes import EIGHT
from cladec_core import training

RUNGS = (0.0, 0.3, 0.6, 0.99)  # accuracies on the class at which the paper keeps the classifier
LESSON = 32  # images of each kind that are shown between two tests
LESSONS = 400  # the most
RECIPE = training.Recipe("adam", 2e-4, 0.0)  # a tenth of the first training's rate, so that rungs are not jumped over


def ladder(setup: Setup, unaware: nn.Module) -> list[tuple[nn.Module, float]]:
    """Show a classifier some images of the class that it lacks, until it knows it.

    Each lesson has as many images of the class as of all others together, so that the others are not forgotten. How
    much is known is tested on the test images, as in the paper. Where a rung is not reached, the last state stands for
    it.

    Returns
    -------
    list
        Classifiers and their accuracy on the class, for each of `RUNGS`.
    """
    data = setup.data
    own, others = ((data.train_labels == EIGHT) == mine for mine in (True, False))
    model = copy.deepcopy(unaware).requires_grad_(True)
    draw = torch.Generator().manual_seed(training.derive_seed(setup.seed, "ladder"))
    kept, wanted = [(copy.deepcopy(unaware), known(setup, unaware))], list(RUNGS[1:])
    for lesson in range(LESSONS):
        if not wanted:
            break
        at = torch.cat([_some(part, draw) for part in (own, others)]).to(data.train_labels.device)
        _teach(setup, model, data.train_images[at], data.train_labels[at], lesson)
        accuracy = known(setup, model)
        while wanted and accuracy >= wanted[0]:
            kept.append((_still(model), accuracy))
            wanted.pop(0)
    return kept + [(_still(model), known(setup, model)) for _ in wanted]


def known(setup: Setup, model: nn.Module) -> float:
    """Accuracy on the class, of the test images."""
    shown = setup.data.test_labels == EIGHT
    return (setup.test(model, setup.data.test_images[shown]).argmax(1) == EIGHT).double().mean().item()


def _some(which: Tensor, draw: torch.Generator) -> Tensor:
    places = which.cpu().nonzero().flatten()
    return places[torch.randint(len(places), (LESSON,), generator=draw)]


def _teach(setup: Setup, model: nn.Module, images: Tensor, labels: Tensor, lesson: int) -> None:
    """Learn from a few images, once."""
    job = training.Job(
        model, images, (labels,), nn.CrossEntropyLoss(), RECIPE, epochs=1, on=exact(setup), batch_size=LESSON,
        seed=training.derive_seed(setup.seed, "ladder", lesson),
    )  # fmt: skip
    training.fit(replace(job, label="ladder"))


def _still(model: nn.Module) -> nn.Module:
    return copy.deepcopy(model).eval().requires_grad_(False)
