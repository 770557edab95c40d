"""From a tapped layer to its two trainings: how long they are, what they cost, and who does them."""

import copy
import math
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cladec_core import training
from cladec_core.errors import UsageError
from cladec_core.explainer import intake, taps
from cladec_core.explainer.building import MEMORY_SHARE, Affine, Design, Part, Space, choose_reference
from cladec_core.explainer.protocol import PRACTICAL, Protocol
from cladec_core.explainer.taps import Logits, Tap
from cladec_core.networks import WIDTHS
from cladec_core.training import Compute, Job, Recipe

STEPS = 1000  # of a training, as far as the number of epochs stays between these bounds
FEWEST_EPOCHS, MOST_EPOCHS = 6, 100
SMALLEST_BATCH, LARGEST_BATCH = 16, 128
VALUES_PER_STEP = 2**21  # in a batch, so that a training step fits into memory
FLAT, PATIENCE = 0.005, 125  # a loss that falls by less than this share over the last so many steps is flat
FEWEST_HELD_OUT, MOST_HELD_OUT = 16, 512
SCALED_BY = 1024  # images, by which activations are scaled
FEW = 1000  # images; with fewer the reference suffers
FEW_IMAGES = (
    "{} images are few: reference and reconstruction then also show what little data allows, not only what the layer "
    "keeps (section 7). Read the difference of the two; better {} or more."
)
CHANNELS_FIRST = (
    "Layer {0!r}: {1} is read as (channels, height, width); if the channels come last, pass adapter={{{0!r}: lambda "
    "output: output.movedim(3, 1)}}."
)
Loss = Callable[..., Tensor]
# Yields trainings, and is sent the mean losses of each one's epochs.
Trainings = Generator[list[Job], list[list[float]], None]


def drive(trainings: Trainings) -> None:
    """Train whatever is asked for, several trainings at a time side by side (`training.fit_many`).

    Parameters
    ----------
    trainings
        As `ClaDec.trainings`.
    """
    with suppress(StopIteration):
        jobs = next(trainings)
        while True:
            jobs = trainings.send(training.fit_many(jobs))


def decoder_width(images: int, protocol: Protocol = PRACTICAL) -> int:
    """Choose the width of the decoder for so many images."""
    full = WIDTHS[protocol.style]
    return full if images >= protocol.narrow_below else full // 2


def held_out(images: int) -> int:
    """Choose how many of the images are not trained on: their loss says when to end."""
    return min(max(images // 10, FEWEST_HELD_OUT), MOST_HELD_OUT)


def plan(images: int, values: int, steps: int = STEPS) -> tuple[int, int, int]:
    """Choose the length of a training.

    Parameters
    ----------
    images, values
        How many there are, and how many values each of them has.
    steps
        About so many in all.

    Returns
    -------
    batch
        Images per step.
    epochs, steps
        Passes over the images, and steps in each.
    """
    batch = min(max(2 ** int(math.log2(max(1, images // 16))), SMALLEST_BATCH), LARGEST_BATCH)
    batch = min(batch, max(8, VALUES_PER_STEP // values), images)
    return batch, min(max(math.ceil(steps / (images // batch)), FEWEST_EPOCHS), MOST_EPOCHS), images // batch


@dataclass(frozen=True, eq=False)
class Training:
    """One training of a decoder behind an encoder, on all images but those held out, which are the last.

    Attributes
    ----------
    name
        Of the progress bar.
    encoder, decoder
        From standardised images to codes, and back.
    kept
        Bytes of the codes, if they are computed once; 0 if the encoder is run for each batch.
    loss, targets
        As of `training.Job`; the first of the targets are the images.
    order
        Seed of the order of the images.
    protocol, on, at_once
        How and where; images in a batch where nothing is trained.
    """

    name: str
    encoder: nn.Module
    decoder: nn.Module
    kept: int
    loss: Loss
    targets: tuple[Tensor, ...]
    order: int
    protocol: Protocol
    on: Compute
    at_once: int

    @property
    def held_out(self) -> int:
        """How many images are not trained on."""
        return held_out(len(self.targets[0])) if self.protocol.hold_out else 0

    @property
    def plan(self) -> tuple[int, int, int]:
        """What `plan` returns for the images that are trained on, where the protocol does not say otherwise."""
        images = len(self.targets[0]) - self.held_out
        batch, epochs, steps = plan(images, self.targets[0][0].numel())
        if self.protocol.batch_size is not None:
            batch = min(self.protocol.batch_size, images)
            steps = images // batch
        return batch, self.protocol.epochs or epochs, steps

    def job(self, epochs: int, progress: bool = False, codes: Tensor | None = None) -> Job:
        """Ask for the training; the activations are computed here, if they are kept.

        Parameters
        ----------
        epochs
            At most so many: with images held out, the training ends when their loss is flat.
        progress
            Show a progress bar.
        codes
            The activations of all images, where somebody has them.

        Returns
        -------
        Job
            It trains the modules of this object.
        """
        inputs = self._inputs(self.targets[0]) if codes is None else codes
        count = len(self.targets[0]) - self.held_out
        job = self._job(self._model, inputs, count, epochs)
        return replace(job, progress=progress, seed=self.order, stop=self._flat(inputs) if self.held_out else None)

    def seconds_per_step(self) -> float:
        """Time two steps of a copy, after one that is not counted."""
        batch, trial = self.plan[0], copy.deepcopy(self._model)
        inputs = self._inputs(self.targets[0][: 2 * batch])
        for steps in (1, 2):
            began = time.perf_counter()
            training.fit(self._job(trial, inputs, steps * batch, epochs=1))
        return (time.perf_counter() - began) / 2

    @property
    def _model(self) -> nn.Module:
        """What is trained."""
        return self.decoder if self.kept else nn.Sequential(self.encoder, self.decoder)

    def _inputs(self, images: Tensor) -> Tensor:
        """What that is given for standardised images."""
        return training.apply(self.encoder, images, self.on, batch_size=self.at_once) if self.kept else images

    def _job(self, model: nn.Module, inputs: Tensor, count: int, epochs: int) -> Job:
        """A training on the first so many images."""
        targets = tuple(target[:count] for target in self.targets)
        return Job(
            model, inputs[:count], targets, self.loss, self.protocol.recipe, epochs=epochs, seed=0, on=self.on,
            batch_size=self.plan[0], label=self.name,
        )  # fmt: skip

    def _flat(self, inputs: Tensor) -> Callable[[list[float]], bool]:
        """Whether the loss of the images held out is flat, to be asked after each epoch."""
        model, patience = self._model, max(3, PATIENCE // self.plan[2])
        rest = tuple(target[-self.held_out :] for target in self.targets)
        losses: list[float] = []

        def stop(_: list[float]) -> bool:
            outputs = training.apply(model, inputs[-self.held_out :], self.on, batch_size=self.at_once).float()
            with torch.no_grad():
                losses.append(self.loss(outputs, *rest).item())
            return len(losses) > patience and min(losses[-patience:]) > (1 - FLAT) * min(losses[:-patience])

        return stop


def judging(model: nn.Module, images: Tensor, labels: Tensor, recipe: Recipe, on: Compute, **how: Any) -> Job:
    """Describe the training of an evaluation classifier: on reconstructions, with the true labels (reading C-10).

    Parameters
    ----------
    model
        The classifier, with fresh weights.
    images, labels
        Reconstructions (n, channels, height, width), and labels (n,) of what they are reconstructions of.
    recipe, on, how
        As of `training.Job`.
    """
    return Job(model, images, (labels,), training.classification_loss, recipe, on=on, **how)


def reconstruction(mean: bool) -> Loss:
    """The loss of a reconstruction: squared errors summed over pixels, or averaged."""
    return F.mse_loss if mean else training.reconstruction_loss


class Notes(list[str]):
    """What is said while fitting: kept, and printed or given as a warning."""

    def __init__(self, progress: bool) -> None:
        self.progress = progress

    def say(self, text: str) -> None:
        """Keep a text, and print it with the progress bars."""
        self.append(text)
        if self.progress:
            print(text)

    def warn(self, text: str) -> None:
        """Keep a text that is not empty, and give it as a warning."""
        if text:
            self.append(text)
            warnings.warn(text, stacklevel=5)  # where `fit` is called


@dataclass(frozen=True, eq=False)
class Task:
    """What the trainings of one explainer have in common.

    Attributes
    ----------
    space
        What is known of the images.
    images
        (n, channels, height, width), standardised as `space` says, in the order of training, on the device.
    labels
        (n,) on the device, for alpha > 0.
    logits
        The classifier.
    channels, alpha, reference, seed, protocol
        As of `ClaDec`.
    on
        Device and precision.
    notes
        Where to say what is done.
    """

    space: Space
    images: Tensor
    labels: Tensor | None
    logits: Logits
    channels: Sequence[int] | None
    alpha: float
    reference: str
    seed: int
    protocol: Protocol
    on: Compute
    notes: Notes

    @classmethod
    def of(cls, images: Tensor, labels: Tensor | None, logits: Logits, notes: Notes, **how: Any) -> "Task":
        """Standardise images and bring them in the order of training, as the protocol says.

        Parameters
        ----------
        images, labels
            In the user's units and order, on the CPU.
        logits, notes, how
            The other attributes.
        """
        if len(images) < FEW:
            notes.warn(FEW_IMAGES.format(len(images), FEW))
        protocol, device = how["protocol"], how["on"].device
        space = Space.of(images, standardise=protocol.standardise)
        if protocol.shuffle:
            order = torch.randperm(len(images), generator=torch.Generator().manual_seed(how["seed"]))
            images, labels = images[order], None if labels is None else labels[order]
        standard = space.standardise(images).to(device)
        return cls(space, standard, None if labels is None else labels.to(device), logits, notes=notes, **how)

    def design(self, tap: Tap) -> Design:
        """Measure a layer, and decide from what its modules are built.

        Raises
        ------
        UsageError
            For channels that the layer does not have, or a reference that cannot be built.
        """
        layer, raw = tap.layer, self.space.restore().to(self.images.device)(self.images[:2])
        code = tuple(training.apply(tap, raw, self.on, exact=True).shape[1:])
        sides = (code[:2], code[1:])
        ambiguous = len(code) == 3 and all(taps.like_image(pair, self.space.shape[1:]) for pair in sides)
        if ambiguous and layer not in tap.adapters:
            self.notes.say(CHANNELS_FIRST.format(layer, code))
        if self.channels is not None:
            if not self.channels or min(self.channels) < 0 or max(self.channels) >= code[0]:
                raise UsageError(f"channels is {self.channels}; valid for layer {layer!r}: 0 to {code[0] - 1}.")
            code = (len(self.channels), *code[1:])
        kind, note = choose_reference(self.reference, tap, raw, len(self.images))
        self.notes.warn(note)
        width = decoder_width(len(self.images), self.protocol)
        return Design(tap, self.space, code, self.channels, kind, width, self.protocol, self.seed)

    def part(self, design: Design) -> Part:
        """Build the modules of a layer, untrained, with activations scaled as the protocol says.

        Raises
        ------
        UsageError
            If activations are not finite for some of the images.
        """
        part = Part.of(design)
        pairs: list[tuple[nn.Module, nn.Module]] = [(part.encoder, part.decoder)]
        if design.kind == "random":
            training.calibrate(part.reference[0], self.images, self.on, batch_size=self.space.at_once)
            pairs.append((part.reference[0], part.reference[1]))
        for encoder, decoder in pairs:
            codes = training.apply(encoder, self.images[:SCALED_BY], self.on, batch_size=self.space.at_once)
            if not codes.isfinite().all():
                raise UsageError(
                    f"Layer {design.tap.layer!r} puts out values that are NaN or infinite for some of the images."
                )
            for part_of in decoder.children():
                if isinstance(part_of, Affine):
                    part_of.standardise(codes)
        return part

    def decoding(self, design: Design, encoder: nn.Module, decoder: nn.Module) -> Training:
        """Describe the training of ClaDec's decoder behind the frozen encoder, both as `Design` builds them."""
        layer, (units, *grid) = design.tap.layer, design.code
        kept, size = self._kept(design), self._bytes(design)
        done = "kept" if kept else "recomputed for each batch: too much for the memory"
        what = f"{units} channels of {'x'.join(map(str, grid))}" if grid else f"{units} units"
        self.notes.say(f"Activations of {layer} ({what}, {size / 2**20:.0f} MB) are {done}.")
        loss, targets = self._reconstruction, self._targets
        if self.labels is not None:
            classifier = nn.Sequential(self.space.restore(), self.logits).to(self.on.device).eval()
            loss = training.ClaDecLoss(classifier, self.alpha, self.protocol.mean_loss)
            targets = (self.images, self.labels)
        order = self._order(design, "decoder_order")
        return Training(
            f"{layer} ClaDec", encoder, decoder, kept, loss, targets, order, self.protocol, self.on, self.space.at_once
        )

    def referring(self, design: Design, reference: nn.Sequential) -> Training:
        """Describe the training of the reference: of both its parts, or of its decoder where the encoder is random."""
        encoder, decoder = reference
        kept = self._kept(design) if design.kind == "random" else 0
        return Training(
            f"{design.tap.layer} reference", encoder, decoder, kept, self._reconstruction, self._targets,
            self._order(design, "reference_order"), self.protocol, self.on, self.space.at_once,
        )  # fmt: skip

    def epochs(self, trainings: Sequence[Training], wanted: int | None, time_budget: float) -> int:
        """Decide on the number of epochs, and say what they will cost.

        Parameters
        ----------
        trainings
            All that will be done, one after the other.
        wanted
            By the user; None: as the protocol says, or as many as the number of images asks for.
        time_budget
            Seconds, within which a number stays that nobody has named.

        Returns
        -------
        int
            At least 1.
        """
        batch, usual, steps = trainings[0].plan
        seconds = sum(training.seconds_per_step() for training in trainings) * steps
        wanted = wanted or self.protocol.epochs
        planned = wanted or max(1, min(usual, int(time_budget / seconds)))
        if not wanted and planned < usual:
            self.notes.warn(f"{planned} epochs instead of {usual}, to stay within {time_budget:.0f} s.")
        memory = intake.peak_memory(self.on.device) + max(training.kept for training in trainings)
        self.notes.say(
            f"On {self.on.device}: at most {planned} epochs of {steps} steps of {batch} images, about "
            f"{seconds * planned:.0f} s and {memory / 1e9:.1f} GB."
        )
        return planned

    @property
    def _reconstruction(self) -> Loss:
        return reconstruction(self.protocol.mean_loss)

    @property
    def _targets(self) -> tuple[Tensor, ...]:
        return (self.images,)

    def _order(self, design: Design, which: str) -> int:
        alpha = 0.0 if self.labels is None else self.alpha
        return self.protocol.seeds.derive(which, self.seed, design.tap.layer, self.channels, alpha)

    def _bytes(self, design: Design) -> int:
        """Of the activations of all images."""
        return len(self.images) * math.prod(design.code) * self.on.dtype.itemsize

    def _kept(self, design: Design) -> int:
        """Bytes of the activations if they are kept, else 0."""
        size, limit = self._bytes(design), self.protocol.keep_bytes
        fits = size <= (MEMORY_SHARE * intake.free_memory(self.on.device) if limit is None else limit)
        return size if fits else 0
