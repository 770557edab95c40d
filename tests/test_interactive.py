"""Figures with controls, the pictures of single explanations, and what the book says about its chapters."""

import base64
import json
import re
import tomllib
from dataclasses import replace

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image
from scipy.ndimage import uniform_filter

from cladec_companion.book import build as book
from cladec_companion.book import heads as chapters
from cladec_companion.book import pdf as printing
from cladec_companion.evidence.explorer import Control, explorer
from cladec_companion.evidence.style import apart, signed_difference, unit
from cladec_companion.papers.cladec import cases as worked
from cladec_companion.papers.cladec import front as choice
from cladec_companion.papers.cladec import pictures as front
from cladec_companion.papers.cladec.alpha import figures as alpha
from cladec_companion.papers.cladec.layers import figures as layers
from cladec_companion.papers.cladec.occlusion import figures as occlusion
from cladec_companion.papers.cladec.pictures import PICTURE_DPI
from cladec_companion.papers.cladec.subsets import figures as subsets
from cladec_companion.papers.cladec.theory import closed_forms as theory
from cladec_companion.papers.cladec.theory import figures as theory_figures
from cladec_companion.records.files import RECORDED, ROOT
from cladec_companion.records.record import Record, find_records, recorded
from cladec_companion.records.samples import RunImages
from cladec_core.errors import RunError
from tests.made_up import content

RUN = "fashion_mnist/vgg11"
CHAPTERS = {"layers": layers, "alpha": alpha, "subsets": subsets, "occlusion": occlusion}
numbers = np.random.default_rng(0)


def images(*sizes):
    """Images of few grey values, so that the sprite's 256 colours are enough for them."""
    return (numbers.integers(0, 6, (*sizes, 1, 32, 32)) * 51).astype(np.uint8)


def record(experiment, samples, rows=()):
    manifest = {"experiment": experiment, "configuration": {"index_map": "code", "square": 12}, "cells": {}}
    named = {f"{RUN}/{name}": array for name, array in samples.items()}
    axes = {"dataset": "fashion_mnist", "architecture": "vgg11", "layer": "conv4", "seed": 0}
    return Record(None, pd.DataFrame([axes | row for row in rows]), named, manifest)


def measured(metrics, **axes):
    return [{"method": "cladec", "metric": metric, "value": value, **axes} for metric, value in metrics.items()]


@pytest.fixture
def made():
    labels = {"label": np.array([8, 2, 9], np.uint8), "predicted": np.array([8, 2, 5], np.uint8)}
    of_layers = {f"{layer}/{method}": images(3) for layer in ("conv2", "penultimate") for method in ("refae", "cladec")}
    of_alpha = {f"alpha={alpha}": images(3) for alpha in (0.0, 0.9, 1.0)}
    of_subsets = {f"nested/{size}/0": images(3) for size in (10, 1)} | {"disjoint/10/0": images(3)}
    of_occlusion = {
        "filling": np.full((1, 1, 1, 1), 102, np.uint8),
        "moved corners": np.array([0, 20], np.uint8),
        "moved predicted": np.array([[2, 2, 3, 2], [9, 9, 9, 9]], np.uint8),
        "conv2/clean reconstruction": images(3),
        "conv2/moved reconstruction": images(2, 4),
    }
    alphas = [
        row for alpha in (0.0, 0.9, 1.0) for row in measured({"loss_raw_sum": 9.9, "agreement": alpha}, alpha=alpha)
    ]
    sizes = [
        {**row, "subset": "nested", "class": ""}
        for size in (10, 1)
        for row in measured({"loss_standardised": 0.5, "accuracy": 1 / size}, size=size)
    ]
    squares = [{"method": "cladec", "metric": "acc_max", "value": 1.0, "layer": "conv2"}]
    base = {"original": images(3), **labels}
    return {
        "layers": record("layers", base | of_layers),
        "alpha": record("alpha", base | of_alpha, alphas),
        "subsets": record("subsets", base | of_subsets, sizes),
        "occlusion": record("occlusion", base | of_occlusion, squares),
    }


def ink(image):
    return np.repeat(255 - image[0][..., None], 3, -1)


def test_every_choice_shows_the_image_of_the_record(made):
    data, shown = content(layers.interactive(made["layers"]))
    samples = made["layers"].samples
    assert [len(control["values"]) for control in data["controls"]] == [3, 2]
    for at in range(3):
        for place, layer in enumerate(("conv2", "penultimate")):
            assert np.array_equal(shown(0, at, place), ink(samples[f"{RUN}/original"][at]))
            assert np.array_equal(shown(1, at, place), ink(samples[f"{RUN}/{layer}/refae"][at]))
            assert np.array_equal(shown(2, at, place), ink(samples[f"{RUN}/{layer}/cladec"][at]))
            refae, cladec = (unit(samples[f"{RUN}/{layer}/{method}"])[at] for method in ("refae", "cladec"))
            assert np.abs(shown(3, at, place) - 255.0 * signed_difference(refae, cladec)).max() < 1
    assert data["controls"][0]["values"][2] == "3. Ankle boot, taken for Sandal"
    assert data["controls"][1]["values"] == ["conv2 (-5)", "penultimate (-1)"]
    away = apart(unit(samples[f"{RUN}/original"])[2], unit(samples[f"{RUN}/penultimate/cladec"])[2])
    assert f"ClaDec's {away:.0%}" in data["notes"][5]
    assert data["notes"][5].endswith("The classifier says Sandal; it is Ankle boot.")


def test_figures_begin_where_the_difference_is_largest(made):
    images = RunImages.of(made["layers"])
    gaps = {
        (at, place): apart(unit(images[layer, "refae"][at]), unit(images[layer, "cladec"][at]))
        for at in range(3)
        for place, layer in enumerate(("conv2", "penultimate"))
    }
    data, _ = content(layers.interactive(made["layers"]))
    assert tuple(control["start"] for control in data["controls"]) == max(gaps, key=gaps.get)

    images = RunImages.of(made["alpha"])
    changed = [apart(*(unit(images[f"alpha={value}"][at]) for value in (0.0, 0.9))) for at in range(2)]
    data, shown = content(alpha.interactive(made["alpha"]))
    assert data["controls"][0]["values"] == ["1. Bag", "2. Pullover"]  # the third is misclassified
    assert [control["start"] for control in data["controls"]] == [np.argmax(changed), 1]  # α = 0.9
    assert np.array_equal(shown(1, 1, 2), ink(images["alpha=0.0"][1]))  # beside every α

    images = RunImages.of(made["subsets"])
    lost = [apart(*(unit(images["nested", size, "0"][at]) for size in ("1", "10"))) for at in range(3)]
    data, shown = content(subsets.interactive(made["subsets"]))
    assert [control["start"] for control in data["controls"]] == [np.argmax(lost), 0]
    assert np.array_equal(shown(1, 1, 0), ink(images["nested", "10", "0"][1]))  # beside every size

    samples = made["occlusion"].samples
    before, after = (
        unit(samples[f"{RUN}/conv2/{name} reconstruction"]) for name in ("clean", "moved")
    )  # the square misleads the classifier once: at place 2 of the first image
    data, _ = content(occlusion.interactive(made["occlusion"]))
    assert [control["start"] for control in data["controls"]] == [0, 0, 2]
    assert data["notes"][2].endswith(f"changes ClaDec's image by {apart(before[1], after[0, 2]):.0%}.")


@pytest.mark.parametrize(
    ("name", "steps", "of"), [("alpha", ["0", "0.9", "1"], "alpha={}"), ("subsets", ["1", "10"], "nested/{}/0")]
)
def test_sliders_go_from_small_to_large(made, name, steps, of):
    data, shown = content(CHAPTERS[name].interactive(made[name]))
    assert data["controls"][-1]["values"] == steps
    for place, step in enumerate(steps):
        key = of.format(float(step) if name == "alpha" else step)
        assert np.array_equal(shown(2, 1, place), ink(made[name].samples[f"{RUN}/{key}"][1]))
    assert "100%" in data["notes"][len(steps) - 1 if name == "alpha" else 0]


@pytest.mark.parametrize(
    ("name", "image", "state", "drawn"),
    [("layers", 2, 5, "penultimate/cladec"), ("alpha", 1, 4, "alpha=0.9"), ("subsets", 2, 5, "nested/10/0")],
)
def test_the_classifier_s_scores_are_told_where_the_record_has_them(made, name, image, state, drawn):
    content_without, _ = content(CHAPTERS[name].interactive(made[name]))
    scores = np.zeros((3, 10), np.uint8)
    scores[image, [3, 5, 9]] = 20, 71, 9
    other = np.full((3, 10), 10, np.uint8)
    known = {f"{RUN}/score/original": scores, f"{RUN}/score/{drawn}": other}
    scored = replace(made[name], samples=made[name].samples | known)
    data, _ = content(CHAPTERS[name].interactive(scored))
    told = "X: Sandal 71%, Dress 20%, Ankle boot 9%"
    assert (
        data["notes"][state].count(told)
        == data["notes"][state].count("ClaDec: T-shirt 10%, Trouser 10%, Pullover 10%.")
        == 1
    )
    assert not any("scores" in note for note in content_without["notes"])


def test_square_covers_the_place_that_is_named(made):
    data, shown = content(occlusion.interactive(made["occlusion"]))
    samples = made["occlusion"].samples
    expected = samples[f"{RUN}/original"][1].copy()
    expected[:, 20:32, 0:12] = 102
    assert data["controls"][-1]["values"][2] == "row 20, column 0"
    assert np.array_equal(shown(0, 0, 0, 2), ink(expected))
    assert np.array_equal(shown(1, 0, 0, 2), ink(samples[f"{RUN}/conv2/clean reconstruction"][1]))
    assert np.array_equal(shown(2, 1, 0, 3), ink(samples[f"{RUN}/conv2/moved reconstruction"][1, 3]))
    assert data["notes"][2].startswith("The classifier says Dress, not Pullover. ")
    assert data["notes"][1].startswith("The classifier says Pullover, as without the square. ")
    assert data["drag"] == {"corners": [0, 20], "square": 12}


def test_no_text_ends_the_script_of_a_figure():
    said = "</script><script>alert(1)</script><!--<script>"
    made = explorer([Control("Angle", ["0"])], [said], "about", kind="plane")
    data, _ = content(made)
    assert data["notes"] == [said]
    assert made.data.count("<script") == made.data.count("</script>") == 2
    assert "<!--" not in made.data


def test_a_record_without_the_moved_square_is_recognised(made):
    assert occlusion.can_move(made["occlusion"])
    assert not occlusion.can_move(made["layers"])
    assert not occlusion.can_move(None)


def test_figures_load_nothing_and_have_a_static_picture(made):
    for name, found in made.items():
        text = CHAPTERS[name].interactive(found).data
        assert set(re.findall(r"https?://[^\"'\s)]+", text)) <= {
            "http://www.w3.org/2000/svg",
            "http://www.w3.org/1999/xhtml",
        }
        assert re.search(r'<img alt="[^"]{30,}" src="data:image/png', text)


def test_encoder_turns_by_the_numbers_of_python():
    frames = theory.angle_frames(theory.tilted((4.0, 1.0), 20), np.arange(0, 91, 30))
    data, _ = content(theory_figures.interactive(np.array([[1.0, 2.0]]), frames))
    assert data["controls"][0]["values"] == ["0°", "30°", "60°", "90°"]
    np.testing.assert_allclose(
        [frame["e"] + frame["r"] for frame in data["frames"]], frames[["e1", "e2", "r1", "r2"]], atol=1e-4
    )
    assert f"Loss {frames['loss'][30]:.2f}" in data["notes"][1]
    losses = frames["loss"].tolist()
    half = next(place for place, loss in enumerate(losses) if loss - losses[0] >= (max(losses) - losses[0]) / 2)
    assert data["controls"][0]["start"] == half > 0


@pytest.fixture(scope="module")
def cases():
    stored = recorded("layers", "laptop")
    distances = {}
    for name, case in worked.CASES.items():
        shown = worked.explanation(stored, case)
        pairs = (("original", "refae"), ("original", "cladec"), ("refae", "cladec"))
        distances[name] = tuple(apart(shown[first], shown[second]) for first, second in pairs)
    return stored, distances


def test_worked_cases_are_what_the_page_says(cases):
    _, distances = cases
    assert max(distances["kept"]) < 0.08
    assert distances["kept"][2] < 0.05
    for name in ("discarded", "typical", "trap", "drift"):  # ClaDec is further from the image than the reference
        reference, explanation, _ = distances[name]
        assert explanation > 1.15 * reference
        assert reference > 2 * max(distances["kept"])
    assert distances["typical"][2] > 1.5 * distances["typical"][0]


def test_the_letters_of_the_trap_are_gone_from_both_pictures(cases):
    """What is left of an image without its coarse tones: both reconstructions lack it, and are alike in that."""
    shown = worked.explanation(cases[0], worked.CASES["trap"])
    fine = {name: shown[name] - uniform_filter(shown[name], (0, 7, 7)) for name in ("original", "refae", "cladec")}
    letters = (slice(None), slice(8, 18), slice(8, 24))  # on the chest
    reference, explanation = (apart(fine["original"][letters], fine[name][letters]) for name in ("refae", "cladec"))
    assert apart(fine["refae"][letters], fine["cladec"][letters]) < 0.25 * min(reference, explanation)


def test_worked_case_of_drift_is_misclassified_and_the_others_are_not(cases):
    stored, _ = cases
    for name, case in worked.CASES.items():
        images = RunImages.of(stored, case.dataset, case.architecture)
        wrong = (images.labels != images.predicted)[images.index == case.image]
        assert wrong[0] == (name == "drift")


def test_difference_has_the_colours_of_the_methods():
    high, low = np.ones((1, 1, 1)), np.zeros((1, 1, 1))
    more_refae, more_cladec = signed_difference(high, low)[0, 0], signed_difference(low, high)[0, 0]
    assert more_refae[2] > more_refae[0]  # blue
    assert more_cladec[0] > more_cladec[2]  # orange
    assert (signed_difference(high, high) == 1).all()


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.setattr(chapters, "BUILT", tmp_path / "results")
    for folder in ("book/generated", "notebooks", "results/quick/layers"):
        (tmp_path / folder).mkdir(parents=True)
    parts = [
        {"caption": "Ideas & more", "chapters": [{"file": "book/reading"}]},
        {"caption": "Experiments", "chapters": [{"file": "notebooks/layers"}]},
    ]
    contents = {"format": "jb-book", "root": "book/index", "parts": parts}
    (tmp_path / "book" / "_toc.yml").write_text(yaml.safe_dump(contents), encoding="utf-8")
    (tmp_path / "book" / "index.md").write_text("# Front\n", encoding="utf-8")
    directive, code = (
        "```{exercise} Predict\n:label: ex-a\n\n" + "word " * 299 + "\n```\n",
        "```python\n" + "code " * 900 + "\n```\n",
    )
    words = directive + "word " * 200 + "\n\n" + code + "$$\n" + "xx " * 900 + "\n$$\n"
    (tmp_path / "book" / "reading.md").write_text(f"# How < to\n\n{words}", encoding="utf-8")
    cell = nbformat.v4.new_code_cell(
        "1",
        metadata={
            "papermill": {"duration": 20.0},
            "mystnb": {"figure": {"name": "fig-a", "caption": "It shows."}, "image": {"alt": "A figure"}},
        },
    )
    cell.outputs = [nbformat.v4.new_output("display_data", {"image/png": base64.b64encode(b"png").decode()})]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Layers\n\ntext"), cell])
    nbformat.write(notebook, tmp_path / "notebooks" / "layers.ipynb")
    manifest = {"cells": {"one": {"seconds": 100}, "two": {"seconds": 90}}}
    (tmp_path / "results" / "quick" / "layers" / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    return tmp_path


def test_times_are_computed(site):
    reading, layers = chapters.chapters(site, "quick")
    assert (reading.title, reading.reading, reading.computing) == (
        "How < to",
        3,
        None,
    )  # 501 words and the title's two at 200 a minute
    assert (layers.title, layers.computing) == ("Layers", 190)  # the record, which took longer than the cells
    assert chapters.chapters(site, "smoke")[1].computing == 20  # no record


def test_head_stands_below_the_title_with_links_to_what_can_be_checked(site):
    chapters.write(site, "quick")
    page = (site / "book" / "reading.md").read_text(encoding="utf-8")
    assert page.startswith("# How < to\n\n:::{div} chapter-head\nReading: 3 min · [the ledger of claims](claims.md)")
    first = nbformat.read(site / "notebooks" / "layers.ipynb", 4).cells[0].source
    assert "Computing: 3 min on this machine at the profile `quick`" in first
    assert "(../book/deviations.md)" in first
    assert first.endswith("text")
    assert "chapter-head" not in (site / "book" / "index.md").read_text(encoding="utf-8")


def test_map_leads_to_every_chapter_and_figures_are_taken_out(site):
    assert chapters.take_figures(site) == {"fig-a": ("A figure", "It shows.")}
    chapters.write(site, "quick")
    drawn = (site / "book" / "generated" / "map.html").read_text(encoding="utf-8")
    assert re.findall(r'<a href="([^"]+)"', drawn) == ["reading.html", "../notebooks/layers.html"]
    assert "Ideas &amp; more" in drawn
    assert "How &lt; to" in drawn
    assert (site / "book" / "generated" / "fig-a.png").read_bytes() == b"png"
    assert "| [Layers](../notebooks/layers.ipynb) | 1 min | 3 min |" in (site / "book/generated/times.md").read_text()


def test_printing_without_a_book_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(book, "HTML", tmp_path)
    with pytest.raises(RunError, match="make book"):
        printing.print_book()


def test_citation_names_the_version_of_the_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    entries = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    assert citation["version"] == version
    assert f"version = {{{version}}}" in entries
    assert citation["preferred-citation"]["title"] in entries
    deposit = json.loads((ROOT / ".zenodo.json").read_text(encoding="utf-8"))
    (preprint,) = (one["value"] for one in citation["preferred-citation"]["identifiers"])
    assert [one["identifier"] for one in deposit["related_identifiers"]] == [preprint]
    assert preprint in entries
    assert (deposit["title"], deposit["version"]) == (citation["title"], version)


def test_the_picture_of_the_readme_is_the_one_of_the_committed_record(cases, tmp_path):
    chosen = choice.choose(cases[0], find_records(RECORDED))
    front.front_picture(cases[0], chosen.image).savefig(tmp_path / "front.png", dpi=PICTURE_DPI)
    kept = ROOT / "book" / "static" / "front.png"
    drawn, stored = (np.asarray(Image.open(path).convert("RGB"), float) for path in (tmp_path / "front.png", kept))
    assert drawn.shape == stored.shape
    assert np.abs(drawn - stored).mean() < 1  # of 255
