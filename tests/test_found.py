"""The page of what was found: made from the best records, and different when they are."""

import re

import pytest

from cladec_companion.book import found, provenance
from cladec_companion.evidence.claims import FAILS, HOLDS, Verdict
from cladec_companion.papers import CHAPTERS
from tests.made_up import as_claimed, made_up
from tests.test_ledger import as_record, begun

LAYERS = {"layers": CHAPTERS["layers"]}


@pytest.fixture(scope="module")
def rows():
    return made_up(as_claimed).record.rows


def test_the_best_record_is_of_the_longest_profile_and_unchanged(rows):
    quick, laptop, paper = (as_record(rows, profile=profile) for profile in ("quick", "laptop", "paper"))
    changed = as_record(rows, profile="paper")
    changed.folder = changed.folder.parents[1] / "paper-0123abcd" / "layers"
    assert provenance.best("layers", [laptop, paper, changed, quick]) is paper
    assert provenance.best("layers", [laptop, quick]) is laptop
    assert provenance.best("layers", [quick]) is None  # digits say nothing about the paper
    fewer = as_record(rows[rows["seed"] == 0])
    assert provenance.best("layers", [fewer, laptop]) is laptop
    assert provenance.best("alpha", [laptop]) is None


def test_claims_stand_below_the_heading_of_their_verdict(rows):
    page = found.page(LAYERS, [as_record(rows)])
    held, rest = page.split("## Held")[1].split("## Did not hold")
    failed, unknown = rest.split("## Nobody knows yet")
    verdicts = {one.claim.key: one.verdict.verdict for one in found.findings(LAYERS, [as_record(rows)])}
    assert {HOLDS} == {verdicts[key] for key in re.findall(r"\[(B\d+)\]", held)}
    assert {verdicts[key] for key in re.findall(r"\[(B\d+)\]", failed)} <= {FAILS}
    assert {key for key, state in verdicts.items() if state == "undecided"} == set(re.findall(r"\[(B\d+)\]", unknown))
    assert "4 epochs of the decoder" in held
    assert re.search(r"\d \(-?[\d.]+ to -?[\d.]+\)", held)


def test_another_verdict_moves_a_claim(rows):
    swapped = rows["method"].replace({"cladec": "refae", "refae": "cladec"})  # so that the reference loses
    page = found.page(LAYERS, [as_record(rows.assign(method=swapped))])
    assert "[B1]" in page.split("## Held")[1].split("## Did not hold")[1]
    assert "[B1]" in found.page(LAYERS, [as_record(rows)]).split("## Did not hold")[0]


def test_a_chapter_opens_with_its_answer_and_one_without_a_record_with_none(rows):
    text = found.answer(CHAPTERS["layers"], [as_record(rows)])
    assert "(B1)" in text.split("**Held:**")[1]
    assert "Record `laptop`: 3 seeds" in text
    assert found.answer(CHAPTERS["layers"], []) == ""
    assert found.answer(CHAPTERS["cost"], [as_record(rows)]) == ""
    assert "**Held:**" not in found.answer(CHAPTERS["alpha"], [begun("alpha")])


def test_no_record_at_all():
    assert found.page(CHAPTERS, []) == "No record yet."


def test_what_would_decide_is_short():
    listed = ", ".join(f"layer {number}: 1.0" for number in range(20))
    assert found._missing(Verdict("undecided", f"x in 1 of 2; about 4 timings would decide ({listed})")) == (
        "about 4 timings would decide"
    )
