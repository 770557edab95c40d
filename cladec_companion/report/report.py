"""The report of `cladec explain`: from a classifier and images to a page that stands alone."""

import base64
import io
import os
import platform
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from cladec_companion.report import labels
from cladec_companion.report.contrasts import ContrastOf, Contrasts
from cladec_companion.report.images import Folder
from cladec_core import ClaDec, Explanation
from cladec_core.errors import RunError, UsageError
from cladec_core.explainer import Inversion, invert
from cladec_core.explainer.cladec import FEWEST
from cladec_core.explainer.explanation import Shown, draw_signed
from cladec_core.measures import over_seeds

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASURED = 2 * FEWEST  # held-out images that a table needs
SHOWN = 8  # images per figure, of up to 48 pixels
SHOWN_LARGE = {48: 6, 96: 4}  # of more than so many pixels, so that something can be seen in them
CONTRASTED = 256  # images of `fit`, at most, by which codes are standardised for a contrast
INVERTED = 4  # images that are inverted, which takes some hundred steps through the model
HELD_OUT = 0.2  # share of the images that is explained and measured, and not trained on
MOST_HELD_OUT = 1000
# From the model, images as it takes them, the class of each and a layer to maps (n, height, width).
HeatMap = Callable[[nn.Module, Tensor, Tensor, str], Tensor]
NO_TABLE = "No table: it needs {} held-out images, so {} in all; there are {}."


def split(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices to train on, and held-out ones that are explained and measured: every image is in one of them."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    held_out = min(max(min(MEASURED, count // 3), round(HELD_OUT * count)), MOST_HELD_OUT)
    return order[held_out:].sort().values, order[:held_out].sort().values


def choose(explanation: Explanation, truth: Tensor | None) -> dict[str, list[int]]:
    """The images a reader wants first: title -> indices, at most as many as a figure shows.

    Faithful means: the layer's reconstruction is hardly worse than the reference's.
    """
    gap = torch.tensor(explanation.losses.difference.to_numpy())
    order = gap.argsort()
    typical = (gap - gap.median()).abs().argsort()
    chosen = {"Typical images": typical}
    if truth is not None:
        wrong = (explanation.prediction != truth).nonzero().flatten()
        chosen["Misclassified images"] = wrong[gap[wrong].argsort(descending=True)]
    chosen |= {"What the layer keeps best": order, "What the layer loses most": order.flip(0)}
    count = shown(explanation.original)
    return {title: indices[:count].tolist() for title, indices in chosen.items() if len(indices)}


def shown(images: Tensor) -> int:
    """How many images (n, channels, height, width) a figure has room for."""
    return min([SHOWN, *(count for side, count in SHOWN_LARGE.items() if max(images.shape[-2:]) > side)])


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """What `ClaDec.evaluate` found, a row per layer, with intervals of 95 %.

    Of one seed they are over images, as `evaluate` gives them; of several, over seeds by Student's t. A ΔRec whose
    interval is not above 0 says that it must not be read.
    """
    intervals = [name for name in table.columns if f"{name}_low" in table.columns]
    ends = {f"{name}_{end}" for name in intervals for end in ("low", "high")}
    values = table.drop(columns=["seed", "images", *ends]).select_dtypes("number").columns
    rows = {}
    for layer, found in table.groupby("layer", sort=False):
        row = {name: f"{found[name].mean():.4g}" for name in values}
        for name in intervals:
            low, high = (
                over_seeds(list(found[name])) if len(found) > 1 else found[[f"{name}_low", f"{name}_high"]].iloc[0]
            )
            row[name] += f" ({low:.2g} to {high:.2g})"
            if name == "ΔRec" and not low > 0:
                row[name] += ": do not read"
        rows[layer] = row | {"n": len(found)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("layer")


def explain(
    model: nn.Module,
    folder: Folder,
    layers: Sequence[str],
    out: Path,
    *,
    preprocess: Callable[[Tensor], Tensor] | None,
    facts: dict[str, str],
    epochs: int | None = None,
    time_budget: float | None = None,
    seeds: int = 1,
    progress: bool = True,
    maps: Mapping[str, HeatMap] | None = None,
    contrast: ContrastOf | None = None,
    **options: Any,
) -> Path:
    """Fit an explainer, and write its report to a new folder: `index.html` and the losses of each image.

    Parameters
    ----------
    model, folder, layers, preprocess, epochs, time_budget, progress
        See `ClaDec` and `ClaDec.fit`.
    options
        Further ones of `ClaDec`, such as `alpha` and `seed`.
    out
        Folder that does not exist yet.
    facts
        Lines for the report: the command, the model, the normalisation.
    seeds
        Repetitions for the table; 0 leaves it out.
    maps
        Methods by name whose heat maps of the predicted class stand below the pictures.
    contrast
        Says what would have to change for the second most likely class.

    Returns
    -------
    Path
        The report.

    Raises
    ------
    UsageError
        If `out` exists, for labels that are no outputs of the model, or for what `ClaDec` refuses.
    RunError
        If `out` cannot be written. Nothing is half written.
    """
    check_new(out)
    notes = _Notes()
    if folder.skipped:
        notes.say(f"{len(folder.skipped)} file(s) were left out: {', '.join(folder.skipped[:3])}")
    outputs = _outputs(model, preprocess, folder.images[:2])
    if folder.labels is not None and outputs:
        notes.say(labels.outputs_doubt(folder.classes, folder.labels, outputs, folder.alphabetical))
    explainer = ClaDec(model, layers=list(layers), preprocess=preprocess, **options)
    train, held_out = split(len(folder.images), explainer.seed)
    mapper = _Mapper(model, preprocess, maps or {})
    for layer in layers:
        mapper(folder.images[:2], torch.zeros(2, dtype=torch.int64), layer)  # what does not fit is said before training
    _fit(explainer, folder, train, epochs, time_budget, progress)
    found = explainer.explain(folder.images[held_out])
    explanations = {found.layer: found} if isinstance(found, Explanation) else found
    table = None
    if folder.labels is not None:
        truth = folder.labels[held_out]
        if outputs:
            notes.say(labels.accuracy_doubt(next(iter(explanations.values())).prediction, truth, outputs))
        if seeds and len(held_out) < MEASURED:
            notes.say(NO_TABLE.format(MEASURED, 3 * MEASURED, len(held_out)))
        elif seeds:
            table = explainer.evaluate(folder.images[held_out], truth, seeds=seeds, progress=progress)
    inverted = _inverted(explainer, explanations, notes)
    known = folder.images[train][:CONTRASTED]
    changed = _contrasts(explainer, explanations, known, folder.classes, contrast, notes) if contrast else {}
    return _write(
        out,
        _report(explanations, folder, held_out, table, facts, [*notes, *explainer.notes], inverted, changed, mapper),
    )


def _fit(
    explainer: ClaDec, folder: Folder, train: Tensor, epochs: int | None, time_budget: float | None, progress: bool
) -> None:
    """Fit an explainer to the images of a folder that are not held out."""
    known = None if folder.labels is None or not explainer.alpha else folder.labels[train]
    budget = {} if time_budget is None else {"time_budget": time_budget}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the report has what `fit` warns about
        explainer.fit(folder.images[train], known, epochs=epochs, progress=progress, **budget)


def _contrasts(
    explainer: ClaDec, explanations: Mapping[str, Explanation], known: Tensor, classes: Sequence[str], of: ContrastOf,
    notes: "_Notes",
) -> dict[str, Contrasts]:  # fmt: skip
    """What would have to change in the typical images of each layer; a note where nothing can be said."""
    found = {}
    for layer, part in explanations.items():
        try:
            found[layer] = of(explainer, layer, known, part[choose(part, None)["Typical images"]].original, classes)
        except (UsageError, RuntimeError) as error:  # torch's words where a model works in no way that has a gradient
            notes.say(f"No contrast by layer {layer}: {error}")
    return found


def _inverted(explainer: ClaDec, explanations: Mapping[str, Explanation], notes: "_Notes") -> Mapping[str, Inversion]:
    """Plain inversions of a few typical images; none, with a note, for a model that lets no gradient through."""
    first = next(iter(explanations.values()))
    typical = first[choose(first, None)["Typical images"][:INVERTED]]
    try:
        return invert(explainer, typical.original)
    except (UsageError, RuntimeError) as error:  # torch's words where a model works in no way that has a gradient
        notes.say(f"No feature inversion: {error}")
        return {}


class _Beside(Shown):
    """Heat maps below the pictures of the same images, each map scaled by its largest value."""

    def __init__(self, explanation: Explanation, maps: dict[str, Tensor]) -> None:
        self.explanation, self.maps, self.value_range = explanation, maps, explanation.value_range

    @property
    def rows(self) -> dict[str, Tensor]:
        return self.explanation.rows | self.maps

    @property
    def captions(self) -> dict[str, list[str]]:
        return self.explanation.captions

    def _draw(self, axis: "Axes", name: str, image: np.ndarray) -> None:
        if name in self.maps:
            draw_signed(axis, image, float(np.abs(image).max()) or 1.0)
        else:
            super()._draw(axis, name, image)


class _Mapper:
    """Asks methods for heat maps of a model."""

    def __init__(
        self, model: nn.Module, preprocess: Callable[[Tensor], Tensor] | None, maps: Mapping[str, HeatMap]
    ) -> None:
        self.model, self.preprocess, self.maps = model, preprocess or (lambda images: images), maps

    def __call__(self, images: Tensor, target: Tensor, layer: str) -> dict[str, Tensor]:
        """Maps (n, height, width) of images in [0, 1], by the method's name."""
        taken, size, found = self.preprocess(images), images.shape[-2:], {}
        for name, method in self.maps.items():
            maps = method(self.model, taken, target, layer)[:, None].float()
            found[name] = nn.functional.interpolate(maps, size, mode="bilinear")[:, 0]  # where preprocessing resizes
        return found

    def beside(self, explanation: Explanation) -> Shown:
        """Put the maps of the predicted classes below the pictures of some images."""
        maps = self(explanation.original, explanation.prediction, explanation.layer)
        return _Beside(explanation, maps) if maps else explanation


class _Notes(list[str]):
    """What a reader of the report must know, printed at once: a training takes minutes, and may be stopped."""

    def say(self, line: str) -> None:
        """Keep and print a line, if there is one."""
        if line:
            self.append(line)
            print(f"Note: {line}", file=sys.stderr)


def _outputs(model: nn.Module, preprocess: Callable[[Tensor], Tensor] | None, images: Tensor) -> int | None:
    """Logits of a model; None for one that gives none, about which `ClaDec` has better words."""
    try:
        with torch.inference_mode():
            logits = model(preprocess(images) if preprocess else images)
    except Exception:  # any code of the user's
        return None
    return logits.shape[1] if isinstance(logits, Tensor) and logits.ndim == 2 else None


def _report(
    explanations: Mapping[str, Explanation],
    folder: Folder,
    held_out: Tensor,
    table: pd.DataFrame | None,
    facts: dict[str, str],
    notes: list[str],
    inverted: Mapping[str, Inversion],
    changed: Mapping[str, Contrasts],
    mapper: "_Mapper",
) -> dict[str, str]:
    """The files of the report about the images held out: name -> text."""
    truth = None if folder.labels is None else folder.labels[held_out]
    names = [folder.names[at] for at in held_out]
    sections = [
        _section(part, truth, names, folder.classes, inverted.get(layer), changed.get(layer), mapper)
        for layer, part in explanations.items()
    ]
    right = None if truth is None else next(iter(explanations.values())).prediction == truth
    losses = pd.concat(
        part.losses.assign(layer=layer, prediction=part.prediction.numpy(), image=names)
        for layer, part in explanations.items()
    )
    page = _page(
        sections=sections, facts=facts | _versions(), notes=notes, skipped=folder.skipped,
        table=None if table is None else _html(summary(table).T.rename_axis("measure")),
        accuracy=None if right is None else right.double().mean().item(),
        counts={"train": len(folder.images) - len(held_out), "held_out": len(held_out)}, classes=folder.classes,
        colour=folder.images.shape[1] == 3,
    )  # fmt: skip
    return {"index.html": page, "losses.csv": losses.set_index("image").to_csv()}


def _section(
    part: Explanation,
    truth: Tensor | None,
    names: list[str],
    classes: Sequence[str],
    inversion: Inversion | None,
    contrast: Contrasts | None,
    mapper: "_Mapper",
) -> dict[str, Any]:
    """What the page shows of a layer."""
    pictures = [
        {
            "title": title,
            "names": ", ".join(names[at] for at in indices),
            "webp": _drawn(mapper.beside(part.named(classes, truth)[indices])),
        }
        for title, indices in choose(part, truth).items()
    ]
    return {
        "layer": part.layer, "reference": part.reference_label, "mean": part.losses.mean(), "pictures": pictures,
        "doubt": part.doubt, "maps": ", ".join(mapper.maps), "agreement": _html(agreement(part, truth, classes)),
        "inversion": inversion and {"webp": _drawn(inversion), "kept": inversion.kept, "steps": inversion.steps,
                                    "images": len(inversion.original)},
        "contrast": contrast and {"webp": _drawn(contrast), "met": int(contrast.met.sum()),
                                  "images": len(contrast.met)},
    }  # fmt: skip


def agreement(part: Explanation, truth: Tensor | None, classes: Sequence[str]) -> pd.DataFrame:
    """How often the model keeps its prediction on reconstructions, a row per class; with names of classes if known."""
    found = part.agreement(truth)
    shown = pd.DataFrame({"images": found["images"].astype(int)})
    for method, title in (("cladec", "ClaDec"), ("reference", "reference")):
        ends = zip(found[method], found[f"{method}_low"], found[f"{method}_high"], strict=True)
        shown[title] = [f"{share:.0%} ({low:.0%} to {high:.0%})" for share, low, high in ends]
    return shown.rename(index=lambda at: classes[at] if at != "all" and at < len(classes) else at).rename_axis("class")


def _html(table: pd.DataFrame) -> str:
    """A table whose first column, the index, is named in the same line as the others."""
    return table.reset_index().to_html(border=0, index=False)


def _drawn(picture: Shown) -> str:
    """The figure as WebP, in base64: a fifth of a PNG's size, so that a report of many layers can still be mailed."""
    stream = io.BytesIO()
    picture.show(SHOWN).savefig(stream, format="webp", dpi=120, pil_kwargs={"quality": 88})
    return base64.b64encode(stream.getvalue()).decode()


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


def check_new(out: Path) -> None:
    """Refuse a folder that cannot be made, before anything is trained for it.

    Raises
    ------
    UsageError
        If it exists.
    RunError
        If it cannot be written.
    """
    try:
        if os.path.lexists(out):
            raise UsageError(f"--out {out} exists; name a folder that does not.")
        missing = [folder for folder in (out, *out.parents) if not folder.exists()]
        out.mkdir(parents=True)
        for folder in missing:
            folder.rmdir()
    except OSError as error:
        raise RunError(f"--out {out} cannot be written: {error}") from error


def _write(out: Path, files: dict[str, str]) -> Path:
    """Write a folder whole or not at all; if it has become unwritable, the report goes to the system's temporary one.

    Raises
    ------
    RunError
        If it cannot be written; it says where the report is instead.
    """
    try:
        _write_whole(out, files)
    except OSError as error:
        other = Path(tempfile.mkdtemp(prefix="cladec-")) / "report"
        _write_whole(other, files)
        raise RunError(f"--out {out} cannot be written: {error}. The report is in {other}.") from error
    return out / "index.html"


def _write_whole(out: Path, files: dict[str, str]) -> None:
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        for name, text in files.items():
            (temporary / name).write_text(text, encoding="utf-8", errors="backslashreplace")
        temporary.chmod(0o755)
        temporary.rename(out)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
