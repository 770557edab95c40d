"""`cladec explain`: the method for somebody's own model, in one command."""

import re
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from cladec_companion.commands.main import Device, app, parse_budget, told
from cladec_core.errors import UsageError, one_of


@app.command()
@told
def explain(
    model: Annotated[Path, typer.Option(help="Weights: .safetensors, or a state dict saved by torch.save.")],
    arch: Annotated[str, typer.Option(help="torchvision:NAME, or package.module:function (its code runs).")],
    layer: Annotated[list[str], typer.Option(help="Layer to explain, as in named_modules(); may be repeated.")],
    images: Annotated[Path, typer.Option(help="Folder of images, searched with its subfolders.")],
    labels: Annotated[str, typer.Option(help="none, or from-folders: the first subfolder names the class.")] = "none",
    out: Annotated[Path, typer.Option(help="Folder for the report; it must not exist.")] = Path("report"),
    size: Annotated[str | None, typer.Option(metavar="HxW", help="Resize all images.")] = None,
    normalise: Annotated[
        str, typer.Option(help="auto (ImageNet's for torchvision), none, imagenet, or MEANS:DEVIATIONS.")
    ] = "auto",
    alpha: Annotated[float, typer.Option(help="Weight of the classification loss, 0..1; above 0 needs labels.")] = 0.0,
    epochs: Annotated[int | None, typer.Option(help="Fixed number instead of one chosen from the data.")] = None,
    time_budget: Annotated[str | None, typer.Option(help="Training time per layer, such as 5m.")] = None,
    seeds: Annotated[int, typer.Option(help="Repetitions for the table; 0: no table.")] = 1,
    seed: Annotated[int, typer.Option(help="Decides the split, the weights and the order.")] = 0,
    device: Device = "auto",
) -> None:
    """Explain layers of a trained classifier, and write a report that works without network.

    Example: `cladec explain --model resnet18.pt --arch torchvision:resnet18 --layer layer3 --images photos
    --labels from-folders --size 64x64`
    """
    from cladec_companion.report import report as tool

    one_of("value of --labels", labels, ("none", "from-folders"))
    if alpha and labels == "none":
        raise UsageError(f"--alpha is {alpha}, which needs labels: add --labels from-folders, or leave it 0.")
    if out.exists():
        raise UsageError(f"--out {out} exists; name a folder that does not.")
    classifier = tool.load_model(arch, model)
    channels = tool.input_channels(classifier)
    preprocess, normalised = tool.normalisation(normalise, arch, channels)
    folder = tool.read_folder(images, channels, size=parse_size(size), labelled=labels != "none")
    facts = {
        "Command": shlex.join(["cladec", *sys.argv[1:]]), "Model": f"{arch}, weights from {model.name}",
        "Images": f"{len(folder.images)} of {'x'.join(map(str, folder.images.shape[1:]))} from {images.name}",
        "Normalisation": normalised,
    }  # fmt: skip
    print(
        tool.explain(
            classifier, folder, layer, out, preprocess=preprocess, facts=facts, alpha=alpha, epochs=epochs,
            time_budget=parse_budget(time_budget) if time_budget else None, seeds=seeds, seed=seed, device=device,
            progress=True,
        )
    )  # fmt: skip


def parse_size(text: str | None) -> tuple[int, int] | None:
    """Turn `64x48` into (height, width).

    Raises
    ------
    UsageError
        For anything else.
    """
    if text is None:
        return None
    found = re.fullmatch(r"(\d+)x(\d+)", text)
    if not found or min(int(found[1]), int(found[2])) < 8:
        raise UsageError(f"--size is {text!r}; valid: HEIGHTxWIDTH from 8x8, such as 64x64.")
    return int(found[1]), int(found[2])
