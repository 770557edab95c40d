"""The explainer on real colour images: three networks of torchvision, two decoders and two losses, in numbers.

Run it with `python -m benchmarks.pictures` where CIFAR-100 is at hand (`CLADEC_DATA`). Networks are trained for
minutes, so they are no good classifiers; what is asked is what the explainer makes of them. One network is
explained with each decoder and each loss, the others as by default; one figure compares what these draw. A row is
written as soon as it is measured. The book shows the table and the figure in `book/results/bench/explainer`.
"""

import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import torchvision
import typer
from matplotlib.figure import Figure
from torch import Tensor, nn

from cladec_companion.commands.shared import told
from cladec_companion.evidence.style import drawn, grid
from cladec_companion.records.files import ROOT
from cladec_core import ClaDec, Explanation, data, training
from cladec_core.data import ImageData
from cladec_core.errors import UsageError
from cladec_core.explainer import perceptual

# Network -> the layer in the middle that is explained.
NETWORKS = {"resnet18": "layer2", "mobilenet_v3_small": "features.4", "shufflenet_v2_x0_5": "stage2"}
COMPARED = "resnet18"  # is explained with each decoder and each loss
CHOICES = [(decoder, loss) for decoder in ("transposed", "upsampled") for loss in ("pixel", "perceptual")]
MEASURED = 1000  # test images
SHOWN = 8
SIDE = 64  # the networks halve their maps up to five times
FOLDER = ROOT / "build" / "bench" / "pictures"


def trained(name: str, images: ImageData, epochs: int, seed: int = 0) -> nn.Module:
    """A network of torchvision with fresh weights, trained for some epochs."""
    with training.seeded(seed):
        model = torchvision.models.get_model(name, weights=None, num_classes=len(images.classes))
    recipe, on = training.Recipe("adam", 1e-3, 1e-5), training.compute("cpu")
    job = training.Job(
        model, images.train_images, (images.train_labels,), training.classification_loss, recipe, epochs=epochs,
        seed=seed, on=on, label=name, progress=True,
    )  # fmt: skip
    training.fit(job)
    return model


def checkerboard(images: Tensor) -> float:
    """Share of the power of images that changes its sign from pixel to pixel, along rows or columns."""
    power = torch.fft.fft2(images - images.mean((-2, -1), keepdim=True)).abs().square()
    rows, columns = (side // 2 for side in power.shape[-2:])
    finest = power[..., rows, :].sum() + power[..., :, columns].sum() - power[..., rows, columns].sum()
    return (finest / power.sum()).item()


@drawn
def compared(originals: Tensor, names: Sequence[str], reconstructions: Mapping[str, Tensor]) -> Figure:
    """The same images by each choice of decoder and loss, (n, channels, height, width) in [0, 1]."""
    rows = {"X": originals, **reconstructions}
    return grid([(name, list(batch.clip(0, 1).numpy())) for name, batch in rows.items()], list(names))


def measured(
    model: nn.Module, layer: str, images: ImageData, how: dict[str, str], count: int, budget: float
) -> Iterator[Any]:
    """A row of the table, then the explanation of some test images."""
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the table has what `fit` warns about
        explainer = ClaDec(model, layer, device="cpu", **how)
        explainer.fit(images.train_images[:count], time_budget=budget)
    seconds = time.perf_counter() - began
    given, truth = images.test_images[:MEASURED], images.test_labels[:MEASURED]
    found = explainer.explain(given)
    assert isinstance(found, Explanation)
    (row,) = explainer.evaluate(given, truth, seeds=1).to_dict("records")
    low, high = found.value_range
    alike = {
        method: perceptual.at_scales((batch - low) / (high - low), (given - low) / (high - low)).mean().item()
        for method, batch in (("ClaDec", found.reconstruction), ("reference", found.reference))
    }
    yield {
        **how, "ΔRec": row["ΔRec"], "ΔRec_low": row["ΔRec_low"], "ΔRec_high": row["ΔRec_high"],
        "rec_cladec": row["rec_cladec"], "rec_reference": row["rec_reference"],
        "agreement": row["agreement_cladec"], "structure": alike["ClaDec"], "structure_reference": alike["reference"],
        "finest": checkerboard(found.reconstruction), "finest_original": checkerboard(given),
        "epochs": explainer.epochs[layer]["cladec"], "epochs_reference": explainer.epochs[layer]["reference"],
        "seconds": seconds, "readable": not explainer.doubts[layer],
    }  # fmt: skip
    yield found.named(images.classes, truth)


@told
def main(
    dataset: Annotated[str, typer.Option(help="Data set whose images the networks learn.")] = "cifar100",
    images: Annotated[int, typer.Option(help="Images to fit explainers on.")] = 5000,
    learnt: Annotated[int, typer.Option(help="Images that the networks learn from; at least those.")] = 5000,
    epochs: Annotated[int, typer.Option(help="Of each network.")] = 5,
    budget: Annotated[float, typer.Option(help="Seconds of training for each layer.")] = 240.0,
    side: Annotated[int, typer.Option(help="Images are enlarged to so many pixels.")] = SIDE,
    networks: Annotated[str, typer.Option(help="Some of the networks, with commas between.")] = ",".join(NETWORKS),
    out: Annotated[Path, typer.Option(help="Folder for the table and the pictures.")] = FOLDER,
) -> None:
    """Try the explainer on real colour images; each row is printed and written as soon as it is there."""
    chosen = networks.split(",")
    if unknown := set(chosen) - set(NETWORKS):
        raise UsageError(f"Unknown network {unknown.pop()!r}; valid: {', '.join(NETWORKS)}.")
    given = data.load(
        dataset, size=side, resize="bilinear", train_limit=max(images, learnt), test_limit=MEASURED, standardise=False
    )
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    by_choice: dict[str, Tensor] = {}
    for network in chosen:
        layer = NETWORKS[network]
        model = trained(network, given, epochs)
        logits = training.apply(model, given.test_images, training.compute("cpu"))
        accuracy = (logits.argmax(1) == given.test_labels).double().mean().item()
        for decoder, loss in CHOICES if network == COMPARED else CHOICES[:1]:
            row, found = measured(model, layer, given, {"decoder": decoder, "loss": loss}, images, budget)
            rows.append({"network": network, "layer": layer, "accuracy": accuracy} | row)
            found.show(SHOWN).savefig(out / f"{network}-{decoder}-{loss}.png", dpi=120)
            if network == COMPARED:
                by_choice[f"{decoder},\n{loss}"] = found.reconstruction[:SHOWN]
                names = [given.classes[label] for label in given.test_labels[:SHOWN]]
                figure = compared(given.test_images[:SHOWN], names, by_choice)
                figure.savefig(out / "compared.png", dpi=120, bbox_inches="tight")
            pd.DataFrame(rows).to_csv(out / "table.csv", index=False)
            print(pd.Series(rows[-1]).to_string(), flush=True)


if __name__ == "__main__":
    typer.run(main)
