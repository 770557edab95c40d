"""The explainer's own copy of somebody's classifier: in float32, without gradients and without foreign hooks."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from cladec_core.errors import UsageError
from cladec_core.explainer.taps import Preprocess
from cladec_core.networks.convolutions import SAFE_STRIDED_CHANNELS

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
BESIDE = ("_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs")
NOT_COPIED = (
    "Hooks of {} are not copied, as they are not the model's own. If one changes what the model computes, make it a "
    "part of the forward."
)


def private_copy(model: nn.Module, preprocess: Preprocess) -> tuple[nn.Module, Preprocess, str]:
    """Copy a classifier with its preprocessing.

    Parameters
    ----------
    model, preprocess
        As of `ClaDec`.

    Returns
    -------
    model
        Float32, on its own device, without gradients. Of its hooks, it has those that torch or the model itself made:
        others would run here, and might keep what is computed here.
    preprocess
        A copy, too.
    note
        Which hooks were left out; empty if none.

    Raises
    ------
    UsageError
        For a model that cannot be copied, or whose layers cannot be looked into.
    """
    _refuse_strange(model)
    foreign = [
        name for name, part in model.named_modules() if any(not _own(hook, model) for hook in _hooks(part).values())
    ]
    try:
        copied, preprocess = copy.deepcopy((model, preprocess))
    except Exception as error:  # whatever somebody's modules raise
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UsageError(f"The model cannot be copied ({reason}); load its weights into a new one.") from error
    for mine, part in zip(copied.modules(), model.modules(), strict=True):
        _drop(mine, [key for key, hook in _hooks(part).items() if not _own(hook, model)])
    _make_safe_to_train(copied)
    names = ", ".join([name or "the model" for name in foreign][:4]) + (", ..." if len(foreign) > 4 else "")
    return copied.float().requires_grad_(False), preprocess, NOT_COPIED.format(names) if foreign else ""


def _make_safe_to_train(model: nn.Module) -> None:
    """Hand every n-th pixel to 1x1 convolutions with strides over few channels, in the place of the strides."""
    for part in model.modules():
        if (
            type(part) is nn.Conv2d and part.in_channels < SAFE_STRIDED_CHANNELS and part.kernel_size == (1, 1)
            and part.stride != (1, 1) and part.padding == (0, 0) and part.groups == 1
        ):  # fmt: skip
            part.register_forward_pre_hook(_Every(part.stride))
            part.stride = (1, 1)


class _Every:
    """A hook before a module: of its maps, the module is given every n-th row and column."""

    def __init__(self, strides: tuple[int, ...]) -> None:
        self.strides = strides

    def __call__(self, part: nn.Module, given: tuple[Tensor]) -> Tensor:
        return given[0][..., :: self.strides[0], :: self.strides[1]]


def _refuse_strange(model: nn.Module) -> None:
    """Refuse modules that are more than layers with plain tensors."""
    parts = {name or "the model": part for name, part in model.named_modules()}
    for reason, remedy, found in (
        ("compiled by torch.jit", "pass the module from which it was made", lambda part: _is_script(part)),
        ("lazy, without weights yet", "run the model once on a batch of images", _is_uninitialised),
        ("quantised", "pass the model as it was before", _is_quantised),
    ):
        names = [name for name, part in parts.items() if found(part)]
        if names:
            some = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
            raise UsageError(f"Cannot be explained: {some} is {reason}; {remedy}.")


def _is_script(part: nn.Module) -> bool:
    return isinstance(part, torch.jit.ScriptModule)


def _is_uninitialised(part: nn.Module) -> bool:
    return any(is_lazy(value) for value in (*part.parameters(recurse=False), *part.buffers(recurse=False)))


def _is_quantised(part: nn.Module) -> bool:
    if ".quantized" in type(part).__module__:
        return True
    values: Sequence[Tensor] = [*part.parameters(recurse=False), *part.buffers(recurse=False)]
    return any(value.is_quantized for value in values)


def _hooks(part: nn.Module) -> dict[int, Callable[..., Any]]:
    """All hooks of a module by their key, which torch gives each once."""
    return {key: hook for kind in HOOKS for key, hook in getattr(part, kind).items()}


def _own(hook: Callable[..., Any], model: nn.Module) -> bool:
    """Whether torch made a hook (as of a spectral norm), an earlier copy, or the model with a module's method."""
    owner = getattr(hook, "__self__", None)
    made_by = getattr(hook, "__module__", None) or type(hook).__module__
    return made_by.startswith("torch.") or isinstance(hook, _Every) or any(owner is part for part in model.modules())


def _drop(part: nn.Module, keys: Sequence[int]) -> None:
    for kind in (*HOOKS, *BESIDE):
        kept = getattr(part, kind)
        for key in keys:
            kept.pop(key, None)
