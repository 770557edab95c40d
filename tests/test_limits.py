"""The limits behind words such as "about": declared by the claims that look at them, and listed on one page."""

from cladec_companion.book import pages
from cladec_companion.evidence import thresholds
from cladec_companion.evidence.thresholds import REPEATED, Threshold
from cladec_companion.papers import CHAPTERS
from cladec_companion.records.record import RECORDED, find_records
from tests.claims import test_contrast, test_sanity, test_subsets

CLASSES = [(0.1 * label, 0.5, 0.5) for label in range(10)]
# What committed records may lack: a classifier that pools, small nested subsets, searches that met their constraints.
MADE_UP = {
    "contrast": lambda: test_contrast.record(
        {number: value for true, _ in test_contrast.CASES.values() for number, value in true.items()}
    ),
    "sanity": test_sanity.record,
    "subsets": lambda: test_subsets.made_record({10: 0.5, 500: 0.4, 512: 0.4}, per_class=[CLASSES]),
}


def evidence(chapter, records):
    """What the claims of a chapter can be decided from, module by module."""
    found = [record for record in records if record.manifest["experiment"] == chapter.name]
    found += [MADE_UP[chapter.name]()] if chapter.name in MADE_UP else []
    for module in chapter.all_claims:
        others = () if module is chapter.claims else (found,)
        yield module, [module.printed(), *(module.evidence(record, *others) for record in found)]


def test_a_claim_declares_the_limits_that_are_read_while_it_is_decided(monkeypatch):
    read, records = set(), find_records(RECORDED)
    asked = [pair for chapter in CHAPTERS.values() for pair in evidence(chapter, records)]
    value = property(lambda limit: read.add(limit.word) or vars(limit)["value"])
    monkeypatch.setattr(Threshold, "value", value, raising=False)
    for claim, known in ((claim, known) for module, known in asked for claim in module.CLAIMS):
        read.clear()
        for one in known:
            claim.decide(one)
        read.discard(REPEATED.word)  # of the noise of any single run
        assert read == {limit.word for limit in claim.limits}, claim.key


def test_the_page_lists_every_limit_once_with_its_reason_and_its_date():
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in pages.limits().splitlines()[2:]]
    table = {word: rest for word, *rest in rows}
    assert len(table) == len(rows)
    assert all(len(because) > 10 for _, _, because, _ in table.values())
    assert table["almost always"][1] == "B2, L36, L42, L43"  # of all papers
    assert table["omitted"][1] == "B12, B37"  # of one paper
    assert table["a trained prototype network"][1] == "B37"  # of one chapter
    assert "after" in table["a trained prototype network"][3]
    assert table["points at (your own)"][1] == table["kept (a vote)"][1] == "a check of ours"


def test_keys_in_a_row_are_listed_by_their_ends():
    one, other = Threshold("a word", 1, "why", "2026-11-21"), Threshold("a check", 0.5, "why", "2026-11-21", True)
    table = thresholds.table({one: ["X10", "B2", "B1", "X8", "X9", "X12"], other: []})
    assert table["decides"].tolist() == ["B1, B2, X8-X10, X12", "a check of ours"]
    assert table["since"].str.startswith("2026-11-21").all()
    assert table["limit"].tolist() == ["1", "0.5"]
