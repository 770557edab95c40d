"""Plain feature inversion: what an image looks like that is made to have the same activation, without a decoder.

A decoder draws what it has learnt of images in general; whatever a layer says beyond that may be lost in the drawing.
Inversion has no such prior: it keeps more of what the classifier sees, and looks noisy.
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from cladec_core import training
from cladec_core.errors import UsageError
from cladec_core.explainer.cladec import ClaDec
from cladec_core.explainer.explanation import Explanation, Shown
from cladec_core.networks import in_eval_mode
from cladec_core.training import exact_float32

STEPS = 200
RATE = 0.1  # of Adam, in standard deviations of the images
NOISE = 0.1  # standard deviation of the first guess, likewise
SECONDS = 60.0


@dataclass(frozen=True, repr=False)
class Inversion(Shown):
    """What one layer keeps of n images, by its decoder and by plain inversion.

    Attributes
    ----------
    layer
        Name of the explained layer.
    original, cladec, inverted
        The images, ClaDec's reconstructions and the inverted images, float32 (n, channels, height, width).
    prediction, prediction_cladec, prediction_inverted
        The classifier's class for each of these, int64 (n,).
    steps
        Of the optimisation.
    value_range
        Lowest and highest value of the images of `fit`, for drawing.
    """

    layer: str
    original: Tensor
    cladec: Tensor
    inverted: Tensor
    prediction: Tensor
    prediction_cladec: Tensor
    prediction_inverted: Tensor
    steps: int
    value_range: tuple[float, float]

    @property
    def kept(self) -> dict[str, int]:
        """For how many images each method keeps the classifier's prediction."""
        found = {"cladec": self.prediction_cladec, "inversion": self.prediction_inverted}
        return {name: int((after == self.prediction).sum()) for name, after in found.items()}

    @property
    def rows(self) -> dict[str, Tensor]:
        """What `show` draws."""
        kept, count = self.kept, len(self.original)
        return {
            "image": self.original,
            f"ClaDec\n{self.layer}\nsame class:\n{kept['cladec']} of {count}": self.cladec,
            f"inversion\n{self.layer}\nsame class:\n{kept['inversion']} of {count}": self.inverted,
        }


def invert(explainer: ClaDec, x: Tensor, *, steps: int = STEPS, seconds: float = SECONDS) -> dict[str, Inversion]:
    """Optimise images until a layer answers to them as to the given ones.

    The squared distance of the activations, by the variance of those that are wanted, is minimised from weak noise.

    Parameters
    ----------
    explainer
        A fitted one.
    x
        (n, channels, height, width), or a single image, as for `ClaDec.explain`.
    steps
        At most so many.
    seconds
        For each layer; no step is begun after so many.

    Returns
    -------
    dict of str to Inversion
        By the name of the layer.

    Raises
    ------
    UsageError
        Before `fit`, for images that cannot be used, or for a classifier that lets no gradient through.
    """
    found = explainer.explain(x)
    answers = {found.layer: found} if isinstance(found, Explanation) else found
    return {layer: _inverted(explainer, answer, steps, seconds) for layer, answer in answers.items()}


def _inverted(explainer: ClaDec, answer: Explanation, steps: int, seconds: float) -> Inversion:
    space, device = explainer._ready(), explainer.on.device
    encoder = explainer._built[answer.layer].encoder.module
    wanted = space.standardise(answer.original).to(device)
    noise = torch.randn(wanted.shape, generator=torch.Generator().manual_seed(training.derive_seed(0, "inversion")))
    images = (NOISE * noise).to(device).requires_grad_()
    optimiser = torch.optim.Adam([images], RATE)
    low, high = ((torch.tensor(end) - space.mean) / space.std for end in space.value_range)
    end, done = time.monotonic() + seconds, 0
    with in_eval_mode(encoder), exact_float32(), torch.enable_grad():
        with torch.no_grad():
            codes = encoder(wanted)
        scale = codes.var().clamp(min=1e-12)
        while done < steps and (not done or time.monotonic() < end):
            loss = (encoder(images) - codes).square().mean() / scale
            if not loss.requires_grad:
                raise UsageError(f"Layer {answer.layer!r} lets no gradient through; it cannot be inverted.")
            (images.grad,) = torch.autograd.grad(loss, images)
            optimiser.step()
            with torch.no_grad():
                images.clamp_(low.to(device), high.to(device))
            done += 1
    made = space.restore().to(device)(images.detach()).cpu()
    return Inversion(
        answer.layer, answer.original, answer.reconstruction, made, answer.prediction, answer.prediction_cladec,
        explainer._predict(made), done, answer.value_range,
    )  # fmt: skip
