"""Which classifiers of torchvision and timm can be explained: a table, made by trying each of them.

Run it with `python -m benchmarks.architectures`; `--help` says how to try a few. Weights are random and images are
noise: what is tried is whether layers, shapes and references fit together, not what a layer keeps. The layer is the
block in the middle of the forward pass, found by looking. Rows are added to a CSV file as they are made, and a model
with a row is not tried again, so that the table can be made a few models at a time.
"""

import multiprocessing
import re
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import torch
import typer
from torch import Tensor, nn

from cladec_companion.commands.shared import told
from cladec_companion.records.files import ROOT
from cladec_core import ClaDec, Explanation
from cladec_core.errors import RunError, UsageError
from cladec_core.explainer import taps

CLASSES, IMAGES = 10, 32
SIDE = 64  # of an image, where a model takes any size
TABLE = ROOT / "build" / "bench" / "architectures.csv"
COLUMNS = ("source", "model", "image", "layer", "code", "reference", "result", "seconds")

# Model -> what it is built with beside the number of classes; "side" is the size of the images.
TORCHVISION: dict[str, dict[str, Any]] = {
    "alexnet": {}, "convnext_tiny": {}, "convnext_small": {}, "densenet121": {}, "densenet169": {},
    "efficientnet_b0": {}, "efficientnet_b1": {}, "efficientnet_v2_s": {},
    "googlenet": {"init_weights": False, "aux_logits": False}, "inception_v3": {"init_weights": False, "side": 96},
    "mnasnet0_5": {}, "mnasnet1_0": {}, "mobilenet_v2": {}, "mobilenet_v3_small": {},
    "mobilenet_v3_large": {}, "regnet_x_400mf": {}, "regnet_y_400mf": {}, "regnet_y_800mf": {}, "resnet18": {},
    "resnet34": {}, "resnet50": {}, "resnext50_32x4d": {}, "wide_resnet50_2": {}, "shufflenet_v2_x0_5": {},
    "shufflenet_v2_x1_0": {}, "squeezenet1_0": {}, "squeezenet1_1": {}, "swin_t": {}, "swin_v2_t": {}, "vgg11": {},
    "vgg11_bn": {}, "vit_b_16": {"image_size": SIDE}, "vit_b_32": {"image_size": SIDE},
}  # fmt: skip
RESIZED = {"img_size": SIDE}
TIMM: dict[str, dict[str, Any]] = {
    "cait_xxs24_224": RESIZED, "coat_lite_tiny": RESIZED, "convnextv2_atto": {},
    "deit_tiny_distilled_patch16_224": RESIZED, "dla34": {}, "edgenext_xx_small": {},
    "ese_vovnet19b_dw": {}, "fastvit_t8": {},
    "focalnet_tiny_srf": {}, "ghostnet_100": {}, "gmlp_ti16_224": RESIZED, "hrnet_w18_small": {},
    "inception_next_atto": {}, "lcnet_050": {}, "legacy_seresnet18": {}, "legacy_seresnet34": {},
    "mixer_s32_224": RESIZED, "mobileone_s0": {}, "mobilevit_xxs": {}, "nf_resnet26": {}, "poolformer_s12": {},
    "pvt_v2_b0": {}, "repvgg_a0": {}, "resmlp_12_224": RESIZED, "resnetv2_18": {}, "rexnet_100": {}, "skresnet18": {},
    "starnet_s1": {}, "swin_tiny_patch4_window7_224": {"img_size": 56, "side": 56, "window_size": 7}, "tinynet_e": {},
    "tnt_s_patch16_224": RESIZED, "resnetv2_34": {},
    "vit_small_patch14_reg4_dinov2": {"img_size": 56, "side": 56}, "vit_tiny_patch16_224": RESIZED,
    "xcit_nano_12_p16_224": {},
}  # fmt: skip


def build(source: str, name: str) -> tuple[nn.Module, int]:
    """Build a classifier with random weights.

    Parameters
    ----------
    source, name
        "torchvision" or "timm", and the name there.

    Returns
    -------
    model
        In eval mode.
    side
        Of the images that it takes.
    """
    how = dict((TORCHVISION if source == "torchvision" else TIMM)[name])
    side = how.pop("side", SIDE)
    torch.manual_seed(0)
    if source == "torchvision":
        from torchvision import models

        return models.get_model(name, num_classes=CLASSES, **how).eval(), side
    import timm

    return timm.create_model(name, num_classes=CLASSES, **how).eval(), side


def middle(model: nn.Module, images: Tensor) -> str:
    """Name the block in the middle of the forward pass.

    Blocks are the outermost modules whose names end with a number (`layer1`, `blocks.3`), that run once and put out
    maps or tokens; where there are fewer than two, all modules but the model count.
    """
    seen: dict[str, list[Any]] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda module, given, output: seen.setdefault(name, []).append(output)

    with ExitStack() as stack, torch.no_grad():
        for name, part in model.named_modules():
            stack.callback(part.register_forward_hook(note(name)).remove)
        model(images)
    fit = [
        name
        for name, (output, *more) in seen.items()
        if name and not more and isinstance(output, Tensor) and output.ndim in (3, 4) and len(output) == len(images)
    ]
    numbered = [name for name in fit if name[-1].isdigit()]
    outermost = [name for name in numbered if not any(name.startswith(f"{other}.") for other in numbered)]
    chosen = outermost if len(outermost) > 1 else fit
    return chosen[len(chosen) // 2]


def attempt(source: str, name: str) -> dict[str, Any]:
    """Explain a layer of a model, and say how it went: a row of the table."""
    began, row = time.perf_counter(), dict.fromkeys(COLUMNS, "") | {"source": source, "model": name}
    try:
        model, side = build(source, name)
        images = torch.rand(IMAGES, 3, side, side, generator=torch.Generator().manual_seed(0))
        row |= {"image": f"{side}x{side}", "layer": middle(model, images[:2])}
        before = taps.fingerprint(model)
        explainer = ClaDec(model, str(row["layer"]), device="cpu")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            explainer.fit(images, epochs=1, progress=False)
        found = explainer.explain(images[:4])
        row["reference"] = explainer.references[str(row["layer"])]
        row["code"] = next(
            re.findall(r"\((.*?),", note)[0] for note in explainer.notes if note.startswith("Activations")
        )
        row["result"] = verdict(model, before, images[:4], found)
    except (UsageError, RunError) as error:
        row["result"] = f"refused: {error}"
    except Exception as error:  # what a table of failures is for
        row["result"] = f"FAILED: {type(error).__name__}: {error}".partition("\n")[0][:300]
    return row | {"seconds": round(time.perf_counter() - began, 1)}


def attempt_apart(source: str, name: str) -> dict[str, Any]:
    """Do `attempt` in a process of its own: a fault in a kernel may end it, as of FastViT's backward in torch 2.13."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        try:
            return pool.submit(attempt, source, name).result()
        except BrokenProcessPool:
            told = {"source": source, "model": name, "result": "FAILED: the process died"}
            return dict.fromkeys(COLUMNS, "") | told


def verdict(model: nn.Module, before: str, images: Tensor, found: Any) -> str:
    """Whether images, predictions and the model itself are what they should be."""
    assert isinstance(found, Explanation)
    made = (found.reconstruction, found.reference)
    with torch.no_grad():
        logits = model(images)
    chosen = logits.gather(1, found.prediction[:, None])[:, 0]
    # Two logits may be equal but for their last digits, which depend on the order of the sums.
    near = (logits.amax(1) - chosen) <= 1e-3 * logits.abs().amax()
    wrong = {
        "the model was changed": taps.fingerprint(model) != before,
        "shapes differ": any(part.shape != images.shape for part in made),
        "values are not finite": not all(bool(part.isfinite().all()) for part in made),
        "predictions differ": not bool(near.all()),
    }
    reasons = [reason for reason, holds in wrong.items() if holds]
    return "FAILED: " + ", ".join(reasons) if reasons else "works"


def wanted(match: str) -> Iterator[tuple[str, str]]:
    """Source and name of each model whose name has a pattern in it; timm's only where timm is installed."""
    sources = {"torchvision": TORCHVISION} | ({"timm": TIMM} if find_spec("timm") else {})
    for source, names in sources.items():
        yield from ((source, name) for name in names if re.search(match, f"{source}:{name}"))


@told
def main(
    match: Annotated[str, typer.Option(help="Pattern in source:name, such as 'timm:.*vit'.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Try at most so many now.")] = 1000,
    table: Annotated[Path, typer.Option(help="File to which rows are added.")] = TABLE,
) -> None:
    """Try to explain the middle block of each classifier, and print the table."""
    rows = pd.read_csv(table, dtype=str).to_dict("records") if table.exists() else []
    done = {(row["source"], row["model"]) for row in rows}
    waiting = [pair for pair in wanted(match) if pair not in done][:limit]
    if not find_spec("timm"):
        print("timm is not installed; only torchvision's models are tried.")
    table.parent.mkdir(parents=True, exist_ok=True)
    for source, name in waiting:
        rows.append(attempt_apart(source, name))
        pd.DataFrame(rows, columns=COLUMNS).to_csv(table, index=False)
        print(" | ".join(str(rows[-1][column]) for column in COLUMNS), flush=True)
    works = sum(row["result"] == "works" for row in rows)
    print(f"{works} of {len(rows)} work; {table}")


if __name__ == "__main__":
    typer.run(main)
