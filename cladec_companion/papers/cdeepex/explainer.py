"""`Contrast`: why a classifier sees this class and not that one, for any classifier and any generator (Algorithm 1)."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cladec_companion.papers.cdeepex import fitting
from cladec_companion.papers.cdeepex.generators import Generator
from cladec_companion.papers.cdeepex.optimisation import CONVERGED, Search, Solution, Start, begin, invert, solve
from cladec_core import training
from cladec_core.errors import RunError, UsageError
from cladec_core.networks import in_eval_mode

# Share of an image's energy about its own mean that a generator may miss: with more of it missing, what is drawn is
# hardly more than a grey square, and its residual would be most of the explanation.
WORST = 0.8
EPOCHS = 20  # of a generator that `fit` trains


@dataclass(frozen=True, eq=False)
class Contrasted:
    """Why images are of one class and not of another.

    Attributes
    ----------
    images
        As they were given, (n, channels, height, width).
    true, probe
        The class that the classifier sees, and the one that was asked about, int64 (n,).
    start, solution
        z_0, and z_e with the state of every constraint.
    missed
        Share of each image's energy that the generator misses at z_0, (n,).
    """

    images: Tensor
    true: Tensor
    probe: Tensor
    start: Start
    solution: Solution
    missed: Tensor

    @property
    def change(self) -> Tensor:
        """What would have to be added for the probe to be as likely: I_{z,z0} - I = G(z_e) - G(z_0)."""
        return self.solution.images - self.images

    @property
    def converged(self) -> Tensor:
        """For which images the search came to its end, bool (n,). What the others show is no answer."""
        return self.solution.converged

    @property
    def notes(self) -> list[str]:
        """One line for each image whose search did not come to its end: which, and what is missing."""
        found = self.solution
        return [
            f"Image {place}: not converged after {int(found.steps[place])} steps ({state}); the constraint missed most "
            f"is missed by {found.violation[place]:.3g} nats, the gradient is {found.stationarity[place]:.2g} of that "
            "of the distance."
            for place, state in enumerate(found.state) if state != CONVERGED
        ]  # fmt: skip


class Contrast:
    """Contrastive explanations of a classifier (CDeepEx, or xGEMs where third classes are left free).

    Parameters
    ----------
    model
        Maps images to logits, (n, classes). Its weights, modes and hooks stay as they are.
    generator
        What an explanation may draw, of images as the model takes them; None until `fit` trains one.
    search
        How the nearest image is searched, such as `Search(others=False)` for xGEMs.
    worst
        The share of each image's energy that the generator may miss.
    steps
        Of Algorithm 2, for generators without an encoder.
    seed
        Of the point from which Algorithm 2 starts, and of what `fit` trains.
    """

    def __init__(
        self, model: nn.Module, generator: Generator | None = None, *, search: Search | None = None,
        worst: float = WORST, steps: int = 200, seed: int = 0,
    ) -> None:  # fmt: skip
        self.model, self.generator, self.search = model, generator, search or Search()
        self.worst, self.steps, self.seed = worst, steps, seed

    def explain(
        self, x: Tensor, probe: int | Tensor | None = None, *, start: Start | None = None
    ) -> Contrasted:  # fmt: skip
        """Find what would have to change in images for another class to be as likely.

        Parameters
        ----------
        x
            (n, channels, height, width), as the model takes them.
        probe
            The other class, one for all images or one for each (n,); None: the second most likely of each.
        start
            z_0 of these images, where another search has found it (`Contrasted.start`).

        Returns
        -------
        Contrasted
            Of all images; `notes` names those whose constraints could not be met within the steps.

        Raises
        ------
        UsageError
            Before there is a generator, for images or classes that cannot be used, or for a probe that is predicted.
        RunError
            If the generator's image is too unlike one of the given ones to say anything; it names the worst.
        """
        if self.generator is None:
            raise UsageError("There is no generator; give one to Contrast, or call fit(images) first.")
        if x.ndim != 4 or not len(x):
            raise UsageError(f"x has shape {tuple(x.shape)}; valid: (n, channels, height, width), at least one image.")
        images = self.generator.checked(x.detach())
        true, probe = self._classes(images, probe)
        start = start or self.start(images, true)
        missed = self._missed(start)
        solution = solve(self.model, self.generator.decode, start, true, probe, self.search)
        return Contrasted(images, true, probe, start, solution, missed)

    def fit(self, images: Tensor, *, epochs: int = EPOCHS, progress: bool = False, **sizes: Any) -> "Contrast":
        """Train a VAE on images as the model takes them, (n, channels, side, side), and use it from now on.

        Parameters
        ----------
        images
            A power of two pixels a side, from 8.
        epochs, progress
            Passes over the images, and whether to show a bar.
        sizes
            `latent` and `width` of the VAE, if they are not to be the paper's.

        Raises
        ------
        UsageError
            For images that no VAE can be trained on.
        RunError
            If the training diverges.
        """
        self.generator = fitting.fit(images, "vae", epochs=epochs, seed=self.seed, progress=progress, **sizes)
        return self

    def start(self, images: Tensor, labels: Tensor) -> Start:
        """z_0 of images: by the encoder where the generator has one, else by Algorithm 2."""
        assert self.generator is not None
        if self.generator.encode is not None:
            with torch.no_grad():
                return begin(self.generator.decode, images, self.generator.encode(images))
        noise = self.generator.draw(1, training.derive_seed(self.seed, "start"))[0].to(images.device)
        return invert(self.model, self.generator.decode, images, noise, labels=labels, steps=self.steps)

    def _classes(self, images: Tensor, probe: int | Tensor | None) -> tuple[Tensor, Tensor]:
        with torch.no_grad(), in_eval_mode(self.model):
            logits = self.model(images)
        if not isinstance(logits, Tensor) or logits.ndim != 2 or logits.shape[1] < 2:
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise UsageError(f"The model puts out {shape}; valid: logits (n, classes) of two or more classes.")
        if not logits.isfinite().all():
            raise UsageError("The model's logits of these images are NaN or infinite; valid: finite ones.")
        true, second = logits.topk(2, dim=1).indices.unbind(1)
        if probe is None:
            return true, second
        asked = torch.as_tensor(probe, device=images.device)
        if asked.is_floating_point() or asked.shape not in ((), (len(images),)):
            raise UsageError(f"probe is {probe!r}; valid: a class, or one for each of {len(images)} images.")
        asked = asked.long().expand(len(images))
        unknown = asked[(asked < 0) | (asked >= logits.shape[1])]
        if len(unknown):
            raise UsageError(f"probe is {int(unknown[0])}, which is no class; valid: from 0 to {logits.shape[1] - 1}.")
        same = (asked == true).nonzero().flatten().tolist()
        if same:
            raise UsageError(
                f"probe is {int(asked[same[0]])}, which the model predicts for image {same[0]}; valid: another class."
            )
        return true, asked

    def _missed(self, start: Start) -> Tensor:
        assert self.generator is not None
        missed = start.missed
        poor = ~(missed <= self.worst)  # NaN, too
        if poor.any():
            place = int(missed.nan_to_num(torch.inf).argmax())
            raise RunError(
                f"{self.generator.name} misses {missed[place]:.0%} of image {place} (root mean square error "
                f"{start.error[place]:.3g}), more than {self.worst:.0%}, as it does of {int(poor.sum())} of "
                f"{len(missed)} images; too much to say anything. Train it longer, take another one, or leave them out."
            )
        return missed
