"""Input shift invariance (chapter 14) and neuron splitting (section 13.3.3): explanations of one function twice."""

import copy
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from cladec_companion.engine.rows import rows_of
from cladec_companion.engine.runner import CellRun, Samples
from cladec_companion.engine.setup import Setup
from cladec_companion.engine.trainings import Setup as Described
from cladec_companion.engine.trainings import Training, fresh_weights
from cladec_companion.papers.xai.attribution import Around, attribute
from cladec_companion.papers.xai.shifts import networks
from cladec_companion.papers.xai.shifts.settings import INPUT, SPLIT, ShiftsSettings
from cladec_companion.records.samples import as_uint8, below, originals
from cladec_core import training

# Name -> method of `attribute` and its options. "zero" is an image of zeros, which is grey for shifted images.
EXPLAINED: dict[str, tuple[str, dict[str, Any]]] = {
    "gradient": ("gradient", {}), "guided_backprop": ("guided_backprop", {}), "patternnet": ("patternnet", {}),
    "smoothgrad": ("smoothgrad", {}), "smoothgrad_x_input": ("smoothgrad", {"times_input": True}),
    "gradient_x_input": ("gradient_x_input", {}),
    "integrated_gradients_zero": ("integrated_gradients", {"baseline": "zero"}),
    "integrated_gradients_black": ("integrated_gradients", {"baseline": "black"}),
    "lrp_epsilon": ("lrp_epsilon", {}), "lrp_gamma": ("lrp_gamma", {}),
    "patternattribution": ("patternattribution", {}),
}  # fmt: skip
TITLES = {
    "gradient": "Gradient", "guided_backprop": "Guided Backprop", "patternnet": "PatternNet",
    "smoothgrad": "SmoothGrad", "smoothgrad_x_input": "SmoothGrad of Gradient × Input",
    "gradient_x_input": "Gradient × Input",
    "integrated_gradients_zero": "Integrated Gradients, zero",
    "integrated_gradients_black": "Integrated Gradients, black", "lrp_epsilon": "LRP-ε", "lrp_gamma": "LRP-γ",
    "patternattribution": "PatternAttribution", "cladec": "ClaDec, same decoder",
    "cladec_again": "ClaDec, trained again", "cladec_shifted": "ClaDec, trained on shifted images",
}  # fmt: skip
NOISE = 0.15  # of SmoothGrad, as a share of the range of pixels before the shift
SHOWN = 3


def _settings(setup: Described) -> ShiftsSettings:
    assert isinstance(setup.settings, ShiftsSettings)
    return setup.settings


@dataclass(frozen=True, eq=False)
class PerceptronTraining(Training):
    """The network of section 14.2.1, on images in [0, 1]."""

    recipe: ClassVar[training.Recipe] = training.SGD
    makes_images: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """See `Training`."""
        return f"perceptron of {_settings(self.setup).hidden}"

    def build(self, *needed: nn.Module) -> nn.Sequential:
        """See `Training`."""
        data = self.setup.data
        with fresh_weights(self.setup, self.label):
            return networks.perceptron(
                data.train_images[0].numel(), len(data.classes), _settings(self.setup).hidden
            )  # fmt: skip

    def job(self, model: nn.Module, *needed: nn.Module) -> training.Job:
        """See `Training`."""
        data = self.setup.data
        job = self._judging(model, data.to_unit(data.train_images))
        return replace(job, on=replace(self.setup.on, dtype=torch.float32))

    def finish(self, model: nn.Module, *needed: nn.Module) -> nn.Module:
        """See `Training`."""
        return model.eval().requires_grad_(False)


@dataclass(frozen=True, eq=False)
class CodeDecoderTraining(Training):
    """ClaDec for the highest hidden layer of the perceptron: from its codes to images, which may be shifted.

    `shift` is one of `networks.SHIFTS`, or empty; `again` draws other weights and another order.
    """

    recipe: ClassVar[training.Recipe] = training.ADAM
    shift: str = ""
    again: bool = False

    @property
    def label(self) -> str:
        """See `Training`."""
        return "code decoder" + (f" of images with {self.shift} shift" if self.shift else "") + " again" * self.again

    @property
    def name(self) -> str:
        """See `Training`."""
        return f"{self.label} of {PerceptronTraining(self.setup).key}"

    @property
    def needs(self) -> tuple[Training, ...]:
        """See `Training`."""
        return (PerceptronTraining(self.setup),)

    def build(self, *needed: nn.Module) -> nn.Sequential:
        """The same initial weights for all targets, unless others are asked for."""
        image, width = self.setup.data.train_images.shape[1:], _settings(self.setup).hidden
        with fresh_weights(self.setup, "code decoder", self.again):
            layers = [nn.Linear(width, width), nn.ReLU(), nn.Linear(width, image.numel()), nn.Unflatten(1, image)]
            return nn.Sequential(*layers)

    def job(self, model: nn.Module, *needed: nn.Module) -> training.Job:
        """See `Training`."""
        data, settings = self.setup.data, _settings(self.setup)
        images = data.to_unit(data.train_images)
        codes = self.setup.codes(nn.Sequential(*list(needed[0].children())[:-1]), images).float()
        if self.shift:
            images = images + networks.shift_of(self.shift, *images.shape[1:3]).to(images.device)
        return training.Job(
            model, codes, (images,), nn.MSELoss(), self.recipe, epochs=self.epochs,
            seed=training.derive_seed(self.setup.seed, "code decoder", self.again, "order"),
            on=replace(self.setup.on, dtype=torch.float32), batch_size=settings.batch_size, label=self.title,
        )  # fmt: skip


def run_cell(setup: Setup, part: str, keep_samples: bool) -> CellRun:
    """Explain the same predictions before and after a change that leaves the function alone.

    Returns
    -------
    rows
        {"method", "metric", "value"}: how far explanations move, as a share of their length, with its standard error
        over images; how far the logits move.
    samples
        Images before and after, as grey values of the range that both have together; maps before and after (128 is 0,
        the scale is that of the map before).
    """
    settings, data = _settings(setup), setup.data
    wanted: list[Training] = [PerceptronTraining(setup)]
    if part != SPLIT:  # which doubles the codes: no decoder takes both kinds
        wanted += [CodeDecoderTraining(setup), CodeDecoderTraining(setup, again=True)]
        wanted.append(CodeDecoderTraining(setup, shift=part))
    model, *decoders = yield wanted
    # In float64: the weights of split neurons cancel, which single precision would not survive.
    first = copy.deepcopy(model).double()
    images = data.to_unit(data.test_images[: settings.explained]).double()
    train = data.to_unit(data.train_images).double()
    shift = torch.zeros_like(images[0])
    if part != SPLIT:
        shift = networks.shift_of(part, *images.shape[1:3]).to(images.device, images.dtype)
    second = networks.split(first) if part == SPLIT else networks.undone(first, shift)
    with torch.no_grad():
        logits = first(images)
        moved = float((second(images + shift) - logits).abs().max() / logits.abs().max())
    target, seed = logits.argmax(1), training.derive_seed(setup.seed, "shifts")
    values: dict[str, Tensor] = {}
    samples: Samples = {}
    for name in EXPLAINED:
        before = _explained(name, first, images, target, Around(train, seed=seed))
        after = _explained(name, second, images + shift, target, Around(train + shift, seed=seed))
        values[name] = (after - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1).clamp(min=1e-30)
        scale = before.abs().amax((1, 2), keepdim=True).clamp(min=1e-30)
        for when, maps in (("before", before), ("after", after)):
            samples[below(when, part, name)] = as_uint8((1 + (maps / scale).unsqueeze(1)[:SHOWN]) / 2)
    if decoders:
        values |= _decoded(first, second, images, shift, decoders)
    right = setup.test(model, data.to_unit(data.test_images)).argmax(1) == data.test_labels
    known = {"moved": moved, "accuracy": right.double().mean().item(), "test_images": float(len(right))}
    rows = rows_of({name: {"change": value} for name, value in values.items()} | {"classifier": known})
    if not keep_samples:
        return rows, {}
    low, high = torch.stack([images, images + shift]).aminmax()
    for when, inputs in (("before", images), ("after", images + shift)):
        samples[below(when, part, INPUT)] = as_uint8((inputs[:SHOWN] - low) / (high - low))
    return rows, samples | originals(data, torch.arange(min(SHOWN, len(images))), target)


def _explained(name: str, model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """Maps of a method, (n, height, width)."""
    method, options = EXPLAINED[name]
    if options.get("baseline") == "zero":
        options = {"baseline": torch.zeros_like(images)}
    if method == "smoothgrad":  # the same noise for images of another range
        options = options | {"noise": NOISE / float((around.high - around.low).max())}
    return attribute(model, images, target, method=method, around=around, **options)


@torch.no_grad()
def _decoded(
    first: nn.Module, second: nn.Module, images: Tensor, shift: Tensor, decoders: list[nn.Module]
) -> dict[str, Tensor]:
    """How far reconstructions move: by the same decoder, one trained again, and one trained on shifted images."""
    own, again, shifted = (copy.deepcopy(decoder).double() for decoder in decoders)
    codes = nn.Sequential(*list(first.children())[:-1])(images)
    moved = nn.Sequential(*list(second.children())[:-1])(images + shift)
    before = own(codes)
    after = {"cladec": own(moved), "cladec_again": again(codes), "cladec_shifted": shifted(moved) - shift}
    return {
        name: (made - before).flatten(1).norm(dim=1) / before.flatten(1).norm(dim=1) for name, made in after.items()
    }
