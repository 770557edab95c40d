"""Generators trained on images, by the project's one loop."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cladec_companion.papers.cdeepex.generators import Generator, range_of
from cladec_companion.papers.cdeepex.vae import VAE
from cladec_companion.papers.cdeepex.wgan import CRITIC_STEPS, WGAN
from cladec_core import training
from cladec_core.errors import UsageError, one_of
from cladec_core.training import Compute

KINDS: dict[str, type[VAE] | type[WGAN]] = {"vae": VAE, "wgan": WGAN}
BATCH_SIZE = 64


def fit(
    images: Tensor,
    kind: str = "vae",
    *,
    epochs: int,
    seed: int = 0,
    on: Compute | None = None,
    batch_size: int = BATCH_SIZE,
    rate: float | None = None,
    progress: bool = False,
    state: Path | None = None,
    **sizes: int,
) -> Generator:
    """Train a generator on images.

    Parameters
    ----------
    images
        (n, channels, side, side), as the classifier takes them, with a power of two pixels a side, from 8.
    kind
        One of `KINDS`.
    epochs, batch_size, progress, state
        As of `training.Job`.
    rate
        Learning rate at the start; None: the kind's own.
    seed
        Of weights, order and noise.
    on
        Device and precision; None: as `training.compute` chooses.
    sizes
        `latent` and `width`, if they are not to be the paper's.

    Raises
    ------
    UsageError
        For an unknown kind, images of another shape, too few or constant images, values that are not finite, or numbers
        below 1.
    RunError
        If the training diverges.
    """
    one_of("generator", kind, KINDS)
    for name, value in {"epochs": epochs, "batch_size": batch_size, **sizes}.items():
        if value < 1:
            raise UsageError(f"{name} is {value}; valid: an integer from 1.")
    check_images(images)
    on = on or training.compute()
    images = images.to(on.device)
    network = new(images, kind, seed=seed, **sizes)
    order = training.derive_seed(seed, kind, "order")
    told: dict[str, Any] = {"progress": progress, "state": state, "label": f"{kind}, seed {seed}"}
    told |= {} if rate is None else {"rate": rate}
    training.fit(network.job(images, epochs=epochs, seed=order, on=on, batch_size=batch_size, **told))
    return network.generator()


def new(images: Tensor, kind: str, *, seed: int, **sizes: int) -> VAE | WGAN:
    """Build a network of a kind with fresh weights, for images such as these; `sizes` as of `fit`."""
    with training.seeded(training.derive_seed(seed, kind, "weights")):
        return KINDS[kind](images.shape[1:], range_of(images), **sizes)


def check_images(images: Tensor) -> None:
    """Refuse images on which no generator can be trained (see `fit`)."""
    if len(images) < CRITIC_STEPS:
        raise UsageError(f"{len(images)} images for a generator; valid: {CRITIC_STEPS} or more.")
    if not torch.isfinite(images).all():
        raise UsageError("Some values of the images are NaN or infinite; valid: finite ones.")
    low, high = range_of(images)
    if low == high:
        raise UsageError(f"All values of the images are {low:.3g}; valid: images that differ.")
