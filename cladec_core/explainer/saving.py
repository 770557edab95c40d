"""Keeping a fitted explainer in a file, and seeing to it that the file meets the model that it was fitted on.

The file is one of safetensors, whose metadata hold everything that is no tensor as JSON, and a digest of both. Nothing
in it is executed when it is read.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cladec_core.errors import RunError, UsageError
from cladec_core.explainer.building import Space
from cladec_core.explainer.protocol import Protocol, Seeds
from cladec_core.explainer.taps import Preprocess, fingerprint
from cladec_core.training import Recipe

FILE = "explainer.safetensors"
BEFORE = "explainer.pt"  # of earlier versions
FORMAT = 1
Shapes = Mapping[str, tuple[int, ...]]


def write(directory: Path | str, kept: dict[str, Any]) -> Path:
    """Write what is kept of an explainer; the file is whole or not there.

    Parameters
    ----------
    directory
        Made if it does not exist.
    kept
        Dictionaries with texts as keys, of tensors and of what JSON can hold.

    Returns
    -------
    Path
        The file.
    """
    from safetensors.torch import save_file  # a package that training can do without

    path = Path(directory) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.new")
    tensors: dict[str, Tensor] = {}
    text = json.dumps({"format": FORMAT, **_without_tensors(kept, tensors)}, allow_nan=False)
    try:
        save_file(tensors, temporary, {"explainer": text, "digest": _digest(text, tensors)})
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def _without_tensors(kept: Any, tensors: dict[str, Tensor]) -> Any:
    """Put tensors aside, each under a number that takes its place."""
    if isinstance(kept, Tensor):
        tensors[str(len(tensors))] = kept.detach().cpu().contiguous().clone()
        return {"tensor": str(len(tensors) - 1)}
    if isinstance(kept, Mapping):
        return {key: _without_tensors(value, tensors) for key, value in kept.items()}
    return kept


def _with_tensors(kept: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(kept, dict):
        if kept.keys() == {"tensor"}:
            return tensors[kept["tensor"]]
        return {key: _with_tensors(value, tensors) for key, value in kept.items()}
    return kept


def _digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of a text and of names, types, shapes and values of tensors."""
    digest = hashlib.sha256(text.encode())
    for name, value in sorted(tensors.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def read(directory: Path | str) -> dict[str, Any]:
    """Read what `write` has kept, with its space and protocol as objects.

    Raises
    ------
    UsageError
        If there is no file.
    RunError
        If the file is damaged.
    """
    from safetensors import safe_open

    path = Path(directory) / FILE
    if not path.is_file():
        old = f"; {BEFORE} is of an earlier version: fit again" if (Path(directory) / BEFORE).is_file() else ""
        raise UsageError(f"No explainer in {directory}: {FILE} is missing{old}.")
    try:
        with safe_open(path, "pt") as file:
            told = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no mapping
        if told["digest"] != _digest(told["explainer"], tensors):
            raise ValueError("its content does not fit its digest")
        kept: dict[str, Any] = _with_tensors(json.loads(told["explainer"]), tensors)
        if kept["format"] != FORMAT:
            raise ValueError(f"its format is {kept['format']}, not {FORMAT}")
        how = kept["options"]["protocol"]
        kept["options"]["protocol"] = Protocol(
            **how | {"recipe": Recipe(**how["recipe"]), "seeds": Seeds(**how["seeds"])}
        )
        kept["space"] = Space(**kept["space"] | {"shape": tuple(kept["space"]["shape"])})
        kept["shapes"] = {name: tuple(shape) for name, shape in kept["shapes"].items()}
    except Exception as error:  # whatever a library raises for a file that somebody else may have made
        raise damaged(directory, error) from error
    return kept


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:200]


def damaged(directory: Path | str, error: Exception) -> RunError:
    """Say of a file that it can be read, and does not hold what an explainer needs."""
    return RunError(f"{Path(directory) / FILE} is damaged, or no explainer ({_told(error)}); fit again.")


def described_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the options of an explainer in a file."""
    return {**options, "protocol": asdict(options["protocol"])}


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name the shape of every tensor of a model."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def check_model(kept: Mapping[str, Any], model: nn.Module) -> None:
    """Refuse a model that is not the one of a saved explainer.

    Raises
    ------
    UsageError
        It says how the two differ.
    """
    if fingerprint(model) != kept["fingerprint"]:
        raise UsageError(f"It was fitted on another model: {differences(kept['shapes'], shapes(model))}.")


def differences(fitted: Shapes, given: Shapes) -> str:
    """Say in a few words how a model differs from the fitted one."""
    sides = {"missing": fitted.items() - given.items(), "unexpected": given.items() - fitted.items()}
    return "; ".join(
        f"{kind}: {', '.join(f'{name} {shape}' for name, shape in sorted(side)[:3])}, {len(side)} in all"
        for kind, side in sides.items() if side
    ) or "the weights differ"  # fmt: skip


def described_preprocess(preprocess: Preprocess) -> dict[str, list[float]] | str | None:
    """Describe a preprocessing in a file: the numbers of a `Normalize`, of any other only its name."""
    if type(preprocess).__name__ == "Normalize" and type(preprocess).__module__.startswith("torchvision."):
        return {name: [float(value) for value in getattr(preprocess, name)] for name in ("mean", "std")}
    return None if preprocess is None else str(getattr(preprocess, "__name__", type(preprocess).__name__))


def restored_preprocess(saved: dict[str, list[float]] | str | None, given: Preprocess) -> Preprocess:
    """Make the preprocessing that was described, or take the given one where that cannot be done.

    Raises
    ------
    UsageError
        If there was one and none is given, or the other way round.
    """
    if isinstance(saved, dict) and given is None:
        from torchvision.transforms import Normalize

        normalise: Preprocess = Normalize(**saved)
        return normalise
    if bool(saved) != (given is not None):
        raise UsageError(f"It was fitted with preprocess={saved}; pass the same one.")
    return given
