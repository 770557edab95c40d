"""What a referee asks of any explanation: shuffled labels, random weights, max-pooling that learns, small attacks."""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cladec_companion.engine.rows import rows_of, summary
from cladec_companion.engine.runner import CellRun, Samples
from cladec_companion.engine.setup import Setup
from cladec_companion.engine.trainings import ClassifierTraining
from cladec_companion.papers.cladec.sanity.attack import Search, heat_map, largest, perturbed, relative_changes
from cladec_companion.papers.cladec.sanity.settings import (
    AGAIN,
    ATTACK,
    CASCADE,
    POOLED,
    POOLED_AS,
    SHUFFLED,
    TRAINED,
    Part,
    SanitySettings,
    has_maps,
)
from cladec_companion.papers.cladec.sanity.trainings import (
    ChosenTraining,
    RandomisedTraining,
    RatedTraining,
    accuracy_on_training_images,
    chosen,
    explaining,
    layers_with_weights,
    with_shuffled_labels,
)
from cladec_companion.papers.cladec.shared import sample_indices, still_falling
from cladec_companion.records.samples import as_uint8, below, places
from cladec_core import measures, networks, training

COMPARED = 500  # test images whose explanations are compared
CLADEC, DIFFERENCE, GRADCAM = "cladec", "difference", "gradcam"


def run_cell(setup: Setup, part: Part, keep_samples: bool) -> CellRun:
    """Run one check of one layer.

    Returns
    -------
    rows
        {"layer", "check", "randomised", "method", "metric", "value"}. `rank_correlation` and `ssim` compare an
        explanation with that of the trained classifier, `attack_change` is relative (`attack.relative_changes`); a
        metric that ends in `_error` is the standard error over images of the one that it is named after.
    samples
        uint8 images at fixed test images, if asked for.
    """
    run = {TRAINED: _measured, SHUFFLED: _measured, POOLED: _pooled, ATTACK: _attacked}.get(part.check, _compared)
    values, images = yield from run(setup, part)
    rows = rows_of(values, layer=part.layer, check=part.check, randomised=part.randomised)
    return rows, _samples(setup, part, images) if keep_samples else {}


Values = dict[str, dict[str, float]]
Pictures = dict[str, Tensor]  # by method, of all test images, or of the first ones, grey values in [0, 1]


def _samples(setup: Setup, part: Part, images: Pictures) -> Samples:
    """The first test image of each class that every check explains, and what this one makes of it."""
    data = setup.data
    labels = data.test_labels[: min(_count(setup), _settings(setup).attack_images)]
    at = sample_indices(labels, labels, wrong=0, bags=0).to(labels.device)
    named = str(part).split(" ")
    samples = {below(*named, method): as_uint8(found[at]) for method, found in images.items()}
    if part.check == TRAINED:
        samples |= {
            "original": as_uint8(data.to_unit(data.test_images[at])),
            "label": labels[at].cpu().numpy().astype(np.uint8),
        }
    return samples | places(at)


def _count(setup: Setup) -> int:
    """How many of the first test images are explained one by one."""
    return min(COMPARED, len(setup.data.test_images))


# ---- what the classifier has learnt: labels, pooling


def _measured(setup: Setup, part: Part) -> Any:
    """Train the networks of the protocol around the classifier, or around one of shuffled labels."""
    run = with_shuffled_labels(setup) if part.check == SHUFFLED else setup
    explain, reference = run.decoder(part.layer), setup.reference(part.layer)
    wanted = [run.classifier, explain, run.judge(explain, f"ClaDec {part.layer}")]
    if part.check == TRAINED:  # labels are nothing to the RefAE
        wanted += [reference, setup.judge(reference, f"RefAE {part.layer}")]
    classifier, *found = yield wanted
    values: Values = {"classifier": _accuracies(run, classifier)}
    if part.check == SHUFFLED:
        taught = run.explains
        assert taught is not None
        values["classifier"]["accuracy_own"] = accuracy_on_training_images(taught, classifier)
    images = {}
    for method, model, judge in zip(("cladec", "refae"), found[::2], found[1::2], strict=False):
        values[method], images[method] = _reconstructed(setup, model, judge)
    if part.check == TRAINED and has_maps(setup.architecture, part.layer):
        images[GRADCAM] = _maps(setup, classifier, part.layer)
    return values, images


def _pooled(setup: Setup, part: Part) -> Any:
    """Explain the max-pooled network that learnt best; the protocol's network judges, as it does for strides."""
    run = setup.changed(architecture=POOLED_AS[setup.architecture])
    rates = _settings(setup).rates
    best = explaining(run, ChosenTraining(run, rates))
    explain, reference = best.decoder(part.layer), best.reference(part.layer)
    judges = (setup.judge(model, f"{name} {part.layer}") for model, name in ((explain, "ClaDec"), (reference, "RefAE")))
    tried = [RatedTraining(run, rate) for rate in rates]
    classifier, found, reference_found, *others = yield [best.classifier, explain, reference, *judges, *tried]
    (judge, reference_judge), candidates = others[:2], others[2:]
    values: Values = {"classifier": _accuracies(run, classifier)}
    learnt = [accuracy_on_training_images(run, model) for model in candidates]
    values["classifier"]["rate"] = rates[chosen(learnt)]
    for rate, model, accuracy in zip(rates, candidates, learnt, strict=True):
        own = {"accuracy_train": accuracy, "accuracy": measures.accuracy(run.test(model), run.data.test_labels)}
        values[f"classifier at rate {rate}"] = own
    images = {}
    values["cladec"], images["cladec"] = _reconstructed(setup, found, judge)
    values["refae"], images["refae"] = _reconstructed(setup, reference_found, reference_judge)
    return values, images


def _accuracies(setup: Setup, classifier: nn.Module) -> dict[str, float]:
    """Of a classifier on test images and, with their true labels, on training images; and how many there are."""
    data = setup.data
    return {
        "accuracy": measures.accuracy(setup.test(classifier), data.test_labels),
        "accuracy_train": accuracy_on_training_images(setup, classifier),
        "train_images": len(data.train_images),
        "test_images": len(data.test_images),
    }


def _reconstructed(setup: Setup, model: nn.Module, judge: nn.Module) -> tuple[dict[str, float], Tensor]:
    """Losses of the reconstructions of the test images, what a judge learnt from such, and the first of them."""
    data = setup.data
    images = setup.test(model)
    values = {
        **measures.reconstruction_losses(data.test_images, images, data.std),
        "accuracy": measures.accuracy(setup.test(judge, images), data.test_labels),
        **still_falling(model),
    }
    return values, data.to_unit(images[: _count(setup)]).clamp(0, 1)


# ---- whether explanations follow the weights


def _compared(setup: Setup, part: Part) -> Any:
    """Explain a classifier of other weights, and compare with the explanations of the trained one.

    Decoders begin with the same weights and see the images in the same order, so that the classifier alone differs.
    """
    trained = [setup.classifier, setup.decoder(part.layer), setup.reference(part.layer)]
    stand_in = another(setup) if part.check == AGAIN else RandomisedTraining(setup, part.randomised)
    other = explaining(setup, stand_in)
    # What lies above the layer is nothing to ClaDec: the same code, and so the same decoder.
    same = part.check == CASCADE and not reaches(setup.architecture, part.layer, part.randomised)
    classifier, decoder, reference, changed, *its_own = yield [
        *trained, other.classifier, *([] if same else [other.decoder(part.layer)])
    ]  # fmt: skip
    first = explanations(setup, part.layer, classifier, decoder, reference)
    second = explanations(setup, part.layer, changed, (its_own or [decoder])[0], reference)
    values: Values = {"classifier": {"accuracy": measures.accuracy(setup.test(changed), setup.data.test_labels)}}
    for method, before in first.items():
        values[method] = similarity(before, second[method])
    values[CLADEC] |= any_falling(decoder, *its_own)
    values[DIFFERENCE] |= any_falling(decoder, *its_own, reference)
    return values, {name: found for name, found in second.items() if name != DIFFERENCE}


def another(setup: Setup) -> ClassifierTraining:
    """A classifier like the one that is explained, of another seed: one for each run, that no run explains."""
    return setup.changed(seed=training.derive_seed(setup.seed, "another classifier")).classifier


@lru_cache
def reaches(architecture: str, layer: str, randomised: int) -> bool:
    """Whether a cascade of so many random layers has come down to a layer."""
    network = networks.classifier(architecture, 1, 2, width=0.1)
    random = layers_with_weights(network)[-randomised:]
    return bool({*random} & {*dict(network.up_to(layer).named_children())})


def any_falling(*models: nn.Module) -> dict[str, float]:
    """The row that says whether the loss of any of these was still falling when its training ended."""
    return {"still_falling": max(still_falling(model)["still_falling"] for model in models)}


def explanations(
    setup: Setup, layer: str, classifier: nn.Module, decoder: nn.Module, reference: nn.Module
) -> dict[str, Tensor]:
    """What is shown of the first test images: X̂ of ClaDec, X̂ of RefAE less it, and the map of GradCAM.

    Returns
    -------
    dict
        (n, channels, height, width), grey values in [0, 1]; the difference from -1 to 1.
    """
    data, images = setup.data, setup.data.test_images[: _count(setup)]
    made, could = (data.to_unit(setup.test(model, images)).clamp(0, 1) for model in (decoder, reference))
    return {CLADEC: made, DIFFERENCE: could - made, GRADCAM: _maps(setup, classifier, layer)}


def _maps(setup: Setup, classifier: nn.Module, layer: str) -> Tensor:
    """GradCAM of the first test images, (n, 1, height, width)."""
    return measures.gradcam(classifier, layer, setup.data.test_images[: _count(setup)])[:, None]


def similarity(first: Tensor, second: Tensor) -> dict[str, float]:
    """How alike explanations of the same images are, each beside its counterpart: means, and their errors over images.

    Parameters
    ----------
    first, second
        (n, channels, height, width), n at least 2.

    Returns
    -------
    dict
        `rank_correlation`: Spearman's, of all values of an explanation; 0 where one of both is constant, as it then
        says nothing of the other. `ssim`: the structural similarity (Wang et al. 2004), 1 for equal ones.
    """
    return summary({
        "rank_correlation": measures.rank_correlation(first, second, constant=0.0),
        "ssim": structural_similarities(first, second),
    })  # fmt: skip


def structural_similarities(first: Tensor, second: Tensor) -> Tensor:
    """SSIM of each pair, (n,), for values from 0 to 1 or differences of such."""
    from skimage.metrics import structural_similarity

    pairs = zip(*(part.double().cpu().numpy() for part in (first, second)), strict=True)
    return torch.tensor(
        [structural_similarity(one, other, channel_axis=0, data_range=1.0) for one, other in pairs], dtype=torch.float64
    )


# ---- whether explanations follow what the classifier ignores


def _attacked(setup: Setup, part: Part) -> Any:
    """Search perturbations that change the code, ClaDec's image or GradCAM's map; each method's worst counts."""
    classifier, decoder = yield [setup.classifier, setup.decoder(part.layer)]
    settings, data = _settings(setup), setup.data
    images = data.test_images[: settings.attack_images]
    frozen, layers = decoder.children()
    code = frozen.module
    decode = nn.Sequential(code, layers).eval()
    aims = {"layer": code, CLADEC: decode, GRADCAM: heat_map(classifier, part.layer)}
    search = Search(settings.bound, settings.attack_steps)
    found = {name: perturbed(classifier, aim, images, data, search) for name, aim in aims.items()}
    explain: dict[str, Callable[[Tensor], Tensor]] = {
        "input": lambda images: images,
        "layer": lambda images: setup.test(code, images),
        CLADEC: lambda images: setup.test(decoder, images),
        GRADCAM: lambda images: measures.gradcam(classifier, part.layer, images),
    }
    values: Values = {"classifier": {"images": len(images)}, CLADEC: {}}
    for method, make in explain.items():
        before = make(images)
        changes = largest(relative_changes(before, make(moved)) for moved in found.values())
        if changes is not None:
            values[method] = summary({"attack_change": changes})
    values[CLADEC] |= still_falling(decoder)
    return values, _pictures(setup, part.layer, classifier, decoder, found)


def _pictures(
    setup: Setup, layer: str, classifier: nn.Module, decoder: nn.Module, found: dict[str, Tensor]
) -> Pictures:
    """What is shown of the attacks on ClaDec and on GradCAM: the perturbed image, and the explanation under attack."""
    data = setup.data
    shown: Pictures = {}
    for method, moved in found.items():
        if method != "layer":
            shown[f"{method} image"] = data.to_unit(moved).clamp(0, 1)
    shown[CLADEC] = data.to_unit(setup.test(decoder, found[CLADEC])).clamp(0, 1)
    shown[GRADCAM] = measures.gradcam(classifier, layer, found[GRADCAM])[:, None]
    return shown


def _settings(setup: Setup) -> SanitySettings:
    assert isinstance(setup.settings, SanitySettings)
    return setup.settings
