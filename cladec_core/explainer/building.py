"""What is built for a layer: a decoder behind the frozen encoder, a reference, and classifiers with fresh weights."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cladec_core import networks, training
from cladec_core.errors import UsageError
from cladec_core.explainer import intake, taps
from cladec_core.explainer.protocol import Protocol
from cladec_core.explainer.taps import Tap
from cladec_core.explainer.upsampling import upsampled
from cladec_core.networks import Frozen, Select

VALUES_AT_ONCE = 2**22  # in a batch where nothing is trained, so that it fits into memory
WEIGHTS_PER_VALUE = 10  # with more for each value of all images, a network is too large to be trained on them
MEMORY_SHARE = 0.25  # of what is free, for the activations of a layer, or for the training of a reference
REFERENCES = {
    "copy": "RefAE (copied encoder)",
    "own": "RefAE (the project's encoder)",
    "random": "reference (random encoder)",
}
DECODINGS: dict[str, Callable[[nn.Sequential], nn.Sequential]] = {
    "transposed": lambda decoder: decoder,
    "upsampled": upsampled,
}
NOT_READABLE = (
    "Layer {layer}: do not read the difference to the reference. On {images} images held out ΔRec is {mean:.3g}, "
    "with an interval from {low:.3g} to {high:.3g} (95 %), so not above 0: the layer keeps nearly all that matters for "
    "drawing, or the reference is not as good as it could be."
)
SAME_AS_CLADEC = (
    "Layer {layer}: do not read the difference to the reference: there is none. From fresh weights the reference was "
    "not surely better than ClaDec; this one began as ClaDec, gained nothing in {epochs} epochs, and draws the same. "
    "Give it more time (time_budget), or more images."
)
BEGAN_AS_CLADEC = (
    "Layer {layer}: do not read the difference to the reference as what the layer lacks. From fresh weights the "
    "reference was not surely better than ClaDec; this one began as ClaDec and was trained for {epochs} epochs more, "
    "encoder and decoder, from which its lead may come (ΔRec on {images} images held out: {mean:.3g}, with an interval "
    "from {low:.3g} to {high:.3g})."
)
NO_GRADIENT = (
    "no gradient reaches {} (is there a torch.no_grad, detach or inference_mode?), so that a copy would stay as it is"
)


class Affine(nn.Module):
    """Scale and shift each channel: standardised images to the user's units, or activations to unit variance."""

    shift: Tensor
    scale: Tensor

    def __init__(self, shift: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("shift", shift)
        self.register_buffer("scale", scale)

    def forward(self, values: Tensor) -> Tensor:
        """(n, channels, ...) -> the same shape."""
        return values * self.scale + self.shift

    def standardise(self, values: Tensor) -> None:
        """Choose scale and shift such that each channel of these values, (n, channels, ...), is standardised."""
        mean, std = _statistics(values.float())
        self.shift, self.scale = -mean / std, 1 / std


def _statistics(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation per channel; 1 for a constant channel."""
    std, mean = torch.std_mean(values, [0, *range(2, values.ndim)], correction=0, keepdim=True)
    return mean[0], torch.where(std > 0, std, 1.0)[0]


@dataclass(frozen=True)
class Space:
    """What is known of the images, and how they reach the networks.

    Attributes
    ----------
    shape
        (channels, height, width).
    mean, std
        Per channel, (channels, 1, 1); 0 and 1 where images are taken as they are.
    value_range
        Lowest and highest value, for drawing.
    measured_mean
        Per channel, (channels, 1, 1), whether images are standardised or not; None in files of earlier versions.
    """

    shape: tuple[int, ...]
    mean: Tensor
    std: Tensor
    value_range: tuple[float, float]
    measured_mean: Tensor | None = None

    @classmethod
    def of(cls, images: Tensor, *, standardise: bool = True) -> "Space":
        """Measure images (n, channels, height, width); see `Protocol.standardise`."""
        low, high = images.min().item(), images.max().item()
        span = (0.0, 1.0) if low >= 0 and 0 < high <= 1 else (low, max(high, low + 1e-6))
        measured, std = _statistics(images)
        mean = measured
        if not standardise:
            mean, std = torch.zeros_like(mean), torch.ones_like(std)
        return cls(tuple(images.shape[1:]), mean, std, span, measured)

    @property
    def at_once(self) -> int:
        """Images in a batch where nothing is trained."""
        return max(8, min(1024, VALUES_AT_ONCE // math.prod(self.shape)))

    def checked(self, images: Any, *, unit: bool = False) -> Tensor:
        """Check that images are such as those measured; see `intake.as_images`."""
        return intake.as_images(images, unit=unit, shape=self.shape, value_range=self.value_range)

    def standardise(self, images: Tensor) -> Tensor:
        """Zero mean and unit variance per channel over the images measured, if they are standardised at all."""
        return (images - self.mean) / self.std

    @property
    def grey(self) -> Tensor:
        """The mean of the images as the networks take it, (channels, 1, 1), which is 0 if images are standardised."""
        return self.standardise(self.mean if self.measured_mean is None else self.measured_mean)

    def restore(self) -> nn.Module:
        """Build the module that undoes `standardise`."""
        plain = not self.mean.any() and bool((self.std == 1).all())
        return nn.Identity() if plain else Affine(self.mean, self.std)


@dataclass(frozen=True)
class Design:
    """From what the modules of one layer are built; they take standardised images, and those that decode make them.

    Attributes
    ----------
    tap
        The classifier up to the layer.
    space
        The images.
    code
        Shape of the activation, or of the chosen channels, without the batch.
    channels
        The channels (or units) that are explained; None: all.
    kind
        Of the reference: one of `REFERENCES`.
    width
        Of decoders, and of the project's encoder.
    protocol, seed
        They decide the rest, and the weights.
    decoding
        How decoders enlarge their maps: one of `DECODINGS`.
    """

    tap: Tap
    space: Space
    code: tuple[int, ...]
    channels: Sequence[int] | None
    kind: str
    width: int
    protocol: Protocol
    seed: int
    decoding: str = "transposed"

    def encoder(self) -> Frozen:
        """Build the frozen encoder: images to the layer's activation, `(n, *code)`."""
        return Frozen(self._encode(self.tap))

    def decoder(self) -> nn.Sequential:
        """Build ClaDec's decoder with fresh weights: `(n, *code)` to images."""
        with training.seeded(self._seed("decoder")):
            return self._decoder()

    def reference(self) -> nn.Sequential:
        """Build the reference with fresh weights: an encoder, which is frozen where it stays random, and a decoder."""
        with training.seeded(self._seed("reference")):
            if self.kind == "own":
                encoder: nn.Module = networks.encoder(self.code, self.space.shape, width=self.width)
                if self.code[1:] == (1, 1):  # of which the encoder makes a vector
                    encoder = nn.Sequential(encoder, nn.Unflatten(1, self.code))
            else:
                copied = self._copied()
                taps.reinitialise(copied.model)
                encoder = self._encode(copied) if self.kind == "copy" else Frozen(self._encode(copied))
            if not self.protocol.seeds.again:
                return nn.Sequential(encoder, self._decoder())
        with training.seeded(self._seed("reference")):
            return nn.Sequential(encoder, self._decoder())

    def reference_of(self, decoder: nn.Module) -> nn.Sequential:
        """Build the reference that starts where ClaDec is: the classifier's own weights, and a copy of its decoder."""
        return nn.Sequential(self._encode(self._copied()), copy.deepcopy(decoder))

    def _copied(self) -> Tap:
        copied = copy.deepcopy(self.tap).requires_grad_(self.kind == "copy")
        taps.without_dropout(copied.model)
        return copied

    def _encode(self, tap: Tap) -> nn.Sequential:
        chosen = [] if self.channels is None else [Select(self.channels)]
        return nn.Sequential(self.space.restore(), tap, *chosen)

    def _decoder(self) -> nn.Sequential:
        units, *grid = self.code
        sides = [1] * len(grid)
        scaled = [Affine(torch.zeros(units, *sides), torch.ones(units, *sides))] if self.protocol.scale_codes else []
        fresh = fresh_decoder(self.code, self.space.shape, self.protocol, self.width)
        return nn.Sequential(*scaled, DECODINGS[self.decoding](fresh))

    def _seed(self, which: str) -> int:
        return self.protocol.seeds.derive(which, self.seed, self.tap.layer, self.channels, 0.0)


@dataclass
class LayerModules:
    """The modules of one layer, as `Design` builds them, with what decides their shapes and the epochs of training."""

    encoder: Frozen
    decoder: nn.Sequential
    reference: nn.Sequential
    settings: dict[str, Any]
    epochs: dict[str, int]

    @classmethod
    def of(cls, design: Design) -> "LayerModules":
        """Build all modules of a layer, untrained."""
        settings = {"kind": design.kind, "width": design.width, "code": list(design.code)}
        return cls(design.encoder(), design.decoder(), design.reference(), settings, {})

    @property
    def described(self) -> dict[str, Any]:
        """What a file keeps of it; the frozen encoder is the classifier's."""
        return {
            "settings": self.settings, "epochs": self.epochs,
            "decoder": self.decoder.state_dict(), "reference": self.reference.state_dict(),
        }  # fmt: skip

    @classmethod
    def restored(cls, described: dict[str, Any], tap: Tap, space: Space, **how: Any) -> "LayerModules":
        """Build a layer's modules as `described`; `how` are the other attributes of `Design`.

        Raises
        ------
        ValueError, KeyError, RuntimeError
            If the description is none of this layer; nothing large is built before.
        """
        settings, channels = described["settings"], how["channels"]
        code = networks.activation_shape(tap, space.shape)
        code = code if channels is None else (len(channels), *code[1:])
        full = networks.WIDTHS[how["protocol"].style]
        if list(code) != settings["code"] or settings["width"] not in (full, full // 2):
            raise ValueError(f"a decoder of width {settings['width']} for {settings['code']}, but the layer has {code}")
        design = Design(tap, space, code, kind=settings["kind"], width=settings["width"], **how)
        built = cls.of(design)
        built.decoder.load_state_dict(described["decoder"])
        built.reference.load_state_dict(described["reference"])
        built.settings, built.epochs = settings, described["epochs"]
        return built

    @property
    def explain(self) -> nn.Module:
        """From images to what the decoder makes of the layer."""
        return nn.Sequential(self.encoder, self.decoder)

    @property
    def label(self) -> str:
        """What the reference is."""
        kind = REFERENCES[self.settings["kind"]]
        return (
            kind.replace(")", f", from the {self.settings['start']}'s weights)") if "start" in self.settings else kind
        )

    def doubt(self, layer: str) -> str:
        """Why the difference to the reference must not be read; empty if it can be, or if no images were held out."""
        found = self.settings.get("held_out")
        if found is None or (found["low"] > 0 and "start" not in self.settings):
            return ""
        said = NOT_READABLE if found["low"] <= 0 else BEGAN_AS_CLADEC
        if "start" in self.settings and found["low"] == found["high"] == 0:
            said = SAME_AS_CLADEC
        return said.format(layer=layer, epochs=self.epochs["reference"], **found)


def fresh_decoder(
    code: Sequence[int], image: Sequence[int], protocol: Protocol, width: int | None = None
) -> nn.Sequential:
    """Build a decoder for an activation, of which torch's global generator draws the weights.

    Parameters
    ----------
    code, image
        Shapes of an activation and of an image, without the batch.
    protocol
        Says of which style the decoder is, and whether a sigmoid ends it.
    width
        As of `networks.decoder`; None: the style's own.
    """
    how: dict[str, Any] = {} if width is None else {"width": width}
    return networks.decoder(code, image, style=protocol.style, sigmoid=protocol.sigmoid, **how)


def fresh_classifier(model: nn.Module) -> tuple[nn.Module, list[nn.Module]]:
    """Copy a classifier with fresh weights, such as for an evaluation classifier; its dropout stays.

    Torch's global generator draws the weights.

    Parameters
    ----------
    model
        Any module. For the project's classifiers, the weights are those of a new one.

    Returns
    -------
    fresh
        The copy, whose parameters are trained.
    stuck
        Its modules that could not be re-initialised (`taps.reinitialise`).
    """
    fresh = copy.deepcopy(model).requires_grad_(True)
    return fresh, taps.reinitialise(fresh)


def choose_reference(kind: str, tap: Tap, images: Tensor, count: int) -> tuple[str, str]:
    """Decide on one of `REFERENCES` for a layer, and say why where it is not the paper's.

    Parameters
    ----------
    kind
        "auto" or one of `REFERENCES`.
    tap, images, count
        The layer, a few images in the user's units, and how many there are to train on.

    Returns
    -------
    kind
        One of `REFERENCES`.
    note
        The reason; empty for the paper's.

    Raises
    ------
    UsageError
        If a copy is asked for and a layer cannot be re-initialised.
    """
    trial = copy.deepcopy(tap).requires_grad_(True)
    found = taps.learning(trial, images)
    used = {part: name for name, part in trial.model.named_modules() if name in found.learning}
    weights = sum(value.numel() for value in trial.parameters() if value.grad is not None)
    with training.seeded(training.derive_seed(0, "trial")):
        stuck = [used[part] or "the model's own values" for part in taps.reinitialise(trial.model) if part in used]
    reasons = [f"{_some(stuck)} cannot be re-initialised"] if stuck else []
    reasons += [NO_GRADIENT.format(_some(found.deaf))] if found.deaf else []
    if kind == "copy" and reasons:
        remedy = "" if found.deaf else "add a reset_parameters(), or "
        raise UsageError(f"reference='copy': {'; '.join(reasons)}; {remedy}use reference='own' or 'random'.")
    if kind == "random":
        shuffled = f"; {reasons[0]} and got the same values in random order" if stuck else ""
        return kind, f"Reference of {tap.layer}: an encoder with random weights instead of a RefAE{shuffled}."
    too_many = weights > WEIGHTS_PER_VALUE * count * images[0].numel()
    no_room = 16 * weights > MEMORY_SHARE * intake.free_memory(images.device)  # with gradients and Adam's state
    if kind != "auto" or not (reasons or too_many or no_room):
        return kind.replace("auto", "copy"), ""
    large = f"the encoder's {weights:,} weights are too many for {count} images or for the memory"
    return "own", (
        f"Reference of {tap.layer}: {'; '.join(reasons) or large}, so the RefAE has the project's own encoder of the "
        f"same code size. Another choice is reference='random'."
    )


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
