"""`ClaDec`: what does a layer of your own classifier keep? Any module, any named layer, in five lines."""

import copy
import math
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from cladec_core import networks, training
from cladec_core.errors import RunError, UsageError, one_of
from cladec_core.explainer import fitting, intake, taps
from cladec_core.explainer.evaluation import Evaluation
from cladec_core.explainer.explanation import Comparison, Explanation, Explanations
from cladec_core.explainer.fitting import REFERENCES, Job, Part, Space
from cladec_core.explainer.intake import Images, Labels
from cladec_core.explainer.taps import Logits, Preprocess, Tap

FILE = "explainer.pt"
FEWEST, FEW = 32, 1000  # images without which there is no batch, and below which the reference suffers
FEW_IMAGES = (
    "{} images are few: reference and reconstruction then also show what little data allows, not only what the layer "
    "keeps (section 7). Read the difference of the two; better {} or more."
)
CHANNELS_FIRST = (
    "Layer {0!r}: {1} is read as (channels, height, width); if the channels come last, pass adapter={{{0!r}: lambda "
    "output: output.movedim(3, 1)}}."
)
Adapter = Callable[[Any], Tensor] | Mapping[str, Callable[[Any], Tensor]] | None


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
    device
        "auto" or a name that torch knows.
    seed
        Decides weights and the order of the images.

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
        channels: int | Sequence[int] | None = None,
        alpha: float = 0.0,
        adapter: Adapter = None,
        class_token: str = "keep",
        reference: str = "auto",
        device: str = "auto",
        seed: int = 0,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise UsageError(f"model is a {type(model).__name__}; valid: a torch.nn.Module.")
        if (layer is None) == (not layers) or isinstance(layers, str):
            raise UsageError("Name one layer=..., or several layers=[...].")
        if not 0 <= alpha <= 1:
            raise UsageError(f"alpha is {alpha}; valid: 0 (reconstruction only) to 1 (classification only).")
        one_of("class_token", class_token, taps.CLASS_TOKEN)
        one_of("reference", reference, ["auto", *REFERENCES])
        self.layers = tuple(dict.fromkeys(layers or [layer]))
        for name in self.layers:
            networks.check_layer(model, name)
        self.channels = [channels] if isinstance(channels, int) else channels and list(channels)
        self.alpha, self.class_token, self.reference, self.seed = alpha, class_token, reference, seed
        self.preprocess, self.adapters = preprocess, adapter if isinstance(adapter, Mapping) else {"": adapter}
        self.adapters = {name: function for name, function in self.adapters.items() if function}
        self.on = training.compute(device)
        try:
            copied, preprocess = copy.deepcopy((model, preprocess))
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise UsageError(f"The model cannot be copied ({reason}); load its weights into a new one.") from error
        self._shapes, self._fingerprint = _shapes(model), taps.fingerprint(model)
        copied = copied.to(self.on.device).float().requires_grad_(False)
        self._logits = Logits(copied, preprocess, self.adapters).eval()
        self._space: Space | None = None
        self._parts: dict[str, Part] = {}
        self._data: tuple[Tensor, Tensor | None] | None = None
        self.notes: list[str] = []

    @property
    def references(self) -> dict[str, str]:
        """What the reference of each layer is."""
        return {layer: REFERENCES[part.settings["kind"]] for layer, part in self._parts.items()}

    @property
    def epochs(self) -> dict[str, dict[str, int]]:
        """Epochs that each layer's "cladec" and "reference" were trained."""
        return {layer: part.epochs for layer, part in self._parts.items()}

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
        """Train a decoder and its reference for each layer; if that fails, the explainer is as before.

        Parameters
        ----------
        images
            Tensor (n, channels, height, width), Dataset or DataLoader of images or (image, label, ...); at least 32,
            better 1,000 and more. With a `preprocess` in [0, 1] or uint8. A tenth is held out: a training ends when
            their loss is flat.
        labels
            (n,) integers, for alpha > 0 only; a Dataset or DataLoader may bring them.
        epochs
            At most so many; None: as many as the number of images asks for.
        time_budget
            Seconds for each layer; if a measured step predicts more, and no number is given, fewer epochs are done.
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
        images, labels = intake.gather(images, labels, unit=self.preprocess is not None)
        if len(images) < FEWEST or (epochs or 1) < 1:
            raise UsageError(
                f"{len(images)} images, epochs={epochs}; valid: at least {FEWEST} images (a batch), 1 epoch."
            )
        classes = taps.probe(self._logits, self.layers, images[:3].to(self.on.device)).shape[1]
        if self.alpha:
            _check_labels(labels, classes)
        notes = _Notes(progress)
        if len(images) < FEW:
            notes.warn(FEW_IMAGES.format(len(images), FEW))
        space = Space.of(images)
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(self.seed))
        standard = space.standardise(images[order]).to(self.on.device)
        parts = {layer: self._part(layer, space, standard, notes) for layer in self.layers}
        truth = labels[order].to(self.on.device) if self.alpha else None
        jobs: dict[tuple[str, str], Job] = {}
        for layer, part in parts.items():
            jobs |= self._jobs(layer, part, space, standard, truth, notes)
        epochs = self._plan(list(jobs.values()), epochs, time_budget * len(parts), notes)
        for (layer, name), job in jobs.items():
            parts[layer].epochs[name] = job.train(epochs, self.seed, progress)
        self._space, self._parts, self._data, self.notes = space, parts, (images, labels), notes
        return self

    def _part(self, layer: str, space: Space, images: Tensor, notes: "_Notes") -> Part:
        """The modules of a layer, untrained."""
        tap, raw = self._tap(layer), space.restore().to(images.device)(images[:2])
        code = training.apply(tap, raw, self.on, exact=True).shape[1:]
        ambiguous = len(code) == 3 and all(taps.like_image(sides, space.shape[1:]) for sides in (code[:2], code[1:]))
        if ambiguous and layer not in self.adapters:
            notes.say(CHANNELS_FIRST.format(layer, tuple(code)))
        if self.channels is not None:
            if not self.channels or min(self.channels) < 0 or max(self.channels) >= code[0]:
                raise UsageError(f"channels is {self.channels}; valid for layer {layer!r}: 0 to {code[0] - 1}.")
            code = (len(self.channels), *code[1:])
        kind, note = fitting.choose_reference(self.reference, tap, raw, len(images))
        notes.warn(note)
        width = fitting.decoder_width(len(images))
        part = fitting.assemble(tap, space, self.channels, self.seed, kind=kind, width=width, code=code)
        trained_on = [(part.encoder, part.decoder)]
        if kind == "random":
            training.calibrate(part.reference[0], images, self.on, batch_size=space.at_once)
            trained_on.append(part.reference)
        for encoder, decoder in trained_on:
            codes = training.apply(encoder, images[:1024], self.on, batch_size=space.at_once)
            if not codes.isfinite().all():
                raise UsageError(f"Layer {layer!r} puts out values that are NaN or infinite for some of the images.")
            decoder[0].standardise(codes)
        return part

    def _tap(self, layer: str) -> Tap:
        return Tap(layer, self.class_token, self._logits.model, self._logits.preprocess, self.adapters)

    def _jobs(
        self, layer: str, part: Part, space: Space, images: Tensor, labels: Tensor | None, notes: "_Notes"
    ) -> dict[tuple[str, str], Job]:
        """The two trainings of a layer."""
        units, *grid = code = part.settings["code"]
        size = len(images) * math.prod(code) * self.on.dtype.itemsize
        fits = size <= fitting.MEMORY_SHARE * intake.free_memory(self.on.device)
        done = "kept" if fits else "recomputed for each batch: too much for the memory"
        what = f"{units} channels of {'x'.join(map(str, grid))}" if grid else f"{units} units"
        notes.say(f"Activations of {layer} ({what}, {size / 2**20:.0f} MB) are {done}.")
        loss, targets = training.reconstruction_loss, (images,)
        common = (fitting.held_out(len(images)), self.on, space.at_once)
        kept = size if fits and part.settings["kind"] == "random" else 0
        reference = Job(f"{layer} reference", *part.reference, kept, loss, targets, *common)
        if labels is not None:
            classifier = nn.Sequential(space.restore(), self._logits).to(self.on.device).eval()
            loss, targets = training.ClaDecLoss(classifier, self.alpha), (images, labels)
        cladec = Job(f"{layer} ClaDec", part.encoder, part.decoder, size * fits, loss, targets, *common)
        return {(layer, "cladec"): cladec, (layer, "reference"): reference}

    def _plan(self, jobs: list[Job], epochs: int | None, time_budget: float, notes: "_Notes") -> int:
        """Decide on the number of epochs, and say what they will cost."""
        batch, wanted, steps = jobs[0].plan
        seconds = sum(job.seconds_per_step() for job in jobs) * steps
        planned = epochs or max(1, min(wanted, int(time_budget / seconds)))
        if not epochs and planned < wanted:
            notes.warn(f"{planned} epochs instead of {wanted}, to stay within {time_budget:.0f} s.")
        memory = intake.peak_memory(self.on.device) + max(job.kept for job in jobs)
        notes.say(
            f"On {self.on.device}: at most {planned} epochs of {steps} steps of {batch} images, about "
            f"{seconds * planned:.0f} s and {memory / 1e9:.1f} GB."
        )
        return planned

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
        images = intake.as_images(x, unit=self.preprocess is not None, shape=space.shape)
        probability, prediction = self._run(self._logits, images, space).softmax(1).max(1)
        found = Explanations()
        for layer, part in self._parts.items():
            modules = (nn.Sequential(module, space.restore()) for module in (part.reference, part.explain))
            made = [self._run(module, space.standardise(images), space) for module in modules]
            if not made[1].isfinite().all():
                raise UsageError(f"Layer {layer!r} puts out values that are NaN or infinite for these images.")
            label = self.references[layer]
            found[layer] = Explanation(layer, images, *made, prediction, probability, label, space.value_range)
        return found if len(self.layers) > 1 else found[self.layers[0]]

    def _ready(self) -> Space:
        if self._space is None:
            raise UsageError("The explainer is not fitted; call fit(images) first.")
        return self._space

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
            reference. `acc_most_hidden`, `acc_least_hidden`: accuracy of the classifier without the square that ClaDec
            calls most or least relevant; `ΔAcc_hidden`: least - most (section 6.6). `reference`, `evaluation`: which
            kind of reference and evaluation classifier.

        Raises
        ------
        UsageError
            Before `fit`, for images or labels that cannot be used, or for several seeds after `load`.
        """
        space = self._ready()
        images, labels = intake.gather(images, labels, unit=self.preprocess is not None)
        images = intake.as_images(images, unit=False, shape=space.shape)
        if len(images) < 2 * FEWEST or seeds < 1:
            raise UsageError(f"{len(images)} images, seeds={seeds}; valid: at least {2 * FEWEST} images, 1 seed.")
        classes = self._run(self._logits, images[:1], space).shape[1]
        _check_labels(labels, classes)
        explainers = [self, *(self._again(self.seed + more) for more in range(1, seeds))]
        on_device = (space.standardise(images).to(self.on.device), labels.to(self.on.device))
        evaluation = Evaluation(self._logits, classes, space, self.on, *on_device)
        right, rows = evaluation.right_when_hidden(), []
        for one in explainers:
            if one is not self:
                one.fit(*self._data, epochs=max(max(done.values()) for done in self.epochs.values()), progress=progress)
            for layer, part in one._parts.items():
                row = {"layer": layer, "seed": one.seed, "reference": one.references[layer]}
                rows.append(row | evaluation.measure(part, right, one.seed))
        return pd.DataFrame(rows)

    def _again(self, seed: int) -> "ClaDec":
        if self._data is None:
            raise UsageError("Further seeds need the images of fit, which are not saved; fit again, or use seeds=1.")
        return ClaDec(
            self._logits.model, device=str(self.on.device), **self._options | {"seed": seed},
            preprocess=self.preprocess, adapter=self.adapters,
        )  # fmt: skip

    @property
    def _options(self) -> dict[str, Any]:
        names = ("layers", "channels", "alpha", "class_token", "reference", "seed")
        return {name: getattr(self, name) for name in names}

    def compare(
        self, other: "ClaDec", images: Images, labels: Labels = None, *, classes: Sequence[int] | None = None
    ) -> Comparison:
        """What do a layer of this model and one of another keep differently of the same images?

        How much of it is chance shows the comparison with an explainer of the same model and another seed.

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
        images, labels = intake.gather(images, labels, unit=self.preprocess is not None)
        first, second = self.explain(images), other.explain(images)
        if classes is not None:
            known = [first.prediction, second.prediction] if labels is None else [labels]
            chosen = torch.stack([torch.isin(part, torch.tensor(list(classes))) for part in known]).any(0)
            if not chosen.any():
                raise UsageError(f"None of the {len(images)} images is of the classes {list(classes)}.")
            first, second, labels = first[chosen], second[chosen], None if labels is None else labels[chosen]
        return Comparison.of(first, second, labels)

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
        parts = {
            layer: {
                "settings": part.settings, "epochs": part.epochs,
                "decoder": part.decoder.state_dict(), "reference": part.reference.state_dict(),
            }
            for layer, part in self._parts.items()
        }  # fmt: skip
        kept = {
            "options": self._options, "space": vars(space), "parts": parts, "notes": list(self.notes),
            "shapes": self._shapes, "fingerprint": self._fingerprint, "probed": self._probed(space),
            "preprocess": _described(self.preprocess), "adapters": sorted(self.adapters),
        }  # fmt: skip
        path = Path(directory) / FILE
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.new")
        try:
            torch.save(kept, temporary)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
        return path

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
        path = Path(directory) / FILE
        if not path.is_file():
            raise UsageError(f"No explainer in {directory}: {FILE} is missing.")
        try:
            kept = torch.load(path, map_location="cpu", weights_only=True)
            options, space = kept["options"], Space(**kept["space"])
        except Exception as error:
            raise RunError(f"{path} is damaged, or no explainer ({type(error).__name__}); fit again.") from error
        if taps.fingerprint(model) != kept["fingerprint"]:
            raise UsageError(f"It was fitted on another model: {_differences(kept['shapes'], _shapes(model))}.")
        preprocess = _restored(kept["preprocess"], preprocess)
        explainer = cls(model, **options, preprocess=preprocess, adapter=adapter, device=device)
        if sorted(explainer.adapters) != kept["adapters"]:
            raise UsageError(f"It was fitted with an adapter for {kept['adapters']}; pass the same one.")
        if not torch.allclose(explainer._probed(space), kept["probed"], rtol=1e-2, atol=1e-3):
            raise UsageError("The model has the same weights but other outputs: its forward or preprocess has changed.")
        for layer, saved in kept["parts"].items():
            tap = explainer._tap(layer)
            part = fitting.assemble(tap, space, explainer.channels, explainer.seed, **saved["settings"])
            part.decoder.load_state_dict(saved["decoder"])
            part.reference.load_state_dict(saved["reference"])
            part.epochs = saved["epochs"]
            explainer._parts[layer] = part
        explainer._space, explainer.notes = space, kept["notes"]
        return explainer

    def _probed(self, space: Space) -> Tensor:
        """What the classifier says of two images of noise; it tells another forward from the fitted one."""
        noise = torch.rand(2, *space.shape, generator=torch.Generator().manual_seed(0))
        low, high = space.value_range
        return self._run(self._logits, low + (high - low) * noise, space)


class _Notes(list[str]):
    """What is said while fitting: kept, and printed or given as a warning."""

    def __init__(self, progress: bool) -> None:
        self.progress = progress

    def say(self, text: str) -> None:
        self.append(text)
        if self.progress:
            print(text)

    def warn(self, text: str) -> None:
        if text:
            self.append(text)
            warnings.warn(text, stacklevel=3)


def _check_labels(labels: Tensor | None, classes: int) -> None:
    if labels is None:
        pairs = f"a Dataset or DataLoader of (image, label), integers 0 to {classes - 1}"
        raise UsageError(f"Labels are missing; pass labels=..., or {pairs}.")
    if not 0 <= labels.min() <= labels.max() < classes:
        raise UsageError(f"labels are {labels.min()} to {labels.max()}; valid for this model: 0 to {classes - 1}.")


def _shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def _differences(fitted: dict[str, tuple[int, ...]], given: dict[str, tuple[int, ...]]) -> str:
    sides = {"missing": fitted.items() - given.items(), "unexpected": given.items() - fitted.items()}
    return "; ".join(
        f"{kind}: {', '.join(f'{name} {shape}' for name, shape in sorted(side)[:3])}, {len(side)} in all"
        for kind, side in sides.items() if side
    ) or "the weights differ"  # fmt: skip


def _described(preprocess: Preprocess) -> dict[str, list[float]] | str | None:
    """What of a preprocessing is saved: the numbers of a `Normalize`, else only its name."""
    if type(preprocess).__name__ == "Normalize" and type(preprocess).__module__.startswith("torchvision."):
        return {name: [float(value) for value in getattr(preprocess, name)] for name in ("mean", "std")}
    return preprocess and getattr(preprocess, "__name__", type(preprocess).__name__)


def _restored(saved: dict[str, list[float]] | str | None, given: Preprocess) -> Preprocess:
    if isinstance(saved, dict) and given is None:
        from torchvision.transforms import Normalize

        return Normalize(**saved)
    if bool(saved) != (given is not None):
        raise UsageError(f"It was fitted with preprocess={saved}; pass the same one.")
    return given
