"""What a neuron wants: maximised images of class units and of hidden units, and how recognisable they are."""

from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor, nn

from cladec_companion.engine.rows import Value, rows_of
from cladec_companion.engine.runner import CellRun, Rows, Samples
from cladec_companion.engine.setup import Setup
from cladec_companion.engine.trainings import Training
from cladec_companion.papers.xai.maximisation import (
    OF_CODES,
    PRIORS,
    Climb,
    most_alike,
    nearest,
    pairs_of,
    part_of,
    total_variation,
)
from cladec_companion.papers.xai.units.common import ANSWERS, evenly
from cladec_companion.papers.xai.units.settings import settings_of
from cladec_companion.records.samples import as_uint8, below
from cladec_core import measures, networks, training
from cladec_core.networks import Classifier

CLASSES, HIDDEN = "classes", "hidden units"
KEPT = {CLASSES: "wanted", HIDDEN: "hidden"}  # names of their images in a record
OUTPUT = "logits"
JUDGES = ("vgg5", "resnet10")  # the first that is not the classifier's own architecture, whose habits it might share
GENERATORS = {"dgn_cladec": "ClaDec's latent space", "dgn_refae": "RefAE's latent space"}
SINGLE = "single"  # ClaDec trained on one unit alone, as in the chapter `subsets`
SELECTIVE = "selective"
# Images that need no search, or hardly one: what is better than these owes it to the search.
ZERO, MEAN, SHIFTED = "zero", "mean", "none_mean"
# From starts that have nothing in common, and these starts themselves.
STARTS_ALONE = "starts"
FAR = {"none": "none_far", "all": "all_far"}
TITLES = {
    "none": PRIORS["none"].title, SELECTIVE: "no prior, log-softmax",
    **{name: prior.title for name, prior in PRIORS.items() if name != "none"}, **GENERATORS,
    FAR["none"]: "no prior, start of full contrast", FAR["all"]: "all, start of full contrast",
    STARTS_ALONE: "start of full contrast, no search",
    SHIFTED: "no prior, mean image added", ZERO: "grey, no search", MEAN: "mean image, no search",
    "cladec": "ClaDec of the best image", "refae": "RefAE of the best image", SINGLE: "ClaDec of this unit alone",
    "real": "best test image",
}  # fmt: skip
HIDDEN_PRIORS = ("none", "all")  # of hidden units; those of class units have all
SWEPT = ("l2", "tv", "blur")  # priors whose strength a reader changes
FACTORS = (0.0, 0.5, 1.0, 2.0, 4.0)
STARTS = 3  # of the search for each unit
NEIGHBOURS = 2000  # training images among which the nearest is looked for
CODES = 1000  # of training images, that say what codes are like
SHOWN = 5


@dataclass(eq=False)
class Bench:
    """The networks and images that units are maximised with."""

    setup: Setup
    classifier: Classifier
    decoder: nn.Module
    reference: nn.Module
    judge: nn.Module
    layer: str

    @cached_property
    def real(self) -> Tensor:
        """Training images to which others are near or not."""
        return self.setup.data.train_images[:NEIGHBOURS]

    @property
    def size(self) -> tuple[int, ...]:
        """(channels, height, width) of an image."""
        return tuple(self.real.shape[1:])

    def shown(self, images: Tensor) -> Tensor:
        """Images clipped to the range of the data's pixels: what a reader sees, and what is judged."""
        low, high = self.real.amin((0, 2, 3), keepdim=True), self.real.amax((0, 2, 3), keepdim=True)
        return torch.minimum(torch.maximum(images, low), high)

    def climb(self, network: nn.Module, generator: str = "") -> Climb:
        """A search over pixels, or over codes of a generator."""
        settings = settings_of(self.setup)
        samples, decoder = self.real, None
        if generator:
            encoder, decoder = (self.decoder if generator == "dgn_cladec" else self.reference).children()
            samples = self.setup.test(encoder, self.real[:CODES])
        seed = training.derive_seed(self.setup.seed, "units", generator)
        return Climb(network, self.size, samples, decoder, steps=settings.steps, seed=seed)


@dataclass(eq=False)
class Question:
    """Some units of a layer, each of which several images are made for.

    Attributes
    ----------
    at
        `CLASSES` or `HIDDEN`.
    network
        The classifier up to the layer.
    units
        Their places in the layer, (units,); each has `STARTS` images.
    """

    bench: Bench
    at: str
    network: nn.Module
    units: Tensor

    @classmethod
    def of(cls, bench: Bench, at: str, layer: str, units: Tensor) -> "Question":
        """Units of a layer of the bench's classifier."""
        units = units.to(bench.real.device)
        network = part_of(bench.classifier, layer, units, bench.size)
        return cls(bench, at, network, units)

    @cached_property
    def every(self) -> Tensor:
        """The unit of each image, (units x STARTS,), all images of a unit one after the other."""
        return self.units.repeat_interleave(STARTS)

    def values(self, images: Tensor | None = None) -> Tensor:
        """Activations of the whole layer, (n, its units), for some images or for the test images."""
        found = self.bench.setup.test(self.network, images)
        return found.flatten(2).mean(2) if found.ndim > 2 else found

    @cached_property
    def on_real(self) -> Tensor:
        """Activations of the units for the test images, (n, units)."""
        return self.values()[:, self.units]

    @cached_property
    def best_real(self) -> Tensor:
        """Test images that activate each unit most, (units x STARTS, ...)."""
        best = self.on_real.topk(STARTS, dim=0).indices.T.flatten()
        return self.bench.setup.data.test_images[best]

    def decoded(self) -> dict[str, Tensor]:
        """These images, and what the decoders make of them."""
        bench = self.bench
        networks_of = {"cladec": bench.decoder, "refae": bench.reference}
        made = {name: bench.setup.test(model, self.best_real) for name, model in networks_of.items()}
        return made | {"real": self.best_real}

    def judged(self, images: Tensor) -> dict[str, Value]:
        """What images are judged by: a number for each image, or for each unit."""
        found, bench = self.values(images), self.bench
        reached = found.gather(1, self.every.unsqueeze(1)).squeeze(1)
        distance, place = nearest(images, bench.real)
        values: dict[str, Value] = {
            "nearest": distance,
            "unlike": 1 - most_alike(images, bench.real),
            "variation": total_variation(images) / total_variation(bench.real).mean(),
            "reached": (reached - self.on_real.amax(0).repeat_interleave(STARTS)).double(),
            "highest": (found.argmax(1) == self.every).double(),
            "selected": ((found.argmax(1) == self.every) & (reached > 0)).double(),
            "alike": pairs_of(images, STARTS, partial(measures.correlation, constant=torch.nan)),
            "spread": pairs_of(images, STARTS, lambda one, other: (one - other).pow(2).flatten(1).mean(1).sqrt()),
        }
        if self.at == CLASSES:
            by_judge = bench.setup.test(bench.judge, images).log_softmax(1)
            values["judged"] = (by_judge.argmax(1) == self.every).double()
            values["sure"] = by_judge.gather(1, self.every.unsqueeze(1)).squeeze(1)
            values["neighbour"] = (bench.setup.data.train_labels[place] == self.every).double()
        return values

    def answer(self, made: dict[str, Tensor], keep_samples: bool) -> tuple[Rows, Samples]:
        """Rows of images by method, and one image of each unit and method."""
        rows: Rows = []
        samples: Samples = {}
        for name, images in made.items():
            shown = self.bench.shown(images)
            rows += rows_of({name: self.judged(shown)}, ANSWERS, layer=self.at)
            if keep_samples:
                kept = self.bench.setup.data.to_unit(shown[::STARTS][:SHOWN])
                samples[below(KEPT[self.at], name)] = as_uint8(kept)
        return rows, samples


def run_cell(setup: Setup, keep_samples: bool) -> CellRun:
    """Maximise units by every method, and judge the images.

    Returns
    -------
    rows
        {"layer", "method", "metric", "value"}; the layer is `CLASSES` or `HIDDEN`.
    samples
        Images by method, of some units; of priors the images at several strengths, and how they are judged.
    """
    layer = networks.layer_name(setup.architecture, settings_of(setup).layer)
    wanted: list[Training] = [setup.classifier, setup.decoder(layer), setup.reference(layer)]
    other = setup.changed(architecture=next(name for name in JUDGES if name != setup.architecture))
    wanted.append(other.judge(None, "units"))
    if setup.seed == settings_of(setup).seeds[0]:  # the one whose images are kept: no number is taken of this decoder
        wanted.append(setup.decoder(layer, channels=[0]))
    classifier, decoder, reference, judge, *single = yield wanted
    bench = Bench(setup, classifier, decoder.eval(), reference.eval(), judge.eval(), layer)
    rows, samples = _classes(bench, keep_samples)
    more, hidden = _hidden(bench, single if keep_samples else [], keep_samples)
    predicted = setup.test(classifier).argmax(1)
    judged = setup.test(judge).argmax(1) == setup.data.test_labels
    rows += rows_of({"test": {"judged": judged.double()}}, ANSWERS, layer=CLASSES)
    known = {"accuracy": (predicted == setup.data.test_labels).double().mean().item(), "test_images": len(predicted)}
    return rows + more + rows_of({"classifier": known}, layer="classifier"), samples | hidden


def _classes(bench: Bench, keep_samples: bool) -> tuple[Rows, Samples]:
    """Class units by each prior and in each latent space, and once by the logarithm of the class's probability."""
    units = evenly(len(bench.setup.data.classes), settings_of(bench.setup).classes)
    asked = Question.of(bench, CLASSES, OUTPUT, units)
    pixels = bench.climb(asked.network)
    sizes = pixels.step_sizes(asked.every)
    made = {name: pixels.maximise(asked.every, prior, sizes=sizes) for name, prior in PRIORS.items()}
    made[SELECTIVE] = replace(pixels, selective=True).maximise(asked.every, PRIORS["none"])
    for name in GENERATORS:
        made[name] = bench.climb(asked.network, name).maximise(asked.every, OF_CODES)
    begun = pixels.start(len(asked.every), PRIORS["none"], contrast=1.0)
    for name, far in FAR.items():
        made[far] = pixels.maximise(asked.every, PRIORS[name], start=begun, sizes=sizes)
    mean = bench.real.mean(0).expand_as(begun)
    made |= {STARTS_ALONE: begun, SHIFTED: made["none"] + mean, ZERO: torch.zeros_like(begun), MEAN: mean}
    rows, samples = asked.answer(made | asked.decoded(), keep_samples)
    if keep_samples:
        samples["units"] = asked.units[:SHOWN].cpu().numpy().astype(np.uint8)
        samples |= _swept(asked, pixels, sizes, made)
    return rows, samples


def _hidden(bench: Bench, single: list[nn.Module], keep_samples: bool) -> tuple[Rows, Samples]:
    """Hidden units: their raw activation, and once the log-softmax over the layer.

    `single` has ClaDec of the first unit alone, if there is one; it is shown at the unit's highest activation.
    """
    width = networks.activation_shape(bench.classifier.up_to(bench.layer), bench.size)[0]
    units = torch.arange(min(settings_of(bench.setup).hidden, width))
    asked = Question.of(bench, HIDDEN, bench.layer, units)
    pixels = bench.climb(asked.network)
    made = {name: pixels.maximise(asked.every, PRIORS[name]) for name in HIDDEN_PRIORS}
    made[SELECTIVE] = replace(pixels, selective=True).maximise(asked.every, PRIORS["none"])
    for name in GENERATORS:
        made[name] = bench.climb(asked.network, name).maximise(asked.every, OF_CODES)
    rows, samples = asked.answer(made | asked.decoded(), keep_samples)
    for model in single:
        alone = bench.setup.test(model, asked.best_real[:1])
        samples[below(KEPT[HIDDEN], SINGLE)] = as_uint8(bench.setup.data.to_unit(alone))
    return rows, samples


def _swept(asked: Question, climb: Climb, sizes: Tensor, made: dict[str, Tensor]) -> Samples:
    """Images of class units at several strengths of a prior, (units, strengths, ...), and how sure networks are.

    They begin where the first image of each unit began; `made` has those without a prior and with all its strength.
    """
    setup, bench, samples = asked.bench.setup, asked.bench, {}
    units, first = asked.units[:SHOWN], slice(0, SHOWN * STARTS, STARTS)
    start = climb.start(len(asked.every), PRIORS["none"])[first]
    for name in SWEPT:
        known = {0.0: made["none"][first], 1.0: made[name][first]}
        found = [
            known[by] if by in known else climb.maximise(units, PRIORS[name].scaled(by), start, sizes[first])
            for by in FACTORS
        ]  # fmt: skip
        images = [bench.shown(part) for part in found]
        samples[below("swept", name)] = as_uint8(torch.stack([setup.data.to_unit(part) for part in images], 1))
        for judge, model in (("own", asked.network), ("judge", bench.judge)):
            sure = [setup.test(model, part).softmax(1).gather(1, units.unsqueeze(1)).squeeze(1) for part in images]
            samples[below("sure", judge, name)] = torch.stack(sure, 1).cpu().numpy().astype(np.float32)
    return samples
