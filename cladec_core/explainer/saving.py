"""Keeping a fitted explainer in a file, and seeing to it that the file meets the model that it was fitted on."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from cladec_core.errors import RunError, UsageError
from cladec_core.explainer.building import Space
from cladec_core.explainer.protocol import Protocol, Seeds
from cladec_core.explainer.taps import Preprocess
from cladec_core.training import Recipe

FILE = "explainer.pt"
Shapes = Mapping[str, tuple[int, ...]]


def write(directory: Path | str, kept: dict[str, Any]) -> Path:
    """Write what is kept of an explainer; the file is whole or not there.

    Parameters
    ----------
    directory
        Made if it does not exist.
    kept
        Of what `torch.load` reads with `weights_only`.

    Returns
    -------
    Path
        The file.
    """
    path = Path(directory) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.new")
    try:
        torch.save(kept, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return path


def read(directory: Path | str) -> dict[str, Any]:
    """Read what `write` has kept, with its space and protocol as objects.

    Raises
    ------
    UsageError
        If there is no file.
    RunError
        If the file is damaged.
    """
    path = Path(directory) / FILE
    if not path.is_file():
        raise UsageError(f"No explainer in {directory}: {FILE} is missing.")
    try:
        kept: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        how = kept["options"].get("protocol", {})  # files of version 0.1 know only the one that is the default
        if how:
            how |= {"recipe": Recipe(**how["recipe"]), "seeds": Seeds(**how["seeds"])}
        kept["options"]["protocol"] = Protocol(**how)
        kept["space"] = Space(**kept["space"])
    except Exception as error:
        raise RunError(f"{path} is damaged, or no explainer ({type(error).__name__}); fit again.") from error
    return kept


def described_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Describe the options of an explainer in a file."""
    return {**options, "protocol": asdict(options["protocol"])}


def shapes(model: nn.Module) -> dict[str, tuple[int, ...]]:
    """Name the shape of every tensor of a model."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


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
