"""Makes a study: image pairs, who sees which of them, and one form that works offline in a browser."""

import base64
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cladec_companion.engine.models import Models
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.cladec.layer_parameters import LayeredSettings
from cladec_companion.papers.cladec.user_study.settings import UserStudySettings
from cladec_companion.records.files import model_cache
from cladec_companion.records.samples import as_uint8
from cladec_companion.records.settings import settings_for
from cladec_core import data, measures, training
from cladec_core.errors import RunError, UsageError

SCHEMA = 1
# The second-to-last layer of section 6.7 is the last convolution. These are its 512 values as a vector, whose decoder
# and RefAE the chapter `layers` trains as well.
ARCHITECTURE, LAYER = "vgg11", "penultimate"
SCALE = 8
FORM, CODEBOOK = (Path(__file__).with_name(name) for name in ("form.html", "codebook.csv"))
CAPTIONS = {"original": "Original", "cladec": "Seen through the classifier", "refae": "Copied by a similar program"}
# Table 9's questions; its ages skip 25-34 (I21). An unanswered question is empty.
QUESTIONS: dict[str, dict[str, Any]] = {
    "gender": {"text": "Your gender", "options": ["female", "male", "another", "prefer not to say"]},
    "age": {"text": "Your age", "options": ["18-24", "25-34", "35-44", "45-54", "55 or older", "prefer not to say"]},
    "education": {
        "text": "Your highest education so far",
        "options": ["high school", "some college", "four-year degree", "other", "prefer not to say"],
    },
    "knows_deep_learning": {"text": "Do you know what deep learning is?", "options": ["yes", "no"]},
    "knows_cnn": {"text": "Do you know what a convolutional neural network (CNN) is?", "options": ["yes", "no"]},
}


def assign(images: int, participants: int, pairs: int, seed: int) -> list[list[int]]:
    """Deal images to participants at random, each image equally often within one (section 6.7).

    Each participant in turn gets those images that were dealt least often so far, ties in random order. So the numbers
    of any two images never differ by more than one, also if only the first few participants take part.

    Returns
    -------
    list
        Per participant the numbers of `pairs` different images, in the order in which they are shown.
    """
    rng = np.random.default_rng(training.derive_seed(seed, "user study", "assignment"))
    dealt = np.zeros(images, dtype=int)
    assignment = []
    for _ in range(participants):
        order = rng.permutation(images)
        chosen = order[np.argsort(dealt[order], kind="stable")[:pairs]]
        dealt[chosen] += 1
        assignment.append(rng.permutation(chosen).tolist())
    return assignment


def choose(labels: np.ndarray, classes: int, images: int, seed: int) -> np.ndarray:
    """Draw test images, the same number of each class, right or wrong as they come, in random order.

    Raises
    ------
    UsageError
        If the number is no multiple of the number of classes, or a class has too few images.
    """
    each, rest = divmod(images, classes)
    if rest:
        raise UsageError(f"images is {images}; valid: a multiple of the {classes} classes.")
    counts = np.bincount(labels, minlength=classes)
    if counts.min() < each:
        raise UsageError(f"images is {images}; valid: up to {classes * counts.min()}, as the smallest class allows.")
    rng = np.random.default_rng(training.derive_seed(seed, "user study", "images"))
    drawn = [rng.choice(np.flatnonzero(labels == label), each, replace=False) for label in range(classes)]
    return rng.permutation(np.concatenate(drawn))


def export(
    settings: UserStudySettings, out: Path, *, dataset: str | None = None, reference: bool = False,
    data_dir: Path | None = None, device: str = "auto", progress: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Make the folder of a study: `form.html`, `manifest.json`, `codebook.csv` and `images/`.

    Parameters
    ----------
    settings
        Whose profile decides how the networks are trained; those that `layers` has trained are taken from the cache.
    out
        A folder that does not exist yet. It is there only when all of it is.
    dataset
        The default is the profile's first.
    reference
        Show the RefAE's image, too: the further arm that section 7 suggests. It is exported in any case.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    UsageError, RunError
        If the folder exists, a value cannot be used, or data are missing.
    """
    datasets = [dataset] if dataset else None
    trained = settings_for(
        LayeredSettings, settings.profile, datasets=datasets, architectures=[ARCHITECTURE], layers=[LAYER],
        seeds=[settings.seed],
    )  # fmt: skip
    with new_folder(out) as folder:
        images = data.load(
            trained.datasets[0], data_dir, resize=trained.resize, train_limit=trained.train_limit,
            test_limit=trained.test_limit,
        )  # fmt: skip
        labels = images.test_labels.numpy()
        chosen = choose(labels, len(images.classes), settings.images, settings.seed)
        on = training.compute(device)
        setup = Setup(images.to(on.device), ARCHITECTURE, settings.seed, trained, on)
        made, pairs = _explain(setup, Models(model_cache(), progress), torch.from_numpy(chosen).to(on.device))
        manifest = {
            "schema": SCHEMA, "profile": settings.profile, "dataset": images.name, "seed": settings.seed,
            "architecture": ARCHITECTURE, "layer": LAYER, "configuration": trained.configuration(),
            "device": on.description, "torch": torch.__version__, "reference": reference, "pairs": pairs,
            "assignment": assign(settings.images, settings.participants, settings.pairs, settings.seed),
        }  # fmt: skip
        manifest["study"] = hashlib.sha256(json.dumps(manifest).encode()).hexdigest()[:12]
        _write(folder, manifest, made)
    return manifest


def _explain(setup: Setup, models: Models, chosen: Tensor) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]]:
    """Images as uint8 by kind, and what the manifest says about each: losses are raw sums over grey values (Eq. 1)."""
    images = setup.data
    shown = images.test_images[chosen]
    wanted = {"cladec": setup.decoder(LAYER), "refae": setup.reference(LAYER)}
    made = {"original": shown} | {kind: setup.test(models.train(one), shown) for kind, one in wanted.items()}
    predicted = setup.test(models.train(setup.classifier), shown).argmax(1).tolist()
    labels = images.test_labels[chosen].tolist()
    pairs = []
    for pair, index in enumerate(chosen.tolist()):
        names = {"label": images.classes[labels[pair]], "prediction": images.classes[predicted[pair]]}
        one = slice(pair, pair + 1)
        measured = {
            kind: measures.reconstruction_losses(shown[one], made[kind][one], images.std)
            for kind in ("cladec", "refae")
        }
        losses = {f"loss_{kind}": round(values["loss_raw_sum"], 4) for kind, values in measured.items()}
        files = {kind: f"images/{pair:03}-{kind}.png" for kind in made}
        pairs.append({"id": pair, "index": index, **names, **losses, **files})
    return {kind: as_uint8(images.to_unit(batch)) for kind, batch in made.items()}, pairs


def _write(folder: Path, manifest: dict[str, Any], images: dict[str, np.ndarray]) -> None:
    (folder / "images").mkdir()
    pictures = []
    for pair in manifest["pairs"]:
        pictures.append({kind: png(batch[pair["id"]]) for kind, batch in images.items()})
        for kind, content in pictures[-1].items():
            (folder / pair[kind]).write_bytes(content)
    (folder / "form.html").write_text(form(manifest, pictures), encoding="utf-8")
    (folder / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    shutil.copy(CODEBOOK, folder)


def png(image: np.ndarray) -> bytes:
    """A uint8 image (channels, side, side) as PNG, each pixel drawn as a square; grey values as ink on paper."""
    pixels = 255 - image[0] if len(image) == 1 else image.transpose(1, 2, 0)
    size = [SCALE * side for side in image.shape[:0:-1]]
    file = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.NEAREST).save(file, "PNG")
    return file.getvalue()


def form(manifest: dict[str, Any], pictures: list[dict[str, bytes]]) -> str:
    """The form as one page with all it needs inside, and without labels or predictions.

    Parameters
    ----------
    manifest
        Of which `study`, `assignment` and `reference` are used.
    pictures
        PNG files by kind, for each pair.
    """
    kinds = ["original", "cladec", *(["refae"] if manifest["reference"] else [])]
    content = {
        "study": manifest["study"],
        "assignment": manifest["assignment"],
        "questions": QUESTIONS,
        "captions": [CAPTIONS[kind] for kind in kinds],
        "pictures": [[base64.b64encode(each[kind]).decode() for kind in kinds] for each in pictures],
    }
    return FORM.read_text(encoding="utf-8").replace("@STUDY@", json.dumps(content).replace("<", "\\u003c"))


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of an exported study.

    Raises
    ------
    UsageError
        If the folder is not one, or its manifest is damaged.
    """
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        usable = manifest["schema"] == SCHEMA and manifest["study"] and manifest["assignment"] and manifest["pairs"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} cannot be read as the manifest of a study ({type(error).__name__}: {error}); "
            f"valid: a folder made by `cladec study export`."
        ) from error
    if not usable:
        raise UsageError(f"{path} has schema {manifest['schema']!r} or lacks its pairs; valid: schema {SCHEMA}.")
    return manifest


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside `out` that becomes `out` if nothing fails, and vanishes if something does.

    Raises
    ------
    UsageError
        If `out` exists.
    RunError
        If it cannot be written.
    """
    out = out.absolute()
    if out.exists():
        raise UsageError(f"{out} exists; valid: a folder that does not exist yet.")
    temporary = out.with_name(f".{out.name}.{os.getpid()}.new")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        temporary.rename(out)
    except OSError as error:
        raise RunError(f"Cannot write {error.filename or out}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
