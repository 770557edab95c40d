"""From a tapped layer to its fitted modules: what is built and trained, what it costs, and what can be read of it."""

import inspect
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cladec_core import measures, training
from cladec_core.errors import UsageError
from cladec_core.explainer import fitting, intake, taps
from cladec_core.explainer.building import MEMORY_SHARE, Affine, Design, LayerModules, Space, choose_reference
from cladec_core.explainer.fitting import Course, Loss, Searched, Training, Trainings
from cladec_core.explainer.perceptual import PerceptualLoss
from cladec_core.explainer.protocol import Protocol
from cladec_core.explainer.taps import Logits, Tap
from cladec_core.training import Compute

MOST_ROUNDS = {"cladec": 4, "reference": 8}  # without a number of epochs; an optimal reference cannot lose
SHARES = {"cladec": 0.3, "reference": 0.45}  # of the time budget; what is left, a second start of the reference has
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
SECOND_START = (
    "Reference of {}: from fresh weights it came to {:.4g} on the images held out; it was started again from the "
    "classifier's own weights and ClaDec's decoder, came to {:.4g}, and {} is used."
)


class Notes(list[str]):
    """What is said while fitting: kept, and printed or given as a warning."""

    def __init__(self, progress: bool) -> None:
        self.progress = progress

    def say(self, text: str) -> None:
        """Keep a text that is not empty, and print it with the progress bars."""
        if text:
            self.append(text)
            if self.progress:
                print(text)

    def warn(self, text: str) -> None:
        """Keep a text that is not empty, and give it as a warning."""
        if text:
            self.append(text)
            warnings.warn(text, stacklevel=_levels())


def _levels() -> int:
    """Calls up to the one from outside this package, such as of `ClaDec.fit`, as `Notes.warn` has to count them."""
    here, level, frame = str(Path(__file__).parent), 0, inspect.currentframe()
    while frame is not None and frame.f_code.co_filename.startswith(here):
        level, frame = level + 1, frame.f_back
    return level


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer with its modules, and the trainings of its decoder and of its reference."""

    design: Design
    built: LayerModules
    cladec: Training
    reference: Training


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
    channels, alpha, reference, seed, protocol, decoder, loss
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
    decoder: str
    loss: str
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

    def layer(self, tap: Tap) -> Layer:
        """Build what is trained for a layer.

        Raises
        ------
        UsageError
            As `design` and `build`.
        """
        design = self.design(tap)
        built = self.build(design)
        decoding = self.decoding(design, built.encoder, built.decoder)
        return Layer(design, built, decoding, self.referring(design, built.reference))

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
        width = fitting.decoder_width(len(self.images), self.protocol)
        return Design(tap, self.space, code, self.channels, kind, width, self.protocol, self.seed, self.decoder)

    def build(self, design: Design) -> LayerModules:
        """Build the modules of a layer, untrained, with activations scaled as the protocol says.

        Raises
        ------
        UsageError
            If activations are not finite for some of the images.
        """
        built = LayerModules.of(design)
        pairs: list[tuple[nn.Module, nn.Module]] = [(built.encoder, built.decoder)]
        if design.kind == "random":
            training.calibrate(built.reference[0], self.images, self.on, batch_size=self.space.at_once)
            pairs.append((built.reference[0], built.reference[1]))
        for encoder, decoder in pairs:
            codes = training.apply(encoder, self.images[:SCALED_BY], self.on, batch_size=self.space.at_once)
            if not codes.isfinite().all():
                raise UsageError(
                    f"Layer {design.tap.layer!r} puts out values that are NaN or infinite for some of the images."
                )
            for child in decoder.children():
                if isinstance(child, Affine):
                    child.standardise(codes)
        return built

    def decoding(self, design: Design, encoder: nn.Module, decoder: nn.Module) -> Training:
        """Describe the training of ClaDec's decoder behind the frozen encoder, both as `Design` builds them."""
        layer, (units, *grid) = design.tap.layer, design.code
        kept, size = self._kept(design), self._bytes(design)
        done = "kept" if kept else "recomputed for each batch: too much for the memory"
        what = f"{units} channels of {'x'.join(map(str, grid))}" if grid else f"{units} units"
        self.notes.say(f"Activations of {layer} ({what}, {size / 2**20:.0f} MB) are {done}.")
        loss, targets = self._loss(), self._targets
        if self.labels is not None:
            classifier = nn.Sequential(self._restore(), self.logits).to(self.on.device).eval()
            loss = self._loss(classifier)
            targets = (self.images, self.labels)
        order = self._order(design, "decoder_order")
        return Searched(
            f"{layer} ClaDec", encoder, decoder, kept, loss, targets, order, self.protocol, self.on, self.space.at_once
        )

    def referring(self, design: Design, reference: nn.Sequential) -> Training:
        """Describe the training of the reference: of both its parts, or of its decoder where the encoder is random."""
        encoder, decoder = reference
        kept = self._kept(design) if design.kind == "random" else 0
        return Searched(
            f"{design.tap.layer} reference", encoder, decoder, kept, self._loss(), self._targets,
            self._order(design, "reference_order"), self.protocol, self.on, self.space.at_once,
        )  # fmt: skip

    def train(self, layer: Layer, count: int | None, time_budget: float) -> Trainings:
        """Ask for the trainings of a layer, and judge what came of them.

        With images held out and no number of epochs, both trainings go on in rounds until the loss of half of these
        images is flat. A copied encoder that then draws them no better than ClaDec is trained once more, from the
        classifier's own weights and ClaDec's decoder, and the better one is kept: by these images it cannot be worse.
        What comes of all this is measured on the other half, which has decided nothing. A reference that began as
        ClaDec and is better was trained for longer, too, so that a doubt remains.

        Parameters
        ----------
        layer
            As `layer` builds it.
        count
            Epochs of each training, where the user or the protocol names a number; then there is a single round.
        time_budget
            Seconds; no epoch is begun after so many.
        """
        design, built = layer.design, layer.built
        searching = self._searching(count)
        most, seconds = (MOST_ROUNDS, time_budget) if searching else (dict.fromkeys(MOST_ROUNDS, 1), math.inf)
        how = (self.notes.progress, count or layer.cladec.plan[1])
        cladec, reference = (
            Course(training, *how, most[name], SHARES[name] * seconds)
            for name, training in (("cladec", layer.cladec), ("reference", layer.reference))
        )
        yield from fitting.in_rounds([cladec, reference])
        built.epochs = {"cladec": cladec.done, "reference": reference.done}
        if self.protocol.hold_out:
            held_out = fitting.held_out(len(self.images))
            deciding, judging = fitting.halves(held_out) if searching else (slice(0), slice(-held_out, None))
            if searching and design.kind == "copy" and self._difference(built, deciding)["low"] <= 0:
                left = (1 - SHARES["cladec"]) * seconds - reference.spent
                yield from self._second_start(design, built, reference, left)
            built.settings["held_out"] = self._difference(built, judging)
        for course in (cladec, reference):
            self._say_unfinished(course)
        self.notes.warn(built.doubt(design.tap.layer))

    def _searching(self, count: int | None) -> bool:
        """Whether trainings go on until their loss is flat, as nobody has named a number of epochs."""
        return count is None and self.protocol.epochs is None and self.protocol.hold_out

    def _second_start(self, design: Design, built: LayerModules, first: Course, seconds: float) -> Trainings:
        """Train the reference from the classifier's weights, and keep the better one of the two."""
        again = design.reference_of(built.decoder)
        training = self.referring(design, again)
        second = Course(training, first.progress, first.epochs, first.most, seconds)
        second.keep_start()
        yield from fitting.in_rounds([second])
        better = min(second.losses) < min(first.losses)
        if better:
            built.reference, built.settings["start"] = again, "classifier"
            built.epochs["reference"] = second.done
        which = "the second" if better else "the first"
        self.notes.say(SECOND_START.format(design.tap.layer, min(first.losses), min(second.losses), which))

    def _difference(self, built: LayerModules, chosen: slice) -> dict[str, float]:
        """ΔRec on some of the images, in the user's units, with its interval."""
        rest = self.images[chosen]
        made = (
            training.apply(module, rest, self.on, exact=True, batch_size=self.space.at_once)
            for module in (built.explain, built.reference)
        )
        scale = self.space.std.to(rest.device)
        cladec, reference = (((images - rest) * scale).double().square().flatten(1).mean(1) for images in made)
        values = (cladec - reference).cpu().numpy()
        low, high = measures.over_images(values)
        return {"images": len(rest), "mean": float(values.mean()), "low": low, "high": high}

    def _say_unfinished(self, course: Course) -> None:
        """Say of a training in rounds that its loss may not be flat, and why."""
        name = course.training.name
        if course.cut:
            self.notes.warn(
                f"{name} ended after {course.done} epochs, before its loss was flat: {course.budget:.3g} s of the time "
                f"budget were spent."
            )
        elif course.most > 1 and not course.flat:
            self.notes.say(f"The loss of {name} still fell in the last of {course.most} rounds of training.")

    def announce(self, layers: Sequence[Layer], count: int | None, time_budget: float) -> None:
        """Say what the trainings of all layers will cost, by steps that are timed.

        Parameters
        ----------
        layers
            As `layer` builds them.
        count, time_budget
            As of `train`.
        """
        trainings = [training for one in layers for training in (one.cladec, one.reference)]
        batch, usual, steps = trainings[0].plan
        epochs = count or usual
        seconds = epochs * steps * sum(training.seconds_per_step() for training in trainings)
        memory = intake.peak_memory(self.on.device) + max(training.kept for training in trainings)
        said = f"{epochs} epochs of {steps} steps of {batch} images, about {seconds:.0f} s"
        if self._searching(count):
            most = ", ".join(f"{name} {rounds}" for name, rounds in MOST_ROUNDS.items())
            said = f"rounds of {said}, at most {most}, until the loss is flat or {time_budget:.3g} s a layer are spent"
        self.notes.say(f"On {self.on.device}: {said}; {memory / 1e9:.1f} GB.")

    def _loss(self, classifier: nn.Module | None = None) -> Loss:
        """Of reconstructions alone, or with the classification loss of a classifier (Eq. 1)."""
        if self.loss == "perceptual":
            return PerceptualLoss(self._restore(), *self.space.value_range, classifier, self.alpha)
        if classifier is not None:
            return training.ClaDecLoss(classifier, self.alpha, self.protocol.mean_loss)
        return fitting.reconstruction(self.protocol.mean_loss)

    def _restore(self) -> nn.Module:
        return self.space.restore().to(self.on.device)

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
