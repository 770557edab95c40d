"""What explaining images of 224x224 costs: a ResNet-18, two layers, 1,000 images; seconds and memory.

Run it with `python -m benchmarks.large_images` where CIFAR-100 is at hand (`CLADEC_DATA`). Its images are enlarged and
the network has random weights: cost depends on sizes alone.
"""

import json
import multiprocessing
import resource
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated

import torchvision
import typer

from cladec_companion.commands.shared import told
from cladec_companion.records.files import ROOT
from cladec_core import ClaDec, data, training

LAYERS = ("layer3", "layer4")
OUT = ROOT / "build" / "bench" / "large_images.json"


def peak() -> float:
    """Largest memory of this process so far, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def cost(layer: str, images: int, side: int, budget: float) -> dict[str, object]:
    """Fit an explainer of a layer with its defaults; seconds, largest memory, epochs and notes."""
    given = data.load("cifar100", size=side, resize="bilinear", train_limit=images, test_limit=100, standardise=False)
    with training.seeded(0):
        model = torchvision.models.resnet18(num_classes=len(given.classes)).eval()
    began = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the notes have what `fit` warns about
        explainer = ClaDec(model, layer, device="cpu").fit(given.train_images, time_budget=budget, progress=False)
    return {
        "seconds": round(time.perf_counter() - began), "peak_gb": round(peak(), 2),
        "epochs": explainer.epochs[layer], "notes": list(explainer.notes),
    }  # fmt: skip


@told
def main(
    images: Annotated[int, typer.Option(help="Images to fit the explainer on.")] = 1000,
    side: Annotated[int, typer.Option(help="Height and width in pixels.")] = 224,
    budget: Annotated[float, typer.Option(help="Seconds of training for each layer.")] = 300.0,
    out: Annotated[Path, typer.Option(help="File for the numbers.")] = OUT,
) -> None:
    """Explain each layer in a process of its own, whose memory no other layer has filled, and write what that cost."""
    found: dict[str, object] = {
        "images": images,
        "side": side,
        "budget": budget,
        "machine": training.compute("cpu").description,
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as pool:
        for layer in LAYERS:
            found[layer] = pool.submit(cost, layer, images, side, budget).result()
            out.write_text(json.dumps(found, indent=1) + "\n")
            print(layer, found[layer], flush=True)


if __name__ == "__main__":
    typer.run(main)
