"""Train small networks of every kind, and write all of their weights and losses to a file.

`same_trainings` runs this file with the code of one commit and of another; so it uses only what both have.
"""

import json
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cladec_companion.engine import code
from cladec_companion.engine.models import Models
from cladec_companion.engine.setup import Setup
from cladec_companion.records.settings import Settings, settings_for
from cladec_core import data, networks, training
from cladec_core.training import ADAM, SGD, Compute, History, Interrupted, Job

IMAGES, EPOCHS, BATCH, WIDTH = 32, 2, 8, 0.25
LAYERS = {  # of each classifier: a layer that is a map, and how decoders of it differ from the usual
    "vgg11": ("conv4a", "code"), "resnet10": ("block3", "code"), "vgg5": ("conv3", "table1"),
    "vgg11_maxpool": ("conv3", "code"),
}  # fmt: skip


def trained(on: Compute) -> Iterator[tuple[str, nn.Module, History]]:
    """Each training's name, network and losses."""
    digits = data.load("digits", train_limit=IMAGES, test_limit=IMAGES).to(on.device)
    for architecture, (layer, style) in LAYERS.items():
        how = {"classifier_epochs": EPOCHS, "decoder_epochs": EPOCHS, "batch_size": BATCH, "decoder_style": style}
        settings = settings_for(Settings, "smoke", width=WIDTH, **how)
        yield from of_setup(Setup(digits, architecture, 0, settings, on), layer)
    yield from of_loop(on, digits.train_images, digits.train_labels)


def of_setup(setup: Setup, layer: str) -> Iterator[tuple[str, nn.Module, History]]:
    """A classifier, what explains it, what judges that; a classifier without training, with BatchNorm's averages."""
    whole, untrained = setup.decoder("penultimate"), setup.changed(encoder_epochs=0)
    wanted = {
        "classifier": setup.classifier, "vector": whole, "map": setup.decoder(layer),
        "eq. 1": setup.decoder(layer, alpha=0.5), "subset": setup.decoder(layer, channels=(0, 2)),
        "reference": setup.reference(layer), "judge of images": setup.judge(None, "images"),
        "judge": setup.judge(whole, "ClaDec"), "untrained": untrained.decoder(layer),
        "sigmoid": setup.explained(sigmoid=True, mean_loss=True).decoder(layer),
    }  # fmt: skip
    models = Models()
    for name, one in wanted.items():
        network = models.train(one)
        yield f"{setup.architecture}, {name}", network, network.history  # type: ignore[misc]  # no part of it


def of_loop(on: Compute, images: Tensor, labels: Tensor) -> Iterator[tuple[str, nn.Module, History]]:
    """Trainings that are resumed, side by side, and of vectors with several targets."""

    def job(recipe: training.Recipe, seed: int = 0) -> Job:
        with training.seeded(seed):
            model = networks.classifier("vgg11", 1, 10, WIDTH)
        loss = training.classification_loss
        return Job(model, images, (labels,), loss, recipe, epochs=EPOCHS, seed=seed, on=on, batch_size=BATCH)

    for recipe in (SGD, ADAM):
        with tempfile.TemporaryDirectory() as folder:
            begun, asked = job(recipe), iter([False] * 5)
            try:
                training.fit(replace(begun, state=Path(folder) / "state", interrupt=lambda: next(asked, True)))  # noqa: B023
            except Interrupted:
                resumed = job(recipe)
                yield (
                    f"resumed, {recipe.optimiser}",
                    resumed.model,
                    training.fit(replace(resumed, state=Path(folder) / "state")),
                )
    several = [job(recipe, seed) for seed, recipe in enumerate((SGD, ADAM, SGD))]
    for place, history in enumerate(training.fit_many(several, branches=2)):
        yield f"side by side, {place}", several[place].model, history
    codes = images.flatten(1)[:, :64].contiguous()
    for recipe in (SGD, ADAM):
        with training.seeded(1):
            model = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 64))
        slow = replace(recipe, learning_rate=1e-3)
        both = Job(model, codes, (codes, labels), _loss_of_both, slow, epochs=EPOCHS, seed=1, on=on, batch_size=BATCH)
        yield f"vectors, {recipe.optimiser}", model, training.fit(both)


def _loss_of_both(output: Tensor, codes: Tensor, labels: Tensor) -> Tensor:
    return training.reconstruction_loss(output, codes) + training.classification_loss(output[:, :10], labels)


def main(path: str) -> None:
    """Write weights and losses to a file, and print with which code."""
    warnings.simplefilter("ignore")  # where bf16 goes wrong, both are trained in float32
    found: dict[str, Tensor] = {}
    on = training.compute()
    for dtype in {torch.float32, on.dtype}:
        for name, network, history in trained(replace(on, dtype=dtype)):
            for part, tensor in network.state_dict().items():
                found[f"{dtype}, {name}, {part}"] = tensor.cpu().clone(memory_format=torch.contiguous_format)
            found[f"{dtype}, {name}, losses"] = torch.tensor(history.steps, dtype=torch.float64)
    save_file(found, path)
    digest = getattr(code, "code_digest", code.training_code)()  # the first one is younger than some commits
    about = {"code": code.__file__, "digest": digest, "counts as": code.training_code(), "on": on.description}
    print(json.dumps(about))


if __name__ == "__main__":
    main(sys.argv[1])
