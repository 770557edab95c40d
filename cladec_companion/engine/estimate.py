"""What cells cost: the trainings of each, their operations by counting, and seconds from steps measured here."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from cladec_companion.engine.plan import Job
from cladec_companion.engine.study import span
from cladec_companion.papers.cladec.controls import experiment as controls
from cladec_companion.papers.cladec.encoder_training import experiment as encoder_training
from cladec_companion.papers.cladec.layers.experiment import CLASSIFIER
from cladec_companion.papers.cladec.prototypes import network as prototype_network
from cladec_companion.papers.cladec.subsets import experiment as subsets
from cladec_companion.papers.cladec.your_own import experiment as your_own
from cladec_companion.records.settings import BASELINE, last_convolution
from cladec_core import networks, training
from cladec_core.data import SIZE
from cladec_core.explainer import fitting

# Training images, channels and classes, so that a plan needs no data.
SIZES = {
    "digits": (1_437, 1, 10), "mnist": (60_000, 1, 10), "fashion_mnist": (60_000, 1, 10),
    "cifar10": (50_000, 3, 10), "cifar100": (50_000, 3, 100),
}  # fmt: skip


@dataclass(frozen=True)
class Training:
    """One training of a cell.

    Attributes
    ----------
    label, epochs
        The label is that of the record.
    layer
        Whose activations are turned into images; empty for a classifier.
    encoder, judged
        Whether the encoder is trained, too (RefAE), and whether a classifier is part of the loss (Eq. 1, α > 0).
    channels
        How many of the layer's; None for all.
    variant
        Which classifier, data or loss, where there are several.
    architecture, style
        Of the classifier and of the decoder, where they are not those of the cell.
    halved
        Whether only half of the images are trained on.
    prototypes
        How many a prototype network learns; 0 for all other networks.
    explainer
        Width of the decoder where it is `ClaDec`'s, which is trained in its own way; 0 elsewhere.
    """

    label: str
    epochs: int
    layer: str = ""
    encoder: bool = False
    judged: bool = False
    channels: int | None = None
    variant: str = ""
    architecture: str = ""
    style: str = ""
    halved: bool = False
    prototypes: int = 0
    explainer: int = 0


Costs = dict[Job, dict[Training, float]]  # operations of each training
Rates = dict[tuple[str, bool], float]  # (network, whether it makes images) -> operations per second


def trainings(job: Job) -> list[Training]:
    """What a cell trains, with the classifier to explain; those of `ClaDec` may end after fewer epochs."""
    settings, part = job.settings, job.cell.part
    layer = getattr(part, "layer", str(part))
    classifier = Training(CLASSIFIER, settings.classifier_epochs)
    decoder = Training(f"decoder {layer}", settings.decoder_epochs, layer, variant=str(classifier.epochs))
    reference = Training(f"RefAE {layer}", settings.decoder_epochs, layer, encoder=True)
    judges = {
        name: Training(f"evaluation {name} {layer}", classifier.epochs)
        for name in ("ClaDec", "RefAE", "cladec", "refae")
    }
    match settings.experiment:
        case "layers" | "occlusion" if part == CLASSIFIER:
            return [classifier]
        case "layers":
            return [classifier, decoder, reference, judges["ClaDec"], judges["RefAE"]]
        case "controls":
            return _controlled(job, classifier, decoder, reference, judges["ClaDec"], judges["RefAE"])
        case "prototypes":
            label = f"{part.prototypes} prototypes"
            return [classifier, decoder, Training(label, settings.prototype_epochs, prototypes=part.prototypes)]
        case "occlusion":
            return [classifier, decoder]
        case "alpha":
            label = decoder.label + (f" α={part.alpha}" if part.alpha else "")
            return [classifier, replace(decoder, label=label, judged=part.alpha > 0), judges["ClaDec"]]
        case "encoder_training" if part.batchnorm == encoder_training.REFERENCE:
            return [reference, judges["refae"]]
        case "encoder_training" if part.batchnorm == encoder_training.SLOW:
            return [replace(classifier, epochs=part.epochs, variant=part.batchnorm)]
        case "encoder_training" if part.epochs:
            decoder = replace(decoder, variant=str(part.epochs))
            return [replace(classifier, epochs=part.epochs), decoder, judges["cladec"]]
        case "encoder_training":
            return [replace(decoder, variant=part.batchnorm), judges["cladec"]]
        case "subsets" if part.subset == subsets.FLOORS:
            return [classifier]
        case "subsets":
            total = _channels(job.cell.architecture, settings.width)
            if part.size < total:
                label = f"{decoder.label} channels {span(part.channels(total, job.cell.seed))}"
                decoder = replace(decoder, label=label, channels=part.size)
            return [classifier, decoder]
        case "your_own":
            pair = (your_own.BIASED, your_own.HONEST)
            explained = [] if part == CLASSIFIER else [decoder, reference]
            width = fitting.decoder_width(_available(job))
            return [replace(classifier, variant=name) for name in pair] + [
                replace(model, variant=name, explainer=width) for name in pair for model in explained
            ]
    raise NotImplementedError(f"What a cell of {settings.experiment} trains has to be listed here.")


def _controlled(
    job: Job, classifier: Training, decoder: Training, reference: Training, *judges: Training
) -> list[Training]:
    """What a cell of `layers` trains, as a control changes it."""
    control = job.cell.part.control
    if control == BASELINE:
        return [classifier, decoder, reference, *judges]
    if control == controls.ORIGINALS:
        return [classifier, decoder, reference, replace(classifier, label=f"evaluation {controls.ORIGINALS}")]
    if control in controls.ALPHAS:
        decoder = replace(decoder, label=f"{decoder.label} α={controls.ALPHAS[control]}", judged=True)
    changes = {
        "variant": control, "halved": control in {"same_half", "other_half"},
        "architecture": controls.POOLED[job.cell.architecture] if control == "max_pooling" else "",
        "style": control if control == "table1" else "",
    }  # fmt: skip
    decoder, reference, *judges = (replace(part, **changes) for part in (decoder, reference, *judges))
    if control not in {"mean_loss", controls.SMALL_ALPHA, "table1"}:
        classifier = replace(classifier, **changes | {"variant": "unit" if control == "sigmoid" else control})
    twin = {"other_half": "same_half", controls.SMALL_ALPHA: "mean_loss"}.get(control)  # has the same RefAE
    return [classifier, decoder, replace(reference, variant=twin or control), *judges]


@cache
def _channels(architecture: str, width: float) -> int:
    return last_convolution(architecture, width)[1]


def costs(waiting: Sequence[Job]) -> Costs:
    """Operations of what each cell trains; a model that several cells share is counted with the first of them."""
    found: Costs = {}
    shared = set()
    for job in waiting:
        settings, parts = job.settings, trainings(job)
        alike = (settings.train_limit, settings.batch_size, settings.width, settings.decoder_style, settings.resize)
        new = [part for part in parts if (job.cell.run, alike, part) not in shared]
        shared |= {(job.cell.run, alike, part) for part in new if not part.label.startswith("evaluation")}
        found[job] = {part: per_image(job, part) * _images(job, part) * part.epochs for part in new}
    return found


def _available(job: Job) -> int:
    """How many training images there are."""
    return min(SIZES[job.cell.dataset][0], job.settings.train_limit or SIZES[job.cell.dataset][0])


def _images(job: Job, part: Training) -> int:
    """How many images an epoch uses: whole batches."""
    images = _available(job) // (2 if part.halved else 1)
    images -= fitting.held_out(images) if part.explainer else 0
    return images - images % min(batch_size(job, part), images)


def batch_size(job: Job, part: Training) -> int:
    """Images in a step."""
    if part.explainer:
        images = _available(job)
        return fitting.plan(images - fitting.held_out(images), SIZES[job.cell.dataset][1] * SIZE**2)[0]
    return job.settings.prototype_batch_size if part.prototypes else job.settings.batch_size


def per_image(job: Job, part: Training) -> float:
    """Operations of a training step per image (see `operations`)."""
    return operations(replace(part, label="", epochs=0, variant="", halved=False), *network(job, part))


def network(job: Job, part: Training) -> tuple[str, int, int, float, str]:
    """What decides the shapes of a training: architecture, channels, classes, width and the decoder's style."""
    settings, sizes = job.settings, SIZES[job.cell.dataset][1:]
    return part.architecture or job.cell.architecture, *sizes, settings.width, part.style or settings.decoder_style


def _kind(job: Job, part: Training) -> tuple[str, bool]:
    """What trainings of the same speed have in common: the network, and whether it makes images."""
    return ("prototypes", True) if part.prototypes else (network(job, part)[0], bool(part.layer))


@cache
def operations(part: Training, architecture: str, channels: int, classes: int, width: float, style: str) -> float:
    """Floating-point operations of a training step per image, forward and backward.

    Those of convolutions and matrix products, counted on tensors without data; a multiplication and its addition
    are two. Passes of frozen encoders are left out.
    """
    batch = 2
    with torch.device("meta"):
        model, shape, loss = _task(part, architecture, channels, classes, width, style)
        images, labels = torch.zeros(batch, channels, SIZE, SIZE), torch.zeros(batch, dtype=torch.int64)
        with FlopCounterMode(display=False) as counter:
            loss(model.train()(torch.zeros(batch, *shape)), images, labels).backward()
    return counter.get_total_flops() / batch


def _task(
    part: Training, architecture: str, channels: int, classes: int, width: float, style: str
) -> tuple[nn.Module, tuple[int, ...], Callable[..., Tensor]]:
    """The model that is trained, the shape of what it is given, and its loss."""
    image = (channels, SIZE, SIZE)
    if part.prototypes:
        network = prototype_network.PrototypeNetwork(channels, classes, part.prototypes)
        compare = prototype_network.PrototypeLoss(network)
        return network, image, lambda output, images, labels: compare(output, labels)
    classifier = networks.classifier(architecture, channels, classes, width)
    if not part.layer:
        return classifier, image, lambda output, images, labels: training.classification_loss(output, labels)
    encoder = classifier.up_to(part.layer)
    shape = networks.activation_shape(encoder, image)
    shape = (part.channels or shape[0], *shape[1:])
    how = {"width": part.explainer} if part.explainer else {"style": style}
    decoder = networks.decoder(shape, image, **how)
    loss = training.ClaDecLoss(classifier.eval().requires_grad_(False) if part.judged else None, 0.5)
    return (nn.Sequential(encoder, decoder), image, loss) if part.encoder else (decoder, shape, loss)


def measured_rates(found: Costs, on: training.Compute) -> Rates:
    """Time real training steps of each network, on images of noise."""
    rates: Rates = {}
    for job, counts in found.items():
        for part in counts:
            key = _kind(job, part)
            if key not in rates:
                rates[key] = per_image(job, part) / _seconds_per_image(job, part, on)
    return rates


def _seconds_per_image(job: Job, part: Training, on: training.Compute) -> float:
    batch, channels = batch_size(job, part), SIZES[job.cell.dataset][1]

    def seconds(steps: int) -> float:
        with training.seeded(0):
            model, shape, loss = _task(part, *network(job, part))
            inputs, images = (torch.randn(steps * batch, *size) for size in (shape, (channels, SIZE, SIZE)))
        inputs, images, labels = (
            tensor.to(on.device) for tensor in (inputs, images, torch.zeros(steps * batch, dtype=torch.int64))
        )
        recipe = training.ADAM if part.layer or part.prototypes else training.SGD
        began = time.perf_counter()
        trial = training.Job(
            model.to(on.device), inputs, (images, labels), loss, recipe, epochs=1, seed=0, on=on, batch_size=batch
        )
        training.fit(trial)
        return time.perf_counter() - began

    steps = 100 if on.device.type == "cuda" else 2
    seconds(steps)  # warms up
    short, long = seconds(steps), seconds(3 * steps)
    return max(long - short, long / 10) / (2 * steps * batch)  # without what happens once in a training


def matmul_peak(on: training.Compute) -> float:
    """Operations per second of a large matrix product in the precision of `on`: the best of some."""
    size = 8192 if on.device.type == "cuda" else 2048
    first, second = (torch.randn(size, size, device=on.device, dtype=on.dtype) for _ in range(2))
    took = []
    for _ in range(6):
        began = time.perf_counter()
        (first @ second)[0, 0].item()  # waits for the device
        took.append(time.perf_counter() - began)
    return 2 * size**3 / min(took)


def seconds_of(job: Job, found: Costs, rates: Rates) -> float:
    """Seconds that the trainings of a cell are expected to take; 0 if other cells have trained all its models."""
    return sum(count / rates[_kind(job, part)] for part, count in found[job].items())


def with_unit(number: float) -> str:
    """1.2e13 -> `12 T`."""
    power = max((power for power in range(7) if number >= 1000**power), default=0)
    return f"{number / 1000**power:.3g} {' kMGTPE'[power]}".strip()
