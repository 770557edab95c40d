"""The methods by name, and what they are good for. Importing this module imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

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
    def library(self) -> str:
        """The package that it needs beside those that training needs."""
        return "captum" if self.place.startswith(("gradients.", "perturbation.")) else "zennit"

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
        "the gradient, averaged over small changes of the image"
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
        "DeepLIFT", "gradients.deeplift", SALIENCE, "9.3",
        "what each pixel adds, nearly as integrated gradients, in two passes",
    ),
    "guided_backprop": Method(
        "Guided Backprop", "gradients.guided_backprop", SIGNAL, "22.2.2",
        "a crisp picture of the patterns that were seen"
    ),
    "deconvnet": Method(
        "DeconvNet", "gradients.deconvnet", SIGNAL, "8.4", "guided backprop without regard to what was active",
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
        "LRP-0, z-box at pixels", "relevance.lrp_zb", SALIENCE, "13.2.3",
        "what gradient × input shows, where grey pixels count, too",
    ),
    "lrp_composite": Method(
        "LRP, composite", "relevance.lrp_composite", SALIENCE, "10.3", 
        "evidence for and against, with a rule suited to each part of the network",
    ),
    "deep_taylor": Method(
        "Deep Taylor", "relevance.deep_taylor", SALIENCE, "10.2.3", "evidence for a class, never against it"
    ),
    "excitation_backprop": Method(
        "Excitation Backprop", "relevance.excitation_backprop", SALIENCE, "8.4", "where excited paths lead down to"
    ),
    "contrastive_excitation": Method(
        "Excitation Backprop, contrastive", "relevance.contrastive_excitation", SALIENCE, "8.5",
        "excitation backprop, less what all classes have in common",
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
        "the smallest region that decides, where something likely takes its place",
        slow=True, needs=("reference",), any_size=False,
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
