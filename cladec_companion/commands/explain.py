"""`cladec explain`: the method for somebody's own model, in one command."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cladec_companion.commands.shared import SEEDS, Device, check_number, parse_budget, path, text, told
from cladec_companion.report import SIDES
from cladec_core.errors import RunError, UsageError, one_of

if TYPE_CHECKING:
    from torch import Tensor

    from cladec_companion.report import report
    from cladec_companion.report.contrasts import Contrasts
    from cladec_core import ClaDec

Model = Annotated[
    Path, typer.Option(parser=path, metavar="FILE", help="Weights: .safetensors, or a state dict saved by torch.save.")
]
Arch = Annotated[
    str, typer.Option(parser=text, metavar="NAME", help="torchvision:NAME, or package.module:function (its code runs).")
]
Layers = Annotated[
    list[str], typer.Option(parser=text, metavar="NAME", help="Layer to explain, as in named_modules(); repeatable.")
]
Images = Annotated[
    Path, typer.Option(parser=path, metavar="FOLDER", help="Folder of images, searched with its subfolders.")
]
Labels = Annotated[str, typer.Option(help="none, or from-folders: the first subfolder names the class.")]
Classes = Annotated[
    Path | None,
    typer.Option(
        parser=path,
        metavar="FILE",
        help="The model's classes, one in each line, in the order of its outputs. Default: what the checkpoint says, "
        "else the folders' names in alphabetical order.",
    ),
]
Out = Annotated[Path, typer.Option(parser=path, metavar="FOLDER", help="Folder for the report; it must not exist.")]
Size = Annotated[str | None, typer.Option(parser=text, metavar="HxW", help="Resize all images.")]
Normalise = Annotated[str, typer.Option(help="auto (ImageNet's for torchvision), none, imagenet, or MEANS:DEVIATIONS.")]
Alpha = Annotated[float, typer.Option(help="Weight of the classification loss, 0..1; above 0 needs labels.")]
Decoder = Annotated[str, typer.Option(help="How the decoder enlarges: transposed, or upsampled (no checkerboards).")]
Loss = Annotated[str, typer.Option(help="What is minimised: pixel, or perceptual (sharper, larger squared errors).")]
Maps = Annotated[
    str | None,
    typer.Option(
        parser=text, metavar="NAMES", help="Heat maps below the pictures, such as lrp_composite,gradcam (extra `book`)."
    ),
]
Contrasting = Annotated[
    bool,
    typer.Option("--contrast", help="What would have to change for the second most likely class (extra `book`)."),
]
Epochs = Annotated[int | None, typer.Option(help="Number of epochs; by default chosen from the data.")]
Budget = Annotated[str | None, typer.Option(parser=text, metavar="TIME", help="Training time per layer, such as 5m.")]
Seeds = Annotated[int, typer.Option(help="How many seeds the table of measures has; 0: no table.")]
Seed = Annotated[int, typer.Option(help="Decides the split, the initial weights and the order of images.")]


@told
def explain(
    model: Model,
    arch: Arch,
    layer: Layers,
    images: Images,
    labels: Labels = "none",
    classes: Classes = None,
    out: Out = Path("report"),
    size: Size = None,
    normalise: Normalise = "auto",
    alpha: Alpha = 0.0,
    decoder: Decoder = "transposed",
    loss: Loss = "pixel",
    maps: Maps = None,
    contrast: Contrasting = False,
    epochs: Epochs = None,
    time_budget: Budget = None,
    seeds: Seeds = 1,
    seed: Seed = 0,
    device: Device = "auto",
) -> None:
    """Explain layers of a trained classifier, and write a report that works offline.

    Example: `cladec explain --model resnet18.pt --arch torchvision:resnet18 --layer layer3 --images photos
    --labels from-folders --size 64x64`
    """
    one_of("value of --labels", labels, ("none", "from-folders"))
    one_of("value of --decoder", decoder, ("transposed", "upsampled"))
    one_of("value of --loss", loss, ("pixel", "perceptual"))
    check_number("--alpha", alpha, 0, 1)
    check_number("--epochs", epochs, 1)
    check_number("--seeds", seeds, 0)
    check_number("--seed", seed, *SEEDS)
    for option, given in (("--alpha", alpha), ("--classes", classes)):
        if given and labels == "none":
            raise UsageError(f"{option} is {given}, which needs labels: add --labels from-folders, or leave it out.")
    shape, budget = parse_size(size), parse_budget(time_budget) if time_budget else None
    from cladec_companion.report import images as pictures
    from cladec_companion.report import report, weights
    from cladec_companion.report.labels import class_order

    methods = heat_maps(maps) if maps else None
    report.check_new(out)
    loaded = weights.load_model(arch, model)
    channels = pictures.input_channels(loaded.model)
    preprocess, normalised = pictures.normalisation(normalise, arch, channels)
    labelled = labels != "none"
    order, ordered = class_order(images, classes, loaded.classes) if labelled else (None, "")
    folder = pictures.read_folder(images, channels, size=shape, labelled=labelled, classes=order)
    facts = {
        "Command": shlex.join(["cladec", *sys.argv[1:]]), "Model": f"{arch}, weights from {model.name}{loaded.told}",
        "Images": f"{len(folder.images)} of {'x'.join(map(str, folder.images.shape[1:]))} from {images.name}",
        "Normalisation": normalised, **({"Order of the classes": ordered} if labelled else {}),
    }  # fmt: skip
    print(
        report.explain(
            loaded.model, folder, layer, out, preprocess=preprocess, facts=facts, epochs=epochs, time_budget=budget,
            seeds=seeds, alpha=alpha, decoder=decoder, loss=loss, seed=seed, device=device, maps=methods,
            contrast=contrasts if contrast else None,
        )
    )  # fmt: skip


def heat_maps(names: str) -> "dict[str, report.HeatMap]":
    """Turn `lrp_composite,gradcam` into methods by their titles.

    Raises
    ------
    UsageError
        For an unknown method, or one that needs more than a model and a layer.
    """
    from cladec_companion.papers.xai.attribution import METHODS, Around, attribute

    valid = [name for name, method in METHODS.items() if set(method.needs) <= {"layer"}]

    def of(name: str) -> "report.HeatMap":
        return lambda model, images, target, layer: attribute(
            model, images, target, method=name, around=Around(images, layer=layer)
        )

    found = {}
    for name in (part.strip() for part in names.split(",")):
        one_of("method of --maps", name, valid)
        found[METHODS[name].title] = of(name)
    return found


def contrasts(
    explainer: "ClaDec", layer: str, known: "Tensor", images: "Tensor", classes: Sequence[str]
) -> "Contrasts":
    """Contrasts of images by the decoder of a layer, in the images' own units (see `report.contrasts.ContrastOf`)."""
    from cladec_companion.papers.cdeepex.explainer import WORST
    from cladec_companion.papers.cdeepex.of_layer import contrast_of_layer
    from cladec_companion.report.contrasts import Contrasts

    found = contrast_of_layer(explainer, layer, known, images)
    drawn = found.missed.cpu() <= WORST
    if not drawn.any():
        raise RunError(f"the decoder misses more than {WORST:.0%} of each image; too much to say anything")
    standardised = found.images.cpu().std((0, 2, 3), keepdim=True)
    scale = images.std((0, 2, 3), keepdim=True) / standardised.clamp(min=1e-12)
    changed = images + scale * found.change.cpu()
    low, high = images.min().item(), images.max().item()
    return Contrasts(
        images, changed, found.true.cpu(), found.probe.cpu(), found.converged.cpu() & drawn, classes, (low, high)
    )


def parse_size(value: str | None) -> tuple[int, int] | None:
    """Turn `64x48` into (height, width).

    Raises
    ------
    UsageError
        For anything else.
    """
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,4})x(\d{1,4})", value, re.ASCII)
    sides = (int(found[1]), int(found[2])) if found else (0, 0)
    low, high = SIDES
    if not low <= min(sides) <= max(sides) <= high:
        raise UsageError(f"--size is {value!r}; valid: HEIGHTxWIDTH from {low}x{low} to {high}x{high}, such as 64x64.")
    return sides
