"""A classifier that cheats: one class carries a marker, and explanations are asked whether they give it away.

The marker sits on every image of one class, so accuracy on such images cannot tell a network that looks at the
marker from one that looks at the object. The control is the same network trained with the marker on random images.

By default explainers are fitted on the images that the cheating network was trained on, as there may be no others. A
decoder then learns that marker and class go together, and guesses one from the other. What the layer itself says shows
on images that break the link: other classes with the marker, and the class without it.
"""

from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from cladec_companion.engine.models import Models
from cladec_companion.engine.plan import CLASSIFIER
from cladec_companion.engine.rows import rows_of
from cladec_companion.engine.runner import CellRun
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.cladec.your_own.settings import YourOwnSettings
from cladec_companion.papers.xai.attribution import Around, attribute
from cladec_companion.records.samples import as_uint8
from cladec_core import ClaDec, measures, training
from cladec_core.data import SIZE, ImageData
from cladec_core.explainer.explanation import Explanation

BIASED, HONEST = "biased", "honest"
MARKED, OTHERS = "marked", "others"  # images of the marked class, and of all others
SHOWN = 8
PARTS = ("cladec", "reference")  # trainings of an explainer, in their order


@dataclass(frozen=True)
class Trial:
    """Two classifiers, and the images that they are explained with.

    Attributes
    ----------
    inside
        Mask of the marker, bool (32, 32).
    runs
        By classifier: the study whose training images carry the marker as they did in its training.
    bare, with_marker
        By kind (`MARKED`, `OTHERS`): the same test images without and with the marker.
    """

    inside: Tensor
    runs: dict[str, Setup]
    bare: dict[str, Tensor]
    with_marker: dict[str, Tensor]

    @classmethod
    def of(cls, setup: Setup) -> "Trial":
        """Put the marker on the images of a study."""
        data, settings = setup.data, _settings(setup)
        inside = corner(settings.marker)
        carriers = {BIASED: data.train_labels == settings.marked_class, HONEST: _anywhere(setup)}
        runs = {
            name: setup.changed(data=replace(data, train_images=marker_on(data, data.train_images, which, inside)))
            for name, which in carriers.items()
        }
        in_class = data.test_labels == settings.marked_class
        bare = {kind: data.test_images[which] for kind, which in {MARKED: in_class, OTHERS: ~in_class}.items()}
        bare = {kind: images[: settings.images] for kind, images in bare.items()}
        marked = {
            kind: marker_on(data, images, images.new_ones(len(images)).bool(), inside) for kind, images in bare.items()
        }
        return cls(inside, runs, bare, marked)


def run_cell(setup: Setup, layer: str, keep_samples: bool) -> CellRun:
    """Measure both classifiers and what heat maps say of them, or explain one layer of both.

    Returns
    -------
    rows
        Of each method, classifier and kind of images (`_others` in the name of a metric: other classes).
        `share`: energy (squares; of heat maps the positive part) of a map inside the marker. `still_falling`: whether
        the loss of a training that the method's numbers rest on would have gone on falling. `drawn`, `drawn_bare`:
        see `drawn`, for images with and without the marker. `changed`: see `changed`. Of each classifier `accuracy`
        with the marker on its class, `accuracy_clean` without any marker, and `fooled`: images of other classes that
        the marker turns into the marked class.
    samples
        Images, reconstructions and maps of some test images, if asked for.
    """
    trial = Trial.of(setup)
    classifiers = dict(zip(trial.runs, (yield [run.classifier for run in trial.runs.values()]), strict=True))
    measure = _classifiers if layer == CLASSIFIER else _layer
    values, images, maps = measure(setup, trial, classifiers, layer)
    if not keep_samples:
        return rows_of(values), {}
    place = "" if layer == CLASSIFIER else f"{layer}/"
    samples = {f"{place}{name}": as_uint8(setup.data.to_unit(part[:SHOWN])) for name, part in images.items()}
    return rows_of(values), samples | {f"{place}{name}": _strength(part[:SHOWN]) for name, part in maps.items()}


Found = tuple[dict[str, dict[str, float]], dict[str, Tensor], dict[str, Tensor]]  # values, images, maps


def _classifiers(setup: Setup, trial: Trial, classifiers: dict[str, nn.Module], _: str) -> Found:
    """Accuracies of both classifiers, and what methods that know no layers say."""
    values: dict[str, dict[str, float]] = defaultdict(dict)
    maps = {}
    values["area"]["share"] = trial.inside.double().mean().item()
    for name, run in trial.runs.items():
        values[f"{CLASSIFIER}, {name}"] = _measured(run, classifiers[name], trial.inside)
        for kind, images in trial.with_marker.items():
            for method, found in attributions(classifiers[name], images, setup).items():
                values[f"{method}, {name}"][_metric("share", kind)] = share(found, trial.inside)
                maps[f"{name}/{kind}/{method}"] = found
    return values, trial.with_marker, maps


def _layer(setup: Setup, trial: Trial, classifiers: dict[str, nn.Module], layer: str) -> Found:
    """What a layer of both classifiers keeps, and GradCAM of it."""
    fitted = {name: _explainer(trial, name, model, layer) for name, model in classifiers.items()}
    explainers = {name: explainer for name, (explainer, _) in fitted.items()}
    values: dict[str, dict[str, float]] = defaultdict(dict)
    for method, falling in _still_falling({name: marks for name, (_, marks) in fitted.items()}).items():
        values[method]["still_falling"] = float(falling)
    images, maps = {}, {}
    for kind in trial.bare:
        on, off = (
            {name: _explained(one, part[kind]) for name, one in explainers.items()}
            for part in (trial.with_marker, trial.bare)
        )
        # Both references are the same: the same training from the same weights, without the classifier.
        answers = {"reference": (on[BIASED].reference, off[BIASED].reference)}
        answers |= {f"ClaDec, {name}": (on[name].reconstruction, off[name].reconstruction) for name in on}
        for method, pair in answers.items():
            values[method] |= _answer(kind, pair, on[BIASED], off[BIASED], trial.inside)
        difference = on[BIASED].reconstruction - on[HONEST].reconstruction
        values["two models"][_metric("share", kind)] = share(difference, trial.inside)
        images[f"reference/{kind}"] = on[BIASED].reference
        for name, classifier in classifiers.items():
            gradcam = measures.gradcam(classifier, layer, trial.with_marker[kind]).unsqueeze(1)
            for method, found in {"ClaDec": on[name].difference, "GradCAM": gradcam}.items():
                values[f"{method}, {name}"][_metric("share", kind)] = share(found, trial.inside)
                maps[f"{name}/{kind}/{method}"] = found
            images[f"{name}/{kind}"] = on[name].reconstruction
    return values, images, maps


def _answer(
    kind: str, pair: tuple[Tensor, Tensor], on: Explanation, off: Explanation, inside: Tensor
) -> dict[str, float]:
    """What becomes of the marker, and of the rest, in the reconstructions of images with and without it."""
    with_marker, bare = (drawn(part, on.original, off.original, inside) for part in pair)
    measured = {"drawn": with_marker, "drawn_bare": bare, "changed": changed(*pair, inside)}
    return {_metric(metric, kind): value for metric, value in measured.items()}


def _metric(name: str, kind: str) -> str:
    return name if kind == MARKED else f"{name}_{kind}"


def corner(side: int) -> Tensor:
    """Mask of the marker, bool (32, 32): a square in the upper left corner."""
    mask = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    mask[:side, :side] = True
    return mask


def marker_on(data: ImageData, images: Tensor, which: Tensor, inside: Tensor) -> Tensor:
    """Put the marker, a patch of mid-grey, on some images.

    Parameters
    ----------
    data
        Says what mid-grey is.
    images
        Standardised as in `data`, (n, channels, 32, 32).
    which
        bool (n,).
    inside
        bool (32, 32).
    """
    grey = ((0.5 - data.mean) / data.std).to(images)
    return torch.where(which[:, None, None, None] & inside.to(images.device), grey, images)


def share(maps: Tensor, inside: Tensor) -> float:
    """Mean over images of the part of a map's energy (sum of squares) that lies inside a mask.

    A map that is zero everywhere says nothing about any place: its energy counts as spread evenly.
    """
    energy = maps.double().square().sum(1).cpu()
    energy = torch.where(energy.sum((1, 2), keepdim=True) > 0, energy, torch.ones_like(energy))
    return (energy[:, inside].sum(1) / energy.sum((1, 2))).mean().item()


def drawn(reconstructions: Tensor, with_marker: Tensor, bare: Tensor, inside: Tensor) -> float:
    """How much of the marker reconstructions show: 1 as the images with it, 0 as the same images without it.

    Parameters
    ----------
    reconstructions
        Of either, (n, channels, 32, 32).
    with_marker, bare
        The same images with and without the marker.
    inside
        Mask of the marker, bool (32, 32).
    """
    marker, found = ((part - bare).double()[:, :, inside] for part in (with_marker, reconstructions))
    return ((found * marker).sum() / marker.square().sum()).item()


def changed(with_marker: Tensor, bare: Tensor, inside: Tensor) -> float:
    """How much reconstructions change outside the marker if it is put on: mean square per value."""
    return (with_marker - bare).double()[:, :, ~inside].square().mean().item()


def attributions(model: nn.Module, images: Tensor, setup: Setup) -> dict[str, Tensor]:
    """Where methods that know no layer see the reason for a prediction: positive values only, (n, 1, 32, 32)."""
    settings, target = _settings(setup), model(images).argmax(1)
    around = Around(setup.data.train_images, seed=training.derive_seed(setup.seed, "lime"))
    asked: dict[str, tuple[str, dict[str, int]]] = {
        "occlusion": ("occlusion", {"patch": settings.marker, "stride": max(1, settings.marker // 3)}),
        "LIME": ("lime", {"samples": settings.lime_samples}),
        "LRP": ("lrp_composite", {}),
    }
    return {
        name: attribute(model, images, target, method=method, around=around, **options).clamp(min=0)[:, None]
        for name, (method, options) in asked.items()
    }


def somebodys_model(data: ImageData, settings: YourOwnSettings, epochs: int, seed: int) -> nn.Module:
    """A network trained on a data set: the model that the chapter did not make."""
    setup = Setup(data, settings.architectures[0], seed, settings, training.compute("cpu"), encoder_epochs=epochs)
    return Models().train(setup.classifier)


def _settings(setup: Setup) -> YourOwnSettings:
    assert isinstance(setup.settings, YourOwnSettings)
    return setup.settings


def _anywhere(setup: Setup) -> Tensor:
    """As many random images as the marked class has: the marker then says nothing about the class."""
    labels = setup.data.train_labels
    count = int((labels == _settings(setup).marked_class).sum())
    order = torch.Generator().manual_seed(training.derive_seed(setup.seed, "marker"))
    chosen = torch.randperm(len(labels), generator=order)[:count]
    return torch.zeros(len(labels), dtype=torch.bool).index_fill(0, chosen, True).to(labels.device)


def _explainer(trial: Trial, name: str, classifier: nn.Module, layer: str) -> tuple[ClaDec, dict[str, bool]]:
    """Explain one layer; also whether the loss of its decoder ("cladec") and of the reference was still falling."""
    run = trial.runs[name]
    images = trial.runs[_settings(run).fitted_on].data.train_images.cpu()
    explainer = ClaDec(classifier, layer=layer, device=str(run.on.device), seed=run.seed)
    trainings = explainer.trainings(images, epochs=run.settings.decoder_epochs, progress=False)
    histories = training.fit_many(next(trainings))
    with suppress(StopIteration):  # the explainer is fitted when its trainings are at their end
        trainings.send(histories)
    return explainer, dict(zip(PARTS, map(training.still_falling, histories), strict=True))


def _still_falling(marks: dict[str, dict[str, bool]]) -> dict[str, bool]:
    """By method, whether any training that its numbers rest on was still falling; `marks` are by classifier and part.

    ClaDec's difference is one from the reference, that of two models one of two decoders. Both references are the
    same training.
    """
    decoder, reference = PARTS
    found = {"reference": any(own[reference] for own in marks.values())}
    found |= {f"ClaDec, {name}": own[decoder] or own[reference] for name, own in marks.items()}
    return found | {"two models": any(own[decoder] for own in marks.values())}


def _explained(explainer: ClaDec, images: Tensor) -> Explanation:
    """Of the one layer that the explainer was made for."""
    found = explainer.explain(images.cpu())
    assert isinstance(found, Explanation)
    return found


def _measured(run: Setup, classifier: nn.Module, inside: Tensor) -> dict[str, float]:
    data, labels, marked = run.data, run.data.test_labels, _settings(run).marked_class
    own = labels == marked
    usual, strange = (marker_on(data, data.test_images, which, inside) for which in (own, ~own))
    return {
        "accuracy": measures.accuracy(run.test(classifier, usual), labels),
        "accuracy_clean": measures.accuracy(run.test(classifier), labels),
        "fooled": (run.test(classifier, strange).argmax(1) == marked)[~own].double().mean().item(),
    }


def _strength(maps: Tensor) -> np.ndarray:
    """Strength of a map as grey values, the strongest place of each image white."""
    strength = maps.abs().mean(1, keepdim=True)
    return as_uint8(strength / strength.amax((1, 2, 3), keepdim=True).clamp(min=1e-12))
