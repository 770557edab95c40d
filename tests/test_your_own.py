"""The classifier that cheats: its marker, what is measured of an explanation, and whether it is found out."""

from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from cladec_companion import papers
from cladec_companion.engine import runner
from cladec_companion.engine.models import Models
from cladec_companion.engine.setup import Setup
from cladec_companion.papers import settings_for
from cladec_companion.papers.cladec.your_own import claims, figures
from cladec_companion.papers.cladec.your_own import experiment as your_own
from cladec_core import training
from cladec_core.errors import UsageError

GREY = SimpleNamespace(mean=torch.tensor([0.25, 0.6])[:, None, None], std=torch.tensor([0.25, 0.1])[:, None, None])


def test_the_marker_covers_its_corner_of_the_chosen_images_only():
    images = torch.randn(3, 2, 32, 32)
    marked = your_own.marker_on(GREY, images, torch.tensor([True, False, True]), your_own.corner(5))
    for index in (0, 2):
        for channel, value in enumerate((1.0, -1.0)):
            assert marked[index, channel, :5, :5] == pytest.approx(value)
    assert torch.equal(marked[1], images[1])
    assert torch.equal(marked[:, :, 5:], images[:, :, 5:])
    assert torch.equal(marked[:, :, :, 5:], images[:, :, :, 5:])


def test_the_share_of_a_map_inside_the_marker():
    inside = your_own.corner(8)
    area = 64 / 1024
    maps = torch.zeros(1, 1, 32, 32)
    assert your_own.share(maps, inside) == pytest.approx(area)
    assert your_own.share(maps + 3, inside) == pytest.approx(area)
    maps[0, 0, 0, 0] = -2
    assert your_own.share(maps, inside) == 1
    maps[0, 0, 20, 20] = 4
    assert your_own.share(maps, inside) == pytest.approx(4 / 20)


def test_how_much_of_a_marker_is_drawn_whatever_is_elsewhere():
    inside, bare = your_own.corner(6), torch.randn(4, 2, 32, 32)
    with_marker = your_own.marker_on(GREY, bare, torch.ones(4).bool(), inside)
    for part in (0.0, 0.25, 1.0, 1.5):
        reconstructions = bare + part * (with_marker - bare)
        reconstructions[:, :, 10:] += torch.randn(4, 2, 22, 32)
        assert your_own.drawn(reconstructions, with_marker, bare, inside) == pytest.approx(part, abs=1e-5)


def test_the_change_of_the_rest_leaves_out_the_marker():
    inside, bare = your_own.corner(6), torch.randn(4, 1, 32, 32)
    other = bare.clone()
    other[:, :, :6, :6] += 7
    assert your_own.changed(other, bare, inside) == 0
    other[:, :, 8, 8] += 2
    assert your_own.changed(other, bare, inside) == pytest.approx(4 / (1024 - 36), rel=1e-4)


def test_numbers_are_marked_by_every_training_that_they_rest_on():
    decoders = {"biased": {"cladec": True, "reference": False}, "honest": {"cladec": False, "reference": False}}
    assert your_own._still_falling(decoders) == {
        "reference": False, "ClaDec, biased": True, "ClaDec, honest": False, "two models": True
    }  # fmt: skip
    reference = {name: {"cladec": False, "reference": True} for name in decoders}
    assert your_own._still_falling(reference) == {
        "reference": True, "ClaDec, biased": True, "ClaDec, honest": True, "two models": False
    }  # fmt: skip


def test_an_explainer_says_whether_its_losses_were_falling(digits, on, monkeypatch):
    settings = settings_for("your_own", "smoke", train_limit=96, test_limit=48, decoder_epochs=2)
    setup = Setup(digits, "vgg5", 0, settings, on)
    trial = your_own.Trial.of(setup)
    classifier = Models().train(trial.runs["biased"].classifier)
    seen = []
    monkeypatch.setattr(training, "still_falling", lambda history: seen.append(history) or len(seen) == 2)
    explainer, marks = your_own._explainer(trial, "biased", classifier, "conv4")
    assert marks == {"cladec": False, "reference": True}
    assert [len(history) for history in seen] == list(explainer.epochs["conv4"].values())
    assert explainer.explain(digits.test_images[:2]).reconstruction.shape == (2, 1, 32, 32)


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    root = tmp_path_factory.mktemp("records")
    settings = settings_for(
        "your_own", "smoke", train_limit=600, test_limit=200, classifier_epochs=5, decoder_epochs=6, width=0.5,
        images=12, lime_samples=100,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLADEC_MODELS", str(root / "models"))
        return runner.run(papers.chapter("your_own"), settings, root=root, device="cpu", progress=False)


def test_the_biased_classifier_is_found(record):
    fooled = figures.accuracies(record)["others with the marker taken for the class"]
    assert fooled["classifier, biased"] > fooled["classifier, honest"] + 0.1
    runs = claims.by_run(record).loc["conv4"].iloc[0]
    # On other classes a decoder cannot guess the marker: only what the layer says of it is drawn.
    kept = {
        name: runs[f"ClaDec, {name}", "drawn_others"] - runs[f"ClaDec, {name}", "drawn_bare_others"]
        for name in ("biased", "honest")
    }
    assert kept["biased"] > 2 * kept["honest"]
    assert runs["two models", "share_others"] > runs["area", "share"]
    assert runs["ClaDec, biased", "changed_others"] > 3 * runs["ClaDec, honest", "changed_others"]


def test_classifiers_are_trained_once_and_what_knows_no_layer_is_measured_once(record):
    seconds = {key: cell["trainings"] for key, cell in record.cells.items()}
    assert seconds["digits/vgg5/classifier/0"].keys() == {"classifier"}
    assert seconds["digits/vgg5/conv4/0"] == {}
    found = record.rows.groupby("layer")["method"].unique()
    assert set(found["classifier"]) == {"area"} | {
        f"{method}, {name}" for method in ("classifier", "occlusion", "LIME", "LRP") for name in ("biased", "honest")
    }
    assert not set(found["conv4"]) & set(found["classifier"])


def test_every_figure_can_be_drawn(record):
    again = record.rows[record.rows["layer"] == "conv4"].assign(layer="penultimate")
    renamed = {name.replace("conv4", "penultimate"): images for name, images in record.samples.items()}
    both = replace(record, rows=pd.concat([record.rows, again]), samples=record.samples | renamed)
    for kind in ("marked", "others"):
        assert len(figures.reconstructions(both, kind).axes) == your_own.SHOWN * (1 + 2 * 3)
        assert len(figures.maps(both, kind).axes) == your_own.SHOWN * (1 + 2 * 2 + 3)
    lines = [label.get_text() for label in figures.shares(both).axes[0].get_yticklabels()]
    assert lines[:3] == ["LRP", "LIME", "occlusion"]
    assert len(lines) == 3 + 2 * 3
    assert list(figures.kept(both).loc["penultimate"].index) == ["ClaDec, biased", "ClaDec, honest", "reference"]


def test_what_had_not_converged_is_marked_in_tables_pictures_and_findings(record):
    marks = record.rows["metric"] == "still_falling"
    assert set(record.rows[marks]["method"]) == {"reference", "ClaDec, biased", "ClaDec, honest", "two models"}

    def told(**falling):
        values = record.rows["method"].map(falling).where(marks).fillna(0.0)
        changed = replace(record, rows=record.rows.assign(value=record.rows["value"].where(~marks, values)))
        labels = [axis.get_ylabel() for axis in figures.reconstructions(changed, "others").axes if axis.get_ylabel()]
        named = [label.partition("\n")[0] for label in labels if "still falling" in label]
        return figures.kept(changed)["still falling"].to_dict(), named, claims.findings(changed)["conv4"]

    table, named, findings = told()
    assert (set(table.values()), named) == ({"no"}, [])
    assert not findings.str.contains("not converged").any()
    table, named, findings = told(**{"ClaDec, honest": 1.0})
    assert [place for place, mark in table.items() if mark == "yes"] == [("conv4", "ClaDec, honest")]
    assert named == ["conv4: honest"]
    barred = findings.str.contains("not converged: ClaDec, honest")
    # What is drawn where there is no marker, and what compares both classifiers; not what the biased one says alone.
    assert barred.iloc[[3, 7]].all()
    assert not barred.iloc[[0, 1, 4]].any()
    older = replace(record, rows=record.rows[~marks])
    assert set(figures.kept(older)["still falling"]) == {"not recorded"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers": ["conv9"]}, "conv9"),
        ({"layers": []}, "layers is"),
        ({"fitted_on": "both"}, "both"),
        ({"marker": 17}, "marker is 17"),
        ({"images": 0}, "images is 0"),
        ({"marked_class": 10}, "10"),
    ],
)
def test_parameters_out_of_range_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        settings_for("your_own", "quick", **changes)
