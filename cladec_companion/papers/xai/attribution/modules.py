"""A copy of a network in which every step is a module, as propagation rules and hooks need it."""

import copy
import operator
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from zennit.layer import Sum
from zennit.types import AvgPool, BatchNorm, Convolution, Linear

from cladec_core.errors import UsageError

RELUS = (torch.relu, F.relu, "relu", "relu_")
SUMS = (operator.add, operator.iadd, torch.add, "add", "add_")
SHAPES = (torch.flatten, torch.stack, "flatten", "view", "reshape")  # they move values and change none
WITH_RULE = (Linear, AvgPool, BatchNorm, nn.ReLU, nn.MaxPool2d, nn.Dropout, nn.Dropout2d, nn.Flatten, nn.Identity, Sum)
UNTOUCHED = "gradient, gradient_x_input, integrated gradients, smoothgrad, occlusion, lime and pda"


class _Tracer(fx.Tracer):
    """Follows a network down to modules that have no others inside, whoever wrote them."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one step."""
        return not any(True for _ in m.children())


def modular(model: nn.Module) -> fx.GraphModule:
    """Copy a network so that each ReLU and each sum is a module of its own, and BatchNorm is merged (section 10.3.2).

    The copy computes the same function. Its parameters need no gradient.

    Parameters
    ----------
    model
        In eval mode.

    Raises
    ------
    UsageError
        If the network cannot be followed, or has a step for which propagation has no rule; the message names it and
        the methods that need no such copy.
    """
    try:
        own = copy.deepcopy(model).eval().requires_grad_(False)
        network = fx.GraphModule(own, _Tracer().trace(own))
    except Exception as error:
        raise UsageError(
            f"{type(model).__name__} cannot be followed step by step ({str(error).splitlines()[0]}); valid for it: "
            f"{UNTOUCHED}."
        ) from error
    for number, node in enumerate(list(network.graph.nodes)):
        _as_module(network, node, number)
    _merge_batchnorm(network)
    network.graph.eliminate_dead_code()
    network.recompile()
    network.delete_all_unused_submodules()
    _check(network)
    return network


def weighted(network: nn.Module) -> list[str]:
    """Names of the layers with weights of a copy by `modular`, from the input to the output."""
    parts = dict(network.named_modules())
    assert isinstance(network, fx.GraphModule)
    called = [str(node.target) for node in network.graph.nodes if node.op == "call_module"]
    return [name for name in called if isinstance(parts[name], Linear)]


def _as_module(network: fx.GraphModule, node: fx.Node, number: int) -> None:
    """Put a module in the place of a ReLU or of a sum of two tensors; a ReLU that is called twice becomes two."""
    relu = node.op == "call_module" and isinstance(network.get_submodule(str(node.target)), nn.ReLU)
    if relu or (node.op in ("call_function", "call_method") and node.target in RELUS):
        _call(network, node, f"relu_of_step_{number}", nn.ReLU(), node.args[0])
    elif node.target in SUMS and all(isinstance(part, fx.Node) for part in node.args):
        with network.graph.inserting_before(node):
            pair = network.graph.call_function(torch.stack, (list(node.args), -1))
        _call(network, node, f"sum_of_step_{number}", Sum(), pair)


def _call(network: fx.GraphModule, node: fx.Node, name: str, module: nn.Module, argument: Any) -> None:
    network.add_submodule(name, module)
    with network.graph.inserting_before(node):
        made = network.graph.call_module(name, (argument,))
    node.replace_all_uses_with(made)
    network.graph.erase_node(node)


def _merge_batchnorm(network: fx.GraphModule) -> None:
    """Absorb each BatchNorm in the convolution right before it, without a change of the function."""
    for node in list(network.graph.nodes):
        before = node.args[0] if node.args else None
        if node.op != "call_module" or not isinstance(before, fx.Node) or before.op != "call_module":
            continue
        first, second = (network.get_submodule(str(part.target)) for part in (before, node))
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d) and len(before.users) == 1:
            network.add_submodule(str(before.target), fuse_conv_bn_eval(first, second))
            node.replace_all_uses_with(before)
            network.graph.erase_node(node)


def _check(network: fx.GraphModule) -> None:
    for node in network.graph.nodes:
        if node.op == "call_module":
            module = network.get_submodule(str(node.target))
            known, name = isinstance(module, WITH_RULE), f"{node.target} ({type(module).__name__})"
        else:
            known = node.op in ("placeholder", "output") or node.target in SHAPES
            name = getattr(node.target, "__name__", str(node.target))
        if not known:
            raise UsageError(f"Propagation has no rule for {name}; valid for this network: {UNTOUCHED}.")


__all__ = ["Convolution", "modular", "weighted"]
