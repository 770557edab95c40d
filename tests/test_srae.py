"""A run of the chapter `srae` at `smoke`: its rows, its images, its figures."""

import numpy as np
import pytest
import torch

from cladec_companion import papers
from cladec_companion.engine import runner
from cladec_companion.papers import settings_for
from cladec_companion.papers.srae.concepts import claims, figures
from cladec_companion.papers.srae.domain import CHAINS, UNITS
from cladec_companion.papers.srae.excitation import contrastive_maps
from cladec_companion.papers.srae.explained import (
    FAITHFUL,
    Asked,
    chosen_terms,
    epochs_for,
    largest_share,
    locality_of_each,
    measured,
)
from cladec_companion.papers.srae.method import Embedding, Terms
from cladec_companion.papers.srae.network import LAYER, with_units
from cladec_companion.papers.srae.samples import SHOWN, averaged
from cladec_companion.papers.srae.scenes import Seen
from cladec_core import networks, training
from cladec_core.errors import UsageError
from tests.made_up import content

METHODS = {"SRAE", "NN", "SAE", "CAE", "Lasso", "SRAE, η = 0", "SRAE, β = 0"}


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("srae")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLADEC_MODELS", str(folder / "models"))
        settings = settings_for("srae", "smoke", steps=60)
        return runner.run(papers.CHAPTERS["srae"], settings, root=folder, device="cpu", progress=False)


def value(record, method, metric, features=2):
    rows = record.rows
    chosen = (rows["method"] == method) & (rows["metric"] == metric) & (rows["features"] == features)
    return float(rows[chosen]["value"].item())


def test_every_method_is_measured(record):
    rows = record.rows
    measured_of = rows[(rows["metric"] == "f_reg") & (rows["features"] == 2)]["method"]
    assert set(measured_of) == METHODS
    assert set(rows[rows["metric"] == "o1"]["method"]) == METHODS
    tile, gaps = 28 * 28 / 64**2, 1 - 4 * 28 * 28 / 64**2
    nowhere = -4 * tile * np.log(tile) - gaps * np.log(gaps)
    assert value(record, "chance", "locality", 0) == pytest.approx(nowhere)
    for method in ("logit", "Z"):
        assert 0 < value(record, method, "locality", 0) < np.log(5)
    assert value(record, "SRAE", "f_reg", 1) != value(record, "SRAE", "f_reg", 2)  # of an embedding of its own
    assert {"beta", "eta", "q", "beta of SAE"} == set(rows[rows["method"] == "chosen"]["metric"])
    areas = [value(record, "x-features", f"area_{gamma}", 0) for gamma in (1, 5, 10, 30)]
    assert areas == sorted(areas, reverse=True)
    assert areas[0] > areas[3]
    for gamma, area in zip((1, 5, 10, 30), areas, strict=True):
        assert value(record, "logit, equal area", f"area_{gamma}", 0) == pytest.approx(area)
    losses = rows[rows["metric"] == "loss"]["method"]
    assert set(losses) == {f"ClaDec of {name}" for name in ("x-features", "random", "principal", "Z")}


def test_lasso_takes_no_more_units_than_it_may(record):
    rows = record.rows[record.rows["metric"] == "number of units"]
    assert (rows["value"].astype(float) <= rows["features"]).all()
    assert rows.sort_values("features")["value"].astype(float).is_monotonic_increasing
    assert rows["features"].max() == UNITS
    target = figures.Target.of(record)
    assert target["maps/Lasso"].shape == target["maps/SRAE"].shape


def test_images_are_kept_with_their_maps(record):
    target = figures.Target.of(record)
    assert target.number == 0
    assert target["original"].shape == (SHOWN, 1, 64, 64)
    assert target["maps/SRAE"].shape == (SHOWN, 2, 64, 64)
    assert target["maps/logit"].shape == (SHOWN, 1, 64, 64)
    assert target["removed"].shape == (SHOWN, 3, 1, 64, 64)
    assert target["decoded"].shape == (2, 3, 1, 32, 32)
    assert target["crops"].shape[2:] == (1, 28, 28)
    contributions, intercept = target["contributions/SRAE"], target["intercept"]
    assert contributions.shape == (SHOWN, 2)
    assert np.isfinite(contributions.sum(1) + intercept).all()


def test_figures_are_drawn(record):
    sources = {"published": claims.printed(), "this run": claims.evidence(record)}
    for figure in (
        figures.contributions(record),
        figures.maps(record),
        figures.meanings(record),
        figures.places(sources),
    ):
        assert figure.axes
    table = figures.ranks(sources, claims.TABLE)
    assert table.loc[("F_reg, test", "CUB", "published"), "NN"] == "1. 0.130"
    assert table.loc[("F_cls, test", "CUB", "published"), "NN"].startswith("1.")
    assert table.loc[("locality", "Places", "published"), "logit"].startswith("3.")
    masks = figures.masking(sources)
    assert masks.loc[("CUB", "published", "logit"), "γ = 30 %"] == "0.183"
    assert masks.loc[("Digits", "this run", "logit, equal area"), "γ = 1 %"].endswith("%)")
    alone = masks.loc[("Digits", "this run", "nothing: one class")]
    explained = set(record.rows["target"].astype(int)) - {-1}
    assert set(alone) == {f"{1 / len(explained):.3f}"}
    path = figures.lasso_path(sources)
    assert path.loc[("CUB", "published", "232"), "F_reg"] == 1.03
    assert ("CUB", "published", "SRAE, 5 x-features") in path.index
    assert ("Digits", "this run", "SRAE, 2 x-features") in path.index


def test_images_are_of_the_class_whether_the_classifier_gets_them_right_or_not():
    data = type("D", (), {"test_labels": torch.tensor([3, 1, 3, 3, 0])})()
    scenes = type("S", (), {"setup": type("Setup", (), {"data": data})()})()
    logits = 5 * torch.eye(4)[[3, 1, 0, 3, 0]]  # the third is taken for another class
    seen = Seen(scenes, None, {}, {"test": logits})
    assert seen.positives(3, 2).tolist() == [0, 2]
    assert seen.positives(3, 9).tolist() == [0, 2, 3]


def test_rows_of_maps_that_are_of_no_x_features_say_so(record):
    labels = [axis.get_ylabel() for axis in figures.maps(record).axes if axis.get_ylabel()]
    assert labels == ["SRAE", "NN", "SAE", "CAE", "Lasso (units)", "logit (one map)"]


def test_at_most_a_quarter_of_the_images_are_averaged():
    """Of the whole class the mean would be the same for every x-feature."""
    counts = [averaged(Asked(None, 0, torch.arange(images))) for images in (2, 8, 36, 400)]
    assert counts == [1, 2, 9, 24]


def test_an_x_feature_is_removed(record):
    target = figures.Target.of(record)
    data, shown = content(figures.interactive(record))
    assert [len(control["values"]) for control in data["controls"]] == [SHOWN, 3]
    values, intercept = target["contributions/SRAE"], float(target["intercept"][0])
    assert f"say {values[1].sum() + intercept:.1f};" in data["notes"][3]
    assert f"say {values[1, 1] + intercept:.1f};" in data["notes"][4]
    panes = [pane["name"] for pane in data["panes"]]
    assert panes == ["X", "what remains", "removed"]
    assert shown(0, 0, 0).shape == (64, 64, 3)
    assert (shown(2, 0, 0) == 255).all()  # nothing is removed
    assert (shown(2, 0, 1) < 255).any()


def test_a_map_without_mass_is_left_out_alone():
    """Maps of the same image that have mass are measured all the same."""
    maps, masks = torch.rand(5, 2, 4, 4), torch.rand(5, 3, 4, 4)
    maps[4, 1] = 0
    found = measured(maps, masks)
    assert found["without_mass"] == pytest.approx(0.1)
    assert found["locality"] == pytest.approx(
        (locality_of_each(maps[:, [0]], masks) + locality_of_each(maps[:4, [1]], masks[:4])) / 2
    )
    assert found["o1"] > 0


def test_one_that_carries_everything_has_a_share_of_1():
    assert largest_share(torch.tensor([[3.0, 0, -2], [1, 0, 0]])) == 1
    assert largest_share(torch.tensor([[3.0, 1, -2], [0, 0, -1]])) == 0.75  # the second image has no positive one
    assert np.isnan(largest_share(torch.zeros(2, 3)))


def test_a_constant_in_an_x_feature_does_not_change_what_is_carried():
    """It goes into the intercept; neither what is predicted nor what is carried may depend on it."""
    with training.seeded(0):
        codes, embedding = torch.rand(40, 24), Embedding(24, 3).requires_grad_(False)
    examples = type("E", (), {"codes": codes[:20], "positive": torch.arange(20) < 5})()
    seen = type("Seen", (), {"codes": {"test": codes[20:]}, "examples": lambda self, target: examples})()
    asked = Asked(seen, 0, torch.arange(10))
    before = asked.carried(embedding)
    embedding.to_features.bias[1] += 100
    assert asked.carried(embedding) == pytest.approx(before, rel=1e-3)
    assert 1 / 3 < before < 1


def test_an_x_feature_without_any_map_is_never_a_good_one():
    """It has no place, and nobody knows what it would be correlated with."""
    maps, masks = torch.zeros(5, 2, 4, 4), torch.zeros(5, 2, 4, 4)
    masks[:, 0, :2], masks[:, 1, 2:] = 1, 1
    maps[:, 0, :2] = 1
    found = measured(maps, masks)
    assert found["locality"] == pytest.approx(np.log(2) / 2)  # 0 of one, and chance of the other
    assert found["split"] == 0.5
    assert np.isnan(found["o1"])
    assert np.isnan(found["o2"])


def test_weights_are_chosen_among_the_faithful_by_the_pull_away_term(monkeypatch):
    from cladec_companion.papers.srae import explained

    # β stands for the error that a fit will have, η for its pull-away term.
    class Fitted:
        def __init__(self, terms):
            self.terms = terms

        def predicted(self, codes):
            return torch.full((len(codes),), self.terms.beta)

        def features(self, codes):
            return torch.tensor([[1.0, self.terms.eta], [0.0, 1.0]])

    monkeypatch.setattr(explained, "fit_embedding", lambda evidence, n, terms, **_: Fitted(terms))
    evidence = type("E", (), {"codes": torch.zeros(8, 3), "logits": torch.zeros(8)})()
    evidence.part = lambda which: evidence
    setup = type("S", (), {"on": None, "seed": 0})()
    seen = type("Seen", (), {"scenes": type("C", (), {"setup": setup})(), "fitted_on": lambda self, target: evidence})()
    grid = [Terms(1.0, 0.5), Terms(1.2, 0.1), Terms(FAITHFUL + 0.1, 0.0)]
    assert chosen_terms(Asked(seen, 0, torch.arange(2)), 2, grid, 10) == Terms(1.2, 0.1)


def test_epochs_make_about_so_many_steps():
    assert epochs_for(500, 10_000) == 56  # nine batches of 1,024
    assert epochs_for(500, 300) == 500
    assert epochs_for(1, 10_000) == 1


def test_the_classifier_has_two_fully_connected_layers():
    model = with_units("vgg5", 1, 10, 0.5)
    assert model.layers[-4:] == ("penultimate", LAYER, "between", "logits")
    assert networks.activation_shape(model.up_to(LAYER), (1, 64, 64)) == (UNITS,)
    assert model(torch.rand(2, 1, 64, 64)).shape == (2, 10)


@pytest.mark.parametrize("architecture", CHAINS)
def test_winning_probabilities_sum_to_one_in_each_classifier(architecture):
    """Through a residual block they sum to about 15, which is why it is refused."""
    with training.seeded(0):
        model = with_units(architecture, 1, 10, 0.25)
        images = torch.rand(64, 1, 64, 64)
        model.train()(images)  # statistics of BatchNorm
        found = contrastive_maps(model.up_to(LAYER), torch.rand(2, UNITS), images[:3] + 0.1, contrast=False)
    assert found.sum((2, 3)).numpy() == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"datasets": ["cifar100"]}, "dataset with known parts"),
        ({"architectures": ["resnet10"]}, "architectures is 'resnet10'; valid: vgg5, vgg11, vgg11_maxpool"),
        ({"architectures": ["vgg12"]}, "architectures is 'vgg12'; valid: vgg5"),
        ({"targets": [10]}, "targets is 10; valid: from 0 to 9"),
        ({"features": 0}, "features is 0"),
        ({"features": 200}, "features is 200"),
        ({"betas": [-1.0]}, "betas is -1"),
        ({"penalties": [0.0]}, "penalties is 0"),
    ],
)
def test_wrong_parameters_are_refused(changes, told):
    with pytest.raises(UsageError, match=told):
        settings_for("srae", "smoke", **changes)


def test_garments_are_explained_like_mosaics(tmp_path, monkeypatch):
    """On made-up garments: Fashion-MNIST cannot be had in a test."""
    from dataclasses import replace

    from cladec_core import data

    digits = data.load("digits", train_limit=160, test_limit=80)
    classes = data.DATASETS["fashion_mnist"].classes
    monkeypatch.setattr(runner, "_data", lambda *_: replace(digits, name="fashion_mnist", classes=classes))
    monkeypatch.setenv("CLADEC_MODELS", str(tmp_path / "models"))
    settings = settings_for("srae", "smoke", datasets=["fashion_mnist"], targets=[8])
    found = runner.run(papers.CHAPTERS["srae"], settings, root=tmp_path, device="cpu", progress=False)
    assert value(found, "chance", "locality", 0) <= np.log(5) + 1e-6  # four key points and the context
    assert "split" not in set(found.rows["metric"])  # which two key points would be the evidence?
    assert "Bag" in figures.Target.of(found).title
