"""Votes on explanations whose reference is covered: the numbers behind the answers, and the figure in a browser."""

import re

import numpy as np
import pandas as pd
import pytest

from cladec_companion.evidence.style import apart, unit
from cladec_companion.papers.cladec import vote
from cladec_companion.papers.cladec.cases import CASES, Case
from cladec_companion.records.files import ROOT
from cladec_companion.records.record import Record, recorded
from tests.browsing import DESKTOP, PHONE, needs_chromium, offline, page_of
from tests.made_up import content

NUMBER = {letter: place for place, letter in enumerate("ABCD")}


@pytest.fixture(scope="module")
def record():
    return recorded("layers", "laptop")


def test_the_options_are_those_of_the_slides():
    slides = (ROOT / "book" / "slides_layers.md").read_text(encoding="utf-8")
    line = " · ".join(f"**{letter}** {option}" for letter, option in zip("ABCD", vote.OPTIONS, strict=True))
    assert slides.count(line) == len(CASES) == len(vote.ASKED)
    assert all(vote.ASKED[name].case == case for name, case in CASES.items())


def test_the_numbers_give_the_answers_of_the_instructor(record):
    page = (ROOT / "book" / "instructor" / "index.md").read_text(encoding="utf-8")
    told = re.findall(r"^\| \d, .*? \| ([A-D]) \|", page, re.M)
    assert [vote.answered(record, question).option for question in vote.ASKED.values()] == [
        NUMBER[letter] for letter in told
    ]


def test_the_limits_on_the_page_are_those_of_the_rule():
    page = (ROOT / "book" / "reading.md").read_text(encoding="utf-8")
    assert vote.LOOKS_KEPT.value == 0.1
    assert vote.LOST_BY_BOTH.value == 0.3
    assert "less than 10 % from $X$" in page
    assert "less than three tenths as far apart" in page


def flat(*values):
    return np.stack([np.full((1, 32, 32), value, np.uint8) for value in values])


def made(refae, cladec):
    """A record with a dark image and another one that is taken for the same class."""
    prefix = "fashion_mnist/vgg11"
    samples = {
        f"{prefix}/original": flat(200, 90), f"{prefix}/index": np.array([0, 1], np.int32),
        f"{prefix}/label": np.array([8, 8], np.uint8), f"{prefix}/predicted": np.array([8, 8], np.uint8),
        f"{prefix}/conv3/refae": flat(refae, 90), f"{prefix}/conv3/cladec": flat(cladec, 90),
    }  # fmt: skip
    return Record(None, pd.DataFrame(), samples, {"configuration": {"index_map": "code"}})


@pytest.mark.parametrize(
    ("refae", "cladec", "option"),
    [
        (195, 190, vote.KEPT), (190, 160, vote.DISCARDED), (190, 120, vote.TYPICAL), (130, 120, vote.NOTHING),
        (100, 160, vote.NOTHING),  # the reference is farther from the image than ClaDec
    ],
)  # fmt: skip
def test_the_rule_on_even_images(refae, cladec, option):
    answer = vote.answered(made(refae, cladec), vote.Question(Case(0, "conv3"), "it"))
    assert answer.option == option
    assert answer.explanation == pytest.approx((200 - cladec) / 255)
    assert answer.typical == pytest.approx((cladec - 90) / 255)
    assert f"{answer.explanation:.0%}" in answer.reason
    assert ("nearer" in answer.reason) == (option in (vote.TYPICAL, vote.DISCARDED))


def test_only_the_box_counts_and_only_the_pattern_if_it_is_fine():
    record = made(200, 200)
    explained = record.samples["fashion_mnist/vgg11/conv3/cladec"]
    explained[0, :, :16] = 100
    case = Case(0, "conv3")
    assert vote.answered(record, vote.Question(case, "it", (16, 32, 0, 32))).explanation == 0
    assert vote.answered(record, vote.Question(case, "it", (0, 16, 0, 32))).explanation == pytest.approx(100 / 255)
    assert vote.answered(record, vote.Question(case, "it", (0, 8, 0, 32), fine=True)).explanation == pytest.approx(0)


def test_a_rule_chooses_the_other_cases(record):
    """By a second way: one image for each answer, clearest in what the answer is about."""
    chosen = vote.clearest(record)
    answers = {vote.answered(record, question).option: question.case for question in chosen}
    assert len(answers) == len(chosen)
    assert not {(case.dataset, case.image) for case in answers.values()} & {
        (case.dataset, case.image) for case in CASES.values()
    }
    others = [(question.case, answer) for question, answer in vote._every(record)]
    kept = [
        (answer.explanation, case)
        for case, answer in others
        if answer.option == vote.KEPT
        and (case.dataset, case.image) not in {(c.dataset, c.image) for c in CASES.values()}
    ]
    assert min(kept, key=lambda one: one[0])[1] == answers[vote.KEPT]


def test_the_figure_shows_the_record(record):
    data, shown = content(vote.figure(record))
    case = CASES["trap"]
    images, at = vote.found(record, case)
    place = list(CASES).index("trap")
    for pane, parts in enumerate((("original",), (case.layer, "cladec"), (case.layer, "refae"))):
        expected = 255 - images[parts][at, 0].astype(int)
        assert np.abs(shown(pane, place)[..., 0].astype(int) - expected).max() <= 8  # the sprite has 256 colours
    assert data["hidden"] == ["RefAE", "RefAE − ClaDec"]
    assert data["boxes"][place] == [8, 18, 8, 24]
    whole = apart(*(unit(images[parts][at]) for parts in ((case.layer, "cladec"), (case.layer, "refae"))))
    assert f"{whole:.0%} apart" not in data["reasons"][place]  # of the letters, not of the whole image


@needs_chromium
@pytest.mark.parametrize("viewport", [DESKTOP, PHONE], ids=["desk", "phone"])
def test_a_vote_uncovers_the_reference(record, tmp_path, viewport):
    figure = vote.figure(record)
    data, _ = content(figure)
    with offline(tmp_path / "profile", has_touch=viewport is PHONE, viewport=viewport) as browser:
        page = browser.new_page()
        page.goto(page_of(tmp_path, figure.data))
        page.wait_for_selector(".explorer [data-drawn]", state="attached")
        buttons, said = page.locator(".explorer-votes").first.locator("button"), page.locator(".explorer p").last
        panes = page.locator(".explorer canvas")
        assert [panes.nth(place).is_visible() for place in range(4)] == [True, True, False, False]
        right = data["answers"][0]
        wrong = (right + 1) % 4
        (buttons.nth(wrong).tap if viewport is PHONE else buttons.nth(wrong).click)()
        assert all(panes.nth(place).is_visible() for place in range(4))
        assert said.inner_text().startswith(f"The numbers say: {vote.OPTIONS[right]}. {data['reasons'][0]}")
        assert buttons.nth(right).inner_text().endswith("✓")
        page.keyboard.press("Enter")  # the next case, which has the focus
        assert page.locator(".explorer select").input_value() == "1"
        assert not panes.nth(2).is_visible()
        buttons.nth(data["answers"][1]).focus()
        page.keyboard.press("Space")
        assert "agree in 1 of 2" in said.inner_text()
        page.locator(".explorer select").select_option("0")  # a vote stays
        assert panes.nth(2).is_visible()
        assert buttons.nth(wrong).is_disabled()
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        page.emulate_media(media="print")
        assert page.locator(".explorer > img").is_visible()
