"""Every change of a verdict is kept with its reason, and every claim has the words of its paper beside it."""

from datetime import date
from itertools import pairwise

import nbformat
import pytest

from cladec_companion.book import build, found, ledger, verdicts
from cladec_companion.commands.main import app
from cladec_companion.evidence.claims import FAILS, HOLDS, STATES
from cladec_companion.papers import CHAPTERS, PAPERS
from cladec_companion.records.files import RECORDED
from cladec_companion.records.record import find_records

CLAIMS = {claim.key: chapter for chapter in CHAPTERS.values() for room in chapter.all_claims for claim in room.CLAIMS}
SAID = {key: said for paper in PAPERS for key, said in paper.quotations.items()}


def test_the_history_ends_with_the_verdicts_of_the_committed_records():
    now = {one.claim.key: one.verdict.verdict for one in found.findings(CHAPTERS, find_records(RECORDED))}
    assert verdicts.changes(now, verdicts.history()) == []  # else: cladec verdicts --why "..."


def test_the_history_is_in_order_and_tells_changes_only():
    known = verdicts.history()
    assert known.keys() <= CLAIMS.keys()
    for own in known.values():
        assert [change.day for change in own] == sorted(change.day for change in own)
        assert all(date.fromisoformat(change.day) for change in own)
        assert {change.verdict for change in own} <= {*STATES, verdicts.NOT_RECORDED}
        assert all(one.verdict != next_one.verdict for one, next_one in pairwise(own))
        assert all(change.why for change in own)


def test_changes_are_added_and_nothing_else(tmp_path):
    path = tmp_path / "verdicts.csv"
    verdicts.keep(verdicts.changes({"B1": HOLDS, "B2": FAILS}, {}, "first records"), path)
    known = verdicts.history(path)
    verdicts.keep(verdicts.changes({"B1": FAILS}, known, "a record, made anew"), path)
    known = verdicts.history(path)
    assert [change.verdict for change in known["B1"]] == [HOLDS, FAILS]
    assert [change.verdict for change in known["B2"]] == [FAILS, verdicts.NOT_RECORDED]
    assert verdicts.told(known["B1"]).startswith(f"{HOLDS} (")
    assert "a record, made anew" in verdicts.told(known["B1"])
    assert verdicts.changes({"B1": FAILS}, known) == []


def test_the_command_lists_and_keeps_changes(tmp_path, monkeypatch, capsys):
    path = tmp_path / "verdicts.csv"
    path.write_text("\n".join(line for line in verdicts.HISTORY.read_text().splitlines() if ",L32," not in line) + "\n")
    monkeypatch.setattr(verdicts, "HISTORY", path)
    app(["verdicts"], standalone_mode=False)
    assert capsys.readouterr().out.splitlines() == ["L32: not recorded -> holds", "1 verdicts changed."]
    app(["verdicts", "--why", "shifts, recorded"], standalone_mode=False)
    assert path.read_text().endswith(',L32,holds,"shifts, recorded"\n')
    capsys.readouterr()
    app(["verdicts"], standalone_mode=False)
    assert capsys.readouterr().out == "0 verdicts changed.\n"


def test_quotations_are_short_and_of_claims_only():
    assert SAID.keys() == CLAIMS.keys()
    assert all(len(said.quote.replace("...", "").split()) <= 25 for said in SAID.values())
    quoted = {key for key, said in SAID.items() if said.quote}
    assert not any(key.startswith("Q") for key in quoted)  # our own questions
    assert len(quoted) > len(SAID) / 2


@pytest.mark.parametrize("key", [key for key, said in SAID.items() if said.figure])
def test_the_figure_of_a_claim_is_in_its_chapter(key):
    cells = nbformat.read(build.NOTEBOOKS / f"{CLAIMS[key].name}.ipynb", 4).cells
    assert SAID[key].figure in [cell.metadata.get("mystnb", {}).get("figure", {}).get("name") for cell in cells]


def test_a_card_quotes_the_paper_and_tells_the_history():
    page = ledger.ledger(CHAPTERS, find_records(RECORDED))
    (card,) = [part for part in page.split("(claim-")[1:] if part.startswith("b43)")]
    assert f"*The paper:* “{SAID['B43'].quote}”" in card
    assert f"*Shown in:* {{numref}}`{SAID['B43'].figure}`" in card
    assert "*Our verdict so far:* " in card
    assert "occlusion recorded anew, with one classifier" in card
    (open_one,) = [part for part in page.split("(claim-")[1:] if part.startswith("b2)")]
    assert "*What keeps our verdict open:* " in open_one
