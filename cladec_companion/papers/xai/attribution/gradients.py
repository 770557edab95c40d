"""Methods that follow the gradient, or change what a ReLU lets back; all but GradCAM are captum's."""

from typing import Any

import torch
from captum.attr import (
    Deconvolution,
    DeepLift,
    GuidedBackprop,
    InputXGradient,
    IntegratedGradients,
    NoiseTunnel,
    Saliency,
)
from torch import Tensor, nn

from cladec_companion.papers.xai.attribution.around import Around
from cladec_companion.papers.xai.attribution.modules import modular
from cladec_core import measures, training
from cladec_core.errors import UsageError

AT_ONCE = 256  # images in a pass of a method that asks for many


def gradient(model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """How fast the target's logit changes with each pixel (Eq. 9.11 before the absolute value)."""
    return Saliency(model).attribute(images.requires_grad_(), target=target, abs=False)


def gradient_x_input(model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """The same times the pixel itself (Eq. 9.12)."""
    return InputXGradient(model).attribute(images.requires_grad_(), target=target)


def integrated_gradients(
    model: nn.Module, images: Tensor, target: Tensor, around: Around, *, baseline: str | Tensor = "mean",
    steps: int = 32,
) -> Tensor:  # fmt: skip
    """Mean gradient on the way from a baseline, times the way (Eq. 9.19, which leaves the baseline out of the factor).

    Chapter 22 takes 32 steps, chapter 9 speaks of 50 to 200.
    """
    start = around.baseline(baseline, images)
    return IntegratedGradients(model).attribute(
        images, start, target=target, n_steps=steps, internal_batch_size=max(AT_ONCE, len(images))
    ).to(images.dtype)  # fmt: skip


def integrated_gradients_black(model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """Integrated gradients from a black image."""
    return integrated_gradients(model, images, target, around, baseline="black")


def smoothgrad(
    model: nn.Module, images: Tensor, target: Tensor, around: Around, *, noise: float = 0.15, samples: int = 32,
    times_input: bool = False,
) -> Tensor:  # fmt: skip
    """Mean gradient over noisy copies (section 14.3.4); the noise is a share of the range of pixels.

    With `times_input` it is the mean of each copy's gradient times the copy itself.
    """
    inner, options = (InputXGradient(model), {}) if times_input else (Saliency(model), {"abs": False})
    deviation = noise * float((around.high - around.low).max())
    with training.seeded(around.seed):
        return NoiseTunnel(inner).attribute(
            images, nt_type="smoothgrad", nt_samples=samples, nt_samples_batch_size=max(1, AT_ONCE // len(images)),
            stdevs=deviation, target=target, **options,
        )  # fmt: skip


def guided_backprop(model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """The gradient where each ReLU lets back what is positive and was active (section 22.2.2)."""
    return GuidedBackprop(modular(model)).attribute(images.requires_grad_(), target=target)


def deconvnet(model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """The gradient where each ReLU lets back what is positive, active or not (section 8.4)."""
    return Deconvolution(modular(model)).attribute(images.requires_grad_(), target=target)


def deeplift(
    model: nn.Module, images: Tensor, target: Tensor, around: Around, *, baseline: str | Tensor = "mean"
) -> Tensor:
    """DeepLIFT with the Rescale rule (Eqs. 9.17 and 9.18)."""
    start = around.baseline(baseline, images)
    return DeepLift(modular(model)).attribute(images.requires_grad_(), start, target=target).detach()


def gradcam(model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """GradCAM of a layer, the one of the book's core (section 8.4)."""
    if around.layer is None:
        raise UsageError("gradcam needs a layer; valid: the name of one that puts out maps.")
    return measures.gradcam(model, around.layer, images.detach(), target=target).unsqueeze(1)


def contrast(model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """A control that asks no network: how far each pixel is from the mean."""
    return (images.detach() - around.mean).abs()


def random(model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """A control without an image: noise, the same for the same seed, image size and number of images."""
    with training.seeded(around.seed):
        return torch.rand(images[:, :1].shape).to(images.device, images.dtype)


__all__: list[Any] = [
    "contrast", "deconvnet", "deeplift", "gradcam", "gradient", "gradient_x_input", "guided_backprop",
    "integrated_gradients", "integrated_gradients_black", "random", "smoothgrad",
]  # fmt: skip
