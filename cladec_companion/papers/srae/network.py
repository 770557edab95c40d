"""The classifier that is explained: one of the project's, with a fully connected layer of units before the logits.

The project's classifiers have none, and SRAE explains such a layer.
"""

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from cladec_companion.engine.trainings import ClassifierTraining, fresh_weights
from cladec_core import networks, training
from cladec_core.networks import Classifier

LAYER = "units"
UNITS = 128


def with_units(architecture: str, channels: int, classes: int, width: float, units: int = UNITS) -> Classifier:
    """A freshly initialised classifier with the layer `units`, fully connected with a ReLU, before its logits.

    Parameters
    ----------
    architecture, channels, classes, width
        As of `networks.classifier`.
    units
        Of the layer.
    """
    chain = networks.classifier(architecture, channels, classes, width)
    parts = OrderedDict(chain.named_children())
    logits = parts.pop("logits")
    assert isinstance(logits, nn.Linear)
    parts[LAYER] = nn.Sequential(nn.Linear(logits.in_features, units), nn.ReLU())
    parts["logits"] = nn.Linear(units, classes)
    return Classifier(parts)


@dataclass(frozen=True, eq=False)
class UnitsTraining(ClassifierTraining):
    """The training of a classifier with a layer of units."""

    @property
    def name(self) -> str:
        """It is another network than the project's of the same architecture."""
        return f"{super().name} with {UNITS} {LAYER}"

    def build(self, *needed: nn.Module) -> Classifier:
        """See `Training`."""
        setup = self.setup
        with fresh_weights(setup, training.derive_seed(0, LAYER)):
            return with_units(setup.architecture, setup.data.channels, len(setup.data.classes), setup.settings.width)
