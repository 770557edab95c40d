"""Networks of the chapter, as the engine trains them: the paper's classifier, ClaDec's decoder, RefAE, VAE, WGAN."""

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn

from cladec_companion.engine.trainings import Setup, Training, fresh_weights, shape_of
from cladec_companion.papers.cdeepex import fitting
from cladec_companion.papers.cdeepex.contrast.settings import ContrastSettings
from cladec_companion.papers.cdeepex.vae import VAE
from cladec_companion.papers.cdeepex.wgan import CRITIC_STEPS, WGAN
from cladec_core import data, networks, training
from cladec_core.networks import Classifier
from cladec_core.networks.convolutions import Conv2d

LAYER, MAPS = "hidden", "conv2"  # the layer that ClaDec explains, and that of GradCAM
KERNEL = 5
RECIPE = training.Recipe("adam", 2e-3, 1e-5)  # the paper prints none for its classifier
GAN = training.Recipe("adam_without_momentum", 1e-3, 0.0)  # ten times the usual rate: networks and trainings are small


def settings_of(setup: Setup) -> ContrastSettings:
    """The chapter's parameters."""
    assert isinstance(setup.settings, ContrastSettings)
    return setup.settings


def discriminator(channels: int, side: int, classes: int, width: float) -> Classifier:
    """D of section 4.1: twice a 5x5 convolution, max-pooling and a ReLU, then two fully connected layers.

    With a width of 1 it has 10 and 20 maps, and 50 hidden units, as 3380 = 13·13·20 inputs of the first fully connected
    layer tell for images of 64x64.
    """
    first, second, hidden = (max(4, round(full * width)) for full in (10, 20, 50))
    left = ((side - KERNEL + 1) // 2 - KERNEL + 1) // 2
    chain = Classifier()
    for name, before, after in (("conv1", channels, first), ("conv2", first, second)):
        chain.add_module(name, nn.Sequential(Conv2d(before, after, KERNEL), nn.MaxPool2d(2), nn.ReLU()))
    chain.add_module(LAYER, nn.Sequential(nn.Flatten(), nn.Linear(second * left**2, hidden), nn.ReLU()))
    chain.add_module("logits", nn.Linear(hidden, classes))
    return chain


@dataclass(frozen=True, eq=False)
class DiscriminatorTraining(Training):
    """The classifier to explain; `again` makes an independent one, which judges what is drawn."""

    recipe: ClassVar[training.Recipe] = RECIPE
    explained: ClassVar[bool] = True
    makes_images: ClassVar[bool] = False
    again: bool = False

    @property
    def label(self) -> str:
        """See `Training`."""
        return "D of another seed" if self.again else "D"

    @property
    def name(self) -> str:
        """See `Training`."""
        return f"{self.label} {settings_of(self.setup).classifier_width}"

    def build(self, *needed: nn.Module) -> Classifier:
        """See `Training`."""
        data = self.setup.data
        with fresh_weights(self.setup, self.label):
            return discriminator(
                data.channels, data.size, len(data.classes), settings_of(self.setup).classifier_width
            )  # fmt: skip

    def job(self, model: nn.Module, *needed: nn.Module) -> training.Job:
        """See `Training`."""
        job = self._judging(model, self.setup.data.train_images)
        return replace(job, on=exact(self.setup))

    def finish(self, model: nn.Module, *needed: nn.Module) -> nn.Module:
        """See `Training`."""
        return model.eval().requires_grad_(False)


@dataclass(frozen=True, eq=False)
class LayerTraining(Training):
    """A chain of D up to a layer and a decoder: ClaDec, or RefAE where the encoder has fresh weights and learns."""

    recipe: ClassVar[training.Recipe] = training.Recipe("adam", 1e-3, 0.0)
    reference: bool = False

    @property
    def label(self) -> str:
        """See `Training`."""
        return "RefAE" if self.reference else "ClaDec"

    @property
    def name(self) -> str:
        """See `Training`."""
        of = "" if self.reference else f" of {DiscriminatorTraining(self.setup).key}"
        settings = settings_of(self.setup)
        return f"{self.label} {settings.classifier_width} {settings.generator_width}{of}"

    @property
    def epochs(self) -> int:
        """See `Training`."""
        return settings_of(self.setup).decoder_epochs

    @property
    def needs(self) -> tuple[Training, ...]:
        """See `Training`."""
        return () if self.reference else (DiscriminatorTraining(self.setup),)

    def build(self, *needed: nn.Module) -> nn.Sequential:
        """The same decoder for both, with weights of its own."""
        data, settings = self.setup.data, settings_of(self.setup)
        with fresh_weights(self.setup, self.label):
            fresh = discriminator(data.channels, data.size, len(data.classes), settings.classifier_width)
            encoder: nn.Module = fresh.up_to(LAYER)
            if needed:
                assert isinstance(needed[0], Classifier)
                encoder = networks.Frozen(needed[0].up_to(LAYER))
            image = data.train_images.shape[1:]
            made = networks.decoder(shape_of(encoder, image), image, width=settings.generator_width)
        return nn.Sequential(encoder, made)

    def job(self, model: nn.Module, *needed: nn.Module) -> training.Job:
        """See `Training`."""
        images = self.setup.data.train_images
        return training.Job(
            model, images, (images,), nn.MSELoss(), self.recipe, epochs=self.epochs,
            seed=training.derive_seed(self.setup.seed, self.label, "order"), on=exact(self.setup),
            batch_size=self.setup.settings.batch_size, label=self.title,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class GeneratorTraining(Training):
    """A VAE or a WGAN of the setup's images; `draws` says of which images, where they are not those of D."""

    recipe: ClassVar[training.Recipe] = training.ADAM  # the networks bring their own; see `job`
    kind: str
    draws: str = ""

    @property
    def label(self) -> str:
        """See `Training`."""
        return self.kind.upper() + (f" of {self.draws}" if self.draws else "")

    @property
    def name(self) -> str:
        """See `Training`."""
        settings = settings_of(self.setup)
        return f"{self.label} {settings.latent} {settings.generator_width}"

    @property
    def epochs(self) -> int:
        """See `Training`."""
        settings = settings_of(self.setup)
        return settings.decoder_epochs if self.kind == "vae" else settings.wgan_epochs

    def build(self, *needed: nn.Module) -> VAE | WGAN:
        """See `Training`."""
        images, width = self.setup.data.train_images, settings_of(self.setup).generator_width
        with fresh_weights(self.setup, self.label):
            return fitting.KINDS[self.kind](
                images.shape[1:], fitting.range_of(images), latent=settings_of(self.setup).latent, width=width
            )  # fmt: skip

    def job(self, model: nn.Module, *needed: nn.Module) -> training.Job:
        """See `Training`."""
        assert isinstance(model, VAE | WGAN)
        images = self.setup.data.train_images
        batch = max(1, min(self.setup.settings.batch_size, _planned(self.setup) // CRITIC_STEPS))
        job = model.job(
            images, epochs=self.epochs, seed=training.derive_seed(self.setup.seed, self.label, "order"),
            on=exact(self.setup), batch_size=batch, label=self.title,
        )  # fmt: skip
        if job.opponent is None:
            return job
        return replace(job, recipe=GAN, opponent=replace(job.opponent, recipe=GAN))


def _planned(setup: Setup) -> int:
    """How many training images there are, or will be: in a plan, some images stand for all."""
    if not setup.shapes_only:
        return len(setup.data.train_images)
    there = data.data_set(setup.data.name).train_count
    return min(there, setup.settings.train_limit or there)


def exact(setup: Setup) -> training.Compute:
    """The setup's device in float32: contrasts differentiate through these networks, which are small."""
    return replace(setup.on, dtype=torch.float32)
