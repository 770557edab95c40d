"""From a tapped layer to a trained decoder and its reference: what is built, how long it is trained, what it costs."""

import copy
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cladec_core import networks, training
from cladec_core.errors import UsageError
from cladec_core.explainer import intake, taps
from cladec_core.explainer.taps import Tap
from cladec_core.networks import WIDTHS, Frozen, Select
from cladec_core.training import Compute, Recipe

RECIPE = Recipe("adam", 1e-3, 1e-5)  # a larger step than the paper's 3e-4, for shorter trainings than the paper's
STEPS = 1000  # of a training, as far as the number of epochs stays between these bounds
FEWEST_EPOCHS, MOST_EPOCHS = 6, 100
SMALLEST_BATCH, LARGEST_BATCH = 16, 128
VALUES_PER_STEP, VALUES_AT_ONCE = 2**21, 2**22  # in a batch, with training or without, so that it fits into memory
FLAT, PATIENCE = 0.005, 125  # a loss that falls by less than this share over the last so many steps is flat
WEIGHTS_PER_VALUE = 10  # with more for each value of all images, an encoder is too large to be trained on them
NARROW_BELOW = 5000  # images; fewer get a decoder of half the width
FEWEST_HELD_OUT, MOST_HELD_OUT = 16, 512
MEMORY_SHARE = 0.25  # of what is free, for the activations of a layer
REFERENCES = {
    "copy": "RefAE (copied encoder)",
    "own": "RefAE (the project's encoder)",
    "random": "reference (random encoder)",
}


class Affine(nn.Module):
    """Scale and shift each channel: standardised images to the user's units, or activations to unit variance."""

    def __init__(self, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def forward(self, values: Tensor) -> Tensor:
        """(n, channels, ...) -> the same shape."""
        return values * self.scale + self.shift

    def standardise(self, values: Tensor) -> None:
        """Choose scale and shift such that each channel of these values, (n, channels, ...), is standardised.

        A decoder then learns as fast from a layer of small activations as from one of large ones.
        """
        mean, std = _statistics(values.float())
        self.shift, self.scale = -mean / std, 1 / std


def _statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel; 1 for a constant channel."""
    std, mean = torch.std_mean(values, [0, *range(2, values.ndim)], correction=0, keepdim=True)
    return mean[0], torch.where(std > 0, std, 1.0)[0]


@dataclass(frozen=True)
class Space:
    """What is known of the images: shape without the batch, statistics per channel (c, 1, 1), range of the values."""

    shape: tuple[int, ...]
    mean: Tensor
    std: Tensor
    value_range: tuple[float, float]

    @classmethod
    def of(cls, images: Tensor) -> "Space":
        """Measure images (n, channels, height, width)."""
        low, high = images.min().item(), images.max().item()
        span = (0.0, 1.0) if low >= 0 and 0 < high <= 1 else (low, max(high, low + 1e-6))
        return cls(tuple(images.shape[1:]), *_statistics(images), span)

    @property
    def at_once(self) -> int:
        """Images in a batch where nothing is trained."""
        return max(8, min(1024, VALUES_AT_ONCE // math.prod(self.shape)))

    def standardise(self, images: Tensor) -> Tensor:
        """Zero mean and unit variance per channel over the images measured."""
        return (images - self.mean) / self.std

    def restore(self) -> Affine:
        """The module that undoes `standardise`."""
        return Affine(self.mean, self.std)


@dataclass
class Part:
    """The modules of one layer, all from or to standardised images, and the settings that they are built from."""

    encoder: nn.Module
    decoder: nn.Sequential
    reference: nn.Sequential
    settings: dict[str, Any]
    epochs: dict[str, int]

    @property
    def explain(self) -> nn.Module:
        """From images to what the decoder makes of the layer."""
        return nn.Sequential(self.encoder, self.decoder)


def assemble(
    tap: Tap, space: Space, channels: Sequence[int] | None, seed: int, *, kind: str, width: int, code: Sequence[int]
) -> Part:
    """Build all modules of a layer with fresh weights.

    Parameters
    ----------
    tap, space, channels
        The layer, the images, and the channels that are explained (None: all).
    seed
        Decides the weights.
    kind, width, code
        One of `REFERENCES`, the decoder's width, and the shape of the chosen activation without the batch.
    """

    def encode(tap: Tap) -> nn.Sequential:
        return nn.Sequential(space.restore(), tap, *([] if channels is None else [Select(channels)]))

    def decoder() -> nn.Sequential:
        sides = [1] * (len(code) - 1)
        return nn.Sequential(
            Affine(torch.zeros(code[0], *sides), torch.ones(code[0], *sides)),
            networks.decoder(code, space.shape, width=width),
        )

    with training.seeded(training.derive_seed(seed, tap.layer, "decoder")):
        cladec = decoder()
    with training.seeded(training.derive_seed(seed, tap.layer, "reference")):
        if kind == "own":
            encoder: nn.Module = networks.encoder(code, space.shape, width=width)
        else:
            copied = copy.deepcopy(tap).requires_grad_(kind == "copy")
            taps.reinitialise(copied.model)
            taps.without_dropout(copied.model)
            encoder = encode(copied) if kind == "copy" else Frozen(encode(copied))
        reference = nn.Sequential(encoder, decoder())
    return Part(Frozen(encode(tap)), cladec, reference, {"kind": kind, "width": width, "code": list(code)}, {})


def choose_reference(kind: str, tap: Tap, images: Tensor, count: int) -> tuple[str, str]:
    """Decide on one of `REFERENCES` for a layer, and say why where it is not the paper's.

    Parameters
    ----------
    kind
        "auto" or one of `REFERENCES`.
    tap, images, count
        The layer, a few images in the user's units, and how many there are to train on.

    Raises
    ------
    UsageError
        If a copy is asked for and a layer cannot be re-initialised.
    """
    trial = copy.deepcopy(tap).requires_grad_(True)
    activation = trial(images)
    if activation.requires_grad:  # then only what the layer depends on gets a gradient
        activation.sum().backward()
    used = {
        part: name
        for name, part in trial.model.named_modules()
        if any(value.grad is not None for value in part.parameters(recurse=False))
    }
    weights = sum(value.numel() for value in trial.parameters() if value.grad is not None)
    with training.seeded(training.derive_seed(0, "trial")):
        stuck = [used[part] or "the model's own values" for part in taps.reinitialise(trial.model) if part in used]
    names = ", ".join(stuck[:4]) + (", ..." if len(stuck) > 4 else "") + " cannot be re-initialised"
    if kind == "copy" and stuck:
        raise UsageError(f"reference='copy': {names}; add a reset_parameters(), or use reference='own' or 'random'.")
    if kind == "random":
        shuffled = f"; {names} and got the same values in random order" if stuck else ""
        return kind, f"Reference of {tap.layer}: an encoder with random weights instead of a RefAE{shuffled}."
    too_many = weights > WEIGHTS_PER_VALUE * count * images[0].numel()
    no_room = 16 * weights > MEMORY_SHARE * intake.free_memory(images.device)  # with gradients and Adam's state
    if kind != "auto" or not (stuck or too_many or no_room):
        return kind.replace("auto", "copy"), ""
    why = names if stuck else f"the encoder's {weights:,} weights are too many for {count} images or for the memory"
    return "own", (
        f"Reference of {tap.layer}: {why}, so the RefAE has the project's own encoder of the same code size. Another "
        f"choice is reference='random'."
    )


def decoder_width(images: int) -> int:
    """Width of the decoder for so many images."""
    return WIDTHS["code"] if images >= NARROW_BELOW else WIDTHS["code"] // 2


def held_out(images: int) -> int:
    """How many of the images are not trained on: their loss says when to end."""
    return min(max(images // 10, FEWEST_HELD_OUT), MOST_HELD_OUT)


def plan(images: int, values: int, steps: int = STEPS) -> tuple[int, int, int]:
    """Images per step, number of epochs and steps in each, for so many images of so many values."""
    batch = min(max(2 ** int(math.log2(max(1, images // 16))), SMALLEST_BATCH), LARGEST_BATCH)
    batch = min(batch, max(8, VALUES_PER_STEP // values), images)
    return batch, min(max(math.ceil(steps / (images // batch)), FEWEST_EPOCHS), MOST_EPOCHS), images // batch


@dataclass
class Job:
    """One training of a decoder behind an encoder, on all images but the `held_out` last.

    `kept`: bytes of the activations, if they are computed once; 0 if the encoder is run for each batch.
    """

    name: str
    encoder: nn.Module
    decoder: nn.Module
    kept: int
    loss: Callable[..., Tensor]
    targets: tuple[Tensor, ...]
    held_out: int
    on: Compute
    at_once: int

    @property
    def plan(self) -> tuple[int, int, int]:
        """As `plan` for the images that it is trained on."""
        return plan(len(self.targets[0]) - self.held_out, self.targets[0][0].numel())

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        return self.decoder if self.kept else nn.Sequential(self.encoder, self.decoder)

    def inputs(self, images: Tensor) -> Tensor:
        """What that is given for standardised images."""
        return training.apply(self.encoder, images, self.on, batch_size=self.at_once) if self.kept else images

    def fit(self, model: nn.Module, inputs: Tensor, rows: slice, **how: Any) -> list[float]:
        """Train on some rows."""
        targets = tuple(target[rows] for target in self.targets)
        job = training.Job(
            model, inputs[rows], targets, self.loss, RECIPE, on=self.on, batch_size=self.plan[0], label=self.name, **how
        )
        return training.fit(job)

    def seconds_per_step(self) -> float:
        """Time two steps of a copy, after one that is not counted."""
        batch, trial = self.plan[0], copy.deepcopy(self.model)
        inputs = self.inputs(self.targets[0][: 2 * batch])
        for steps in (1, 2):
            began = time.perf_counter()
            self.fit(trial, inputs, slice(steps * batch), epochs=1, seed=0)
        return (time.perf_counter() - began) / 2

    def train(self, epochs: int, seed: int, progress: bool) -> int:
        """Train until the loss of the images held out is flat; returns the number of epochs."""
        model, inputs = self.model, self.inputs(self.targets[0])
        patience, losses = max(3, PATIENCE // self.plan[2]), []

        def flat(_: list[float]) -> bool:
            outputs = training.apply(model, inputs[-self.held_out :], self.on, batch_size=self.at_once).float()
            with torch.no_grad():
                losses.append(self.loss(outputs, *(target[-self.held_out :] for target in self.targets)).item())
            return len(losses) > patience and min(losses[-patience:]) > (1 - FLAT) * min(losses[:-patience])

        seed = training.derive_seed(seed, self.name, "order")
        rows = slice(-self.held_out)
        return len(self.fit(model, inputs, rows, epochs=epochs, seed=seed, progress=progress, stop=flat))
