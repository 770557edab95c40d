"""How the cost of a training grows with images, layers, seeds, channels and image size."""

import math
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch.nn.functional as F

from benchmarks.ladder import images_of, timed
from cladec_core import networks, training
from cladec_core.training import Compute

WIDTH = 0.5  # of every network whose width is not what is measured


def measure(on: Compute, images: int, repeats: int) -> Iterator[dict[str, Any]]:
    """Time one epoch at four or more sizes of everything that a reader can choose.

    Yields
    ------
    dict
        What grows, its size, the median seconds and, from the smallest to the largest size, the exponent p of
        seconds ~ size^p.
    """
    for what, runs in _axes(on, images).items():
        seconds: dict[float, list[float]] = {size: [] for size in runs}
        for _ in range(repeats):
            for size, run in runs.items():
                run()  # warms up, each time: the kernels of so many sizes do not all stay in a library's cache
                seconds[size].append(timed(run, on))
        medians = {size: statistics.median(spent) for size, spent in seconds.items()}
        (small, low), (large, high) = min(medians.items()), max(medians.items())
        exponent = math.log(high / low) / math.log(large / small)
        for size, middle in medians.items():
            yield {"what": what, "size": size, "seconds": middle, "times_smallest": middle / low, "exponent": exponent}


def _axes(on: Compute, images: int) -> dict[str, dict[float, Callable[[], Any]]]:
    """What grows -> size -> the training of that size."""
    pictures, labels = images_of(8 * images, on.device)

    def classifier(
        count: int = images, width: float = WIDTH, seed: int = 0, side: int = 32, architecture: str = "vgg11"
    ) -> training.Job:
        model, inputs = networks.classifier(architecture, 1, 10, width), F.interpolate(pictures[:count], size=side)
        return training.Job(
            model, inputs, (labels[:count],), training.classification_loss, training.SGD, epochs=1, seed=seed, on=on
        )

    explained = networks.classifier("vgg11", 1, 10, WIDTH).to(on.device).eval().requires_grad_(False)

    def decoder(layer: str) -> training.Job:
        encoder = networks.Frozen(explained.up_to(layer))
        image = pictures.shape[1:]
        model = networks.decoder(networks.activation_shape(encoder, image), image)
        inputs, targets = training.apply(encoder, pictures[:images], on), (pictures[:images],)
        return training.Job(
            model, inputs, targets, training.reconstruction_loss, training.ADAM, epochs=1, seed=0, on=on
        )

    layers = list(networks.LAYER_INDEX["vgg11"]["code"].values())
    jobs: dict[str, dict[float, Callable[[], list]]] = {
        "images": {factor * images: lambda count=factor * images: [classifier(count)] for factor in (1, 2, 4, 8)},
        "layers": {
            count: lambda count=count: [decoder(layer) for layer in layers[:count]]
            for count in range(1, len(layers) + 1)
        },
        "seeds": {
            count: lambda count=count: [classifier(seed=seed) for seed in range(count)] for count in (1, 2, 4, 8)
        },
        "channels (factor)": {width: lambda width=width: [classifier(width=width)] for width in (0.25, 0.5, 1.0, 2.0)},
        "side of the image": {
            side: lambda side=side: [classifier(side=side, width=0.25, architecture="resnet10")]
            for side in (16, 32, 48, 64)
        },
    }
    return {
        what: {size: lambda make=make: training.fit_many(make()) for size, make in sizes.items()}
        for what, sizes in jobs.items()
    }
