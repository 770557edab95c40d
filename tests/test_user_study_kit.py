"""The user study as a kit: who sees which pairs, what is handed out, and what a browser saves."""

import base64
import json
import re
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cladec_companion.papers import settings_for
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.papers.cladec.user_study import answers, kit
from cladec_core import data
from cladec_core.errors import RunError, UsageError
from tests.browsing import CHROMIUM, FLAGS


@pytest.mark.parametrize(("images", "participants", "pairs"), [(100, 59, 5), (7, 4, 7), (10, 3, 1), (5, 40, 3)])
def test_every_pair_is_seen_equally_often_and_by_nobody_twice(images, participants, pairs):
    dealt = kit.assign(images, participants, pairs, seed=3)
    assert [len(set(own)) for own in dealt] == [pairs] * participants
    for first in range(1, participants + 1):  # also if only the first few take part
        times = Counter(pair for own in dealt[:first] for pair in own)
        times = [times[pair] for pair in range(images)]
        assert max(times) - min(times) <= 1
    assert kit.assign(images, participants, pairs, seed=3) == dealt
    assert kit.assign(images, participants, pairs, seed=4) != dealt


def test_the_papers_numbers_give_three_answers_to_most_images_and_two_to_few():
    settings = settings_for("user_study", "paper")
    dealt = kit.assign(settings.images, settings.participants, settings.pairs, settings.seed)
    assert Counter(Counter(pair for own in dealt for pair in own).values()) == {3: 95, 2: 5}
    printed = printed_tables.published()["user_study"]
    assert [printed[name] for name in ("images", "participants", "pairs_per_participant")] == [
        settings.images, settings.participants, settings.pairs,
    ]  # fmt: skip


def test_images_are_drawn_class_by_class():
    labels = np.repeat(np.arange(5), [4, 9, 4, 6, 7])
    chosen = kit.choose(labels, 5, 20, seed=1)
    assert Counter(labels[chosen].tolist()) == dict.fromkeys(range(5), 4)
    assert len(set(chosen)) == 20
    assert list(labels[chosen]) != sorted(labels[chosen])  # the order tells nothing
    assert list(kit.choose(labels, 5, 20, seed=1)) == list(chosen)
    assert list(kit.choose(labels, 5, 20, seed=2)) != list(chosen)
    with pytest.raises(UsageError, match="12; valid: a multiple of the 5"):
        kit.choose(labels, 5, 12, seed=1)
    with pytest.raises(UsageError, match="25; valid: up to 20"):
        kit.choose(labels, 5, 25, seed=1)


@pytest.mark.parametrize(("name", "value"), [("images", 0), ("participants", 0), ("pairs", 101), ("seed", -1)])
def test_parameters_are_checked(name, value):
    with pytest.raises(UsageError, match=f"{name} is {value}"):
        settings_for("user_study", **{name: value})


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study exported at `smoke`."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLADEC_MODELS", str(folder / "models"))
        manifest = kit.export(settings_for("user_study", "smoke"), folder / "new" / "study", device="cpu")
    return folder / "new" / "study", manifest


def test_the_exported_folder_is_complete_and_true(study):
    folder, manifest = study
    assert kit.read_manifest(folder) == manifest
    assert [path.name for path in folder.parent.iterdir()] == ["study"]  # nothing temporary is left
    assert len(list((folder / "images").iterdir())) == 3 * len(manifest["pairs"]) == 60
    images = data.load("digits", train_limit=160, test_limit=80)
    for pair in manifest["pairs"]:
        assert pair["label"] == images.classes[images.test_labels[pair["index"]]]
        drawn = np.asarray(Image.open(folder / pair["original"]))
        assert drawn.shape == (256, 256)
        unit = images.to_unit(images.test_images[pair["index"]])[0].numpy()
        assert np.array_equal(drawn, np.kron(255 - np.rint(unit * 255), np.ones((8, 8))))
    assert (folder / "codebook.csv").read_bytes() == kit.CODEBOOK.read_bytes()


def test_the_form_asks_for_nothing_outside_and_gives_no_answer_away(study):
    folder, manifest = study
    page = (folder / "form.html").read_text(encoding="utf-8")
    assert not re.search(r"https?://|@import|\bfetch\(|src=", page)
    content = json.loads(re.search(r'<script type="application/json" id="study">(.*?)</script>', page, re.S)[1])
    assert content["assignment"] == manifest["assignment"]
    assert set(content) == {"study", "assignment", "questions", "captions", "pictures"}  # no label, no prediction
    assert len(content["captions"]) == 2
    for pair, shown in zip(manifest["pairs"], content["pictures"], strict=True):
        assert [base64.b64decode(each) for each in shown] == [
            (folder / pair[kind]).read_bytes() for kind in ("original", "cladec")
        ]


def test_the_arm_with_the_reference_shows_three_pictures():
    picture = dict.fromkeys(("original", "cladec", "refae"), b"picture")
    page = kit.form({"study": "</script>", "assignment": [[0]], "reference": True}, [picture])
    content = json.loads(re.search(r'id="study">(.*?)</script>', page, re.S)[1])
    assert content["study"] == "</script>"  # text of the study cannot end the script
    assert len(content["captions"]) == len(content["pictures"][0]) == 3


def test_losses_and_predictions_are_those_of_each_image():
    images = torch.rand(5, 1, 32, 32)
    mean, std = torch.full((1, 1, 1), 0.25), torch.full((1, 1, 1), 0.5)
    labels = torch.tensor([1, 0, 1, 1, 0])
    sample = data.ImageData("digits", "Digits", ("a", "b"), images, labels, (images - mean) / std, labels, mean, std)
    logits = torch.eye(2)[[0, 1, 1, 0, 0]]
    run = SimpleNamespace(
        data=sample, classifier="classifier", decoder=lambda layer: nn.Flatten(), reference=lambda layer: nn.Identity(),
        test=lambda model, inputs: (
            logits[[3, 1]] if model == "classifier" else inputs * 0 if isinstance(model, nn.Flatten) else inputs
        ),
    )  # fmt: skip
    made, pairs = kit._explain(run, SimpleNamespace(train=lambda wanted: wanted), torch.tensor([3, 1]))
    for pair, at in zip(pairs, (3, 1), strict=True):
        slow = sum((value - 0.25) ** 2 for value in images[at].flatten().tolist())  # the decoder always answers 0.25
        assert pair["loss_cladec"] == pytest.approx(slow, abs=1e-3)
        assert pair["loss_refae"] == 0
        assert pair["index"] == at
    assert [(pair["label"], pair["prediction"]) for pair in pairs] == [("b", "a"), ("a", "b")]
    assert made["cladec"].tolist() == np.full((2, 1, 32, 32), 64).tolist()


def test_a_coloured_image_keeps_its_colours(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    (tmp_path / "image.png").write_bytes(kit.png(image))
    drawn = np.asarray(Image.open(tmp_path / "image.png"))
    assert np.array_equal(drawn[::8, ::8], image.transpose(1, 2, 0))


def test_nothing_is_half_written(tmp_path, study):
    with pytest.raises(UsageError, match="exists"):
        kit.export(settings_for("user_study", "smoke"), study[0], device="cpu")

    def fail(folder):
        (folder / "file").write_text("half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), kit.new_folder(tmp_path / "new") as folder:
        fail(folder)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(RunError, match="file"), kit.new_folder(tmp_path / "file" / "below"):
        pass


@pytest.fixture
def page(tmp_path):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            str(tmp_path / "profile"), executable_path=CHROMIUM, headless=True, args=FLAGS, offline=True,
            accept_downloads=True,
        )  # fmt: skip
        page = context.new_page()
        page.outside = []
        page.on(
            "request",
            lambda sent: None if sent.url.startswith(("file:", "data:", "blob:")) else page.outside.append(sent.url),
        )
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(error))
        yield page
        context.close()


CONTRAST = """(name) => {
  const style = getComputedStyle(document.querySelector(name)), light = (text) => {
    const [r, g, b] = text.match(/[0-9.]+/g).map(v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const pair = [light(style.color), light(style.backgroundColor)];
  return Math.max(...pair) / Math.min(...pair);
}"""


@pytest.mark.xdist_group("pages")
@pytest.mark.skipif(not CHROMIUM, reason="no Chromium on this machine (Debian: apt-get install chromium)")
def test_the_form_is_filled_in_and_saved_in_a_browser(study, page, tmp_path):
    folder, manifest = study
    own = manifest["assignment"][1]
    page.goto((folder / "form.html").as_uri() + "?participant=2")
    assert page.locator("#answers").is_hidden()
    page.click("text=Show the pictures")
    assert page.locator("#answers").is_hidden()  # not without consent
    page.keyboard.press("Tab")
    page.check("#consent")
    page.fill("#participant", "7")
    page.keyboard.press("Enter")
    assert page.locator("#answers").is_hidden()  # there are six numbers
    page.fill("#participant", "2")
    page.keyboard.press("Enter")
    assert page.locator("#pairs img").count() == 2 * len(own)
    sizes = page.evaluate("[...document.images].map(image => image.naturalWidth)")
    assert sizes == [256] * len(sizes)
    assert page.evaluate("[...document.querySelectorAll('input, select, textarea')].every(e => e.labels.length)")
    assert page.evaluate("[...document.images].every(image => image.alt)")
    assert min(page.evaluate(CONTRAST, name) for name in (":root", "#answers button", "button.second")) >= 4.5

    for pair in own[:-1]:
        page.fill(f"#pair-{pair}", f'made up: "{pair}" <b>ä</b>')
    page.select_option("#age", "25-34")
    page.reload()  # the draft stays in the browser
    page.check("#consent")
    page.click("text=Show the pictures")
    assert page.input_value(f"#pair-{own[0]}") == f'made up: "{own[0]}" <b>ä</b>'
    page.click("text=Save my answers")
    assert f"pair {len(own)}." in page.inner_text("#status")  # one is empty: asked once, then saved
    with page.expect_download() as download:
        page.click("text=Save my answers")
    assert download.value.suggested_filename == "answers-002.json"
    (tmp_path / "got").mkdir()
    download.value.save_as(tmp_path / "got" / "answers-002.json")
    page.click("text=Remove my draft")
    assert page.evaluate("localStorage.length") == 0
    assert not page.outside
    assert not page.errors

    got = answers.read_answers(manifest, tmp_path / "got")
    assert got.texts.loc[2, "text"].to_dict() == {pair: f'made up: "{pair}" <b>ä</b>' for pair in own[:-1]}
    assert got.people.loc[2, ["gender", "age"]].tolist() == ["", "25-34"]
    assert 0 <= got.people.loc[2, "minutes"] < 10
    assert got.problems == [
        f"answers-002.json: the answer to pair {own[-1]} is empty.", "No answers from participant 1, 3, 4, 5, 6.",
    ]  # fmt: skip
