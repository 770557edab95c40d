"""Layer-wise relevance propagation: which of zennit's rules stands at which layer (chapter 10)."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from zennit.attribution import Gradient
from zennit.core import Composite, Hook, Stabilizer
from zennit.layer import Sum
from zennit.rules import Epsilon, Gamma, Norm, Pass, ZBox, ZPlus
from zennit.types import AvgPool

from cladec_companion.papers.xai.attribution.around import Around
from cladec_companion.papers.xai.attribution.modules import modular, weighted

GAMMA = 0.25  # App. 10.A and Fig. 10.4
EPSILON = 0.25  # the same, times the root mean square of a layer's output
TINY = 1e-9  # what makes 0 / 0 zero

Rules = Callable[[int, int], Hook]  # number of a layer with weights, and how many there are -> rule


def propagated(network: nn.Module, images: Tensor, target: Tensor, rules: Rules, *, ones: bool = False) -> Tensor:
    """Relevance of each pixel, (n, channels, height, width), with the target's logit as relevance of the output.

    Parameters
    ----------
    network
        A copy by `modules.modular`.
    rules
        Which rule stands at which layer with weights; pools and sums share in proportion, a ReLU passes all on.
    ones
        Whether the output's relevance is 1 instead of the logit.
    """
    names = weighted(network)
    of_name = {name: rules(number, len(names)) for number, name in enumerate(names)}

    def rule(_: dict, name: str, module: nn.Module) -> Hook | None:
        if name in of_name:
            return of_name[name]
        if isinstance(module, (AvgPool, Sum)):
            return Norm(TINY)
        return Pass() if isinstance(module, nn.ReLU) else None

    def start(logits: Tensor) -> Tensor:
        chosen = nn.functional.one_hot(target, logits.shape[1]).to(logits.dtype)
        return chosen if ones else chosen * logits.detach()

    with Gradient(network, Composite(rule)) as attributor, torch.enable_grad():
        return attributor(images.detach().clone(), start)[1].detach()


def _zero(biases: bool) -> list[str] | None:
    return None if biases else ["bias"]


def _pixels(network: nn.Module, around: Around, images: Tensor, biases: bool = True) -> Hook:
    """The rule for pixels, which lie between two values (z^B)."""
    low, high = (part.expand_as(images) for part in (around.low, around.high))
    if isinstance(network.get_submodule(weighted(network)[0]), nn.Linear):
        low, high = low.flatten(1), high.flatten(1)
    return ZBox(low=low, high=high, zero_params=_zero(biases))


def lrp_0(model: nn.Module, images: Tensor, target: Tensor, around: Around, *, biases: bool = True) -> Tensor:
    """LRP-0 at every layer; with biases in the denominators this is gradient times input (Eq. 13.2)."""
    return propagated(modular(model), images, target, lambda *_: Epsilon(TINY, _zero(biases)))


def lrp_epsilon(model: nn.Module, images: Tensor, target: Tensor, around: Around, *, biases: bool = True) -> Tensor:
    """LRP-ε at every layer, ε = 0.25 standard deviations (Fig. 10.4)."""
    return propagated(
        modular(model), images, target, lambda *_: Epsilon(Stabilizer(EPSILON, norm_scale=True), _zero(biases))
    )


def lrp_gamma(model: nn.Module, images: Tensor, target: Tensor, around: Around, *, biases: bool = True) -> Tensor:
    """LRP-γ at every layer, γ = 0.25 (Fig. 10.4)."""
    return propagated(modular(model), images, target, lambda *_: Gamma(GAMMA, TINY, _zero(biases)))


def lrp_zb(model: nn.Module, images: Tensor, target: Tensor, around: Around, *, biases: bool = True) -> Tensor:
    """LRP-0 with the rule for pixels at the lowest layer: what chapter 13 calls gradient times input (13.2.3)."""
    network = modular(model)
    pixels = _pixels(network, around, images, biases)
    return propagated(network, images, target, lambda number, _: Epsilon(TINY, _zero(biases)) if number else pixels)


def lrp_composite(model: nn.Module, images: Tensor, target: Tensor, around: Around, *, biases: bool = True) -> Tensor:
    """z^B at the pixels, LRP-γ in the lower half of the convolutions, LRP-ε above, LRP-0 at the top (section 13.2.2).

    The book's VGG-16 has ten convolutions with γ and three with ε, most of them in blocks of three; half of each is
    our reading for other networks.
    """
    network, zero = modular(model), _zero(biases)
    pixels = _pixels(network, around, images, biases)

    def rules(number: int, count: int) -> Hook:
        if number == 0:
            return pixels
        if number == count - 1:
            return Epsilon(TINY, zero)
        middle = number > (count - 1) / 2
        return Epsilon(Stabilizer(EPSILON, norm_scale=True), zero) if middle else Gamma(GAMMA, TINY, zero)

    return propagated(network, images, target, rules)


def deep_taylor(model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """Deep Taylor decomposition: z+ at every layer, z^B at the pixels (section 10.2.3, Eq. 22.3)."""
    network = modular(model)
    pixels = _pixels(network, around, images)
    return propagated(network, images, target, lambda number, _: ZPlus(TINY) if number else pixels)


def excitation_backprop(model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """Excitation backprop: the z+ rule at every layer, pixels too, from a relevance of 1 (section 8.4)."""
    return propagated(modular(model), images, target, lambda *_: ZPlus(TINY, ["bias"]), ones=True)


def contrastive_excitation(model: nn.Module, images: Tensor, target: Tensor, around: Around) -> Tensor:
    """Excitation backprop of the target, less that of a unit with the opposite weights (section 8.5.1)."""
    network, rules = modular(model), lambda *_: ZPlus(TINY, ["bias"])
    found = propagated(network, images, target, rules, ones=True)
    top = network.get_submodule(weighted(network)[-1])
    top.get_parameter("weight").data.neg_()
    return found - propagated(network, images, target, rules, ones=True)
