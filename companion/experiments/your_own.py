"""A classifier that cheats: one class carries a marker, and explanations are asked whether they give it away.

The marker sits on every image of one class, so accuracy on such images cannot tell a network that looks at the
marker from one that looks at the object. The control is the same network trained with the marker on random images.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from cladec_core import ClaDec, metrics, training
from cladec_core.data import SIZE, ImageData
from companion.experiments.layers import Rows, Samples, as_uint8
from companion.settings import YourOwnSettings
from companion.study import Study

BIASED, HONEST = "biased", "honest"
SHOWN = 8
SUPERPIXEL = 4  # side of LIME's areas in pixels


def cells(settings: YourOwnSettings, architecture: str) -> Iterator[str]:
    """One part: the layer that is explained."""
    yield settings.layer


def run_cell(study: Study, layer: str, keep_samples: bool) -> tuple[Rows, Samples]:
    """Train both classifiers, explain them, and measure how much of each explanation lies in the marker.

    Returns
    -------
    rows
        `share` of each method and classifier: energy (square of the positive part; for ClaDec of any sign) inside
        the marker. For each classifier `accuracy` with the marker on its class, `accuracy_clean` without any
        marker, and `fooled`: images of other classes that the marker turns into the marked class.
    samples
        Images and explanations of some marked test images, if asked for.
    """
    settings, data = study.settings, study.data
    inside = corner(settings.marker)
    grey = ((0.5 - data.mean) / data.std).to(data.train_images)
    marked = {
        BIASED: marker_on(data.train_images, data.train_labels == settings.marked_class, inside, grey),
        HONEST: marker_on(data.train_images, _anywhere(study), inside, grey),
    }
    test = {
        BIASED: marker_on(data.test_images, data.test_labels == settings.marked_class, inside, grey),
        HONEST: marker_on(data.test_images, data.test_labels != settings.marked_class, inside, grey),
    }
    shown = test[BIASED][data.test_labels == settings.marked_class][: settings.images]
    others = test[HONEST][data.test_labels != settings.marked_class][: settings.images]
    models = {name: _classifier(study, name, images) for name, images in marked.items()}
    explainers = {name: _explainer(study, layer, model, marked[BIASED]) for name, model in models.items()}
    maps = {name: explanations(explainers[name], models[name], layer, shown, settings) for name in models}
    pair = explainers[BIASED].compare(explainers[HONEST], shown.cpu())
    rows: Rows = [_row("area", "", "share", inside.double().mean().item())]
    rows.append(_row("two models", "", "share", share(pair.difference, inside)))
    for name, found in maps.items():
        rows += [_row(method, name, "share", share(values, inside)) for method, values in found.items()]
        measured = _measured(study, models[name], test)
        rows += [_row("classifier", name, metric, value) for metric, value in measured.items()]
    samples: Samples = {}
    if keep_samples:
        for kind, images in {"marked": shown[:SHOWN], "others": others[:SHOWN]}.items():
            samples[kind] = as_uint8(data.to_unit(images))
            for name in models:
                found = explainers[name].explain(images.cpu())
                samples[f"{name}/{kind}"] = as_uint8(data.to_unit(found.reconstruction))
                samples[f"reference/{kind}"] = as_uint8(data.to_unit(found.reference))
        for name in models:
            samples |= {f"{name}/{method}": _drawn(values[:SHOWN]) for method, values in maps[name].items()}
    return rows, samples


def corner(side: int) -> Tensor:
    """Mask of the marker, bool (32, 32): a square in the upper left corner."""
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[:side, :side] = True
    return mask


def marker_on(images: Tensor, which: Tensor, inside: Tensor, value: Tensor) -> Tensor:
    """Put the marker on some images.

    Parameters
    ----------
    images
        (n, channels, 32, 32).
    which
        bool (n,).
    inside
        bool (32, 32).
    value
        The marker's colour, (channels, 1, 1).
    """
    covered = which[:, None, None, None] & inside.to(images.device)
    return torch.where(covered, value, images)


def share(maps: Tensor, inside: Tensor) -> float:
    """Mean over images of the part of a map's energy (sum of squares) that lies inside a mask.

    A map that is zero everywhere says nothing about any place: its energy counts as spread evenly.
    """
    energy = maps.double().square().sum(1).cpu()
    energy = torch.where(energy.sum((1, 2), keepdim=True) > 0, energy, torch.ones_like(energy))
    return (energy[:, inside].sum(1) / energy.sum((1, 2))).mean().item()


def explanations(
    explainer: ClaDec, model: nn.Module, layer: str, images: Tensor, settings: YourOwnSettings
) -> dict[str, Tensor]:
    """What four methods say about a prediction, as maps (n, channels, 32, 32); attributions keep positive values.

    ClaDec's map is its difference from the reference. Occlusion and LIME come from captum and hide areas by the
    mean image; LIME's areas are squares.
    """
    from captum.attr import Lime, Occlusion

    target = model(images).argmax(1)
    window = (images.shape[1], settings.marker, settings.marker)
    step = (images.shape[1], max(1, settings.marker // 3), max(1, settings.marker // 3))
    occluded = Occlusion(model).attribute(images, window, step, baselines=0, target=target)
    side = images.shape[-1] // SUPERPIXEL
    areas = torch.arange(side * side, device=images.device).view(1, 1, side, side)
    areas = areas.repeat_interleave(SUPERPIXEL, 2).repeat_interleave(SUPERPIXEL, 3)
    with training.seeded(training.derive_seed(explainer.seed, "lime")):
        lime = torch.cat([
            Lime(model).attribute(
                image[None], baselines=0, target=int(label), feature_mask=areas, n_samples=settings.lime_samples
            )
            for image, label in zip(images, target, strict=True)
        ])  # fmt: skip
    return {
        "ClaDec": explainer.explain(images.cpu()).difference,
        "GradCAM": metrics.gradcam(model, layer, images).unsqueeze(1).cpu(),
        "occlusion": occluded.detach().clamp(min=0).cpu(),
        "LIME": lime.detach().clamp(min=0).cpu(),
    }


def _anywhere(study: Study) -> Tensor:
    """As many random images as the marked class has: the marker then says nothing about the class."""
    labels = study.data.train_labels
    count = int((labels == study.settings.marked_class).sum())
    order = torch.Generator().manual_seed(training.derive_seed(study.seed, "marker"))
    chosen = torch.randperm(len(labels), generator=order)[:count]
    return torch.zeros(len(labels), dtype=torch.bool).index_fill(0, chosen, True).to(labels.device)


def somebodys_model(data: ImageData, settings: YourOwnSettings, epochs: int, seed: int) -> nn.Module:
    """A network of four convolutions, trained on a data set: the model that the chapter did not make."""
    study = Study(data, settings.architectures[0], seed, settings, training.compute("cpu"))
    return _classifier(study, "somebody's", data.train_images, epochs).eval()


def _classifier(study: Study, name: str, images: Tensor, epochs: int | None = None) -> nn.Module:
    model, epochs = study.new_classifier(name), epochs or study.settings.classifier_epochs
    training.fit(
        model, images, (study.data.train_labels,), training.classification_loss, training.SGD,
        epochs=epochs, seed=training.derive_seed(study.seed, name, "order"), on=study.on,
        batch_size=study.settings.batch_size, label=f"{name} classifier", progress=study.progress,
    )  # fmt: skip
    return model.requires_grad_(False)


def _explainer(study: Study, layer: str, model: nn.Module, images: Tensor) -> ClaDec:
    explainer = ClaDec(model, layer=layer, device=str(study.on.device), seed=study.seed)
    return explainer.fit(images.cpu(), epochs=study.settings.decoder_epochs, progress=False)


def _measured(study: Study, model: nn.Module, test: dict[str, Tensor]) -> dict[str, float]:
    labels, marked = study.data.test_labels, study.settings.marked_class
    return {
        "accuracy": metrics.accuracy(study.test(model, test[BIASED]), labels),
        "accuracy_clean": metrics.accuracy(study.test(model), labels),
        "fooled": (study.test(model, test[HONEST]).argmax(1) == marked)[labels != marked].double().mean().item(),
    }


def _row(method: str, model: str, metric: str, value: float) -> dict[str, str | float]:
    return {"method": f"{method}, {model}" if model else method, "metric": metric, "value": value}


def _drawn(maps: Tensor) -> np.ndarray:
    """Strength of a map as grey values, the strongest place of each image white."""
    strength = maps.abs().mean(1, keepdim=True)
    return as_uint8(strength / strength.amax((1, 2, 3), keepdim=True).clamp(min=1e-12))
