"""How long each method takes on this machine: on a network that was not trained, as weights do not decide the time."""

import time

import pandas as pd
import torch

from cladec_companion.papers.xai.attribution import METHODS, Around, attribute
from cladec_companion.papers.xai.heatmaps.experiment import HeatmapsSettings, options_of
from cladec_core import networks, training

IMAGES = 4
CLASSES = 10
CALLS = 3  # of each method, the fastest of which counts
LONG = 2.0  # seconds of a call that is not repeated: what a first call costs on top is small beside them


def seconds_per_image(settings: HeatmapsSettings) -> pd.Series:
    """Seconds of a processor for each image, by method: the fastest of a few calls, as the first one sets up kernels.

    Parameters
    ----------
    settings
        Width, methods and their options are taken from here; images are noise with one channel.
    """
    architecture = settings.architectures[0]
    with training.seeded(0):
        model = networks.classifier(architecture, 1, CLASSES, settings.width).eval().requires_grad_(False)
        images = torch.randn(IMAGES, 1, 32, 32)
        encoder = model.up_to(networks.layer_name(architecture, settings.layer))
        code = networks.activation_shape(encoder, (1, 32, 32))
        decoder = networks.decoder(code, (1, 32, 32), style=settings.decoder_style).eval().requires_grad_(False)
    both = torch.nn.Sequential(encoder, decoder)
    around = Around(images, networks.layer_name(architecture, settings.map_layer), both, both)
    found = {}
    for name in settings.methods:
        taken = []
        for _ in range(CALLS):
            began = time.process_time()
            attribute(model, images, 0, method=name, around=around, **options_of(name, settings))
            taken.append(time.process_time() - began)
            if taken[-1] > LONG:
                break
        found[METHODS[name].title] = min(taken) / IMAGES
    return pd.Series(found, name="seconds per image, here")
