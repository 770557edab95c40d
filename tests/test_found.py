"""The page of what was found: made from the best records, and different when they are."""

import re

import pytest

from cladec_companion.book import found
from cladec_companion.evidence.claims import FAILS, HOLDS, Claim, Verdict
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
    assert found.best("layers", [laptop, paper, changed, quick]) is paper
    assert found.best("layers", [laptop, quick]) is laptop
    fewer = as_record(rows[rows["seed"] == 0])
    assert found.best("layers", [fewer, laptop]) is laptop
    assert found.best("alpha", [laptop]) is None


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
    turned = rows.copy()  # the reference loses where ClaDec does in the made-up rows
    swapped = turned["method"].map({"cladec": "refae", "refae": "cladec"}).fillna(turned["method"])
    page = found.page(LAYERS, [as_record(turned.assign(method=swapped))])
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
    claim = Claim("B1", "1", "x", lambda evidence: Verdict(HOLDS, ""))
    listed = ", ".join(f"layer {number}: 1.0" for number in range(20))
    assert claim.test == ""
    assert found._missing(Verdict("undecided", f"x in 1 of 2; about 4 timings would decide ({listed})")) == (
        "about 4 timings would decide"
    )
