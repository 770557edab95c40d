"""Heat maps of one classifier by many methods, and the same criteria for all of them."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cladec_companion.engine.rows import Value, rows_of
from cladec_companion.engine.runner import CellRun, Rows, Samples
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.xai.attribution import FILLS, METHODS, Around, attribute
from cladec_companion.papers.xai.attribution.methods import CONTROL
from cladec_companion.papers.xai.criteria import axioms, deletion
from cladec_companion.papers.xai.heatmaps.settings import HeatmapsSettings
from cladec_companion.records.samples import as_uint8, below, originals
from cladec_core import measures, networks, training

SHOWN = 4  # images whose maps are kept
FLIPPED = (
    "gradient",
    "lrp_composite",
    "occlusion",
)  # methods whose order of pixels is kept
FLIPPED_FILL = "mean"
AT_ONCE = 64  # images that are explained together
OCCLUDER, OCCLUDER_STEP = 8, 3  # pixels
RANDOMISED = 16  # images that are explained again for randomised networks
MOVED = 8  # images over which a square moves
MOVED_SLOWLY = 2  # the same for methods that ask hundreds of times
FEW = "_few"  # ends the names of numbers of the first images, which every method explains
ANSWERS = ("pointing", "pointing" + FEW)  # metrics that are yes/no answers
CONFIDENT = 0.5  # probability that an image needs to be a tile of a mosaic
PAIRS = {  # maps that the book compares with each other
    "lrp_0": ("gradient_x_input",), "deeplift": ("integrated_gradients",),
    "integrated_gradients_black": ("integrated_gradients",), "occlusion_small": ("occlusion_large",),
    "meaningful_refae": ("meaningful_perturbation",), "occlusion": ("contrast",), "cladec": ("contrast",),
    "patternattribution": ("gradient_x_input",),
    "meaningful_perturbation": ("contrastive_excitation", "gradient", "guided_backprop", "gradcam", "occlusion"),
}  # fmt: skip
UNBIASED = ("lrp_0", "lrp_epsilon", "lrp_gamma")  # rules that are asked of a network without biases, too


def options_of(method: str, settings: HeatmapsSettings) -> dict[str, int]:
    """What the settings say of a method."""
    if method.startswith("meaningful"):
        return {"iterations": settings.iterations}
    by_name = {"lime": {"samples": settings.lime_samples}, "pda": {"stride": settings.pda_stride}}
    return by_name.get(method, {})


@dataclass(eq=False)
class Bench:
    """What all methods are judged on, for one classifier; each part is made when it is first asked for."""

    setup: Setup
    classifier: nn.Module
    around: Around
    settings: HeatmapsSettings

    @cached_property
    def images(self) -> Tensor:
        """The first test images."""
        return self.setup.data.test_images[: self.settings.explained].contiguous()

    @property
    def few(self) -> int:
        """How many images every method explains."""
        return min(self.settings.few, len(self.images))

    @property
    def fewer(self) -> int:
        """How many of them every method explains again for other networks, and how many mosaics."""
        return max(2, self.few // 4)

    @cached_property
    def target(self) -> Tensor:
        """The classes that the classifier sees in them."""
        return self.setup.test(self.classifier, self.images).argmax(1)

    @cached_property
    def other(self) -> Tensor:
        """Another class for each."""
        classes = len(self.setup.data.classes)
        return axioms.other_classes(self.target, classes, training.derive_seed(self.setup.seed, "other classes"))

    @cached_property
    def logits(self) -> tuple[Tensor, Tensor]:
        """Logits of the classes, for the images and for a grey image."""
        grey = self.around.baseline("mean", self.images)
        found = [deletion.logit(self.classifier, part, self.target) for part in (self.images, grey)]
        return found[0], found[1]

    @cached_property
    def subsets(self) -> tuple[Tensor, Tensor]:
        """Subsets of pixels, and what removing them does."""
        height, width = self.images.shape[-2:]
        masks = deletion.subset_masks(height, width, training.derive_seed(self.setup.seed, "subsets"))
        masks = masks.to(self.images.device)
        return masks, deletion.removal_effects(self.classifier, self.images, self.target, masks, self.around)

    @cached_property
    def stages(self) -> list[nn.Module]:
        """The classifier with more and more layers drawn anew."""
        return axioms.cascade(self.classifier, self.around.images, self.setup.on, self.setup.seed)

    @cached_property
    def unbiased(self) -> nn.Module:
        """The classifier with BatchNorm merged and all biases zero: another function, which rules conserve exactly."""
        from cladec_companion.papers.xai.attribution.modules import modular  # the libraries take seconds to import

        network = modular(self.classifier)
        for name, value in network.named_parameters():
            if name.endswith("bias"):
                value.data.zero_()
        return network

    @cached_property
    def mosaics(self) -> axioms.Mosaics:
        """Canvases of test images that the classifier recognises."""
        data = self.setup.data
        chance = self.setup.test(self.classifier).softmax(1).gather(1, data.test_labels.unsqueeze(1)).squeeze(1)
        usable = chance >= CONFIDENT
        if len(data.test_labels[usable].unique()) < 4:  # a classifier that has hardly learnt
            usable = torch.ones_like(usable)
        seed = training.derive_seed(self.setup.seed, "mosaics")
        return axioms.mosaics(data.test_images, data.test_labels, usable, max(4, self.settings.explained // 4), seed)

    def explain(
        self, method: str, images: Tensor, target: Tensor, model: nn.Module | None = None, **options: Any
    ) -> Tensor:
        """Maps by a method, (n, height, width), some images at a time."""
        model = self.classifier if model is None else model
        parts = zip(images.split(AT_ONCE), target.split(AT_ONCE), strict=True)
        every = options_of(method, self.settings) | options
        return torch.cat([
            attribute(model, part, own, method=method, around=self.around, **every) for part, own in parts
        ])  # fmt: skip


_BENCHES: dict[Setup, Bench] = {}
KEPT = 2  # benches: their images and networks fill memory, and cells that are trained together are of two runs at most


def bench_of(setup: Setup, classifier: nn.Module, reference: nn.Module, decoder: nn.Module) -> Bench:
    """The bench of a setup, which all its cells share; of earlier runs none is kept."""
    if setup not in _BENCHES:
        if len(_BENCHES) == KEPT:
            del _BENCHES[next(iter(_BENCHES))]
        settings = setup.settings
        assert isinstance(settings, HeatmapsSettings)
        layer = networks.layer_name(setup.architecture, settings.map_layer)
        around = Around(
            setup.data.train_images, layer, decoder.eval().requires_grad_(False),
            reference.eval().requires_grad_(False), training.derive_seed(setup.seed, "attribution"),
        )  # fmt: skip
        _BENCHES[setup] = Bench(setup, classifier, around, settings)
    return _BENCHES[setup]


def run_cell(setup: Setup, part: str, keep_samples: bool) -> CellRun:
    """Explain test images by one method, and judge the maps by all criteria.

    Returns
    -------
    rows
        {"method", "flipped", "metric", "value"}; `flipped` is the share of replaced pixels of a curve, else 0. A metric
        that ends in `_error` is the standard error over images of the one that it is named after; one that ends in
        `_few` is the same number of the first images only, which all methods have explained: only these compare
        methods of which some explain fewer images. Curves are of these images.
    samples
        The maps as grey values (128 is 0, the scale is each map's own), and of some methods the rank of each pixel and
        the probabilities while pixels are flipped.
    """
    settings = setup.settings
    assert isinstance(settings, HeatmapsSettings)
    layer = networks.layer_name(setup.architecture, settings.layer)
    classifier, reference, decoder = yield [setup.classifier, setup.reference(layer), setup.decoder(layer)]
    bench = bench_of(setup, classifier, reference, decoder)
    method = METHODS[part]
    n = bench.few if method.slow else len(bench.images)
    images, target = bench.images[:n], bench.target[:n]
    maps, values = _counted(bench, part, images, target)
    with torch.no_grad():
        values |= {"explained_images": float(n), "roughness": axioms.roughness(maps)}
        values |= _sums(bench, part, maps)
        values |= _deleted(bench, maps, images, target)
    values |= _agreements(bench, part, maps)
    ranks = deletion.places_by_relevance(maps, training.derive_seed(setup.seed, "ties", part))
    curves = _curves(bench, images, target, ranks)
    values |= {f"area_{fill}": deletion.area_over(curve) for fill, curve in curves.items()}
    classes, weights = _compared(bench, part, maps)
    rows = _rows(part, values | classes, bench.few) + _rows(part, weights, bench.fewer)
    rows += _rows(part, _moved(bench, part), MOVED_SLOWLY)
    if method.any_size:
        rows += _rows(part, _pointed(bench, part), bench.fewer)
    for fill, curve in curves.items():
        for share, p in zip(deletion.SHARES, curve[: bench.few].mean(0).tolist(), strict=True):
            rows += rows_of({part: {f"curve_{fill}": p}}, flipped=share)
    if part == next(iter(METHODS)):
        accuracy = bench.setup.test(classifier).argmax(1).eq(setup.data.test_labels).double().mean().item()
        known = {"accuracy": accuracy, "test_images": float(len(setup.data.test_labels))}
        rows += rows_of({"classifier": known}, flipped=0.0)
    return rows, _samples(bench, part, maps) if keep_samples else {}


def _rows(method: str, values: Mapping[str, Value], shared: int) -> Rows:
    """Numbers as rows; of a value for each image the mean and its standard error (see `rows_of`).

    Parameters
    ----------
    shared
        Of how many images, the first ones, every method has the value; their mean is another row.
    """
    few = {metric + FEW: value[:shared] for metric, value in values.items() if isinstance(value, Tensor)}
    return rows_of({method: {**values, **few}}, ANSWERS, flipped=0.0)


def _counted(bench: Bench, method: str, images: Tensor, target: Tensor) -> tuple[Tensor, dict[str, Value]]:
    """Maps, with the passes through networks for each image: a cost that no machine's speed is in.

    Passes through ClaDec's decoder (with its encoder) and through the RefAE count like those through the classifier.
    What a method learns once, before it explains, is not counted: it would be the cost of whichever comes first.
    """
    if METHODS[method].learns:
        bench.explain(method, images[:1], target[:1])
    top = [part for part in bench.classifier.modules() if isinstance(part, nn.Linear)][-1]
    passes: list[int] = []
    with ExitStack() as stack:
        for asked in (top, bench.around.decoder, bench.around.reference):
            assert asked is not None
            handle = asked.register_forward_hook(lambda _, inputs, __: passes.append(len(inputs[0])))
            stack.callback(handle.remove)
        maps = bench.explain(method, images, target)
    # Each call of `attribute` asks once how many classes there are.
    return maps, {"passes": (sum(passes) - -(-len(images) // AT_ONCE)) / len(images)}


def _sums(bench: Bench, method: str, maps: Tensor) -> dict[str, Value]:
    """What contributions add up to: compared with the output, and with its change from a grey image."""
    if METHODS[method].kind != "salience":
        return {}
    output, grey = (part[: len(maps)] for part in bench.logits)
    if method == "integrated_gradients_black":
        black = bench.around.baseline("black", bench.images[: len(maps)])
        grey = deletion.logit(bench.classifier, black, bench.target[: len(maps)])
    sums = maps.sum((1, 2))
    found: dict[str, Value] = {
        "incomplete": axioms.relative_gap(sums, output - grey), "kept": axioms.share_kept(sums, output),
        "size_kept": float(maps.abs().sum() / output.abs().sum()),
    }  # fmt: skip
    if method in UNBIASED:
        images = bench.images[: len(maps)]
        with torch.no_grad():
            output, classes = bench.unbiased(images).max(1)
        free = bench.explain(method, images, classes, bench.unbiased)
        found["kept_unbiased"] = axioms.share_kept(free.sum((1, 2)), output)
    return found


def _deleted(bench: Bench, maps: Tensor, images: Tensor, target: Tensor) -> dict[str, Value]:
    """Boxes, and sums over subsets."""
    masks, effects = bench.subsets
    boxes = deletion.smallest_boxes(bench.classifier, images, target, maps)
    fits = deletion.sensitivity_n(maps, masks, effects[: len(maps)])
    found: dict[str, Value] = {f"box_{level:g}": size for level, size in boxes.items()}
    found["box"] = torch.stack(list(boxes.values())).mean(0)
    found |= {f"sensitivity_{size:g}": fit for size, fit in fits.items()}
    return found | {"sensitivity": torch.stack(list(fits.values())).nanmean(0)}


def _compared(bench: Bench, method: str, maps: Tensor) -> tuple[dict[str, Value], dict[str, Value]]:
    """How alike maps are for another class of the same images, and for networks drawn anew.

    1 where the class, or the network, has no part in the map: such a method fails the check, and is not spared it.
    ClaDec's map depends on the network by way of a decoder that would have to be trained anew for each of them, which
    the chapter `sanity` does: here nothing is said of it.
    """
    stages = [f"randomised_{stage}" for stage in range(1, axioms.STAGES + 1)]
    n = len(maps)
    few = bench.fewer if METHODS[method].slow else min(n, RANDOMISED)
    if not METHODS[method].of_class:
        asks_none = METHODS[method].kind == CONTROL
        same: dict[str, Value] = {name: torch.ones(few) for name in ("randomised", *stages) if asks_none}
        return {"class_similarity": torch.ones(n)}, same
    other = bench.explain(method, bench.images[:n], bench.other[:n])
    images, target = bench.images[:few], bench.target[:few]
    alike = [
        axioms.rank_resemblance(maps[:few], bench.explain(method, images, target, model)) for model in bench.stages
    ]
    weights: dict[str, Value] = dict(zip(stages, alike, strict=True))
    return (
        {"class_similarity": axioms.resemblance(maps, other)},
        weights | {"randomised": torch.stack(alike).nanmean(0)},
    )


def _agreements(bench: Bench, method: str, maps: Tensor) -> dict[str, Value]:
    """The correlation with maps of other methods."""
    images, target = bench.images[: len(maps)], bench.target[: len(maps)]
    names = PAIRS.get(method, ())
    return {
        f"agreement_{name}": measures.correlation(maps, bench.explain(name, images, target), constant=torch.nan)
        for name in names
    }


def _moved(bench: Bench, method: str) -> dict[str, Value]:
    """Continuity under a moving square; of ClaDec the images that it shows, too."""
    count = MOVED_SLOWLY if METHODS[method].slow else min(MOVED, bench.few)
    images, target = bench.images[:count], bench.target[:count]
    moved = axioms.moved_squares(images, bench.around.mean, OCCLUDER, OCCLUDER_STEP)
    steps, jumps = axioms.mean_step(lambda part: bench.explain(method, part, target), moved)
    found: dict[str, Value] = {"step": steps, "jump": jumps}
    if method == "cladec":
        decoder = bench.around.decoder
        assert decoder is not None
        show: Callable[[Tensor], Tensor] = lambda part: bench.setup.test(decoder, part)  # noqa: E731
        found["step_shown"], found["jump_shown"] = axioms.mean_step(show, moved)
        found["step_input"], found["jump_input"] = axioms.mean_step(lambda part: part, moved)
    return found


def _pointed(bench: Bench, method: str) -> dict[str, Value]:
    """Whether maps of mosaics find the tile of the class."""
    canvas = bench.mosaics
    count = bench.fewer if METHODS[method].slow else len(canvas.images)
    inside = canvas.inside()[:count]
    maps = bench.explain(method, canvas.images[:count], canvas.target[:count])
    hit = axioms.pointing(maps, inside, training.derive_seed(bench.setup.seed, "pointing"))
    return {"pointing": hit, "mass": axioms.mass_inside(maps, inside)}


def _curves(bench: Bench, images: Tensor, target: Tensor, ranks: Tensor) -> dict[str, Tensor]:
    """Curves of pixel flipping by fill, (n, shares); the RefAE, which takes most of the time, fills in few images."""
    found = {}
    for fill in FILLS:
        n = bench.few if fill == "refae" else len(images)
        parts = (images[:n], target[:n], ranks[:n])
        found[fill] = deletion.flipping_curves(bench.classifier, *parts, bench.around, fill)
    return found


def _samples(bench: Bench, method: str, maps: Tensor) -> Samples:
    """Maps of the images that are shown."""
    data, at = bench.setup.data, torch.arange(min(SHOWN, len(bench.images)))
    images, target = bench.images[: len(at)], bench.target[: len(at)]
    maps = maps[: len(at)] if len(maps) >= len(at) else bench.explain(method, images, target)
    scaled = maps / maps.abs().amax((1, 2), keepdim=True).clamp(min=1e-30)
    found = originals(data, at, target) | {below("map", method): as_uint8((1 + scaled.unsqueeze(1)) / 2)}
    if method in FLIPPED:
        ranks = deletion.places_by_relevance(maps, training.derive_seed(bench.setup.seed, "ties", method))
        curves = deletion.flipping_curves(bench.classifier, images, target, ranks, bench.around, FLIPPED_FILL)
        found[below("rank", method)] = ranks.cpu().numpy().astype(np.uint16)
        found[below("flipping", method)] = curves.cpu().numpy().astype(np.float32)
        found["filling"] = as_uint8(data.to_unit(bench.around.mean))
    return found
