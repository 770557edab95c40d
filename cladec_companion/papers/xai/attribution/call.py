"""One call for every method that says where in an image a network finds a class."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor, nn

from cladec_companion.papers.xai.attribution.around import Around
from cladec_core.errors import UsageError, one_of
from cladec_core.networks import in_eval_mode
from cladec_core.training import exact_float32

SALIENCE, SENSITIVITY, SIGNAL, AREA, CONTROL = "salience", "sensitivity", "signal", "area", "control"


@dataclass(frozen=True)
class Method:
    """A method of the book.

    Attributes
    ----------
    title
        As pages write it.
    place
        Module of this package, and function in it; imported when it is asked for, as the libraries take seconds.
    kind
        What its numbers are: `salience` (contributions that add up to something, with a sign), `sensitivity` (how fast
        the output changes), `signal` (what the output reacts to), `area` (how much a part of the image matters), or
        `control`. Of sensitivities and signals the size is what counts.
    source
        Section of the book.
    use
        What question it answers, for the page "which method when".
    slow
        Whether it asks the network hundreds of times for each image.
    needs
        What it needs of `Around` beside images: layer, decoder, reference.
    any_size
        Whether it explains images of any size that the network takes.
    of_class
        Whether it explains the class that is asked for, by the network that is asked.
    learns
        Whether it learns something of the network from other images, once, before it explains the first one.
    """

    title: str
    place: str
    kind: str
    source: str
    use: str
    slow: bool = False
    needs: tuple[str, ...] = ()
    any_size: bool = True
    of_class: bool = True
    learns: bool = False

    @property
    def run(self) -> Callable[..., Tensor]:
        """(model, images, target, around) -> (n, channels or 1, height, width)."""
        module, _, function = self.place.partition(".")
        found: Callable[..., Tensor] = getattr(import_module(f"{__package__}.{module}"), function)
        return found

    @property
    def by_size(self) -> bool:
        """Whether a pixel counts by the size of its value, whatever the sign."""
        return self.kind in (SENSITIVITY, SIGNAL)


METHODS: dict[str, Method] = {
    "random": Method(
        "Random", "gradients.random", CONTROL, "-", "what any useful map has to beat", of_class=False,
    ),
    "contrast": Method(
        "Contrast", "gradients.contrast", CONTROL, "-", "what a map could show without any network", of_class=False,
    ),
    "gradient": Method(
        "Gradient", "gradients.gradient", SENSITIVITY, "9.3", "which pixels would change the output if they changed"
    ),
    "smoothgrad": Method(
        "SmoothGrad", "gradients.smoothgrad", SENSITIVITY, "14.3.4",
        "the same, averaged over small changes of the image"
    ),
    "gradient_x_input": Method(
        "Gradient × Input", "gradients.gradient_x_input", SALIENCE, "9.3, 13.2",
        "a first, quick guess of what each pixel adds",
    ),
    "integrated_gradients": Method(
        "Integrated Gradients, mean", "gradients.integrated_gradients", SALIENCE, "9.3",
        "what each pixel adds compared with a grey image, in shares that add up",
    ),
    "integrated_gradients_black": Method(
        "Integrated Gradients, black", "gradients.integrated_gradients_black", SALIENCE, "14.3.3",
        "what each pixel adds compared with a black image, in shares that add up",
    ),
    "deeplift": Method(
        "DeepLIFT", "gradients.deeplift", SALIENCE, "9.3", "as integrated gradients, in a single pass"
    ),
    "guided_backprop": Method(
        "Guided Backprop", "gradients.guided_backprop", SIGNAL, "22.2.2",
        "a crisp picture of the patterns that were seen"
    ),
    "deconvnet": Method(
        "DeconvNet", "gradients.deconvnet", SIGNAL, "8.4", "the same, without regard to what was active",
    ),
    "patternnet": Method(
        "PatternNet", "patterns.patternnet", SIGNAL, "22.2.2", "the signal in the image, cleared of noise",
        learns=True,
    ),
    "patternattribution": Method(
        "PatternAttribution", "patterns.patternattribution", SALIENCE, "22.2.2",
        "how much the signal at each pixel adds", learns=True,
    ),
    "lrp_0": Method(
        "LRP-0", "relevance.lrp_0", SALIENCE, "10.2", "a check: on networks of ReLUs it is gradient × input",
    ),
    "lrp_epsilon": Method(
        "LRP-ε", "relevance.lrp_epsilon", SALIENCE, "10.2", "the few pixels that carry most of the evidence"
    ),
    "lrp_gamma": Method(
        "LRP-γ", "relevance.lrp_gamma", SALIENCE, "10.2", "whole features that speak for the class",
    ),
    "lrp_zb": Method(
        "LRP-0, z-box at pixels", "relevance.lrp_zb", SALIENCE, "13.2.3", "gradient × input where grey counts",
    ),
    "lrp_composite": Method(
        "LRP, composite", "relevance.lrp_composite", SALIENCE, "10.3", "evidence for and against, layer by layer"
    ),
    "deep_taylor": Method(
        "Deep Taylor", "relevance.deep_taylor", SALIENCE, "10.2.3", "evidence for a class, never against it"
    ),
    "excitation_backprop": Method(
        "Excitation Backprop", "relevance.excitation_backprop", SALIENCE, "8.4", "where excited paths lead down to"
    ),
    "contrastive_excitation": Method(
        "Excitation Backprop, contrastive", "relevance.contrastive_excitation", SALIENCE, "8.5",
        "the same, less what all classes have in common",
    ),
    "gradcam": Method(
        "GradCAM", "gradients.gradcam", AREA, "8.4", "roughly where a class is, from one layer", needs=("layer",)
    ),
    "occlusion_small": Method(
        "Occlusion, 3 pixels", "perturbation.occlusion_small", AREA, "9.4.3",
        "which detail the output misses", slow=True
    ),
    "occlusion": Method(
        "Occlusion, 8 pixels", "perturbation.occlusion", AREA, "9.4.3", "which part the output misses",
    ),
    "occlusion_large": Method(
        "Occlusion, 12 pixels", "perturbation.occlusion_large", AREA, "9.4.3", "which region the output misses"
    ),
    "lime": Method(
        "LIME", "perturbation.lime", AREA, "22.2.1", "which super-pixels matter, for any model", slow=True,
    ),
    "meaningful_perturbation": Method(
        "Meaningful Perturbation", "perturbation.meaningful_perturbation", AREA, "8.3",
        "the smallest region without which the class is gone", slow=True,
    ),
    "meaningful_refae": Method(
        "Meaningful Perturbation, RefAE fills", "perturbation.meaningful_refae", AREA, "8.3",
        "the same, where something likely takes the region's place", slow=True, needs=("reference",), any_size=False,
    ),
    "pda": Method(
        "Prediction Difference Analysis", "perturbation.pda", AREA, "1.4.2, 9.4.3",
        "what a patch adds over what else could stand there", slow=True,
    ),
    "cladec": Method(
        "ClaDec, covered squares", "perturbation.cladec", AREA, "-",
        "which part changes what a layer knows of the image",
        needs=("decoder",), any_size=False, of_class=False,
    ),
}  # fmt: skip


@exact_float32()
def attribute(
    model: nn.Module, images: Tensor, target: Tensor | int, *, method: str = "lrp_composite",
    around: Around | None = None, **options: Any,
) -> Tensor:  # fmt: skip
    """Say where in images a network finds a class.

    Parameters
    ----------
    model
        Maps images to logits (n, classes); explained in eval mode, with its own modes put back.
    images
        (n, channels, height, width), as the model takes them.
    target
        The class whose logit is explained: one for each image, (n,), or one for all.
    method
        One of `METHODS`.
    around
        What some methods need beside; by default what can be known from these images alone.
    **options
        Of the method, such as `steps=64` of `integrated_gradients` or `patch=5` of `occlusion`.

    Returns
    -------
    Tensor
        Maps (n, height, width). Contributions are summed over channels; of sensitivities and signals it is the largest
        size over channels (section 8.4.1, note 6).

    Raises
    ------
    UsageError
        For an unknown method or option, a target that is no class, images of another shape, a network that does not
        fit the method, or a method whose needs are not met.
    """
    one_of("method", method, METHODS)
    chosen = METHODS[method]
    around = around or Around(images.detach())
    lacking = [name for name in chosen.needs if getattr(around, name) is None]
    if lacking:
        fit = ", ".join(name for name, other in METHODS.items() if not other.needs)
        raise UsageError(f"{method} needs a {lacking[0]} in `around`; valid without: {fit}.")
    known = [name for name, one in inspect.signature(chosen.run).parameters.items() if one.kind is one.KEYWORD_ONLY]
    for name in options:
        one_of(f"option of {method}", name, known)
    if images.ndim != 4:
        raise UsageError(f"Images have shape {tuple(images.shape)}; valid: (n, channels, height, width).")
    with in_eval_mode(model):
        labels = _classes(model, images, target)
        found = chosen.run(model, images.detach().clone(), labels, around, **options).detach()
    return found.abs().amax(1) if chosen.by_size else found.sum(1)


def _classes(model: nn.Module, images: Tensor, target: Tensor | int) -> Tensor:
    """The target of each image, int64 (n,)."""
    labels = torch.as_tensor(target, device=images.device)
    labels = labels.expand(len(images)) if labels.ndim == 0 else labels
    with torch.no_grad():
        count = model(images[:1]).shape[1]
    if labels.shape != (len(images),) or labels.is_floating_point():
        raise UsageError(
            f"target has shape {tuple(labels.shape)}; valid: a class, or one for each of {len(images)} images."
        )
    wrong = labels[(labels < 0) | (labels >= count)]
    if len(wrong):
        raise UsageError(f"target has {int(wrong[0])}, which is no class; valid: from 0 to {count - 1}.")
    return labels.long().contiguous()
