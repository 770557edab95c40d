"""`cladec explain`: from a checkpoint and a folder of images to a report that stands alone."""

import base64
import io
import platform
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from cladec_core import ClaDec, Explanation
from cladec_core.errors import RunError, UsageError, one_of
from cladec_core.explainer.cladec import FEWEST

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MEASURED = 2 * FEWEST  # held-out images that a table needs
LEAST_IMAGES = FEWEST * 3 // 2
SHOWN = 8  # images per figure
HELD_OUT = 0.2  # share of the images that is explained and measured, and not trained on
MOST_HELD_OUT = 1000


@dataclass(frozen=True)
class Folder:
    """Images of one size from a folder.

    Attributes
    ----------
    images
        float32 in [0, 1], (n, channels, height, width).
    names
        Paths below the folder.
    labels
        int64, (n,), or None.
    classes
        Names of the subfolders, in label order; empty without labels.
    skipped
        "path: reason" for each file that is no readable image.
    """

    images: Tensor
    names: list[str]
    labels: Tensor | None
    classes: list[str]
    skipped: list[str]


def load_model(arch: str, checkpoint: Path) -> nn.Module:
    """Build a classifier and give it the weights of a checkpoint, without running code from the checkpoint.

    Parameters
    ----------
    arch
        `torchvision:NAME`, or `package.module:function` that returns the model when called without arguments.
        The module is imported, so its code runs; that is why it must be named.
    checkpoint
        `.safetensors`, or a file for `torch.load(weights_only=True)`: a state dict, also below the key
        `state_dict` or `model`, also with the prefix of `DataParallel`.

    Raises
    ------
    UsageError
        For an unknown architecture, an unreadable file, a pickle that needs code, or weights of another network.
    """
    state = read_weights(checkpoint)
    family, colon, name = arch.partition(":")
    if not colon:
        raise UsageError(f"--arch is {arch!r}; valid: torchvision:NAME or package.module:function.")
    model = _torchvision(name, state) if family == "torchvision" else _named(family, name)
    own = model.state_dict()
    missing, unexpected = sorted(own.keys() - state.keys()), sorted(state.keys() - own.keys())
    shaped = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(own[key].shape)}"
        for key in own.keys() & state.keys()
        if state[key].shape != own[key].shape
    ]
    if missing or unexpected or shaped:
        found = ((missing, "missing"), (unexpected, "unexpected"), (sorted(shaped), "of another shape"))
        told = "; ".join(f"{len(keys)} {what} ({', '.join(keys[:4])})" for keys, what in found if keys)
        raise UsageError(f"{checkpoint} holds weights of another network than {arch}: {told}.")
    model.load_state_dict(state)
    return model.eval()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a state dict from a file that cannot run code.

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
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        needs_code = "weights_only" in str(error) or "Unsupported" in str(error)
        reason = "is a pickle that runs code when it is read, which is refused" if needs_code else "cannot be read"
        raise UsageError(
            f"--model {path} {reason} ({type(error).__name__}). Save the weights alone: "
            f"torch.save(model.state_dict(), FILE)."
        ) from error
    for key in ("state_dict", "model"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not state or not all(isinstance(part, Tensor) for part in state.values()):
        raise UsageError(f"--model {path} holds no weights by name; valid: torch.save(model.state_dict(), FILE).")
    return {key.removeprefix("module."): value for key, value in state.items()}


def _torchvision(name: str, state: dict[str, Tensor]) -> nn.Module:
    from torchvision import models

    one_of("torchvision model", name, models.list_models(models))
    with torch.device("meta"):  # the last tensor has a row for each class
        last = list(models.get_model(name).state_dict())[-1]
    classes = len(state[last]) if last in state and state[last].ndim else 1000
    return models.get_model(name, num_classes=classes)


def _named(module: str, function: str) -> nn.Module:
    try:
        model = getattr(import_module(module), function)()
    except (ImportError, AttributeError, TypeError) as error:
        raise UsageError(f"--arch {module}:{function} cannot be called: {error}") from error
    if not isinstance(model, nn.Module):
        raise UsageError(f"--arch {module}:{function} returns a {type(model).__name__}; valid: a torch.nn.Module.")
    return model


def read_folder(folder: Path, channels: int, *, size: tuple[int, int] | None = None, labelled: bool = False) -> Folder:
    """Read the images below a folder; what is no image is listed and left out.

    Parameters
    ----------
    folder
        Searched with its subfolders.
    channels
        1 for grey, 3 for colour; the images are converted.
    size
        (height, width) to resize to (bilinear); None if all images have one size.
    labelled
        The first level of subfolders names the classes, numbered in alphabetical order as torchvision's
        `ImageFolder` does.

    Raises
    ------
    UsageError
        For a missing folder, too few readable images, several sizes without `size`, or too few classes.
    """
    from PIL import Image, UnidentifiedImageError
    from torchvision.transforms.functional import pil_to_tensor

    if not folder.is_dir():
        raise UsageError(f"--images {folder} is no folder.")
    images, names, skipped = [], [], []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")):
        name = str(path.relative_to(folder))
        if labelled and len(Path(name).parts) < 2:
            skipped.append(f"{name}: in no class folder")
            continue
        try:
            with Image.open(path) as opened:
                image = opened.convert("L" if channels == 1 else "RGB")
        except (UnidentifiedImageError, OSError) as error:
            skipped.append(f"{name}: {type(error).__name__}")
            continue
        if size:
            image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        images.append(pil_to_tensor(image))
        names.append(name)
    if len(images) < LEAST_IMAGES:
        left = f"; left out: {', '.join(skipped[:3])}" if skipped else ""
        raise UsageError(f"--images {folder} has {len(images)} readable images; valid: from {LEAST_IMAGES}{left}.")
    sizes = {tuple(image.shape[1:]) for image in images}
    if len(sizes) > 1:
        some = ", ".join(f"{height}x{width}" for height, width in sorted(sizes)[:4])
        raise UsageError(f"--images {folder} has images of {len(sizes)} sizes ({some}, ...); name one with --size HxW.")
    classes = sorted({Path(name).parts[0] for name in names}) if labelled else []
    labels = torch.tensor([classes.index(Path(name).parts[0]) for name in names]) if labelled else None
    if labelled and len(classes) < 2:
        raise UsageError(f"--labels from-folders: {folder} has {len(classes)} class folders; valid: from 2.")
    return Folder(torch.stack(images).float() / 255, names, labels, classes, skipped)


def input_channels(model: nn.Module) -> int:
    """Colour channels that a model takes: those of its first convolution if they are 1 or 3, else 3."""
    first = next((part.in_channels for part in model.modules() if isinstance(part, nn.Conv2d)), 3)
    return first if first in (1, 3) else 3


def normalisation(text: str, arch: str, channels: int) -> tuple[Callable[[Tensor], Tensor] | None, str]:
    """Read `--normalise`: auto, none, imagenet, or MEAN,...:STD,... with a value per channel or one for all.

    Returns
    -------
    preprocess
        For images in [0, 1], or None.
    said
        What it does, in words.

    Raises
    ------
    UsageError
        For anything else.
    """
    from torchvision.transforms import Normalize

    if text == "auto":
        text = "imagenet" if arch.startswith("torchvision:") and channels == 3 else "none"
    if text == "none":
        return None, "none: the model takes values in [0, 1]"
    try:
        mean, std = IMAGENET if text == "imagenet" else (
            tuple(float(value) for value in part.split(",")) for part in text.split(":")
        )  # fmt: skip
        if len(mean) != len(std) or len(mean) not in (1, channels) or min(std) <= 0:
            raise ValueError(text)
    except ValueError as error:
        raise UsageError(
            f"--normalise is {text!r}; valid: auto, none, imagenet (three channels), or means:deviations for "
            f"{channels} channel(s), such as 0.5:0.5."
        ) from error
    return Normalize(mean, std), f"(value - {list(mean)}) / {list(std)}"


def split(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices to train on, and held-out ones that are explained and measured: every image is in one of them."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held_out = min(max(min(MEASURED, count // 3), round(HELD_OUT * count)), MOST_HELD_OUT)
    return order[held_out:].sort().values, order[:held_out].sort().values


def choose(explanation: Explanation, labels: Tensor | None) -> dict[str, list[int]]:
    """The images a reader wants first: title -> indices, at most `SHOWN` each.

    Faithful means: the layer's reconstruction is hardly worse than the reference's.
    """
    gap = torch.tensor(explanation.losses.difference.to_numpy())
    order = gap.argsort()
    typical = (gap - gap.median()).abs().argsort()
    chosen = {"Typical images": typical}
    if labels is not None:
        wrong = (explanation.prediction != labels).nonzero().flatten()
        chosen["Misclassified images"] = wrong[gap[wrong].argsort(descending=True)]
    chosen |= {"What the layer keeps best": order, "What the layer loses most": order.flip(0)}
    return {title: indices[:SHOWN].tolist() for title, indices in chosen.items() if len(indices)}


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean ± standard deviation over seeds of `ClaDec.evaluate`, a row per layer."""
    values = table.drop(columns=["seed", "images"]).select_dtypes("number").columns
    grouped = table.groupby("layer", sort=False)[list(values)]
    mean, std, count = grouped.mean(), grouped.std(), grouped.size()
    shown = mean.apply(lambda column: column.map("{:.4g}".format))
    if count.min() > 1:
        shown += " ± " + std.apply(lambda column: column.map("{:.2g}".format))
    return shown.assign(n=count)


def explain(
    model: nn.Module,
    folder: Folder,
    layers: Sequence[str],
    out: Path,
    *,
    preprocess: Callable[[Tensor], Tensor] | None,
    facts: dict[str, str],
    alpha: float = 0.0,
    epochs: int | None = None,
    time_budget: float | None = None,
    seeds: int = 1,
    seed: int = 0,
    device: str = "auto",
    progress: bool = True,
) -> Path:
    """Fit an explainer, and write its report to a new folder: `index.html` and the losses of each image.

    Parameters
    ----------
    model, folder, layers, preprocess, alpha, epochs, time_budget, seed, device, progress
        See `ClaDec` and `ClaDec.fit`.
    out
        Folder that does not exist yet.
    facts
        Lines for the report: the command, the model, the normalisation.
    seeds
        Repetitions for the table; 0 leaves it out.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    UsageError
        If `out` exists, or for what `ClaDec` refuses. Nothing is half written.
    """
    if out.exists():
        raise UsageError(f"--out {out} exists; name a folder that does not.")
    budget = {} if time_budget is None else {"time_budget": time_budget}
    explainer = ClaDec(model, layers=list(layers), preprocess=preprocess, alpha=alpha, device=device, seed=seed)
    train, held_out = split(len(folder.images), seed)
    known = None if folder.labels is None or not alpha else folder.labels[train]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the report has what `fit` warns about
        explainer.fit(folder.images[train], known, epochs=epochs, progress=progress, **budget)
    table = None
    if folder.labels is not None and seeds and len(held_out) >= MEASURED:
        table = explainer.evaluate(folder.images[held_out], folder.labels[held_out], seeds=seeds, progress=progress)
    elif folder.labels is not None and seeds:
        explainer.notes.append(
            f"No table: it needs {MEASURED} held-out images, so {3 * MEASURED} in all; there are {len(held_out)}."
        )
    return _write(out, _report(explainer, folder, held_out, table, facts))


def _report(
    explainer: ClaDec, folder: Folder, held_out: Tensor, table: pd.DataFrame | None, facts: dict[str, str]
) -> dict[str, str]:
    """The files of the report about the images held out: name -> text."""
    found = explainer.explain(folder.images[held_out])
    explanations = {found.layer: found} if isinstance(found, Explanation) else found
    labels = None if folder.labels is None else folder.labels[held_out]
    names = [folder.names[at] for at in held_out]
    sections = [_section(layer, part, labels, names) for layer, part in explanations.items()]
    right = None if labels is None else next(iter(explanations.values())).prediction == labels
    losses = pd.concat(
        part.losses.assign(layer=layer, prediction=part.prediction, image=names) for layer, part in explanations.items()
    )
    page = _page(
        sections=sections, facts=facts | _versions(), notes=explainer.notes, skipped=folder.skipped,
        table=None if table is None else summary(table).to_html(border=0),
        accuracy=None if right is None else right.double().mean().item(),
        counts={"train": len(folder.images) - len(held_out), "held_out": len(held_out)}, classes=folder.classes,
    )  # fmt: skip
    return {"index.html": page, "losses.csv": losses.set_index("image").to_csv()}


def _section(layer: str, part: Explanation, labels: Tensor | None, names: list[str]) -> dict[str, Any]:
    pictures = [
        {
            "title": title,
            "names": ", ".join(names[at] for at in indices),
            "webp": base64.b64encode(_drawn(part[indices])).decode(),
        }
        for title, indices in choose(part, labels).items()
    ]
    mean = part.losses.mean()
    return {"layer": layer, "reference": part.reference_label, "mean": mean, "pictures": pictures}


def _drawn(part: Explanation) -> bytes:
    """The figure as WebP: a fifth of a PNG's size, so that a report of many layers can still be mailed."""
    stream = io.BytesIO()
    part.show(SHOWN).savefig(stream, format="webp", dpi=120, pil_kwargs={"quality": 88})
    return stream.getvalue()


def _versions() -> dict[str, str]:
    import torchvision

    versions = {"Python": platform.python_version(), "torch": torch.__version__, "torchvision": torchvision.__version__}
    return {"Versions": ", ".join(f"{name} {version}" for name, version in versions.items())}


def _page(**values: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("cladec_companion.report", ""), autoescape=True, undefined=StrictUndefined
    )
    return environment.get_template("report.html").render(**values)


def _write(out: Path, files: dict[str, str]) -> Path:
    """Write a folder whole or not at all."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise RunError(f"--out {out} cannot be written: {error}") from error
    try:
        for name, text in files.items():
            (temporary / name).write_text(text, encoding="utf-8")
        temporary.chmod(0o755)
        temporary.rename(out)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise RunError(f"--out {out} cannot be written: {error}") from error
    return out / "index.html"
