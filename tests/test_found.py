"""The page of what was found: made from the best records, and different when they are."""

import re
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest

from cladec_companion.book import found, provenance
from cladec_companion.evidence.claims import FAILS, HOLDS, at_least, every_part, judge, undecided
from cladec_companion.evidence.comparisons import ABOVE, sample
from cladec_companion.papers import CHAPTERS, PAPERS
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
    failed, unknown = rest.split("## Still open in our runs")
    verdicts = {one.claim.key: one.verdict.verdict for one in found.findings(LAYERS, [as_record(rows)])}
    assert {HOLDS} == {verdicts[key] for key in re.findall(r"\[(B\d+)\]", held)}
    assert {verdicts[key] for key in re.findall(r"\[(B\d+)\]", failed)} <= {FAILS}
    assert {key for key, state in verdicts.items() if state == "undecided"} == set(re.findall(r"\[(B\d+)\]", unknown))
    assert "4 of the decoder" in held
    assert re.search(r"\d \(-?[\d.]+ to -?[\d.]+\)", held)


def test_another_verdict_moves_a_claim(rows):
    swapped = rows["method"].replace({"cladec": "refae", "refae": "cladec"})  # whose loss then rises by more
    page = found.page(LAYERS, [as_record(rows.assign(method=swapped))])
    assert "[B5]" in page.split("## Held")[1].split("## Did not hold")[1]
    assert "[B5]" in found.page(LAYERS, [as_record(rows)]).split("## Did not hold")[0]


def test_a_chapter_opens_with_its_answer_and_one_without_a_record_with_none(rows):
    text = found.answer(CHAPTERS["layers"], [as_record(rows)])
    held = text.split("**Held:**")[1].split("\n\n")[0]
    assert held.count("](claim-b") == found.TOLD
    assert re.search(r"; and \d+ more\.$", held)
    assert "Record `laptop`: 3 seeds" in text
    assert "B50" not in text
    assert "**Not decided:** 1; " in found.answer(CHAPTERS["cost"], [as_record(rows)])  # B50, of the layers' record
    assert "Nothing is decided yet, as no run on MNIST, Fashion-MNIST or CIFAR-100 is recorded" in found.answer(
        CHAPTERS["layers"], []
    )
    assert "no experiment can" in found.answer(CHAPTERS["user_study"], [as_record(rows)])
    assert found.answer(CHAPTERS["theory"], [as_record(rows)]) == ""
    assert "**Held:**" not in found.answer(CHAPTERS["alpha"], [begun("alpha")])


def compared(*effects, claimed=ABOVE):
    """Comparisons of two seeds each, with these effects."""
    return [sample(f"at {effect}", [effect - 0.01, effect + 0.01], claimed) for effect in effects]


def test_the_effect_that_is_shown_says_what_the_heading_says():
    mixed = judge(compared(-9.0, -8.0, -7.0, 1.0, 2.0), "loss of RefAE higher", at_least(2))
    assert mixed.verdict == HOLDS
    shown = found._effect(mixed)
    assert shown.startswith("Loss of RefAE higher in 2 of 5 (at 1.0: 1.00 (")
    assert shown.endswith("the middle one of 2 clearly for the claim among 5).")
    failed = found._effect(judge(compared(-9.0, -8.0, -7.0, 1.0, 2.0), "loss higher"))
    assert "(at -8.0: -8.00 (" in failed


def test_the_effect_of_a_claim_in_parts_is_of_the_part_that_decides():
    parts = {
        "loss": judge(compared(500.0, 600.0), "loss rises"), "accuracy": judge(compared(-0.4, -0.5), "accuracy rises"),
    }  # fmt: skip
    verdict = every_part(parts)
    assert verdict.verdict == FAILS
    assert found._effect(verdict).startswith("Accuracy rises in 0 of 2 (at -0.5: -0.500 (")
    weaker = {"loss": parts["loss"], "accuracy": judge(compared(0.3, 0.4), "accuracy rises")}
    held = every_part(weaker)
    assert held.verdict == HOLDS
    assert "Accuracy rises" in found._effect(held)


def test_the_page_begins_with_what_is_known_of_each_paper(rows):
    results = found.findings(LAYERS, [as_record(rows)])
    said = found.page(LAYERS, [as_record(rows)]).split("## Held")[0]
    (line,) = (line for line in said.splitlines() if line.startswith("- **ClaDec"))
    assert sum(map(int, re.findall(r": (\d+)", line))) == len(results)
    every = {claim.key for module in CHAPTERS["layers"].all_claims for claim in module.CLAIMS}
    assert f"Of {len(every)} claims, {len(every) - len(results)} have no run" in said


def test_questions_of_ours_stand_on_the_page_with_their_answers(monkeypatch, rows):
    answers = {"one thing": judge(compared(1.0, 2.0), "so"), "another": judge(compared(-1.0, -2.0), "so")}
    module = SimpleNamespace(findings_of=lambda record: answers)
    monkeypatch.setitem(sys.modules, "a_module", module)
    asking = {"layers": replace(CHAPTERS["layers"], findings_by="a_module")}
    page = found.page(asking, [as_record(rows)])
    answered = "- **Held:** one thing.\n- **Did not hold:** another."
    assert page.split("## Questions of ours: layers\n\n")[1].startswith(answered)
    module.BACKGROUND = "What was done first."
    page = found.page(asking, [as_record(rows)])
    assert f"## Questions of ours: layers\n\nWhat was done first.\n\n{answered}" in page
    assert "from the records\nWhat was done first.\n" in found.answer(asking["layers"], [as_record(rows)])


def test_no_record_at_all():
    assert found.page(CHAPTERS, []) == "No record yet."


def test_what_would_decide_is_short():
    listed = ", ".join(f"layer {number}: 1.0" for number in range(20))
    found = undecided(f"about 4 timings would decide ({listed})").plus("; a remark")
    assert found.missing == "about 4 timings would decide"


def test_a_result_shows_its_picture_once(rows):
    figures = {key: said.figure for paper in PAPERS for key, said in paper.quotations.items()}
    records = [as_record(rows)]
    held = [one.claim.key for one in found.findings(LAYERS, records) if one.verdict.verdict == HOLDS]
    shown = {figures[key] for key in held if figures.get(key)}
    page = found.page(LAYERS, records, dict.fromkeys(shown, ("A picture", "It shows.")))
    drawn = re.findall(r"```\{image\} generated/([\w-]+)\.png\n  :alt: A picture$", page, re.M)
    assert drawn
    assert len(drawn) == len(set(drawn))
    assert set(drawn) <= set(re.findall(r"\{numref\}`([\w-]+)`", page)) <= shown
    assert "{image}" not in found.page(LAYERS, records)


def test_an_open_claim_is_told_of_only_if_most_comparisons_are_for_it(rows):
    open_still = judge([*compared(1.0, 2.0), *compared(0.0)], "loss higher")
    assert open_still.verdict == "undecided"
    assert found._share(open_still) == pytest.approx(2 / 3)
    assert found._share(judge([*compared(1.0), *compared(0.0, 0.0)], "loss higher")) == pytest.approx(1 / 3)
    assert found._share(judge(compared(1.0, 2.0), "loss higher")) == 0  # decided
    noisy = rows[rows["seed"] == 0]
    text = found.answer(CHAPTERS["layers"], [as_record(noisy)])
    assert re.search(r"\*\*Not decided:\*\* \d+ more; \[the ledger\]\(../book/claims.md\) says what", text)


def test_the_surest_results_come_first(rows):
    said = found.page(LAYERS, [as_record(rows)])
    results = found.findings(LAYERS, [as_record(rows)])
    head, _, rest = said.partition("\n\n- **")
    surviving = {
        state: [one for one in results if one.survives and one.verdict.verdict == state] for state in (HOLDS, FAILS)
    }
    told = [one for own in surviving.values() for one in sorted(own, key=found._strength)[:2]]
    assert told
    assert len(told) < len([one for one in results if one.verdict.verdict in surviving])
    assert [one.claim.key for one in results if f"{one.claim.text} (" in head] == [
        one.claim.key for one in results if one in told
    ]
    assert rest


def test_the_page_stays_light_with_many_pictures(rows, monkeypatch):
    figures = {said.figure for paper in PAPERS for said in paper.quotations.values() if said.figure}
    drawn = dict.fromkeys(figures, ("A picture", "It shows."))
    whole = found.page(LAYERS, [as_record(rows)], drawn).count("{image}")
    assert 0 < whole <= found.PICTURES
    monkeypatch.setattr(found, "PICTURES", whole - 1)
    assert found.page(LAYERS, [as_record(rows)], drawn).count("{image}") == whole - 1
