"""`ClaDec`: what does a layer of your own classifier keep? Any module, any named layer, in five lines."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from cladec_core import training
from cladec_core.errors import UsageError, one_of
from cladec_core.explainer import fitting, intake, saving, taps
from cladec_core.explainer.building import DECODINGS, REFERENCES, LayerModules, Space
from cladec_core.explainer.copying import private_copy
from cladec_core.explainer.evaluation import Evaluation
from cladec_core.explainer.explanation import Comparison, Explanation, Explanations
from cladec_core.explainer.fitting import Trainings
from cladec_core.explainer.intake import Images, Labels
from cladec_core.explainer.protocol import PRACTICAL, Protocol
from cladec_core.explainer.taps import Adapters, Logits, Preprocess, Tap
from cladec_core.explainer.task import Notes, Task

OF_TASK = ("channels", "alpha", "reference", "seed", "protocol", "decoder", "loss")  # parameters
LOSSES = ("pixel", "perceptual")
FEWEST = 32  # images, without which there is no batch
Adapter = Callable[[Any], Tensor] | Adapters | None  # see `taps.named_adapters`


class ClaDec:
    """Explain layers of a classifier by decoders on frozen activations, each next to its reference (section 3).

    The classifier is copied: nothing here changes it, and nothing that is done to it later changes the explanations.

    Parameters
    ----------
    model
        Any module that maps images (n, channels, height, width) to logits (n, classes).
    layer, layers
        Name of one submodule, as in `model.named_modules()`, or several names. Valid activations: (n, units),
        (n, channels, height, width), (n, tokens, channels), or (n, height, width, channels) as of Swin; `fit` says how
        it reads them.
    preprocess
        What brings images in [0, 1] to what the model takes, on batches (as torchvision's `Normalize`). None: the
        images go in as they are.
    channels
        A channel (or unit), or several, to explain alone; None: all.
    alpha
        Weight of the classification loss (Eq. 1), 0..1; above 0, `fit` needs labels.
    adapter
        Makes logits of a model's output that is no tensor; or a mapping {name: function}, where the empty name is the
        model, and the activation of a layer becomes (n, units) or (n, channels, height, width).
    class_token
        For layers of tokens: "keep" repeats those that are no patches at each place of the grid, "drop" omits them.
    reference
        "copy": RefAE, the same encoder with fresh weights. "own": RefAE with the project's encoder of the same code
        size. "random": the encoder with random weights, untrained. "auto": a copy, or "own" where a layer cannot be
        re-initialised or the encoder is too large for the images or the memory.
    decoder
        "transposed": it enlarges its maps as the paper's does. "upsampled": by copying pixels, then a convolution.
    loss
        What is minimised: "pixel", squared errors (Eq. 1), or "perceptual", where unlike structure counts most.
    device
        "auto" or a name that torch knows.
    seed
        Decides weights and the order of the images.
    protocol
        How decoders and references are trained: `protocol.PRACTICAL` (in minutes), `protocol.PAPER` or your own.

    Attributes
    ----------
    layers : tuple of str
        Names of the explained layers.
    notes : list of str
        What `fit` said: costs, what is kept or recomputed, warnings.

    Raises
    ------
    UsageError
        For an unknown layer (near ones are named) or any other value that cannot be used.
    """

    def __init__(
        self,
        model: nn.Module,
        layer: str | None = None,
        *,
        layers: Sequence[str] | None = None,
        preprocess: Preprocess = None,
        channels: int | Sequence[int] | Tensor | None = None,
        alpha: float = 0.0,
        adapter: Adapter = None,
        class_token: str = "keep",
        reference: str = "auto",
        decoder: str = "transposed",
        loss: str = "pixel",
        device: str = "auto",
        seed: int = 0,
        protocol: Protocol = PRACTICAL,
    ) -> None:
        self.layers: tuple[str, ...] = taps.checked_layers(model, layer, layers)
        one_of("class_token", class_token, taps.CLASS_TOKEN)
        one_of("reference", reference, ["auto", *REFERENCES])
        one_of("decoder", decoder, DECODINGS)
        one_of("loss", loss, LOSSES)
        self.channels = intake.checked_channels(channels)
        self.alpha = intake.checked_number("alpha", alpha, 0, 1, "0 (reconstruction only) to 1 (classification only)")
        self.seed = intake.checked_integer("seed", seed, 0)
        self.class_token, self.preprocess, self.protocol = class_token, preprocess, protocol
        self.reference, self.decoder, self.loss = reference, decoder, loss
        self.adapters = taps.named_adapters(adapter)
        self.on = training.compute(device)
        copied, preprocess, self._note = private_copy(model, preprocess)
        self._shapes, self._fingerprint = saving.shapes(model), taps.fingerprint(model)
        copied.to(self.on.device)
        self._logits = Logits(copied, preprocess, self.adapters).eval()
        self._space: Space | None = None
        self._built: dict[str, LayerModules] = {}
        self._asked, self._begun = dict[str, Any](), ""
        self._data: tuple[Tensor, Tensor | None] | None = None
        self.notes: list[str] = []

    @property
    def references(self) -> dict[str, str]:
        """What the reference of each layer is."""
        return {layer: built.label for layer, built in self._built.items()}

    @property
    def doubts(self) -> dict[str, str]:
        """Why the difference of a layer to its reference must not be read; empty texts where it can be."""
        return {layer: built.doubt(layer) for layer, built in self._built.items()}

    @property
    def epochs(self) -> dict[str, dict[str, int]]:
        """Epochs that each layer's "cladec" and "reference" were trained."""
        return {layer: built.epochs for layer, built in self._built.items()}

    def __repr__(self) -> str:
        state = f"fitted on images of {self._space.shape}" if self._space else "not fitted"
        return f"<ClaDec of {type(self._logits.model).__name__}, {', '.join(self.layers)}; {state}>"

    def fit(
        self,
        images: Images,
        labels: Labels = None,
        *,
        epochs: int | None = None,
        time_budget: float = 300.0,
        progress: bool = True,
    ) -> "ClaDec":
        """Train a decoder and its reference for each layer, in rounds until the loss of images held out is flat.

        Layers that are finished stay when a later one fails or the training is interrupted; a call with the same images
        goes on with the others. Before the first one is finished, the explainer is as it was.

        Parameters
        ----------
        images
            Tensor (n, channels, height, width), Dataset or DataLoader of images or (image, label, ...); at least 32,
            better 1,000 and more. With a `preprocess` in [0, 1] or uint8. A tenth is held out: half of these decide
            when to end, on the others ΔRec is measured, and `doubts` says where it is not above 0.
        labels
            (n,) integers, for alpha > 0 only; a Dataset or DataLoader may bring them.
        epochs
            So many for either training; None: as many as it takes.
        time_budget
            Seconds of training for each layer, where no number of epochs is given; then it ends, and that is said.
        progress
            Print what it will cost, and show progress bars.

        Returns
        -------
        ClaDec
            The explainer itself.

        Raises
        ------
        UsageError
            For images or labels that cannot be used, or a layer that cannot be explained; it says what to do.
        RunError
            If a training diverges.
        """
        fitting.drive(self.trainings(images, labels, epochs=epochs, time_budget=time_budget, progress=progress))
        return self

    def trainings(
        self,
        images: Images,
        labels: Labels = None,
        *,
        epochs: int | None = None,
        time_budget: float = 300.0,
        progress: bool = True,
    ) -> Trainings:
        """Name the trainings of `fit` without doing them, for a driver that has others to do beside them.

        Parameters
        ----------
        images, labels, epochs, time_budget, progress
            As for `fit`.

        Returns
        -------
        generator
            For each layer, it yields the `training.Job` of the decoder and of its reference, and waits for the mean
            losses of their epochs, as `training.fit_many` returns them; at its end, the explainer is fitted.
            `fitting.drive` is the plainest driver.

        Raises
        ------
        UsageError
            As `fit`.
        """
        given, known = intake.gather(images, labels, unit=self.preprocess is not None, fewest=FEWEST)
        epochs = None if epochs is None else intake.checked_integer("epochs", epochs, 1)
        time_budget = intake.checked_number("time_budget", time_budget, 0, math.inf, "more than 0 seconds")
        classes = taps.probe(self._logits, self.layers, given[:3].to(self.on.device)).shape[1]
        truth = intake.checked_labels(known, classes) if self.alpha else None
        asked = {"epochs": epochs, "time_budget": time_budget}
        begun = intake.digest(given, truth, asked)
        done = self._built if self._begun == begun and len(self._built) < len(self.layers) else {}
        notes, names = Notes(progress), (*OF_TASK, "on")
        task = Task.of(given, truth, self._logits, notes, **{name: getattr(self, name) for name in names})
        notes.warn(self._note)
        notes.say("".join(f"{layer} is fitted already. " for layer in done).strip())
        planned = [task.layer(self._tap(layer)) for layer in self.layers if layer not in done]
        task.announce(planned, epochs, time_budget)
        for one in planned:
            yield from task.train(one, epochs, time_budget)
            self._built = (self._built if self._begun == begun else {}) | {one.design.tap.layer: one.built}
            self._space, self._data, self._asked, self._begun = task.space, (given, known), asked, begun
            self.notes = notes

    def _tap(self, layer: str) -> Tap:
        return Tap(layer, self.class_token, self._logits.model, self._logits.preprocess, self.adapters)

    def explain(self, x: Tensor) -> Explanation | Explanations:
        """Explain images.

        Parameters
        ----------
        x
            (n, channels, height, width), or a single image, of the size and in the units of those of `fit`.

        Returns
        -------
        Explanation or Explanations
            For `layers=`, explanations by the name of the layer.

        Raises
        ------
        UsageError
            Before `fit`, or for images that cannot be used.
        """
        space = self._ready()
        images = space.checked(x, unit=self.preprocess is not None)
        logits = self._run(self._logits, images, space)
        prediction, probability = logits.argmax(1), logits.softmax(1).amax(1)  # probabilities may be rounded to a tie
        found = Explanations()
        for layer, built in self._built.items():
            reference, made = (
                self._run(nn.Sequential(module, space.restore()), space.standardise(images), space)
                for module in (built.reference, built.explain)
            )
            if not made.isfinite().all():
                raise UsageError(f"Layer {layer!r} puts out values that are NaN or infinite for these images.")
            found[layer] = Explanation(
                layer, images, reference, made, prediction, probability, self._predict(reference), self._predict(made),
                built.label, space.value_range, built.doubt(layer),
            )  # fmt: skip
        return found if len(self.layers) > 1 else found[self.layers[0]]

    def gradcam(self, x: Tensor) -> Tensor | dict[str, Tensor]:
        """Make heat maps by GradCAM, of the predicted class, to be set beside explanations of the same images.

        Parameters
        ----------
        x
            As for `explain`.

        Returns
        -------
        Tensor or dict of str to Tensor
            (n, height, width), from 0 to 1, as `measures.gradcam`; for `layers=`, by the name of the layer.

        Raises
        ------
        UsageError
            Before `fit`, for images that cannot be used, or for a layer without maps before it.
        """
        space = self._ready()
        images = space.checked(x, unit=self.preprocess is not None)
        found = {}
        for layer, built in self._built.items():
            tap = Tap(layer, "drop", self._logits.model, self._logits.preprocess, self.adapters)
            flat = len(built.settings["code"]) == 1
            found[layer] = taps.heat_maps(self._logits, tap, images, flat=flat, at_once=space.at_once, on=self.on)
        return found if len(self.layers) > 1 else found[self.layers[0]]

    def _ready(self) -> Space:
        if self._space is None:
            raise UsageError("The explainer is not fitted; call fit(images) first.")
        return self._space

    def _predict(self, images: Tensor) -> Tensor:
        """The classifier's class of each image, int64 (n,), on the CPU."""
        return self._run(self._logits, images, self._ready()).argmax(1)

    def _run(self, module: nn.Module, images: Tensor, space: Space) -> Tensor:
        """Run a module over images, exactly; from and to the CPU."""
        images = images.to(self.on.device)
        return training.apply(module, images, self.on, exact=True, batch_size=space.at_once).cpu()

    def evaluate(self, images: Images, labels: Labels = None, *, seeds: int = 3, progress: bool = True) -> pd.DataFrame:
        """Measure how faithful the explanations are, on labelled images that were not in `fit`.

        Half of the images train the evaluation classifiers, the other half tests them (section 5).

        Parameters
        ----------
        images, labels
            As for `fit`; at least 64.
        seeds
            How many: the first is the explainer's own; for each further one decoders and references are trained again,
            on the images of `fit`.
        progress
            Show progress bars.

        Returns
        -------
        DataFrame
            A row per layer and seed. `rec_cladec`, `rec_reference`: mean squared error per value, in the units of the
            images; `acc_cladec`, `acc_reference`: accuracy of the evaluation classifiers; `ΔRec`, `ΔAcc`: ClaDec -
            reference. `agreement_cladec`, `agreement_reference`: share of the reconstructions for which the model
            predicts what it predicts for the image. `acc_most_hidden`, `acc_least_hidden`: accuracy of the classifier
            without the square that ClaDec calls most or least relevant; `ΔAcc_hidden`: least - most (section 6.6).
            Of all differences and of both agreements, `..._low` and `..._high`: an interval of 95 % over images.
            `reference`, `evaluation`: which kind of reference and evaluation classifier.

        Raises
        ------
        UsageError
            Before `fit`, for images or labels that cannot be used, or for several seeds after `load`.
        """
        space = self._ready()
        given, known = intake.gather(images, labels, unit=self.preprocess is not None)
        if len(given) < 2 * FEWEST or seeds < 1:
            raise UsageError(f"{len(given)} images, seeds={seeds}; valid: at least {2 * FEWEST} images, 1 seed.")
        classes = self._run(self._logits, space.checked(given)[:1], space).shape[1]
        truth = intake.checked_labels(known, classes).to(self.on.device)
        explainers = [self, *(self._again(self.seed + more) for more in range(1, seeds))]
        images = space.standardise(space.checked(given)).to(self.on.device)
        evaluation = Evaluation(self._logits, classes, space, self.on, images, truth)
        right, rows = evaluation.right_when_hidden(), []
        for one in explainers:
            if one is not self:
                assert self._data is not None  # `_again` has asked for it
                one.fit(*self._data, **self._asked, progress=progress)
            rows += [evaluation.measure(layer, built, right, one.seed) for layer, built in one._built.items()]
        return pd.DataFrame(rows)

    def _again(self, seed: int) -> "ClaDec":
        if self._data is None:
            raise UsageError("Further seeds need the images of fit, which are not saved; fit again, or use seeds=1.")
        how = self._options | {"seed": seed, "preprocess": self.preprocess, "adapter": self.adapters}
        return ClaDec(self._logits.model, device=str(self.on.device), **how)

    @property
    def _options(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("layers", "class_token", *OF_TASK)}

    def compare(
        self, other: "ClaDec", images: Images, labels: Labels = None, *, classes: Sequence[int] | None = None
    ) -> Comparison:
        """Show what a layer of this model and one of another keep differently; another seed shows how much is chance.

        Parameters
        ----------
        other
            A fitted explainer for images of the same shape and units.
        images, labels
            (n, channels, height, width), and (n,) integers if known.
        classes
            Only images of these classes: by their label, or without labels by either model's prediction.

        Returns
        -------
        Comparison
            Both reconstructions of each image, with their losses and their distance.

        Raises
        ------
        UsageError
            Before `fit`, if either explains several layers, for images or labels that cannot be used, or if no image is
            of these classes.
        """
        if len(self.layers) + len(other.layers) > 2:
            raise UsageError("Only explainers of one layer each can be compared.")
        given, known = intake.gather(images, labels, unit=self.preprocess is not None)
        first, second = self.explain(given), other.explain(given)
        assert isinstance(first, Explanation) and isinstance(second, Explanation)  # noqa: PT018 - of one layer each
        return Comparison.of(first, second, known, classes)

    def save(self, directory: Path | str) -> Path:
        """Keep decoders and references, not the classifier and the images, in a folder.

        The file is whole or not there: it is written under another name first.

        Parameters
        ----------
        directory
            Made if it does not exist; an earlier explainer in it is replaced.

        Returns
        -------
        Path
            The file.

        Raises
        ------
        UsageError
            Before `fit`.
        """
        space = self._ready()
        return saving.write(
            directory,
            {
                "options": saving.described_options(self._options), "space": vars(space), "notes": list(self.notes),
                "layers": list(self._built), "parts": {layer: built.described for layer, built in self._built.items()},
                "shapes": self._shapes, "fingerprint": self._fingerprint, "probed": self._probed(space),
                "preprocess": saving.described_preprocess(self.preprocess), "adapters": sorted(self.adapters),
            },
        )  # fmt: skip

    @classmethod
    def load(
        cls,
        directory: Path | str,
        model: nn.Module,
        *,
        preprocess: Preprocess = None,
        adapter: Adapter = None,
        device: str = "auto",
    ) -> "ClaDec":
        """Read an explainer back; it explains as before.

        Parameters
        ----------
        directory
            Where it was saved.
        model
            The classifier that it was fitted on.
        preprocess, adapter
            As given before; torchvision's `Normalize` is saved, and not needed here.
        device
            As in `ClaDec`.

        Returns
        -------
        ClaDec
            Fitted; for further seeds of `evaluate` it lacks the images.

        Raises
        ------
        UsageError
            If there is none, or the model or what is around it is not what it was fitted with.
        RunError
            If the file is damaged.
        """
        kept = saving.read(directory)
        try:
            return cls._restored(kept, model, preprocess, adapter=adapter, device=device)
        except UsageError:
            raise
        except Exception as error:  # of a file that somebody made up
            raise saving.damaged(directory, error) from error

    @classmethod
    def _restored(cls, kept: dict[str, Any], model: nn.Module, preprocess: Preprocess, **how: Any) -> "ClaDec":
        saving.check_model(kept, model)
        how["preprocess"] = saving.restored_preprocess(kept["preprocess"], preprocess)
        explainer = cls(model, **kept["options"], **how)
        if sorted(explainer.adapters) != kept["adapters"]:
            raise UsageError(f"It was fitted with an adapter for {kept['adapters']}; pass the same one.")
        space: Space = kept["space"]
        if not torch.allclose(explainer._probed(space), kept["probed"], rtol=1e-2, atol=1e-3):
            raise UsageError("The model has the same weights but other outputs: its forward or preprocess has changed.")
        design = {name: getattr(explainer, name) for name in ("channels", "protocol", "seed")}
        for layer in kept["layers"]:
            tap, part = explainer._tap(layer), kept["parts"][layer]
            explainer._built[layer] = LayerModules.restored(part, tap, space, **design, decoding=explainer.decoder)
        explainer._space, explainer.notes = space, kept["notes"]
        return explainer

    def _probed(self, space: Space) -> Tensor:
        """What the classifier says of two images of noise; it tells another forward from the fitted one."""
        noise = torch.rand(2, *space.shape, generator=torch.Generator().manual_seed(0))
        low, high = space.value_range
        return self._run(self._logits, low + (high - low) * noise, space)
