"""The classifier that is explained: one of the project's, with two fully connected layers before the logits.

The project's classifiers have none. As in the paper, the first of them is explained, so the logit is no linear
function of what is explained.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from cladec_companion.engine.trainings import ClassifierTraining, fresh_weights
from cladec_companion.papers.srae.domain import UNITS
from cladec_core import networks, training
from cladec_core.networks import Classifier

LAYER, BETWEEN = "units", "between"  # the layer that is explained, and the one between it and the logits
UNITS_BETWEEN = 64


def with_units(architecture: str, channels: int, classes: int, width: float, units: int = UNITS) -> Classifier:
    """A freshly initialised classifier with the layers `units` and `between`, each fully connected with a ReLU.

    Parameters
    ----------
    architecture, channels, classes, width
        As of `networks.classifier`.
    units
        Of the layer that is explained.
    """
    chain = networks.classifier(architecture, channels, classes, width)
    parts = OrderedDict(chain.named_children())
    logits = parts.pop("logits")
    assert isinstance(logits, nn.Linear)
    parts[LAYER] = nn.Sequential(nn.Linear(logits.in_features, units), nn.ReLU())
    parts[BETWEEN] = nn.Sequential(nn.Linear(units, UNITS_BETWEEN), nn.ReLU())
    parts["logits"] = nn.Linear(UNITS_BETWEEN, classes)
    return Classifier(parts)


@dataclass(frozen=True, eq=False)
class UnitsTraining(ClassifierTraining):
    """The training of a classifier with a layer of units."""

    @property
    def name(self) -> str:
        """It is another network than the project's of the same architecture."""
        return f"{super().name} with {UNITS} {LAYER}, {UNITS_BETWEEN} {BETWEEN}"

    def build(self, *needed: nn.Module) -> Classifier:
        """See `Training`."""
        setup = self.setup
        with fresh_weights(setup, training.derive_seed(0, LAYER)):
            return with_units(setup.architecture, setup.data.channels, len(setup.data.classes), setup.settings.width)
