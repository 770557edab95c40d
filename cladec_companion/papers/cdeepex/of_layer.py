"""Contrasts with ClaDec's own decoder as the generator, as section 2 of the ClaDec paper proposes: no GAN is needed."""

import torch
from torch import Tensor

from cladec_companion.papers.cdeepex.explainer import Contrast, Contrasted
from cladec_companion.papers.cdeepex.generators import autoencoder
from cladec_core import ClaDec
from cladec_core.explainer.latent import LatentSpace


def contrast_of_layer(explainer: ClaDec, layer: str, known: Tensor, images: Tensor) -> Contrasted:
    """Search the latent space that is the classifier's own layer.

    Parameters
    ----------
    explainer
        A fitted one.
    layer
        One that it explains.
    known, images
        Some images of `fit`, of which the codes are standardised, and images to explain: (n, channels, height, width).

    Returns
    -------
    Contrasted
        Of standardised images, whatever the decoder misses of each (`Contrasted.missed`).

    Raises
    ------
    UsageError
        As `Contrast.explain`, and before `fit`.
    """
    space = LatentSpace.of(explainer, layer)
    asked = space.standardised(images)
    both = torch.cat([space.standardised(known), asked])
    generator = autoencoder(f"ClaDec, {layer}", space.encoder, space.decoder, both)
    return Contrast(space.classifier, generator, worst=float("inf")).explain(asked)
