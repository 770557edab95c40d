"""What a run can be asked for: every parameter once, typed, checked, with a value in each profile.

A notebook cell, the command line and a cluster job all end in `settings_for`; there is no other way to make a
configuration, so a value that cannot be used is refused before anything runs.
"""

import hashlib
import json
import math
import types
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal, Union, get_args, get_origin, get_type_hints

import torch

from cladec_core import data, networks
from cladec_core.errors import UsageError, one_of

PROFILES = {
    "smoke": "seconds, for tests: a thin network, a few images, no meaning",
    "quick": "the default: embedded digits, full-width networks, minutes on a CPU",
    "laptop": "the real Fashion-MNIST and MNIST, few epochs, one to three hours on a CPU",
    "paper": "the paper's protocol: 64 epochs, 5 seeds, all data",
}


SEEDS = (0, 2**31 - 1)
WIDTHS = (0.05, 4.0)
ALL = "all"  # a limit of None by name, for notebooks: their None stands for the profile's value


def parameter(
    smoke: Any, quick: Any, laptop: Any, paper: Any, help: str, *, axis: bool = False,
    limits: tuple[float, float] | None = None, of: Iterable[str] | None = None,
) -> Any:  # fmt: skip
    """Declare a parameter.

    Parameters
    ----------
    smoke, quick, laptop, paper
        Its value in each profile.
    help
        What it is.
    axis
        Whether it is an axis of the grid. Values along an axis (a seed, a layer) are cells of one record; a change of
        any other parameter makes a record of its own.
    limits, of
        The smallest and the largest number, or the names, that are valid; in a list, for each value.
    """
    values = dict(zip(PROFILES, (smoke, quick, laptop, paper), strict=True))
    return field(default=quick, metadata={"profiles": values, "help": help, "axis": axis, "limits": limits, "of": of})


def _names(*values: Any, help: str, of: Iterable[str]) -> Any:
    """Declare an axis of names."""
    return parameter(*values, f"{help}, of {', '.join(of)}", axis=True, of=of)


def _data_sets(*values: Any) -> Any:
    """Declare the data sets of `laptop` and `paper`; the others have the embedded digits."""
    return _names(("digits",), ("digits",), *values, help="data sets", of=data.DATASETS)


def _networks(*values: Any) -> Any:
    """Declare the classifiers to explain."""
    return _names(*values, help="classifiers to explain", of=networks.ARCHITECTURES)


def _epochs(*values: Any, of: str) -> Any:
    """Declare how long something is trained."""
    return parameter(*values, f"epochs of {of}", limits=(1, 10_000))


def _images_used(*values: int | None, do: str = "train") -> Any:
    """Declare how many images are used."""
    return parameter(*values, f"{do} on the first so many images; None: all")


@dataclass(frozen=True)
class Parameters:
    """Base of every configuration: a name, a profile, and fields made by `parameter`."""

    experiment: ClassVar[str] = ""
    profile: str = "quick"

    def __post_init__(self) -> None:
        """Check every value against its declaration."""
        for item in fields(self):
            value, valid = getattr(self, item.name), item.metadata
            if valid.get("axis") and isinstance(value, tuple):
                _check_axis(item.name, value)
            for each in value if isinstance(value, tuple) else (value,):
                if valid.get("limits"):
                    _check_range(item.name, each, *valid["limits"])
                if valid.get("of"):
                    one_of(item.name.removesuffix("s"), each, valid["of"])

    def configuration(self) -> dict[str, Any]:
        """Everything that is not an axis, as JSON types: what all cells of one record have in common."""
        axes = {item.name for item in fields(self) if item.metadata.get("axis")}
        values = {key: value for key, value in asdict(self).items() if key not in axes | {"profile"}}
        return json.loads(json.dumps(values))

    def record_name(self) -> str:
        """Folder of this configuration's record: the profile, with a mark if a parameter was changed."""
        default = settings_for(type(self), self.profile)
        if self.configuration() == default.configuration():
            return self.profile
        text = json.dumps(self.configuration(), sort_keys=True)
        return f"{self.profile}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Settings(Parameters):
    """Parameters that every trained experiment shares (section A.0)."""

    datasets: tuple[str, ...] = _data_sets(("fashion_mnist", "mnist"), ("fashion_mnist", "mnist", "cifar100"))
    architectures: tuple[str, ...] = _networks(("vgg11",), ("vgg11",), ("vgg11",), ("vgg11", "resnet10"))
    seeds: tuple[int, ...] = parameter((0,), (0,), (0,), (0, 1, 2, 3, 4), "one run for each", axis=True, limits=SEEDS)
    classifier_epochs: int = _epochs(1, 6, 4, 64, of="the classifier and of the evaluation classifiers")
    decoder_epochs: int = _epochs(1, 4, 4, 64, of="the decoders and of the RefAE")
    # The few images of `quick` make few steps: small batches bring a network further in the same time.
    batch_size: int = parameter(32, 32, 128, 128, "images per training step", limits=(2, 65_536))
    train_limit: int | None = _images_used(160, None, 20_000, None)
    test_limit: int | None = _images_used(80, None, None, None, do="test")
    width: float = parameter(0.125, 1.0, 1.0, 1.0, "factor on the channels of every classifier layer", limits=WIDTHS)
    decoder_style: Literal["code", "table1"] = parameter(*("code",) * 4, "decoder of the authors' code, or of Table 1")
    resize: Literal["nearest", "bilinear"] = parameter(*("nearest",) * 4, "interpolation to 32x32")

    def __post_init__(self) -> None:
        """Check everything that can be checked without reading data."""
        super().__post_init__()
        for name in ("train_limit", "test_limit"):
            data.check_limit(name, getattr(self, name))


@dataclass(frozen=True)
class LayersSettings(Settings):
    """Parameters of the experiment `layers` (E0-E3)."""

    experiment: ClassVar[str] = "layers"
    layers: tuple[int | str, ...] = parameter(
        (-1, -5), (-1, -3, -5), (-1, -3, -5, -2, -4), (-1, -2, -3, -4, -5),
        "layers to explain: the paper's index, or a name", axis=True,
    )  # fmt: skip
    index_map: Literal["code", "paper"] = parameter(
        *("code",) * 4, "which layer an index means: as in the authors' code or in the paper's text"
    )

    def __post_init__(self) -> None:
        """Check the layers against every architecture."""
        super().__post_init__()
        for architecture in self.architectures:
            names = [networks.layer_name(architecture, layer, self.index_map) for layer in self.layers]
            if len(set(names)) < len(names):
                raise UsageError(f"layers {list(self.layers)} name the same layer of {architecture} twice: {names}.")


@dataclass(frozen=True)
class AlphaSettings(Settings):
    """Parameters of the experiment `alpha` (E4, E5): the weight of the classification loss."""

    experiment: ClassVar[str] = "alpha"
    datasets: tuple[str, ...] = _data_sets(("fashion_mnist",), ("fashion_mnist",))
    decoder_epochs: int = _epochs(1, 4, 4, 64, of="the decoders")
    alphas: tuple[float, ...] = parameter(
        (0.0, 0.9, 1.0), (0.0, 0.01, 0.9, 1.0), *((0.0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0),) * 2,
        "weights of the classification loss in Eq. 1, from 0 to 1", axis=True, limits=(0, 1),
    )  # fmt: skip


@dataclass(frozen=True)
class EncoderTrainingSettings(Settings):
    """Parameters of the experiment `encoder_training` (E6): how long the classifier to explain was trained."""

    experiment: ClassVar[str] = "encoder_training"
    datasets: tuple[str, ...] = _data_sets(("fashion_mnist",), ("fashion_mnist",))
    classifier_epochs: int = _epochs(1, 3, 4, 64, of="the evaluation classifiers")
    decoder_epochs: int = _epochs(1, 3, 4, 64, of="the decoders and of the RefAE")
    encoder_epochs: tuple[int, ...] = parameter(
        (0, 1), (0, 1, 6), *((0, 1, 4, 16, 64),) * 2,
        "epochs of the classifier to explain; 0: untrained", axis=True, limits=(0, 10_000),
    )  # fmt: skip


@dataclass(frozen=True)
class OcclusionSettings(LayersSettings):
    """Parameters of the experiment `occlusion` (E9); its trainings are those of `layers`."""

    experiment: ClassVar[str] = "occlusion"
    layers: tuple[int | str, ...] = parameter(
        (-1, -5), *((-1, -3, -5),) * 3, "layers to explain: the paper's index, or a name", axis=True
    )
    square: int = parameter(*(12,) * 4, "side of the occluding square in pixels, 1..32", limits=(1, data.SIZE))
    corners: tuple[int, ...] = parameter(
        (0, 20), *((0, 6, 12, 20),) * 3, "rows and columns of the squares' upper left corners"
    )

    def __post_init__(self) -> None:
        """Check that every square lies in the image."""
        super().__post_init__()
        _check_axis("corners", self.corners)
        for corner in self.corners:
            if not 0 <= corner <= data.SIZE - self.square:
                raise UsageError(
                    f"corners has {corner}: a square of {self.square} pixels there leaves the image; "
                    f"valid: from 0 to {data.SIZE - self.square}."
                )


@lru_cache
def last_convolution(architecture: str, width: float = 1.0) -> tuple[str, int]:
    """Name of the last convolution (or block), the layer of section 6.4, and how many channels it has."""
    name = networks.layer_name(architecture, -2, "paper")
    with torch.random.fork_rng(devices=[]):  # only shapes are of interest; the meta device takes seconds to import
        encoder = networks.classifier(architecture, 1, 2, width).up_to(name)
    return name, networks.activation_shape(encoder, (1, data.SIZE, data.SIZE))[0]


@dataclass(frozen=True)
class SubsetsSettings(Settings):
    """Parameters of the experiment `subsets` (E7): which channels of the last convolution are explained."""

    experiment: ClassVar[str] = "subsets"
    datasets: tuple[str, ...] = _data_sets(("fashion_mnist",), ("fashion_mnist",))
    decoder_epochs: int = _epochs(1, 4, 4, 64, of="the decoders")
    sizes: tuple[int, ...] = parameter(
        (64, 10, 1), (512, 64, 10, 1), (512, 256, 128, 51, 10, 4, 1), (512, 256, 128, 64, 51, 32, 16, 10, 8, 4, 2, 1),
        "nested subsets: the first so many channels", axis=True,
    )  # fmt: skip
    disjoint_size: int = parameter(*(10,) * 4, "channels of each disjoint and of each random subset")
    disjoint_count: int = parameter(
        2, 2, 5, 10, "disjoint subsets of consecutive channels", limits=(1, 10_000), axis=True
    )
    random_repeats: int = parameter(
        1, 2, 5, 10, "random subsets of the same size; 0: none", limits=(0, 10_000), axis=True
    )

    def __post_init__(self) -> None:
        """Check every subset against every architecture."""
        super().__post_init__()
        for architecture in self.architectures:
            layer, channels = last_convolution(architecture, self.width)
            for name, sizes in (("sizes", self.sizes), ("disjoint_size", (self.disjoint_size,))):
                for size in sizes:
                    if not 1 <= size <= channels:
                        problem = "an empty subset" if size < 1 else f"more than {layer} of {architecture} has"
                        raise UsageError(f"{name} has {size} ({problem}); valid: from 1 to {channels}.")
            if self.disjoint_size * self.disjoint_count > channels:
                raise UsageError(
                    f"disjoint_count is {self.disjoint_count}: so many disjoint subsets of {self.disjoint_size} need "
                    f"more than the {channels} channels of {layer}; valid: from 1 to {channels // self.disjoint_size}."
                )


@dataclass(frozen=True)
class PrototypesSettings(Settings):
    """Parameters of the experiment `prototypes` (E8); its classifier and decoder are those of `subsets`."""

    experiment: ClassVar[str] = "prototypes"
    datasets: tuple[str, ...] = _data_sets(*(("mnist", "fashion_mnist"),) * 2)
    architectures: tuple[str, ...] = _networks(*(("vgg11",),) * 4)
    decoder_epochs: int = _epochs(1, 4, 4, 64, of="the decoders")
    prototypes: tuple[int, ...] = parameter(
        (3,), *((15,),) * 3, "how many prototypes to learn", axis=True, limits=(1, 1_000)
    )
    prototype_epochs: int = _epochs(2, 32, 50, 1500, of="the prototype network")
    prototype_batch_size: int = parameter(
        32, 50, 250, 250, "images per training step of the prototype network", limits=(2, 65_536)
    )


BASELINE = "baseline"
CONTROLS = {  # what is different from the baseline
    "same_half": "half of the training images, for everything",
    "other_half": "half of the training images for the classifier, the other half for everything else",
    "originals": "one evaluation classifier for both, trained on original images",
    "mean_loss": "reconstruction losses averaged over pixels, not summed",
    "small_alpha": "the default of the authors' program: averaged losses, and 0.001 for α in ClaDec's",
    "unit": "images in [0, 1], not standardised",
    "sigmoid": "images in [0, 1], and decoders that end in a sigmoid",
    "table1": "the decoder of Table 1",
    "bilinear": "images enlarged by bilinear interpolation",
    "max_pooling": "a VGG with max-pooling in the place of strides",
}


@dataclass(frozen=True)
class ControlsSettings(LayersSettings):
    """Parameters of the experiment `controls`: which choices are varied, one at a time."""

    experiment: ClassVar[str] = "controls"
    datasets: tuple[str, ...] = _data_sets(("fashion_mnist",), ("fashion_mnist",))
    # With ResNet-10, which costs twenty times as much, `paper` would spend two fifths of its time on these.
    architectures: tuple[str, ...] = _networks(*(("vgg11",),) * 4)
    decoder_epochs: int = _epochs(1, 5, 4, 64, of="the decoders and of the RefAE")
    train_limit: int | None = _images_used(160, 640, 10_000, None)
    width: float = parameter(0.125, 0.25, 1.0, 1.0, "factor on the channels of every classifier layer", limits=WIDTHS)
    layers: tuple[int | str, ...] = parameter(
        (-5,), (-5,), (-3,), (-1, -3), "layers to explain: the paper's index, or a name", axis=True
    )
    controls: tuple[str, ...] = _names(*(tuple(CONTROLS),) * 4, help="what to change beside the baseline", of=CONTROLS)


@dataclass(frozen=True)
class YourOwnSettings(Settings):
    """Parameters of the experiment `your_own`: a classifier that looks at a marker, and one that cannot."""

    experiment: ClassVar[str] = "your_own"
    datasets: tuple[str, ...] = _data_sets(("mnist",), ("mnist",))
    architectures: tuple[str, ...] = _networks(*(("vgg5",),) * 4)
    seeds: tuple[int, ...] = parameter((0,), (0,), *((0, 1, 2, 3, 4),) * 2, "one run for each", axis=True, limits=SEEDS)
    decoder_epochs: int = _epochs(1, 4, 36, 64, of="decoder and reference")
    batch_size: int = parameter(32, 32, 32, 128, "images per training step of a classifier", limits=(2, 65_536))
    # With so few images explainers have small batches and narrow decoders: twice the steps in the same time.
    train_limit: int | None = _images_used(160, 1_000, 2_000, None)
    layers: tuple[int | str, ...] = parameter(
        ("conv4",), ("conv3", "conv4"), *(("conv3", "conv4", "penultimate"),) * 2,
        "layers to explain: the paper's index, or a name", axis=True,
    )  # fmt: skip
    marked_class: int = parameter(*(8,) * 4, "the class that carries the marker, counted from 0", limits=(0, 9))
    marker: int = parameter(*(6,) * 4, "side of the marker in pixels, 1..16", limits=(1, 16))
    fitted_on: Literal["biased", "honest"] = parameter(
        *("biased",) * 4, "explainers see the training images of this classifier: the marker on its class, or anywhere"
    )
    images: int = parameter(2, 12, 24, 100, "marked test images that are explained", limits=(1, 10_000))
    lime_samples: int = parameter(
        20, 200, 500, 1000, "covered copies of an image that LIME asks about", limits=(10, 100_000)
    )

    def __post_init__(self) -> None:
        """Check the layers against every architecture."""
        super().__post_init__()
        for architecture in self.architectures:
            for layer in self.layers:
                networks.layer_name(architecture, layer)


@dataclass(frozen=True)
class TheorySettings(Parameters):
    """Parameters of the chapter `theory` (section 4 of the paper); it trains no network and keeps no record."""

    experiment: ClassVar[str] = "theory"
    seed: int = parameter(*(0,) * 4, "decides every random encoder, sample and projection", limits=SEEDS)
    dimensions: int = parameter(3, 8, 8, 8, "units of the linear code, 1..32", limits=(1, 32))
    hidden_units: int = parameter(
        6, 16, 16, 16, "hidden units of the linear network that learns, 1..64", limits=(1, 64)
    )
    images: int = parameter(
        40, 200, 500, 500, "images whose pairwise distances are compared, 10..1000", limits=(10, 1000)
    )
    draws: int = parameter(3, 20, 50, 50, "random encoders per code size, 2..1000", limits=(2, 1000))
    points: int = parameter(
        2_000,
        20_000,
        50_000,
        50_000,
        "sampled points of the two Gaussian classes, 1000..1000000",
        limits=(1000, 1_000_000),
    )
    epochs: int = parameter(4, 128, 256, 256, "epochs of the trained linear auto-encoder, 1..2048", limits=(1, 2048))


@dataclass(frozen=True)
class UserStudySettings(Parameters):
    """Parameters of the kit `user_study` (E10); it keeps no record, as only people can make one."""

    experiment: ClassVar[str] = "user_study"
    images: int = parameter(20, *(100,) * 3, "image pairs, as many of each class", limits=(1, 10_000))
    participants: int = parameter(6, *(59,) * 3, "participants, 1..10000", limits=(1, 10_000))
    pairs: int = parameter(*(5,) * 4, "pairs that each participant sees, at most as many as there are images")
    seed: int = parameter(*(0,) * 4, "decides images, assignment and training", limits=SEEDS)

    def __post_init__(self) -> None:
        """Check that there are enough images for a participant."""
        super().__post_init__()
        _check_range("pairs", self.pairs, 1, self.images)


@dataclass(frozen=True)
class CostSettings(Parameters):
    """Parameters of the chapter `cost` (B50): how long it measures; it keeps no record."""

    experiment: ClassVar[str] = "cost"
    batch_size: int = parameter(8, *(128,) * 3, "images per training step", limits=(2, 65_536))
    steps: int = parameter(1, *(2,) * 3, "training steps in each repeat", limits=(1, 10_000))
    repeats: int = parameter(1, *(3,) * 3, "repeats, of which the median counts", limits=(1, 1000))
    width: float = parameter(0.125, *(1.0,) * 3, "factor on the channels of every classifier layer", limits=WIDTHS)


EVERY = (
    LayersSettings, AlphaSettings, EncoderTrainingSettings, OcclusionSettings, SubsetsSettings, PrototypesSettings,
    ControlsSettings, YourOwnSettings, TheorySettings, UserStudySettings, CostSettings,
)  # fmt: skip
SETTINGS: dict[str, type[Parameters]] = {kind.experiment: kind for kind in EVERY}


def settings_for(experiment: str | type[Parameters], profile: str = "quick", **changes: Any) -> Any:
    """Make a checked configuration from a profile and changes to it.

    Parameters
    ----------
    experiment
        Name of an experiment.
    profile
        One of `PROFILES`.
    **changes
        Parameters by name. Where a parameter can be None, None and "all" both mean it; else None means the profile's
        value.

    Raises
    ------
    UsageError
        For an unknown experiment, profile or parameter, a wrong type or a value out of range. The message
        names the value and says what is valid.
    """
    if isinstance(experiment, str):
        one_of("experiment", experiment, SETTINGS)
    kind = SETTINGS[experiment] if isinstance(experiment, str) else experiment
    one_of("profile", profile, PROFILES)
    declared = {item.name: item for item in fields(kind) if item.name != "profile"}
    hints = get_type_hints(kind)
    values = {name: item.metadata["profiles"][profile] for name, item in declared.items()}
    for name, value in changes.items():
        one_of("parameter", name, declared)
        if type(None) in get_args(hints[name]) and value in (None, ALL):
            values[name] = None
        elif value is not None:
            values[name] = _typed(name, value, hints[name])
    return replace(kind(profile=profile), **values)


def _typed(name: str, value: Any, hint: Any) -> Any:
    """Convert lists to tuples and whole numbers to floats; refuse any other type than the declared one."""
    origin, options = get_origin(hint), get_args(hint)
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise UsageError(f"{name} is {value!r}; valid: a list, such as [{value!r}].")
        return tuple(_typed(name, item, options[0]) for item in value)
    if origin is Literal:
        one_of(name, value, options)
        return value
    if origin in (Union, types.UnionType):
        allowed = tuple(option for option in options if option is not type(None))
    else:
        allowed = (hint,)
    if float in allowed and type(value) is int:
        return float(value)
    if type(value) not in allowed or (type(value) is float and not math.isfinite(value)):
        names = " or ".join([option.__name__ for option in allowed] + [ALL] * (type(None) in options))
        raise UsageError(f"{name} is {value!r} ({type(value).__name__}); valid: {names}.")
    return value


def _check_axis(name: str, values: tuple) -> None:
    if not values or len(set(values)) < len(values):
        problem = "empty" if not values else "repeated"
        raise UsageError(f"{name} is {list(values)} ({problem}); valid: a list of different values, at least one.")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise UsageError(f"{name} is {value}; valid: from {low} to {high}.")
