"""A fitted layer as a latent space: for those who search it, such as contrasts (section 2 of the paper)."""

from dataclasses import dataclass

from torch import Tensor, nn

from cladec_core.errors import one_of
from cladec_core.explainer.cladec import ClaDec


@dataclass(frozen=True)
class LatentSpace:
    """The activations of a layer, with networks from standardised images and back.

    Attributes
    ----------
    encoder, decoder
        From standardised images to activations, and from activations to standardised images.
    classifier
        From standardised images to logits (n, classes).
    images
        The images that were asked for, standardised, on the device of the explainer.
    """

    encoder: nn.Module
    decoder: nn.Module
    classifier: nn.Module
    images: Tensor

    @classmethod
    def of(cls, explainer: ClaDec, layer: str, images: Tensor) -> "LatentSpace":
        """Take a layer of a fitted explainer.

        Parameters
        ----------
        explainer, layer
            The layer is one that the explainer explains.
        images
            As for `ClaDec.explain`.

        Raises
        ------
        UsageError
            Before `fit`, for a layer that is not explained, or for images that cannot be used.
        """
        space = explainer._ready()
        one_of("layer", layer, explainer._built)
        built, device = explainer._built[layer], explainer.on.device
        standardised = space.standardise(space.checked(images, unit=explainer.preprocess is not None)).to(device)
        classifier = nn.Sequential(space.restore(), explainer._logits).to(device)
        return cls(built.encoder, built.decoder, classifier, standardised)
