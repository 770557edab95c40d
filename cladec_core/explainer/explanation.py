"""What an explainer answers: images, reconstructions and losses, and how they are drawn."""

import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from cladec_core.errors import UsageError
from cladec_core.measures import of_share

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DIFFERENCE_COLOURS = ("#0072b2", "white", "#d55e00")  # blue to orange, as everywhere in the book (reading C-26)


def draw_signed(axis: Any, values: np.ndarray, bound: float) -> None:
    """Draw values that have a sign: white where they are 0, orange up to a bound, blue down to its negative.

    Parameters
    ----------
    axis
        Of matplotlib.
    values
        (height, width).
    bound
        Values beyond it look like those at it.
    """
    from matplotlib.colors import LinearSegmentedColormap

    signed = LinearSegmentedColormap.from_list("signed", DIFFERENCE_COLOURS)
    axis.imshow(values, cmap=signed, vmin=-bound, vmax=bound)


class Shown(ABC):
    """Something with a figure of its own, which a notebook shows."""

    value_range: tuple[float, float]

    @property
    @abstractmethod
    def rows(self) -> dict[str, Tensor]:
        """Name the batches of images that `show` draws, (n, channels, height, width)."""

    @property
    def captions(self) -> dict[str, list[str]]:
        """What stands below the images of some rows, by the row's name."""
        return {}

    def show(self, images: int = 8) -> "Figure":
        """Draw the first images, one in each column; larger ones than 32x32 are drawn larger.

        Rows of differences (with a minus sign in their name) have one scale. Of grey images they are white where
        nothing differs, orange where the first of the two is brighter, and blue where the second is. Of colour images
        each channel is drawn: grey where nothing differs, else in the colour of which the first of the two has more.

        Parameters
        ----------
        images
            At most so many.

        Returns
        -------
        Figure
            Of matplotlib, already closed: a notebook shows it once.
        """
        import matplotlib.pyplot as plt

        first = next(iter(self.rows.values()))
        count, inches = min(images, len(first)), 1.05 * min(max(first.shape[-1] / 32, 1), 4) ** 0.5
        below = 0.3 if self.captions else 0.0  # inches, for two lines of text
        figure, axes = plt.subplots(
            len(self.rows),
            count,
            figsize=(inches * count + 1.4, (inches + below) * len(self.rows)),
            squeeze=False,
            layout="constrained",
        )
        for line, (name, batch) in zip(axes, self.rows.items(), strict=True):
            line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
            for axis, image, text in zip(line, batch.numpy(), self.captions.get(name, [""] * count), strict=False):
                axis.set(xticks=[], yticks=[])
                axis.set_xlabel(text, fontsize=8, labelpad=2)
                self._draw(axis, name, image)
        plt.close(figure)
        return figure

    def _draw(self, axis: "Axes", name: str, image: np.ndarray) -> None:
        low, high = self.value_range
        difference = "−" in name
        if difference and len(image) != 3:
            draw_signed(axis, image.mean(0), (high - low) / 2)
            return
        unit = (image / (high - low) + 0.5 if difference else (image - low) / (high - low)).clip(0, 1)
        axis.imshow(unit.transpose(1, 2, 0) if len(unit) == 3 else unit.mean(0), cmap="gray", vmin=0, vmax=1)

    def _repr_png_(self) -> bytes:
        stream = io.BytesIO()
        self.show().savefig(stream, format="png")
        return stream.getvalue()


@dataclass(frozen=True, repr=False)
class Explanation(Shown):
    """What one layer keeps of n images.

    Images are float32 on the CPU, (n, channels, height, width), in the units of those given.

    Attributes
    ----------
    layer
        Name of the explained layer.
    original, reference, reconstruction
        The images; what the reference makes of them, that is what decoding alone loses (section 3); and what the
        decoder makes of the layer's activations.
    prediction, probability
        The classifier's class for each image, int64 (n,), and its softmax probability.
    prediction_reference, prediction_cladec
        Its class for what the reference and ClaDec's decoder make of each image.
    reference_label
        What kind of reference it is.
    value_range
        Lowest and highest value of the images of `fit`, for drawing.
    doubt
        Why the difference to the reference must not be read; empty if it can be.
    truth, classes
        The true class of each image, int64 (n,), or None; and the names of classes, or none: then they have numbers.
    """

    layer: str
    original: Tensor
    reference: Tensor
    reconstruction: Tensor
    prediction: Tensor
    probability: Tensor
    prediction_reference: Tensor
    prediction_cladec: Tensor
    reference_label: str
    value_range: tuple[float, float]
    doubt: str = ""
    truth: Tensor | None = None
    classes: tuple[str, ...] = ()

    def named(self, classes: Sequence[str], truth: Tensor | None = None) -> "Explanation":
        """Give names to the classes, and true classes to the images, for `show`.

        Parameters
        ----------
        classes
            Names, in the order of the classifier's outputs.
        truth
            int64 (n,), or None if they are unknown.

        Returns
        -------
        Explanation
            The same one with names.
        """
        return replace(self, classes=tuple(classes), truth=truth)

    def _name(self, label: Tensor) -> str:
        at = int(label)
        return self.classes[at] if 0 <= at < len(self.classes) else str(at)

    @property
    def captions(self) -> dict[str, list[str]]:
        """Below an image its true class, if known, and what the classifier sees; below the others what it sees."""
        image, reference, cladec, _ = self.rows
        seen = {image: self.prediction, reference: self.prediction_reference, cladec: self.prediction_cladec}
        found = {row: [f"seen as {self._name(at)}" for at in labels] for row, labels in seen.items()}
        if self.truth is not None:
            pairs = zip(self.truth, found[image], strict=True)
            found[image] = [f"true: {self._name(at)}\n{text}" for at, text in pairs]
        return found

    @property
    def difference(self) -> Tensor:
        """Reconstruction - reference, which shows where the layer, not the decoding, makes the difference (Fig. 7)."""
        return self.reconstruction - self.reference

    @property
    def losses(self) -> pd.DataFrame:
        """Mean squared error per value of each image by cladec and reference, and difference = cladec - reference."""
        cladec, reference = (_errors(self.original, part) for part in (self.reconstruction, self.reference))
        return pd.DataFrame({"cladec": cladec, "reference": reference, "difference": cladec - reference})

    def agreement(self, labels: Tensor | None = None) -> pd.DataFrame:
        """How often the classifier predicts for a reconstruction what it predicts for the image.

        Parameters
        ----------
        labels
            True classes, int64 (n,), by which images are grouped; None: by the prediction.

        Returns
        -------
        DataFrame
            A row per class, and "all": the number of `images`, and of `cladec` and `reference` the share of them that
            keep their prediction, with an interval of 95 % in `..._low` and `..._high` (Wilson's score).
        """
        by = self.prediction if labels is None else labels
        chosen: dict[str | int, Any] = {"all": slice(None)} | {int(label): by == label for label in by.unique()}
        rows: dict[str | int, dict[str, float]] = {}
        for name, part in chosen.items():
            before = self.prediction[part]
            rows[name] = {"images": len(before)}
            for method, after in (("cladec", self.prediction_cladec), ("reference", self.prediction_reference)):
                kept = int((after[part] == before).sum())
                low, high = of_share(kept, len(before))
                rows[name] |= {method: kept / len(before), f"{method}_low": low, f"{method}_high": high}
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("class")

    @property
    def rows(self) -> dict[str, Tensor]:
        """What `show` draws."""
        warned = "\n(do not read)" if self.doubt else ""
        return {
            "image": self.original,
            f"{self.reference_label}\n{self.layer}".replace(" (", "\n(").replace(", ", ",\n"): self.reference,
            f"ClaDec\n{self.layer}": self.reconstruction,
            f"ClaDec −\nreference\n{self.layer}{warned}": self.difference,
        }

    def __len__(self) -> int:
        return len(self.original)

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> "Explanation":
        chosen: dict[str, Any] = {name: part[index] for name, part in vars(self).items() if isinstance(part, Tensor)}
        return replace(self, **chosen)

    def __repr__(self) -> str:
        loss = self.losses.mean()
        return (
            f"<Explanation of {self.layer!r} for {len(self)} images: mean squared error {loss.cladec:.4g}, "
            f"{self.reference_label} {loss.reference:.4g}{'; do not read their difference' * bool(self.doubt)}>"
        )


class Explanations(dict[str, Explanation], Shown):
    """Explanations of several layers for the same images, by the name of the layer."""

    @property
    def rows(self) -> dict[str, Tensor]:
        """What `show` draws: the images once, and what is of each layer."""
        return {name: images for one in self.values() for name, images in one.rows.items()}

    @property
    def captions(self) -> dict[str, list[str]]:
        """As of each explanation."""
        return {name: texts for one in self.values() for name, texts in one.captions.items()}

    @property
    def value_range(self) -> tuple[float, float]:  # type: ignore[override]  # there is no dictionary that has fields
        """As of each explanation."""
        return next(iter(self.values())).value_range


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """What one layer of each of two models keeps of the same n images.

    Attributes
    ----------
    names
        Of the two layers.
    original, first, second
        The images and the two reconstructions, float32 (n, channels, height, width).
    losses
        A row per image: label (-1 where unknown), prediction_first, prediction_second, loss_first, loss_second (mean
        squared error per value) and distance (the same between the two reconstructions).
    value_range
        Lowest and highest value of the images of `fit`, for drawing.
    """

    names: tuple[str, str]
    original: Tensor
    first: Tensor
    second: Tensor
    losses: pd.DataFrame
    value_range: tuple[float, float]

    @classmethod
    def of(
        cls, first: Explanation, second: Explanation, labels: Tensor | None, classes: Sequence[int] | None = None
    ) -> "Comparison":
        """Put two explanations side by side.

        Parameters
        ----------
        first, second
            Of the same n images.
        labels
            int64 (n,), or None if they are unknown.
        classes
            As of `ClaDec.compare`.

        Returns
        -------
        Comparison

        Raises
        ------
        UsageError
            If no image is of these classes.
        """
        if classes is not None:
            by = [first.prediction, second.prediction] if labels is None else [labels]
            chosen = torch.stack([torch.isin(part, torch.tensor(list(classes))) for part in by]).any(0)
            if not chosen.any():
                raise UsageError(f"None of the {len(first)} images is of the classes {list(classes)}.")
            first, second, labels = first[chosen], second[chosen], None if labels is None else labels[chosen]
        columns = {"label": np.full(len(first), -1) if labels is None else labels.numpy()}
        for name, part in (("first", first), ("second", second)):
            columns |= {f"prediction_{name}": part.prediction.numpy(), f"loss_{name}": part.losses.cladec.to_numpy()}
        columns["distance"] = _errors(first.reconstruction, second.reconstruction)
        images = (first.original, first.reconstruction, second.reconstruction)
        return cls((first.layer, second.layer), *images, pd.DataFrame(columns), first.value_range)

    @property
    def difference(self) -> Tensor:
        """First - second reconstruction."""
        return self.first - self.second

    @property
    def table(self) -> pd.DataFrame:
        """Losses and distance averaged per label (per prediction of the first model where labels are unknown)."""
        by = "label" if (self.losses.label >= 0).all() else "prediction_first"
        return self.losses.groupby(by)[["loss_first", "loss_second", "distance"]].mean()

    @property
    def rows(self) -> dict[str, Tensor]:
        """What `show` draws."""
        first, second = (f"{place}\n{name}" for place, name in zip(("first", "second"), self.names, strict=True))
        return {"image": self.original, first: self.first, second: self.second, "first −\nsecond": self.difference}

    def __repr__(self) -> str:
        return f"<Comparison of {self.names} for {len(self.losses)} images: distance {self.losses.distance.mean():.4g}>"


def _errors(first: Tensor, second: Tensor) -> np.ndarray:
    return (first - second).double().square().flatten(1).mean(1).numpy()
