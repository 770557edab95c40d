"""What would have to change in an image for another class, as the report shows it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from cladec_core import ClaDec
from cladec_core.explainer.explanation import Shown

UNMET = "no answer found"


@dataclass(frozen=True, repr=False)
class Contrasts(Shown):
    """Images beside those that another class would be as likely for.

    Attributes
    ----------
    original, changed
        (n, channels, height, width), in the units of the images.
    true, probe
        The class that the model sees, and the one that was asked about, int64 (n,).
    met
        Whether the search came to an end, bool (n,). Other images are shown as they were.
    classes
        Names, or none.
    value_range
        Of the images.
    """

    original: Tensor
    changed: Tensor
    true: Tensor
    probe: Tensor
    met: Tensor
    classes: Sequence[str]
    value_range: tuple[float, float]

    @property
    def rows(self) -> dict[str, Tensor]:
        """What `show` draws: without an answer no change."""
        answered = self.original + (self.changed - self.original) * self.met.view(-1, 1, 1, 1)
        return {"image": self.original, "as likely": answered, "change\n(as likely − image)": answered - self.original}

    @property
    def captions(self) -> dict[str, list[str]]:
        """The class of each image, and the one that would be as likely."""
        asked = [self._name(label) if met else UNMET for label, met in zip(self.probe, self.met, strict=True)]
        return {"image": [self._name(label) for label in self.true], "as likely": asked}

    def _name(self, label: Tensor) -> str:
        at = int(label)
        return self.classes[at] if at < len(self.classes) else str(at)


# From an explainer, a layer, images that it was fitted on, images to explain, and names of classes.
ContrastOf = Callable[[ClaDec, str, Tensor, Tensor, Sequence[str]], Contrasts]
