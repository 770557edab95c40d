"""The experiments X1 to X8: each question is asked of the classifier, each explanation is applied and measured."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from cladec_companion.engine.rows import Value, rows_of
from cladec_companion.engine.runner import CellRun, Rows, Samples
from cladec_companion.engine.setup import Setup
from cladec_companion.engine.trainings import Training
from cladec_companion.papers.cdeepex import contrasts, scenes
from cladec_companion.papers.cdeepex import generators as drawing
from cladec_companion.papers.cdeepex.contrast.ladder import ladder
from cladec_companion.papers.cdeepex.contrast.metrics import (
    OVER,
    Asked,
    answered,
    as_long,
    energy_in,
    is_met,
    of_both,
    of_search,
)
from cladec_companion.papers.cdeepex.contrast.settings import ContrastSettings
from cladec_companion.papers.cdeepex.contrast.trainings import (
    MAPS,
    DiscriminatorTraining,
    GeneratorTraining,
    LayerTraining,
    settings_of,
)
from cladec_companion.papers.cdeepex.explainer import Contrast, Contrasted
from cladec_companion.papers.cdeepex.generators import of_trained
from cladec_companion.papers.cdeepex.optimisation import Search, Start
from cladec_companion.papers.cdeepex.vae import VAE
from cladec_companion.papers.cdeepex.wgan import WGAN
from cladec_companion.papers.xai.attribution import Around
from cladec_companion.records.samples import as_uint8, below, originals
from cladec_core import training

OURS, FREE = "CDeepEx", "xGEMs"  # with the constraints on third classes, and without
KINDS = {OURS: True, FREE: False}
GENERATORS = ("VAE", "WGAN", "ClaDec", "RefAE")
SHOWN = 3  # images whose explanations are kept
STARTS = 3  # points from which Algorithm 2 starts, as in Fig. 5
FRAMES = 11  # of a path that is kept
PICTURED = ("VAE", "WGAN", "ClaDec")  # generators whose paths are kept
# Says which networks it needs, is given them trained, and returns what is shown; rows go to the bench.
Asking = Generator[list[Any], list[Any], Samples]
Answers = dict[tuple[str, str], Contrasted]  # by generator and kind of search
CUE_STEPS = (0.0, 0.25, 0.5, 0.75, 1.0)
# T-shirt to shirt and trousers to coat (section 4.5); for digits, 0 to 6 and 1 to 4.
PAIRS = ((0, 6), (1, 4))
NETWORKS = {"vgg5": "VGG-5", "resnet10": "ResNet-10"}
UNBIASED = "unbiased"  # the same generator, asked by a classifier without the bias
CONTROLS = ("random", "gradient")  # a random direction, and a step along the pixels' gradient
EQUAL = "_equal"  # ends what is measured with equally long changes: as the VAE's CDeepEx, or as the longest of a ladder
# Metrics that are yes/no answers.
ANSWERS = frozenset({
    "met", "converged", "intruded", "kept", "known", "fooled", "turned", "agrees",
    *(seen + end for seen in ("flipped", "judged") for end in ("", EQUAL)),
})  # fmt: skip


def run_cell(setup: Setup, part: str, keep_samples: bool) -> CellRun:
    """Run one experiment.

    Returns
    -------
    rows
        {"method", "metric", "value"}: means over images and their standard errors (`_error`); see `measured`. A method
        is a generator with the kind of its search ("VAE CDeepEx"), a method that explains one class, or a network.
    samples
        Images, changes (128 is none), and for `general` paths: images and probabilities of true class, probe and third.
    """
    scenes.check_classes(setup.data)
    bench = Bench(setup)
    samples = yield from RUNS[part](bench)
    return bench.rows, samples if keep_samples else {}


@dataclass(eq=False)
class Bench:
    """What the experiments share: the setup, the searches as the settings want them, and the rows so far."""

    setup: Setup
    rows: Rows = field(default_factory=list)
    starts: dict[tuple[Asked, drawing.Generator, int], Start] = field(default_factory=dict)

    @property
    def settings(self) -> ContrastSettings:
        """The chapter's parameters."""
        return settings_of(self.setup)

    @property
    def value_range(self) -> tuple[float, float]:
        """Of the images: black and white."""
        data = self.setup.data
        return ((0 - data.mean) / data.std).min().item(), ((1 - data.mean) / data.std).max().item()

    def note(self, method: str, values: Mapping[str, Value]) -> None:
        """Add rows: numbers, and means over images with their errors."""
        self.rows += rows_of({method: values}, ANSWERS)

    def search(self, others: bool) -> Search:
        """With or without the constraints on third classes."""
        return Search(others=others, outer=self.settings.outer)

    def contrast(self, model: nn.Module, generator: drawing.Generator, others: bool, start: int = 0) -> Contrast:
        """An explainer, whatever the generator misses: how much that is, is recorded."""
        seed = training.derive_seed(self.setup.seed, "start", start)
        return Contrast(
            model, generator, search=self.search(others), worst=float("inf"), steps=self.settings.starting_steps,
            seed=seed,
        )  # fmt: skip

    def explain(
        self, asked: Asked, generator: drawing.Generator, kind: str, *, start: int = 0, method: str | None = None
    ) -> Contrasted:
        """Search, and record what was found; without a `method` nothing is recorded. Both kinds start alike."""
        explainer = self.contrast(asked.model, generator, KINDS[kind], start)
        place = asked, generator, start
        if place not in self.starts:
            self.starts[place] = explainer.start(asked.images, asked.true)
        found = explainer.explain(asked.images, asked.probe, start=self.starts[place])
        if method:
            self.note(method, of_search(found) | asked.applied(answered(found)))
        return found

    def chosen(
        self, *models: nn.Module, labels: Tensor | None = None, probe: int | None = None, count: int | None = None
    ) -> Tensor:
        """Places of test images, of some classes if these are named, that all models can be asked about, (n,).

        They are drawn by the setup's seed, so that seeds differ in their images, too. Those that all models get right
        come first; others follow only where there are too few of them. No model takes any for the probe already.
        """
        data, seen = self.setup.data, [self.setup.test(model).argmax(1) for model in models]
        labelled = data.test_labels
        fits, right = torch.ones_like(labelled, dtype=torch.bool), torch.ones_like(labelled, dtype=torch.bool)
        if labels is not None:
            fits = torch.isin(labelled, labels.to(labelled.device))
        for own in seen:
            right &= own == labelled
            if probe is not None:
                fits &= own != probe
        draw = torch.Generator().manual_seed(training.derive_seed(self.setup.seed, "explained"))
        order = torch.randperm(len(labelled), generator=draw).to(labelled.device)
        return torch.cat([order[(fits & known)[order]] for known in (right, ~right)])[
            : count or self.settings.explained
        ]

    def accuracy(self, model: nn.Module, method: str = "classifier") -> None:
        """Record how many of the test images a classifier gets right."""
        data = self.setup.data
        right = self.setup.test(model).argmax(1) == data.test_labels
        self.note(method, {"accuracy": right.double().mean().item(), "test_images": float(len(right))})


def drawn(network: nn.Module, name: str, images: Tensor) -> drawing.Generator:
    """A trained network as a generator."""
    if isinstance(network, VAE | WGAN):
        return network.generator(name)
    return of_trained(name, network, images)


def signed(bench: Bench, change: Tensor) -> Any:
    """Changes (n, channels, height, width) as grey values: 128 is none, brighter ones are added."""
    low, high = bench.value_range
    return as_uint8(change[:SHOWN] / (high - low) + 128 / 255)


def kept(bench: Bench, found: Contrasted, *name: object) -> Samples:
    """Changes that are shown, which of their searches met all constraints (the others are no answers), and ended."""
    met, converged = is_met(found)[:SHOWN], found.converged[:SHOWN]
    return {
        below(*name): signed(bench, found.change), below(*name, "met"): met.byte().cpu().numpy(),
        below(*name, "converged"): converged.byte().cpu().numpy(),
    }  # fmt: skip


def of_images(bench: Bench, name: str, images: Tensor) -> Samples:
    """The images of an experiment that are shown; they are others than those of `general`."""
    return {below(*name.split("/"), "image"): as_uint8(bench.setup.data.to_unit(images[:SHOWN]))}


def general(bench: Bench) -> Asking:
    """X1 to X3: why not the second most likely class, by every generator, with and without constraints."""
    setup = bench.setup
    plain = [DiscriminatorTraining(setup), DiscriminatorTraining(setup, again=True)]
    makes: list[Training] = [GeneratorTraining(setup, "vae"), GeneratorTraining(setup, "wgan")]
    makes += [LayerTraining(setup), LayerTraining(setup, reference=True)]
    model, judge, *networks = yield [*plain, *makes]
    generators = [
        drawn(network, name, setup.data.train_images) for name, network in zip(GENERATORS, networks, strict=True)
    ]
    bench.accuracy(model)
    at = bench.chosen(model)
    asked = Asked.of(model, judge, setup.data.test_images[at], None, bench.value_range)
    samples: Samples = originals(setup.data, at[:SHOWN], setup.test(model).argmax(1))
    samples["probe"] = asked.probe[:SHOWN].byte().cpu().numpy()
    answers: Answers = {}
    for generator in generators:
        for kind in KINDS:
            found = bench.explain(asked, generator, kind, method=f"{generator.name} {kind}")
            answers[generator.name, kind] = found
            samples |= kept(bench, found, "change", generator.name, kind)
            ends = setup.data.to_unit(found.solution.images[:SHOWN])
            samples[below("end", generator.name, kind)] = as_uint8(ends)
            if generator.name in PICTURED:
                samples |= _path(bench, generator, kind, found)
    _alike(bench, asked, generators[1], answers)
    single, samples_of_single = _single(bench, asked)
    _equally_long(bench, asked, answers, single)
    return samples | samples_of_single


def _equally_long(bench: Bench, asked: Asked, answers: Answers, single: dict[str, Tensor]) -> None:
    """X1: what all changes do when they are as long as the VAE's, and two that nobody would call explanations."""
    norm = answered(answers["VAE", OURS]).flatten(1).norm(dim=1)
    draw = torch.Generator().manual_seed(training.derive_seed(bench.setup.seed, "random direction"))
    random = torch.randn(asked.images.shape, generator=draw).to(asked.images)
    changes = {f"{name} {kind}": answered(found) for (name, kind), found in answers.items()} | single
    for name, change in (changes | dict(zip(CONTROLS, (random, asked.slope()), strict=True))).items():
        wide = change.expand_as(asked.images)
        bench.note(name, asked.seen(OVER * as_long(wide, norm), EQUAL))


def _path(bench: Bench, generator: drawing.Generator, kind: str, found: Contrasted) -> Samples:
    """Frames of the search of some images, with probabilities; and their means over all images after every set."""
    solution = found.solution
    last = int(found.solution.steps[:SHOWN].max()) // Search.inner
    chosen = (last * torch.linspace(0, 1, FRAMES) ** 1.5).round().long()  # most happens at the start
    z = solution.path_z[chosen, :SHOWN]
    with torch.no_grad():
        frames = generator.decode(z.flatten(0, 1)).unflatten(0, z.shape[:2]) + found.start.residual[:SHOWN]
    whole = solution.path.exp()
    ends = torch.cat([whole, whole[-1:].expand(1 + bench.settings.outer - len(whole), *whole.shape[1:])])
    return {
        below("path", generator.name, kind): as_uint8(bench.setup.data.to_unit(frames.transpose(0, 1))),
        below("likely", generator.name, kind): as_uint8(whole[chosen, :SHOWN].transpose(0, 1)),
        below("curve", generator.name, kind): as_uint8(ends.mean(1)),
    }  # fmt: skip


def _alike(bench: Bench, asked: Asked, gan: drawing.Generator, answers: Answers) -> None:
    """X3: how alike explanations are from several starts of the GAN, and from several generators."""
    for kind in KINDS:
        starts = [answers[gan.name, kind]]
        starts += [bench.explain(asked, gan, kind, start=at) for at in range(1, STARTS)]
        pairs = [of_both(starts[a], starts[b]) for a in range(len(starts)) for b in range(a)]
        bench.note(
            f"starts {kind}", {name: torch.stack([pair[name] for pair in pairs]).nanmean(0) for name in pairs[0]}
        )
        for first, second in (("VAE", "WGAN"), ("VAE", "ClaDec"), ("VAE", "RefAE"), ("ClaDec", "RefAE")):
            bench.note(f"{first} and {second} {kind}", of_both(answers[first, kind], answers[second, kind]))


def _single(
    bench: Bench, asked: Asked, where: Tensor | None = None, name: str = ""
) -> tuple[dict[str, Tensor], Samples]:
    """Contrasts from methods that explain one class; with `where`, also the share of their energy there."""
    around = Around(bench.setup.data.train_images, layer=MAPS, seed=bench.setup.seed)
    changes: dict[str, Tensor] = {}
    samples: Samples = {}
    for method in contrasts.METHODS:
        found = contrasts.contrast(
            asked.model, asked.images, asked.true, asked.probe, method=method, around=around,
            value_range=asked.value_range,
        )  # fmt: skip
        change = found.change.unsqueeze(1)
        values = asked.applied(change) | {"kept": (found.kept > 0).float()}
        bench.note(method, values if where is None else values | {"energy": energy_in(change, where)})
        samples[below(name or "change", method)] = signed(bench, change / 4)  # they are of the whole range
        changes[method] = change
    return changes, samples


def rungs(bench: Bench) -> Asking:
    """X4: why not an 8, asked of classifiers that never, rarely, mostly know one; the generator is the same."""
    setup = bench.setup
    unaware = setup.changed(data=scenes.without(setup.data, scenes.EIGHT))
    wanted = [DiscriminatorTraining(unaware), DiscriminatorTraining(setup, again=True), GeneratorTraining(setup, "vae")]
    first, judge, network = yield wanted
    generator = drawn(network, "VAE", setup.data.train_images)
    bench.accuracy(judge)
    steps = ladder(setup, first)
    others = torch.tensor([label for label in range(len(setup.data.classes)) if label != scenes.EIGHT])
    at = bench.chosen(judge, labels=others, probe=scenes.EIGHT)
    images = setup.data.test_images[at]
    with torch.no_grad():
        never = torch.stack([model(images).argmax(1) != scenes.EIGHT for model, _ in steps]).all(0)
    images = images[never]
    samples = of_images(bench, "ladder", images)
    answers: list[Contrasted] = []
    questions: list[Asked] = []
    for place, (model, known) in enumerate(steps if len(images) else []):
        asked = Asked.of(model, judge, images, scenes.EIGHT, bench.value_range)
        found = bench.explain(asked, generator, OURS, method=f"rung {place}")
        bench.note(f"rung {place}", {"known": known, "images": float(len(images))})
        questions.append(asked)
        answers.append(found)
        samples |= kept(bench, found, "rung", place)
    if answers:
        at_one_length(bench, questions, answers)
        bench.note("first and last rung", of_both(answers[0], answers[-1]))
        # The same generator, asked by another classifier that knows the class: how alike two that know it are.
        control = bench.explain(Asked.of(judge, judge, images, scenes.EIGHT, bench.value_range), generator, OURS)
        bench.note("last rung and judge", of_both(answers[-1], control))
    return samples


def at_one_length(bench: Bench, questions: list[Asked], answers: list[Contrasted]) -> None:
    """X4: what all changes of an image do when they are as long as its longest, as they shrink from rung to rung."""
    changes = [answered(found) for found in answers]
    longest = torch.stack([change.flatten(1).norm(dim=1) for change in changes]).nan_to_num().amax(0)
    for place, (asked, change) in enumerate(zip(questions, changes, strict=True)):
        bench.note(f"rung {place}", asked.seen(OVER * as_long(change, longest), EQUAL))


def square(bench: Bench) -> Asking:
    """X5: every 8 of the training images has a square; does an explanation say so?"""
    setup = bench.setup
    marked = setup.changed(data=scenes.squared(setup.data))
    plain = [DiscriminatorTraining(setup, again=True), LayerTraining(setup)]
    model, judge, network, layer, unmarked = yield [
        DiscriminatorTraining(marked), plain[0], GeneratorTraining(marked, "vae"), LayerTraining(marked), plain[1],
    ]  # fmt: skip
    data, where = setup.data, scenes.corner(setup.data)
    seen = setup.test(model)
    eights = data.test_labels == scenes.EIGHT
    painted = scenes.painted(data, data.test_images, where, scenes.SHADE)
    fooled = setup.test(model, painted).argmax(1)[~eights] == scenes.EIGHT
    known = seen.argmax(1)[eights] == scenes.EIGHT
    bench.note("biased", {"known": known.float(), "fooled": fooled.float()})
    bench.note("biased", {"test_images": float(len(data.test_labels))})
    wrong = torch.tensor([label for label in range(len(data.classes)) if label != scenes.EIGHT])
    at = bench.chosen(model, judge, labels=wrong, probe=scenes.EIGHT)
    asked = Asked.of(model, judge, data.test_images[at], scenes.EIGHT, bench.value_range)
    # The generator was trained on squares, too: what it draws for a classifier that has seen none is its own.
    unbiased = Asked.of(judge, judge, data.test_images[at], scenes.EIGHT, bench.value_range)
    samples = of_images(bench, "square", asked.images)
    train = marked.data.train_images
    for generator in (drawn(network, "VAE", train), drawn(layer, "ClaDec", train)):
        found = bench.explain(asked, generator, OURS, method=f"square {generator.name} {OURS}")
        bench.note(f"square {generator.name} {OURS}", {"energy": energy_in(answered(found), where)})
        samples |= kept(bench, found, "square", generator.name, OURS)
    name = f"square VAE {UNBIASED}"
    found = bench.explain(unbiased, drawn(network, "VAE", train), OURS, method=name)
    bench.note(name, {"energy": energy_in(answered(found), where)})
    samples |= kept(bench, found, "square", "VAE", UNBIASED)
    samples |= _single(bench, asked, where, "square")[1]
    # What two decoders make of images with the square (chapter `your_own`): one explains a classifier that it misled.
    shown = painted[eights][: len(at)]
    with torch.no_grad():
        apart = layer(shown) - unmarked(shown)
    bench.note("two models", {"energy": energy_in(apart, where)})
    return samples


def cue(bench: Bench) -> Asking:
    """X6, in the place of hair and eyes: one of three classes has a bright cue; which way is it turned?"""
    setup = bench.setup
    three = setup.changed(data=scenes.cued(setup.data, setup.seed))
    uncued = setup.changed(data=scenes.cued(setup.data, setup.seed, told=False))
    wanted = [DiscriminatorTraining(three), DiscriminatorTraining(uncued, again=True), GeneratorTraining(three, "vae")]
    model, judge, network = yield wanted
    data, where = three.data, scenes.corner(three.data, bottom=True)
    inner = Bench(three)
    inner.accuracy(model)
    bench.rows += inner.rows
    generator = drawn(network, "VAE", data.train_images)
    at = inner.chosen(model, judge, labels=torch.tensor([0]), probe=1)
    images = data.test_images[at]
    asked = Asked.of(model, judge, images, 1, bench.value_range)
    unbiased = Asked.of(judge, judge, images, 1, bench.value_range)
    curve = []
    for level in CUE_STEPS:
        with torch.no_grad():
            curve.append(model(scenes.painted(data, images, where, level)).softmax(1)[:, 1])
        bench.note("cue", {f"probe_{level:g}": curve[-1].mean().item()})
    bench.note("cue", {"turned": (curve[-1] > curve[0]).float(), "risen": curve[-1] - curve[0]})
    samples = of_images(bench, "cue", images)
    for kind in KINDS:
        for question, name in ((asked, f"cue {kind}"), (unbiased, f"cue {UNBIASED} {kind}")):
            found = bench.explain(question, generator, kind, method=name)
            change = answered(found)
            inside = (change.sum(1) * where.to(change.device)).sum((1, 2))
            agrees = torch.where(inside.isnan(), torch.nan, ((inside > 0) == (curve[-1] > curve[0])).float())
            bench.note(name, {"agrees": agrees, "energy": energy_in(change, where)})
            if question is asked:
                samples |= kept(bench, found, "cue", kind)
    return samples


def two_networks(bench: Bench) -> Asking:
    """X7: what two architectures want to see changed for the same questions."""
    setup = bench.setup
    wanted: list[Training] = [setup.changed(architecture=name).classifier for name in NETWORKS]
    judge, network, *models = yield [
        DiscriminatorTraining(setup, again=True), GeneratorTraining(setup, "vae"), *wanted
    ]  # fmt: skip
    generator = drawn(network, "VAE", setup.data.train_images)
    samples: Samples = {}
    count = max(2, bench.settings.explained // len(PAIRS))
    chosen = [bench.chosen(*models, labels=torch.tensor([true]), probe=probe, count=count) for true, probe in PAIRS]
    for name, model in zip(NETWORKS, models, strict=True):
        bench.accuracy(model, name)
        found: dict[str, list[Any]] = {kind: [] for kind in KINDS}
        for (true, probe), at in zip(PAIRS, chosen, strict=True):
            if not len(at):
                continue
            asked = Asked.of(model, judge, setup.data.test_images[at], probe, bench.value_range)
            samples |= of_images(bench, f"network/{name}/{true} to {probe}", asked.images)
            for kind in KINDS:
                one = bench.explain(asked, generator, kind)
                found[kind].append(of_search(one) | asked.applied(answered(one)))
                samples |= kept(bench, one, "network", name, f"{true} to {probe}", kind)
        for kind, parts in found.items():
            keys = parts[0] if parts else {}
            bench.note(f"{name} {kind}", {key: torch.cat([part[key] for part in parts]) for key in keys})
    return samples


def from_elsewhere(bench: Bench) -> Asking:
    """X8: a generator that was trained on another collection than the classifier."""
    setup = bench.setup
    other = setup.changed(data=scenes.foreign(setup.data))
    wanted: list[Training] = [DiscriminatorTraining(setup), DiscriminatorTraining(setup, again=True)]
    model, judge, own, strange = yield [
        *wanted, GeneratorTraining(setup, "vae"), GeneratorTraining(other, "vae", "another collection")
    ]  # fmt: skip
    at = bench.chosen(model)
    asked = Asked.of(model, judge, setup.data.test_images[at], None, bench.value_range)
    samples = of_images(bench, "foreign", asked.images)
    generators = [drawn(own, "own", setup.data.train_images), drawn(strange, "foreign", other.data.train_images)]
    for kind in KINDS:
        found = [bench.explain(asked, one, kind, method=f"{one.name} {kind}") for one in generators]
        bench.note(f"own and foreign {kind}", of_both(*found))
        for generator, one in zip(generators, found, strict=True):
            samples |= kept(bench, one, "foreign", generator.name, kind)
    return samples


RUNS: dict[str, Callable[[Bench], Asking]] = {
    "general": general, "ladder": rungs, "square": square, "cue": cue, "networks": two_networks,
    "foreign": from_elsewhere,
}  # fmt: skip
