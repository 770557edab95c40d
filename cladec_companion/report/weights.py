"""A classifier from an architecture and a checkpoint, without running code from the checkpoint."""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cladec_core.errors import UsageError, one_of

WRAPPERS = ("state_dict", "model_state_dict", "model")  # keys below which training scripts keep the state dict
PREFIXES = ("module.", "model.", "_orig_mod.")  # DataParallel; Lightning and many wrappers; torch.compile
CLASS_KEYS = ("classes", "class_names", "categories", "names", "class_to_idx", "idx_to_class")
SAVE = "torch.save(model.state_dict(), FILE)"


@dataclass(frozen=True)
class Weights:
    """What a checkpoint holds.

    Attributes
    ----------
    state
        Tensors by name.
    classes
        Names of the classes in the order of the model's outputs; empty if the checkpoint does not say.
    """

    state: dict[str, Tensor]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Loaded:
    """A classifier with its weights.

    Attributes
    ----------
    model
        In eval mode.
    classes
        As in `Weights`.
    told
        What was done to fit the names of the weights to the model's, as the end of a sentence; empty if nothing.
    """

    model: nn.Module
    classes: tuple[str, ...]
    told: str


def load_model(arch: str, checkpoint: Path) -> Loaded:
    """Build a classifier and give it the weights of a checkpoint, without running code from the checkpoint.

    Parameters
    ----------
    arch
        `torchvision:NAME`, or `package.module:function` that returns the model when called without arguments.
        The module is imported, so its code runs; that is why it must be named.
    checkpoint
        `.safetensors`, or a file for `torch.load(weights_only=True)`: a state dict, also below one of `WRAPPERS`,
        also with `PREFIXES` before all names of the model.

    Raises
    ------
    UsageError
        For an unknown architecture, an unreadable file, a pickle that needs code, or weights of another network.
    """
    weights = read_weights(checkpoint)
    family, colon, name = arch.partition(":")
    if not colon:
        raise UsageError(f"--arch is {arch!r}; valid: torchvision:NAME or package.module:function.")
    if family == "torchvision":
        model, state, told = _torchvision(name, weights.state)
    else:
        model = _named(family, name)
        state, told = without_prefix(weights.state, set(model.state_dict()))
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shaped = sorted(
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if state[key].shape != own[key].shape
    )
    if missing or unexpected or shaped:
        found = ((missing, "missing"), (unexpected, "unexpected"), (shaped, "of another shape"))
        listed = "; ".join(f"{len(keys)} {what} ({', '.join(keys[:4])})" for keys, what in found if keys)
        raise UsageError(f"{checkpoint} holds weights of another network than {arch}: {listed}.")
    model.load_state_dict(state)
    return Loaded(model.eval(), weights.classes, told)


def read_weights(path: Path) -> Weights:
    """Read a state dict, and names of classes if there are any, from a file that cannot run code.

    Raises
    ------
    UsageError
        If there is no such file, it holds no tensors by name, or needs code to be read.
    """
    if not path.is_file():
        raise UsageError(
            f"--model {path} does not exist; valid: a .safetensors file or a state dict saved by torch.save."
        )
    try:
        kept = _safetensors(path) if path.suffix == ".safetensors" else _pickle(path)
    except Exception as error:  # whatever two libraries raise for a damaged file
        needs_code = "weights_only" in str(error) or "Unsupported" in str(error)
        reason = "is a pickle that runs code when it is read, which is refused" if needs_code else "cannot be read"
        raise UsageError(
            f"--model {path} {reason} ({type(error).__name__}). Save the weights alone: {SAVE}."
        ) from error
    classes = _class_names(kept) if isinstance(kept, Mapping) else ()
    state = kept
    for key in WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(key), Mapping):
            state = state[key]
    if not isinstance(state, Mapping) or not state or not all(isinstance(part, Tensor) for part in state.values()):
        raise UsageError(f"--model {path} holds no weights by name; valid: {SAVE}.")
    for key, value in state.items():
        if not isinstance(key, str):
            raise UsageError(f"--model {path} has the name {key!r}, a {type(key).__name__}; valid: {SAVE}.")
        if value.layout != torch.strided or value.is_meta or value.is_quantized:
            kind = "without values" if value.is_meta else "quantised" if value.is_quantized else "sparse"
            raise UsageError(f"--model {path}: {key} is {kind}; valid: plain tensors, as in {SAVE}.")
    return Weights(dict(state), classes)


def without_prefix(state: dict[str, Tensor], names: set[str]) -> tuple[dict[str, Tensor], str]:
    """Remove what wrappers put before the names of weights, if the names are then those of the model.

    Parameters
    ----------
    state
        Tensors by name.
    names
        The model's own names.

    Returns
    -------
    state
        With the names of the model; as it was if no combination of up to three of `PREFIXES` helps. Then a wrapper's
        own weights, such as those of a loss, are left out.
    told
        What was done; empty if nothing.
    """
    for depth in range(4):
        for parts in product(PREFIXES, repeat=depth):
            prefix = "".join(parts)
            found = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
            if names and names <= found.keys():
                others = sorted(key for key in state if not key.startswith(prefix))
                left = f", and {len(others)} other weights were left out: {', '.join(others[:4])}" if others else ""
                return found, f"; {prefix!r} was removed from the names of the weights{left}" if prefix else ""
    return state, ""


def _safetensors(path: Path) -> dict[str, Any]:
    """Weights, and names of classes that the file's metadata hold as JSON."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        described = {key: text for key, text in (file.metadata() or {}).items() if key in CLASS_KEYS}
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - safe_open is no mapping
    return {"state_dict": state} | {key: json.loads(text) for key, text in described.items()}


def _pickle(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _class_names(kept: Mapping[Any, Any]) -> tuple[str, ...]:
    """Names of classes in the order of the model's outputs: a list, name -> index or index -> name."""
    for key in CLASS_KEYS:
        found = kept.get(key)
        if isinstance(found, Mapping):
            pairs = [(of, key) if isinstance(of, int) else (key, of) for key, of in found.items()]
            places = {str(place): name for place, name in pairs}  # as JSON has no other keys than text
            found = [places.get(str(place)) for place in range(len(pairs))]
        if isinstance(found, list | tuple) and found and all(isinstance(name, str) for name in found):
            return tuple(found)
    return ()


def _torchvision(name: str, state: dict[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor], str]:
    """An untrained network of torchvision with as many classes as the weights have, and the weights by its names."""
    from torchvision import models

    one_of("torchvision model", name, models.list_models(models))
    with torch.device("meta"):
        own = list(models.get_model(name).state_dict())
    state, told = without_prefix(state, set(own))
    last = state.get(own[-1])  # the last tensor has a row for each class
    classes = len(last) if last is not None and last.ndim else 1000
    return models.get_model(name, num_classes=classes), state, told


def _named(module: str, function: str) -> nn.Module:
    """Call a function of the user's that makes the model."""
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise UsageError(
            f"--arch {module}:{function} is of Python's standard library, which has no networks; valid: "
            f"torchvision:NAME or package.module:function."
        )
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # an installed command does not look there, `python -m` does
    try:
        model = getattr(import_module(module), function)()
    except (Exception, SystemExit) as error:  # any code of the user's
        reason = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise UsageError(f"--arch {module}:{function} cannot be called without arguments: {reason}") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"--arch {module}:{function} returns a {type(model).__name__}; valid: a torch.nn.Module.")
    return model
