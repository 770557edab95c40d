"""A few numbers that say why: SRAE and everything it is compared with, on images whose parts are known."""

from itertools import product
from typing import Any

import torch
from torch import Tensor

from cladec_companion.engine.plan import CLASSIFIER
from cladec_companion.engine.rows import rows_of
from cladec_companion.engine.runner import CellRun, Rows
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.srae import decoding
from cladec_companion.papers.srae.baselines import (
    CONSTANT,
    LASSO,
    SRAE,
    constant,
    lasso_path,
    strongest_units,
    variants,
    with_units,
)
from cladec_companion.papers.srae.concepts.settings import Part, SraeSettings
from cladec_companion.papers.srae.domain import UNITS
from cladec_companion.papers.srae.explained import (
    Asked,
    Values,
    chance_of,
    chosen_terms,
    locality_of_each,
    masking,
)
from cladec_companion.papers.srae.method import Embedding, Terms, check_target
from cladec_companion.papers.srae.network import LAYER, UnitsTraining
from cladec_companion.papers.srae.samples import kept_samples
from cladec_companion.papers.srae.scenes import Seen, scenes_of
from cladec_core import measures, training

LASSO_SIZES = (5, 10, 20, 40, 80)  # of the path, at most so many units
NUMBER = "number of units"
CHOOSING = 3  # an embedding that only helps to choose β, η and q has a third of the steps
MAP_UNITS = 32  # single units of Z, at most, whose maps are measured


def run_cell(setup: Setup, part: Part, keep_samples: bool) -> CellRun:
    """Explain one logit by every method, and measure each.

    Returns
    -------
    rows
        {"layer", "target", "features", "method", "metric", "value"}; target -1 and 0 features are none. Of each method
        `f_reg`, `f_cls`, `f_cls_own`, `f_cls_others` (and `_train`), `o1`, `o2`, `locality`, `split`, `carried`,
        `pull_away`, `without_mass`: see `explained`. "Lasso" with k features is the selection of at most k units,
        `number of units` how many these are; its maps are those of the k largest contributions of the first selection
        that has so many units. "constant": the mean logit for every example. `masked_5` is the accuracy where γ is 5 %,
        `area_5` the share of pixels shown. Method "chosen": β, η and q of SRAE, and β of SAE. Methods that begin with
        "ClaDec": `loss` of its decoder, the mean squared error of grey values.
    samples
        Some images of the target with maps and contributions, and what each x-feature stands for.
    """
    settings = setup.settings
    assert isinstance(settings, SraeSettings)
    scenes = scenes_of(setup)
    (classifier,) = yield [UnitsTraining(scenes.setup)]
    seen = Seen.of(scenes, classifier)
    if part.target is None:
        return _classifier(seen), {}
    check_target(part.target, len(scenes.setup.data.classes))
    asked = Asked(seen, part.target, seen.positives(part.target, settings.map_images))
    rows: Rows = []

    def note(method: str, values: Values, features: int = 0) -> None:
        rows.extend(_rows(method, values, features, asked.target))

    n = settings.features
    choosing = max(1, settings.steps // CHOOSING)
    terms = chosen_terms(asked, n, _grid(settings), choosing)
    plain = chosen_terms(asked, n, [Terms(beta, 0, None) for beta in settings.betas], choosing)
    note("chosen", {"beta": terms.beta, "eta": terms.eta, "q": terms.q or 0.0, "beta of SAE": plain.beta})
    embeddings, maps = _embeddings(asked, variants(terms, plain), settings, note)
    maps |= _lasso(asked, n, note)
    note(CONSTANT, asked.faithfulness(constant(seen.fitted_on(asked.target))))
    maps["logit"] = asked.maps_of_logit()
    note("logit", asked.measured(maps["logit"]))
    units = _some_units(seen, MAP_UNITS)
    note("Z", {"locality": locality_of_each(asked.maps_of_units(units), asked.masks)})
    note("chance", {"locality": chance_of(asked)})
    for method, values in masking(asked, {"x-features": maps[SRAE], "logit": maps["logit"]}, "mean").items():
        note(method, values)
    losses, pictures = decoding.beside(asked, embeddings[SRAE])
    for method, loss in losses.items():
        note(method, {"loss": loss}, n)
    return rows, kept_samples(asked, embeddings, maps, pictures) if keep_samples else {}


def _grid(settings: SraeSettings) -> list[Terms]:
    return [Terms(*chosen) for chosen in product(settings.betas, settings.etas, settings.penalties)]


def _rows(method: str, values: Values, features: int, target: int) -> Rows:
    return rows_of({method: values}, layer=LAYER, target=target, features=features)


def _classifier(seen: Seen) -> Rows:
    """Accuracy of the classifier: below 0.95 the comparison means little."""
    data = seen.scenes.setup.data
    values = {
        "accuracy": measures.accuracy(seen.logits["test"], data.test_labels),
        "test_images": float(len(data.test_labels)),
        "varying_units": float(len(_some_units(seen, UNITS))),
    }
    return _rows(CLASSIFIER, values, 0, -1)


def _embeddings(
    asked: Asked, losses: dict[str, Terms], settings: SraeSettings, note: Any
) -> tuple[dict[str, Embedding], dict[str, Tensor]]:
    """Every kind of embedding with n x-features, and SRAE with other numbers of them."""
    embeddings, maps = {}, {}
    wanted = [(name, settings.features, loss) for name, loss in losses.items()]
    wanted += [(SRAE, n, losses[SRAE]) for n in settings.other_features if n != settings.features]
    for name, n, loss in wanted:
        embedding = asked.fit(n, loss, settings.steps)
        found = asked.maps_of(embedding)
        ours = {"carried": asked.carried(embedding), "pull_away": asked.apart(embedding)}
        note(name, asked.faithfulness(embedding) | asked.measured(found) | ours, n)
        if n == settings.features:
            embeddings[name], maps[name] = embedding, found
    return embeddings, maps


def _lasso(asked: Asked, n: int, note: Any) -> dict[str, Tensor]:
    """How faithful Lasso is by the number of its units, up to the smallest penalty, and the maps of n of them."""
    path = lasso_path(asked.seen.fitted_on(asked.target))
    selections = {count: with_units(path, count) for count in (n, *LASSO_SIZES)} | {UNITS: path[-1]}
    for count, selection in selections.items():
        note(LASSO, asked.faithfulness(selection) | {NUMBER: float(len(selection.units))}, count)
    units = strongest_units(path, n)
    if not units:
        note(LASSO, dict.fromkeys(("o1", "o2", "locality"), float("nan")), n)
        return {}
    maps = asked.maps_of_units(list(units))
    note(LASSO, asked.measured(maps), n)
    return {LASSO: maps}


def _some_units(seen: Seen, count: int) -> list[int]:
    """So many of the units of Z that vary over the training images, drawn at random; all where there are no more."""
    varying = torch.nonzero(seen.codes["train"].std(0) > 0)[:, 0]
    seed = training.derive_seed(seen.scenes.setup.seed, "single units")
    order = torch.randperm(len(varying), generator=torch.Generator().manual_seed(seed))[:count]
    return sorted(varying.cpu()[order].tolist())
