"""Images in a record: how they are named, which belong together, and how they are packed.

A record keeps arrays by name in one `samples.npz`. A name says whose images they are and what they show:
`mnist/vgg11/conv2/cladec` are the reconstructions by ClaDec from `conv2` of the VGG-11 trained on MNIST. The first two
parts name the run, the rest is the chapter's own. `ImageName` makes and reads names; `RunImages` finds the images of a
run. An experiment names what it keeps below its run with `below` and `valued`:

    samples[below(layer, "cladec")] = as_uint8(...)      # conv2/cladec
    samples[below(valued("alpha", 0.5))] = as_uint8(...)  # alpha=0.5

and a figure reads them back:

    images = RunImages.of(record, "mnist", "vgg11")
    images["conv2", "cladec"], images.values("alpha"), images.layers(), images.labels

Arrays of a run that are no images: `seed` (of which all images are), `index` (their places in the test set), `label`
and `predicted` (classes), and below `score` what the classifier gives each class, in per cent: `score/original` of the
test images, `score/conv2/cladec` of the reconstructions of that name.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cladec_core.errors import RunError, one_of
from cladec_core.networks import LAYER_INDEX, LAYOUTS

if TYPE_CHECKING:  # torch takes seconds to import; names alone need none
    from torch import Tensor

    from cladec_core.data import ImageData

SEED, INDEX, SCORE = "seed", "index", "score"
INDEX_MAP = "code"  # of records whose experiment has no such parameter


@dataclass(frozen=True, order=True)
class ImageName:
    """The name of an array in a record.

    Attributes
    ----------
    dataset, architecture
        The run.
    parts
        What the array is, from the general to the particular, such as ("conv2", "cladec") or ("label",).
    """

    dataset: str
    architecture: str
    parts: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse parts that could not be read back."""
        for part in (self.dataset, self.architecture, *self.parts):
            if not part or "/" in part or not part.isprintable():
                raise RunError(f"{part!r} cannot be a part of an image's name; valid: printable text without '/'.")
        if not self.parts:
            raise RunError(f"Images of {self.dataset}/{self.architecture} need a name of their own.")

    def __str__(self) -> str:
        return "/".join((self.dataset, self.architecture, *self.parts))

    @classmethod
    def read(cls, text: str) -> "ImageName":
        """Take a name apart.

        Raises
        ------
        RunError
            If it has fewer than three parts, or an empty or unprintable one.
        """
        dataset, _, rest = text.partition("/")
        architecture, _, parts = rest.partition("/")
        return cls(dataset, architecture, tuple(parts.split("/")))

    @property
    def run(self) -> tuple[str, str]:
        """Data set and architecture."""
        return self.dataset, self.architecture

    def beside(self, *parts: str) -> "ImageName":
        """The name of another array of the same run."""
        return ImageName(self.dataset, self.architecture, parts)


def below(*parts: object) -> str:
    """What an experiment calls an array: its name without the run, such as `conv2/cladec`."""
    name = ImageName("dataset", "architecture", tuple(map(str, parts)))
    return "/".join(name.parts)


def valued(name: str, value: float) -> str:
    """A part of a name that holds a number, such as `alpha=0.5`."""
    return f"{name}={value + 0.0}"  # no negative zero


def as_uint8(unit_images: "Tensor") -> np.ndarray:
    """Grey values in [0, 1] as 0..255, clipped."""
    return unit_images.clamp(0, 1).mul(255).round().byte().cpu().numpy()


def places(at: "Tensor") -> dict[str, np.ndarray]:
    """Places in the test set of the images that are shown; every cell that keeps images says of which they are."""
    return {INDEX: at.cpu().numpy().astype(np.int32)}


def originals(data: "ImageData", at: "Tensor", predicted: "Tensor") -> dict[str, np.ndarray]:
    """The test images that are shown: their places, classes and predictions, and themselves."""
    at = at.to(predicted.device)
    return places(at) | {
        "label": data.test_labels[at].cpu().numpy().astype(np.uint8),
        "predicted": predicted[at].cpu().numpy().astype(np.uint8),
        "original": as_uint8(data.to_unit(data.test_images[at])),
    }


def scored(name: str, logits: "Tensor") -> dict[str, np.ndarray]:
    """What a classifier gives each class in images of some name: per cent, (n, classes)."""
    return {below(SCORE, *name.split("/")): logits.softmax(1).mul(100).round().byte().cpu().numpy()}


def fingerprint(arrays: Mapping[str, np.ndarray]) -> str:
    """What tells some arrays from others: a digest of their names, types, shapes and values, 32 hexadecimal digits.

    Of a classifier these are its weights, of the images that are shown their places in the test set.
    """
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()[:32]


class HasImages(Protocol):
    """What images are read from: a record."""

    samples: dict[str, np.ndarray]
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Layer:
    """A layer, with its number under a record's index map; None for one that is not numbered."""

    name: str
    index: int | None

    @property
    def label(self) -> str:
        """Its name for a reader, such as conv3 (-3)."""
        return self.name if self.index is None else f"{self.name} ({self.index})"


@dataclass(frozen=True)
class RunImages:
    """The images that a record keeps of one data set and architecture.

    Attributes
    ----------
    dataset, architecture
        The run.
    samples
        All arrays of the record.
    index_map
        What the record calls a layer -1: see `networks.LAYER_INDEX`.
    """

    dataset: str
    architecture: str
    samples: Mapping[str, np.ndarray]
    index_map: str = INDEX_MAP

    @classmethod
    def of(cls, record: HasImages, dataset: str | None = None, architecture: str | None = None) -> "RunImages":
        """Images of one run of a record, by default of the first, in the order of data sets and of `LAYER_INDEX`.

        Raises
        ------
        RunError
            If the record has no images of such a run; the message lists those it has.
        """
        runs = runs_of(record)
        for run in runs:
            if dataset in (None, run[0]) and architecture in (None, run[1]):
                return cls(*run, record.samples, index_map_of(record))
        asked = f"{dataset or 'any data set'}, {architecture or 'any architecture'}"
        raise RunError(f"The record has no images of {asked}; it has: {', '.join(map('/'.join, runs)) or 'none'}.")

    @property
    def run(self) -> tuple[str, str]:
        """Data set and architecture."""
        return self.dataset, self.architecture

    def name(self, *parts: str) -> str:
        """The name of an array in the record."""
        return str(ImageName(self.dataset, self.architecture, parts))

    def __contains__(self, parts: tuple[str, ...] | str) -> bool:
        return self.name(*_tuple(parts)) in self.samples

    def __getitem__(self, parts: tuple[str, ...] | str) -> np.ndarray:
        """An array by what it is: `images["label"]`, `images["conv2", "cladec"]`.

        Raises
        ------
        RunError
            If the record does not have it.
        """
        name = self.name(*_tuple(parts))
        if name not in self.samples:
            known = ", ".join(sorted("/".join(parts) for parts in self.names))
            raise RunError(f"The record has no images {name!r}; of this run it has: {known or 'none'}.")
        return self.samples[name]

    @cached_property
    def names(self) -> list[tuple[str, ...]]:
        """What the record has of this run."""
        found = map(ImageName.read, self.samples)
        return sorted(name.parts for name in found if name.run == self.run)

    @property
    def labels(self) -> np.ndarray:
        """True classes of the test images, (n,)."""
        return self["label"]

    @property
    def predicted(self) -> np.ndarray:
        """Classes that the classifier sees in the test images, (n,); the true ones where the record has no others."""
        return self["predicted" if "predicted" in self else "label"]

    @property
    def index(self) -> np.ndarray:
        """Places of the test images in the test set, (n,)."""
        return self[INDEX]

    @property
    def original(self) -> np.ndarray:
        """The test images themselves, uint8 (n, channels, height, width)."""
        return self.aligned("original")

    def aligned(self, *parts: str) -> np.ndarray:
        """Images made from the run's test images, one for each, in their order.

        Raises
        ------
        RunError
            If there are more or fewer of them than test images: they cannot stand in one column with them.
        """
        images = self[parts]
        if len(images) != len(self.labels):
            raise RunError(
                f"{self.name(*parts)!r} are {len(images)} images, but the run shows {len(self.labels)} test images; "
                f"they are not of the same images."
            )
        return images

    def below(self, *parts: str) -> list[tuple[str, ...]]:
        """What follows some parts in the names of this run: `below("nested")` gives [("10", "0"), ...]."""
        return [name[len(parts) :] for name in self.names if name[: len(parts)] == parts and len(name) > len(parts)]

    def numbers(self, *parts: str) -> list[tuple[int, ...]]:
        """The same where only whole numbers follow, in their order."""
        return sorted(tuple(map(int, rest)) for rest in self.below(*parts) if all(part.isdecimal() for part in rest))

    def values(self, name: str) -> list[float]:
        """The numbers for which there are images named by `valued`, in their order."""
        start = f"{name}="
        return sorted({float(parts[0][len(start) :]) for parts in self.names if parts[0].startswith(start)})

    def layers(self, *rest: str) -> list[Layer]:
        """Layers of which there are images, from the output to the input.

        Parameters
        ----------
        *rest
            What follows the layer in their names; `cladec` if nothing is given.
        """
        wanted = rest or ("cladec",)
        return by_depth(self.architecture, {name[0] for name in self.names if name[1:] == wanted}, self.index_map)

    def titles(self, classes: Sequence[str], chosen: Sequence[int] | np.ndarray) -> list[str]:
        """Names for some test images: the class, and what the classifier takes the image for if that is another.

        Raises
        ------
        RunError
            If a class has no name.
        """
        pairs = [(int(self.labels[at]), int(self.predicted[at])) for at in chosen]
        highest = max((max(pair) for pair in pairs), default=0)
        if highest >= len(classes):
            raise RunError(f"The images of {'/'.join(self.run)} are of class {highest}; there are {len(classes)}.")
        return [
            classes[label] if label == predicted else f"{classes[label]}\n→ {classes[predicted]}"
            for label, predicted in pairs
        ]


def runs_of(record: HasImages) -> list[tuple[str, str]]:
    """Runs of which a record has images, in the order of data sets and of `LAYER_INDEX`."""
    order = list(LAYER_INDEX)
    found = {ImageName.read(name).run for name in record.samples}
    return sorted(found, key=lambda run: (run[0], order.index(run[1]) if run[1] in order else len(order), run[1]))


def index_map_of(record: HasImages) -> str:
    """Which numbers a record gives to layers: those of the authors' code or of the paper."""
    return record.manifest.get("configuration", {}).get("index_map", INDEX_MAP)


def by_depth(architecture: str, names: set[str], index_map: str = INDEX_MAP) -> list[Layer]:
    """Some layers of a network, from the output to the input, with their numbers.

    Raises
    ------
    UsageError
        For an unknown architecture, or a layer that it does not have.
    """
    chain = LAYOUTS[architecture].layers
    for name in names:
        one_of(f"layer of {architecture}", name, chain)
    numbers = {name: index for index, name in LAYER_INDEX[architecture][index_map].items()}
    return [Layer(name, numbers.get(name)) for name in reversed(chain) if name in names]


def common(*runs: RunImages) -> list[np.ndarray]:
    """For each run, where the test images stand that all of them show; only these may stand in one column.

    Raises
    ------
    RunError
        If there is no such image.
    """
    shared = reduce(np.intersect1d, [images.index for images in runs])
    if not len(shared):
        names = " and ".join("/".join(images.run) for images in runs)
        raise RunError(f"The images of {names} have no test image in common; they cannot stand in one column.")
    return [np.array([int(np.flatnonzero(images.index == place)[0]) for place in shared]) for images in runs]


def _tuple(parts: tuple[str, ...] | str) -> tuple[str, ...]:
    return (parts,) if isinstance(parts, str) else parts
