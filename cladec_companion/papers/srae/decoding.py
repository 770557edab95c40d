"""The arm that the SRAE paper lacks: a ClaDec decoder on the x-features pictures what each of them stands for.

Beside it stand decoders of as many random and principal directions of Z, and of all of Z: what any few numbers keep.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from cladec_companion.papers.srae.baselines import directions
from cladec_companion.papers.srae.explained import Asked
from cladec_companion.papers.srae.method import Embedding, spreads
from cladec_core import networks, training
from cladec_core.training import Job, Recipe

SIDE = 32  # of the pictures: a fourth of the time of the mosaics' 64
WIDTH = 16  # of the decoders: narrow, as they are trained on few images
MOST_IMAGES = 2_000
LARGEST_BATCH = 32
RECIPE = Recipe("adam", 2e-3, 1e-5)  # several times the usual rate: there are few steps, and the decoders are narrow
STEPS = (-2.0, 0.0, 2.0)  # standard deviations of an x-feature in the pictures of it


def beside(asked: Asked, embedding: Embedding) -> tuple[dict[str, float], Tensor]:
    """Decode x-features, random and principal directions, and all of Z.

    Parameters
    ----------
    asked
        The classifier and its images.
    embedding
        Of SRAE.

    Returns
    -------
    losses
        "ClaDec of ..." -> mean squared error of grey values on test images of all classes.
    pictures
        What the decoder makes of mean x-features with one of them moved by `STEPS`, (n, 3, 1, 32, 32).
    """
    codes = asked.seen.codes
    seed = training.derive_seed(asked.seen.scenes.setup.seed, "directions", asked.target)
    axes = directions(codes["train"], embedding.n, seed)
    with torch.no_grad():
        inputs = {"x-features": {name: embedding.features(part) for name, part in codes.items()}}
    inputs |= {name: {which: part @ axis for which, part in codes.items()} for name, axis in axes.items()}
    inputs["Z"] = codes
    losses, pictures = {}, torch.empty(0)
    for name, sets in inputs.items():
        mean, spread = sets["train"].mean(0), spreads(sets["train"])
        scaled = {which: (part - mean) / spread for which, part in sets.items()}
        decoder = _trained(asked, scaled["train"], name)
        losses[f"ClaDec of {name}"] = _loss(asked, decoder, scaled["test"])
        if name == "x-features":
            moved = (
                torch.eye(embedding.n, device=mean.device)[:, None] * torch.tensor(STEPS, device=mean.device)[:, None]
            )
            made = training.apply(decoder, moved.flatten(0, 1), asked.seen.scenes.setup.on, exact=True)
            pictures = made.unflatten(0, (embedding.n, len(STEPS)))
    return losses, pictures


def _small(images: Tensor) -> Tensor:
    """Grey values, (n, channels, 32, 32)."""
    return images if images.shape[-1] == SIDE else F.adaptive_avg_pool2d(images, SIDE)


def _trained(asked: Asked, codes: Tensor, name: str) -> torch.nn.Module:
    setup = asked.seen.scenes.setup
    images = _small(setup.data.train_images[:MOST_IMAGES])
    seed = training.derive_seed(setup.seed, "decoder of", name)
    with training.seeded(seed):
        decoder = networks.decoder(codes.shape[1:], images.shape[1:], style=setup.settings.decoder_style, width=WIDTH)
    job = Job(
        decoder, codes[:MOST_IMAGES], (images,), training.reconstruction_loss, RECIPE,
        epochs=setup.settings.decoder_epochs, seed=seed, on=replace(setup.on, dtype=torch.float32),
        batch_size=min(LARGEST_BATCH, len(images)), label=f"decoder of {name}",
    )  # fmt: skip
    training.fit(job)
    return training.moved(decoder, setup.on).eval()


def _loss(asked: Asked, decoder: torch.nn.Module, codes: Tensor) -> float:
    setup = asked.seen.scenes.setup
    made = training.apply(decoder, codes, setup.on, exact=True)
    return (made - _small(setup.data.test_images)).double().square().mean().item()
