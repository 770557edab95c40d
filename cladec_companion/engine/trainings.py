"""The trainings around a classifier, as frozen descriptions: what each needs, builds and minimises, and its name."""

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from cladec_companion.engine.code import training_code
from cladec_companion.engine.plan import CLASSIFIER
from cladec_companion.records.settings import Settings
from cladec_core import networks, training
from cladec_core.data import ImageData
from cladec_core.explainer import building, fitting, protocol
from cladec_core.explainer.protocol import PAPER, span
from cladec_core.networks import Classifier, Frozen
from cladec_core.training import Compute, Recipe

ACTIVATION_BYTES = PAPER.keep_bytes or 0  # larger activations are computed per batch instead of being kept
AT_ONCE = 1024  # images in a batch where nothing is trained


class Setup(Protocol):
    """What trainings follow from; `engine.setup.Setup` says what each attribute means."""

    @property
    def data(self) -> ImageData:
        """What is trained on."""

    @property
    def architecture(self) -> str:
        """Of the classifier."""

    @property
    def seed(self) -> int:
        """Of the classifier."""

    @property
    def settings(self) -> Settings:
        """How everything is trained."""

    @property
    def on(self) -> Compute:
        """Device and precision."""

    @property
    def encoder_epochs(self) -> int | None:
        """Epochs of the classifier, if not those of the settings."""

    @property
    def calibrated(self) -> bool:
        """Whether BatchNorm's statistics are estimated without training."""

    @property
    def momentum(self) -> float | None:
        """Share of each batch in the running averages of BatchNorm."""

    @property
    def sigmoid(self) -> bool:
        """Whether decoders end in a sigmoid."""

    @property
    def mean_loss(self) -> bool:
        """Whether reconstruction losses are averaged over pixels."""

    @property
    def shapes_only(self) -> bool:
        """Whether nothing is computed."""

    @property
    def classifier(self) -> "Training":
        """The classifier to explain."""

    @property
    def training_images(self) -> str:
        """Digest of what is trained on."""

    def codes(self, model: nn.Module, images: Tensor) -> Tensor:
        """Run a model over images in the precision of the trainings."""


@dataclass(frozen=True, eq=False)
class Training(ABC):
    """One network to be trained around the classifier of a setup.

    Attributes
    ----------
    recipe
        How the network is optimised.
    explained
        Whether the network is a classifier to explain.
    makes_images
        Whether the network puts out images; with the architecture, this decides how fast a step is.
    """

    setup: Setup
    recipe: ClassVar[Recipe]
    explained: ClassVar[bool] = False
    makes_images: ClassVar[bool] = True

    @property
    @abstractmethod
    def label(self) -> str:
        """Name in the record; it decides the order of the batches, too."""

    @property
    def kept(self) -> bool:
        """Whether the weights go to the cache of trained networks, as several cells need them."""
        return True

    @property
    def needs(self) -> "tuple[Training, ...]":
        """Trainings that come before; `build`, `job` and `finish` are given their networks."""
        return ()

    @property
    def epochs(self) -> int:
        """Decoders and auto-encoders are trained with Adam, classifiers with SGD (section A.0)."""
        settings = self.setup.settings
        return settings.decoder_epochs if self.makes_images else settings.classifier_epochs

    @abstractmethod
    def build(self, *needed: nn.Module) -> nn.Module:
        """Make the network with fresh weights, which the seed and the label decide."""

    @abstractmethod
    def job(self, model: nn.Module, *needed: nn.Module) -> training.Job | None:
        """What the training loop is asked for; None if nothing is trained."""

    def finish(self, model: nn.Module, *needed: nn.Module) -> nn.Module:
        """Make what a cell is given of the trained network."""
        return model.eval()

    @property
    def name(self) -> str:
        """The label with whatever else tells this training from others of the same data, classifier and seed."""
        return self.label

    @cached_property
    def key(self) -> str:
        """Digest of everything the weights depend on: what is trained, device and the code that trains."""
        return _digest([*self._what, self.setup.on.description, torch.__version__, training_code()])

    @property
    def identity(self) -> str:
        """The label with a digest of what is trained: the same wherever and with whatever code."""
        return f"{self.label} {_digest(self._what)[:8]}"

    @property
    def _what(self) -> list[Any]:
        """Data and parameters that decide the weights."""
        setup = self.setup
        shared = {key: getattr(setup.settings, key) for key in ("batch_size", "width", "decoder_style", "resize")}
        return [
            setup.data.name, setup.training_images, setup.architecture, setup.seed, self.name, asdict(self.recipe),
            self.epochs, shared,
        ]  # fmt: skip

    @property
    def title(self) -> str:
        """Of the progress bar."""
        setup = self.setup
        return f"{setup.data.name} {setup.architecture} {self.label}, seed {setup.seed}"

    def _judging(self, model: nn.Module, images: Tensor) -> training.Job:
        """The training of a classifier on images, or on reconstructions of them."""
        setup = self.setup
        return fitting.judging(
            model, images, setup.data.train_labels, self.recipe, setup.on, epochs=self.epochs,
            seed=training.derive_seed(setup.seed, self.label, "order"), batch_size=setup.settings.batch_size,
            label=self.title,
        )  # fmt: skip

    def _decoding(self, encoder: nn.Module, decoder: nn.Module, loss: Any, *targets: Tensor) -> training.Job:
        """The training of a decoder behind an encoder, as the explainer describes it (`explainer.fitting.Training`).

        Activations of a frozen encoder are computed once, if the protocol keeps so many.
        """
        setup, images = self.setup, self.setup.data.train_images
        kept = 0
        if isinstance(encoder, Frozen):
            size = len(images) * math.prod(shape_of(encoder, images.shape[1:])) * setup.on.dtype.itemsize
            kept = size if size <= ACTIVATION_BYTES else 0
        order = training.derive_seed(setup.seed, self.label, "order")
        described = fitting.Training(
            self.title, encoder, decoder, kept, loss, (images, *targets), order, protocol_of(setup), setup.on, AT_ONCE
        )
        job = described.job(self.epochs, codes=setup.codes(encoder, images) if kept else None)
        return replace(job, batch_size=setup.settings.batch_size)  # also where a plan has fewer images than that


def new_classifier(setup: Setup, *labels: object) -> Classifier:
    """A freshly initialised classifier; the labels say what for and so decide its weights."""
    with fresh_weights(setup, *labels):
        return networks.classifier(
            setup.architecture, setup.data.channels, len(setup.data.classes), setup.settings.width
        )


def new_decoder(setup: Setup, encoder: nn.Module, *labels: object) -> nn.Sequential:
    """A freshly initialised decoder for what an encoder puts out."""
    image = setup.data.train_images.shape[1:]
    with fresh_weights(setup, *labels):
        return building.fresh_decoder(shape_of(encoder, image), image, protocol_of(setup))


@contextmanager
def fresh_weights(setup: Setup, *labels: object) -> Iterator[None]:
    """Draw weights on the CPU, so that they are the same for every device; a plan needs shapes alone."""
    seed = training.derive_seed(setup.seed, *labels, "weights")
    with training.seeded(seed), torch.device("meta") if setup.shapes_only else nullcontext():
        yield


@dataclass(frozen=True, eq=False)
class ClassifierTraining(Training):
    """The classifier to explain, frozen when it is trained."""

    recipe: ClassVar[Recipe] = training.SGD
    explained: ClassVar[bool] = True
    makes_images: ClassVar[bool] = False

    @property
    def label(self) -> str:
        """See `Training`."""
        return CLASSIFIER

    @property
    def epochs(self) -> int:
        """Those of the setup's encoder, where a chapter varies them (section 6.3)."""
        setup = self.setup
        return setup.settings.classifier_epochs if setup.encoder_epochs is None else setup.encoder_epochs

    @property
    def kept(self) -> bool:
        """Initial weights need no cache."""
        return self.epochs > 0

    @property
    def name(self) -> str:
        """Slower running averages in BatchNorm, or none, make another classifier."""
        setup = self.setup
        slow = "" if setup.momentum is None else f" momentum={setup.momentum}"
        return self.label + slow + ("" if setup.calibrated else " uncalibrated")

    def build(self, *needed: nn.Module) -> Classifier:
        """See `Training`."""
        model = new_classifier(self.setup, CLASSIFIER)
        if self.setup.momentum is not None:
            for part in model.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.momentum = self.setup.momentum
        return model

    def job(self, model: nn.Module, *needed: nn.Module) -> training.Job | None:
        """Without epochs only BatchNorm's statistics are estimated, if the setup says so."""
        setup = self.setup
        if self.epochs:
            return self._judging(model, setup.data.train_images)
        if setup.shapes_only:
            return None
        model.to(setup.on.device)
        if setup.calibrated:
            training.calibrate(model, setup.data.train_images, setup.on)
        return None

    def finish(self, model: nn.Module, *needed: nn.Module) -> nn.Module:
        """See `Training`."""
        return model.eval().requires_grad_(False)


@dataclass(frozen=True, eq=False)
class DecoderTraining(Training):
    """ClaDec's decoder of a layer (`Setup.decoder`)."""

    recipe: ClassVar[Recipe] = training.ADAM
    layer: str
    alpha: float = 0.0
    channels: tuple[int, ...] | None = None

    @property
    def start(self) -> str:
        """The label without α: for every α the same initial weights."""
        return f"decoder {self.layer}" + ("" if self.channels is None else f" channels {span(self.channels)}")

    @property
    def label(self) -> str:
        """See `Training`."""
        return self.start + (f" α={self.alpha}" if self.alpha else "")

    @property
    def name(self) -> str:
        """A decoder reads one particular classifier, so what the classifier depends on is part of the name."""
        return f"{self.label} of {self.setup.classifier.key}{how(self.setup)}"

    @property
    def needs(self) -> tuple[Training, ...]:
        """See `Training`."""
        return (self.setup.classifier,)

    def encoder(self, classifier: nn.Module) -> Frozen:
        """From images to the activations that are explained."""
        assert isinstance(classifier, Classifier)
        encoder = Frozen(classifier.up_to(self.layer))
        if self.channels is None:
            return encoder
        return Frozen(nn.Sequential(encoder, networks.Select(self.channels).to(self.setup.on.device)))

    def build(self, *needed: nn.Module) -> nn.Sequential:
        """See `Training`."""
        return new_decoder(self.setup, self.encoder(*needed), self.start)

    def job(self, model: nn.Module, *needed: nn.Module) -> training.Job:
        """With α = 0 the classifier is only read; else its loss is a part of the decoder's (Eq. 1)."""
        setup = self.setup
        if not self.alpha:
            return self._decoding(self.encoder(*needed), model, fitting.reconstruction(setup.mean_loss))
        loss = training.ClaDecLoss(needed[0], self.alpha, setup.mean_loss)
        return self._decoding(self.encoder(*needed), model, loss, setup.data.train_labels)

    def finish(self, model: nn.Module, *needed: nn.Module) -> nn.Module:
        """From images to reconstructions."""
        return nn.Sequential(self.encoder(*needed), model).eval()


@dataclass(frozen=True, eq=False)
class ReferenceTraining(Training):
    """The reference auto-encoder (RefAE) of a layer (`Setup.reference`)."""

    recipe: ClassVar[Recipe] = training.ADAM
    layer: str

    @property
    def label(self) -> str:
        """See `Training`."""
        return f"RefAE {self.layer}"

    @property
    def name(self) -> str:
        """See `Training`."""
        return self.label + how(self.setup)

    def build(self, *needed: nn.Module) -> nn.Sequential:
        """See `Training`."""
        encoder = new_classifier(self.setup, self.label).up_to(self.layer)
        return nn.Sequential(encoder, new_decoder(self.setup, encoder, self.label))

    def job(self, model: nn.Module, *needed: nn.Module) -> training.Job:
        """See `Training`."""
        encoder, decoder = model.children()
        return self._decoding(encoder, decoder, fitting.reconstruction(self.setup.mean_loss))


@dataclass(frozen=True, eq=False)
class JudgeTraining(Training):
    """An evaluation classifier (`Setup.judge`)."""

    recipe: ClassVar[Recipe] = training.SGD
    kept: ClassVar[bool] = False
    makes_images: ClassVar[bool] = False
    reconstructs: Training | None
    judged: str

    @property
    def label(self) -> str:
        """See `Training`."""
        return f"evaluation {self.judged}"

    @property
    def name(self) -> str:
        """See `Training`."""
        return self.label + (f" of {self.reconstructs.key}" if self.reconstructs else "")

    @property
    def needs(self) -> tuple[Training, ...]:
        """See `Training`."""
        return (self.reconstructs,) if self.reconstructs else ()

    def build(self, *needed: nn.Module) -> Classifier:
        """See `Training`."""
        return new_classifier(self.setup, "evaluation", self.judged)

    def job(self, model: nn.Module, *needed: nn.Module) -> training.Job:
        """See `Training`."""
        images = self.setup.data.train_images
        return self._judging(model, self.setup.codes(needed[0], images) if needed else images)


_shapes: dict[str, tuple[int, ...]] = {}


def shape_of(encoder: nn.Module, image: Sequence[int]) -> tuple[int, ...]:
    """Shape of one image's activation, for images (channels, height, width); measured once for alike networks."""
    alike = f"{tuple(image)} {encoder!r}"
    if alike not in _shapes:
        _shapes[alike] = networks.activation_shape(encoder, image)
    return _shapes[alike]


def _digest(values: list[Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


def protocol_of(setup: Setup) -> protocol.Protocol:
    """The paper's protocol with the parameters of a setup."""
    settings = setup.settings
    return replace(
        PAPER, epochs=settings.decoder_epochs, batch_size=settings.batch_size, style=settings.decoder_style,
        sigmoid=setup.sigmoid, mean_loss=setup.mean_loss,
    )  # fmt: skip


def how(setup: Setup) -> str:
    """Part of the name of whatever reconstructs images."""
    return f" sigmoid={setup.sigmoid} mean_loss={setup.mean_loss}"
