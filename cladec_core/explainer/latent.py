"""A layer as a latent space: what a fitted explainer has of it, for images as its networks take them."""

from dataclasses import dataclass

from torch import Tensor, nn

from cladec_core.errors import one_of
from cladec_core.explainer.cladec import ClaDec


@dataclass(frozen=True, eq=False)
class LatentSpace:
    """A layer's encoder, its decoder and the classifier, all for standardised images on the explainer's device."""

    explainer: ClaDec
    encoder: nn.Module
    decoder: nn.Module
    classifier: nn.Module

    @classmethod
    def of(cls, explainer: ClaDec, layer: str) -> "LatentSpace":
        """Take them from a fitted explainer.

        Raises
        ------
        UsageError
            Before `fit`, or for a layer that is not explained.
        """
        space = explainer._ready()
        one_of("layer", layer, explainer._built)
        built = explainer._built[layer]
        classifier = nn.Sequential(space.restore(), explainer._logits).to(explainer.on.device)
        return cls(explainer, built.encoder, built.decoder, classifier)

    def standardised(self, x: Tensor) -> Tensor:
        """Images as encoder and decoder take and make them."""
        space, unit = self.explainer._ready(), self.explainer.preprocess is not None
        return space.standardise(space.checked(x, unit=unit)).to(self.explainer.on.device)
