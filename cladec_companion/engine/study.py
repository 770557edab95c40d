"""One run: a data set, an architecture and a seed, with every model that explains it.

A study trains what it is asked for, once. The classifier, its decoders and the reference auto-encoders, which
several chapters need, are also kept on disk, under a name made from everything they depend on.
"""

import copy
import hashlib
import json
import math
import os
import pickle
import platform
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cladec_companion.engine.branches import Train, alone
from cladec_companion.records.settings import Settings
from cladec_core import data, networks, training
from cladec_core.data import ImageData
from cladec_core.explainer.protocol import span
from cladec_core.networks import Classifier, Frozen
from cladec_core.training import Compute, Recipe

# Activations above this size are computed per batch instead of being kept.
ACTIVATION_BYTES = 1_500_000_000
CLASSIFIER = "classifier"  # label of the classifier to explain


class _Once:
    """`functools.cached_property` without the lock that Python 3.11 holds meanwhile, for all studies at once.

    Studies are trained side by side: one waits in the middle of this for the others.
    """

    def __init__(self, make: Callable[["Study"], Any]) -> None:
        self.make, self.__doc__ = make, make.__doc__

    def __get__(self, study: "Study", owner: type) -> Any:
        return vars(study).setdefault(self.make.__name__, self.make(study))


class Study:
    """A classifier and the models trained around it.

    Parameters
    ----------
    data
        On the device of `on`.
    architecture, seed, settings
        Which run this is.
    on
        Device and precision.
    cache
        Folder for trained models, or None to keep nothing.
    progress
        Show progress bars.
    data_dir
        Where `data` comes from, for controls that load it otherwise.
    """

    def __init__(
        self,
        data: ImageData,
        architecture: str,
        seed: int,
        settings: Settings,
        on: Compute,
        cache: Path | None = None,
        progress: bool = False,
        data_dir: Path | str | None = None,
    ) -> None:
        self.data, self.architecture, self.seed, self.settings = data, architecture, seed, settings
        self.on, self.cache, self.progress, self.data_dir = on, cache, progress, data_dir
        self.encoder_epochs: int | None = None  # of the classifier to explain, if not `classifier_epochs`
        self.calibrated = True
        self.momentum: float | None = None  # of the classifier's BatchNorm, if not PyTorch's 0.1
        self.sigmoid = False  # whether decoders end in one
        self.mean_loss = False  # whether reconstruction losses are averaged over pixels instead of summed
        self.train: Train = alone  # or side by side with those of other runs
        self.seconds: dict[str, float] = {}  # of each training done here, for the cost of an explanation (B50)

    def new_classifier(self, *labels: object) -> Classifier:
        """A freshly initialised classifier; the labels say what for and so decide its weights."""
        with training.seeded(training.derive_seed(self.seed, *labels, "weights")):
            return networks.classifier(
                self.architecture, self.data.channels, len(self.data.classes), self.settings.width
            )

    def new_decoder(self, encoder: nn.Module, *labels: object) -> nn.Sequential:
        """A freshly initialised decoder for what an encoder puts out."""
        image = self.data.train_images.shape[1:]
        shape = networks.activation_shape(encoder, image)
        with training.seeded(training.derive_seed(self.seed, *labels, "weights")):
            return networks.decoder(shape, image, style=self.settings.decoder_style, sigmoid=self.sigmoid)

    @_Once
    def classifier(self) -> Classifier:
        """The classifier to explain: trained on the training images, then frozen."""
        model = self.new_classifier(CLASSIFIER).to(self.on.device)
        if self.momentum is not None:
            for norm in filter(lambda module: isinstance(module, nn.BatchNorm2d), model.modules()):
                norm.momentum = self.momentum
        if self.encoder_epochs == 0:
            if self.calibrated:
                training.calibrate(model, self.data.train_images, self.on)
        else:
            self._trained(model, CLASSIFIER, self._fit_classifier, self._averages)
        return model.eval().requires_grad_(False)

    def variant(self, encoder_epochs: int, *, calibrated: bool = True, momentum: float | None = None) -> "Study":
        """The same run with a classifier to explain that was trained for other epochs (section 6.3).

        Parameters
        ----------
        encoder_epochs
            0 leaves the initial weights, which are the same for every number of epochs.
        calibrated
            Without training, whether BatchNorm's statistics are estimated on the training images.
        momentum
            Share of each batch in BatchNorm's running averages; None: PyTorch's 0.1.
        """
        return self.changed(encoder_epochs=encoder_epochs, calibrated=calibrated, momentum=momentum)

    def changed(self, **changes: Any) -> "Study":
        """The same run with other attributes (data, architecture, settings...) and a classifier of its own."""
        other = copy.copy(self)
        for name in ("classifier", "_explained", "_training_images"):
            vars(other).pop(name, None)
        vars(other).update(changes)
        return other

    def explained(self, **changes: Any) -> "Study":
        """The same classifier, explained otherwise: with other data, settings, `sigmoid` or `mean_loss`."""
        return self.changed(**changes, classifier=self.classifier, _explained=self._explained)

    def decoder(self, layer: str, *, alpha: float = 0.0, channels: Sequence[int] | None = None) -> nn.Module:
        """ClaDec's decoder: trained on the frozen activations of a layer, which are computed once.

        Parameters
        ----------
        layer
            A named layer of the classifier.
        alpha
            Weight of the classification loss (Eq. 1).
        channels
            The subset of the layer to explain; None for all of it.

        Returns
        -------
        Module
            Maps images to reconstructions (the frozen encoder is its first part).
        """
        label = f"decoder {layer}"
        encoder = Frozen(self.classifier.up_to(layer))
        if channels is not None:
            label += f" channels {span(channels)}"
            encoder = Frozen(nn.Sequential(encoder, networks.Select(channels).to(self.on.device)))
        decoder = self.new_decoder(encoder, label)  # for every α the same start
        label += f" α={alpha}" if alpha else ""
        shape = networks.activation_shape(encoder, self.data.train_images.shape[1:])
        values = len(self.data.train_images) * math.prod(shape)

        def fit(decoder: nn.Module, images: Tensor, label: str) -> None:
            if values * self.on.dtype.itemsize <= ACTIVATION_BYTES:
                self._fit_images(decoder, training.apply(encoder, images, self.on), label, alpha)
            else:
                self._fit_images(nn.Sequential(encoder, decoder), images, label, alpha)

        # A decoder reads one particular classifier, so what that depends on is part of its own name.
        self._trained(decoder, label, fit, self._explained + self._how)
        return nn.Sequential(encoder, decoder).eval()

    def reference(self, layer: str) -> nn.Module:
        """The RefAE of a layer: the same encoder with fresh weights and the same decoder, trained together."""
        label = f"RefAE {layer}"
        encoder = self.new_classifier(label).up_to(layer)
        model = nn.Sequential(encoder, self.new_decoder(encoder, label))
        self._trained(model, label, self._fit_images, self._how)
        return model

    def evaluation_classifier(self, reconstruct: nn.Module, label: str) -> Classifier:
        """A classifier trained on reconstructions of the training images, with the true labels (reading C-10)."""
        reconstructions = training.apply(reconstruct, self.data.train_images, self.on)
        model = self.new_classifier("evaluation", label)
        self._fit_classifier(model, reconstructions, f"evaluation {label}")
        return model

    def test(self, model: nn.Module, inputs: Tensor | None = None) -> Tensor:
        """Run a model in float32 over the test images, or over other inputs."""
        return training.apply(model, self.data.test_images if inputs is None else inputs, self.on, exact=True)

    def _fit_classifier(self, model: nn.Module, inputs: Tensor, label: str) -> None:
        targets = (self.data.train_labels,)
        self._fit(model, inputs, targets, training.classification_loss, training.SGD, label)

    def _fit_images(self, model: nn.Module, inputs: Tensor, label: str, alpha: float = 0.0) -> None:
        targets = (self.data.train_images, self.data.train_labels)
        loss = training.ClaDecLoss(self.classifier if alpha else None, alpha, self.mean_loss)
        self._fit(model, inputs, targets, loss, training.ADAM, label)

    def _fit(
        self,
        model: nn.Module,
        inputs: Tensor,
        targets: tuple[Tensor, ...],
        loss: Callable[..., Tensor],
        recipe: Recipe,
        label: str,
    ) -> None:
        began = time.perf_counter()
        job = training.Job(
            model, inputs, targets, loss, recipe,
            epochs=self._epochs(recipe, label), seed=training.derive_seed(self.seed, label, "order"), on=self.on,
            batch_size=self.settings.batch_size, progress=self.progress,
            label=f"{self.data.name} {self.architecture} {label}, seed {self.seed}",
        )  # fmt: skip
        self.train(job)
        self.seconds[label] = round(time.perf_counter() - began, 2)

    def _epochs(self, recipe: Recipe, label: str) -> int:
        """Decoders and auto-encoders are trained with Adam, classifiers with SGD (section A.0)."""
        if label == CLASSIFIER and self.encoder_epochs is not None:
            return self.encoder_epochs
        return self.settings.decoder_epochs if recipe is training.ADAM else self.settings.classifier_epochs

    def _trained(
        self, model: nn.Module, label: str, fit: Callable[[nn.Module, Tensor, str], None], beside: str = ""
    ) -> None:
        """Load the weights of a model if the same training was done before, else train and keep them."""
        recipe = training.SGD if fit == self._fit_classifier else training.ADAM
        path = self.cache / f"{self._fingerprint(label + beside, recipe)}.pt" if self.cache else None
        if path and path.exists():
            try:
                kept = torch.load(path, weights_only=True)
            except (RuntimeError, EOFError, pickle.UnpicklingError) as error:  # such as after a power cut
                warnings.warn(f"{label} is trained again: {path} cannot be read ({error})", stacklevel=2)
            else:
                model.load_state_dict(kept)
                model.to(self.on.device, memory_format=torch.channels_last).eval()
                return
        fit(model, self.data.train_images, label)
        if path:
            temporary = path.with_suffix(f".{platform.node()}.{os.getpid()}.new")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                torch.save(model.state_dict(), temporary)
                os.replace(temporary, path)
            except (OSError, RuntimeError) as error:  # a full disk; torch names it in either way
                temporary.unlink(missing_ok=True)
                warnings.warn(f"{label} is trained, but not kept in {self.cache}: {error}", stacklevel=2)

    @cached_property
    def _explained(self) -> str:
        """Name of the classifier to explain."""
        name = self._fingerprint(CLASSIFIER + self._averages, training.SGD)
        return name + ("" if self.calibrated else " uncalibrated")

    @property
    def _averages(self) -> str:
        """Part of the classifier's name where BatchNorm's running averages are slower than usual."""
        return "" if self.momentum is None else f" momentum={self.momentum}"

    @property
    def _how(self) -> str:
        """Part of the name of whatever reconstructs images."""
        return f" sigmoid={self.sigmoid} mean_loss={self.mean_loss}"

    @cached_property
    def _training_images(self) -> str:
        """Digest of what is trained on: a half, or grey values, differ from the whole in nothing else."""
        digest = hashlib.sha256()
        for tensor in (self.data.train_images, self.data.train_labels):
            digest.update(tensor.cpu().contiguous().numpy())
        return digest.hexdigest()

    def _fingerprint(self, label: str, recipe: Recipe) -> str:
        """Name everything a cached training depends on: data, parameters, device and the code that trains."""
        settings = {key: getattr(self.settings, key) for key in ("batch_size", "width", "decoder_style", "resize")}
        values = [
            self.data.name, self._training_images, self.architecture, self.seed, label,
            asdict(recipe), self._epochs(recipe, label), settings, self.on.description, torch.__version__,
            training_code(),
        ]  # fmt: skip
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:32]


@cache
def training_code() -> str:
    """Digest of every source file that decides what a training gives: the rooms data, networks and training.

    `inspect.getsource` of a package would be its `__init__` alone.
    """
    rooms = (Path(room.__file__).parent for room in (data, networks, training))
    digest = hashlib.sha256()
    for path in sorted(path for room in rooms for path in room.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
