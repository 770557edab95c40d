"""The rule in the reader's hands: the script of the page decides as Python does, for every claim and every rule."""

import itertools
import json
import math
import re

import pytest

from cladec_companion.book import what_if
from cladec_companion.evidence import claims, comparisons
from cladec_companion.evidence.claims import EVERY, MOST, NINE_IN_TEN, Quantifier, at_least, every_part, judge
from cladec_companion.evidence.comparisons import certain, sample
from cladec_companion.papers import CHAPTERS
from cladec_companion.records.files import RECORDED, ROOT
from cladec_companion.records.record import find_records
from tests.browsing import DESKTOP, PHONE, needs_chromium, offline, page_of

SCRIPT = ROOT / "book" / "static" / "what_if.js"
LARGEST = 400_000  # bytes, beside cards of a page that may have 1.5 MB in all


@pytest.fixture(scope="module")
def found():
    return what_if.verdicts(CHAPTERS, find_records(RECORDED))


@pytest.fixture(scope="module")
def written():
    return what_if.page(CHAPTERS, find_records(RECORDED))


def embedded(text):
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', text, re.S)[1])


@pytest.fixture(scope="module")
def page(written, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    with offline(folder / "profile") as browser:
        opened = browser.new_page()
        opened.goto(page_of(folder, f"{written}<script>{SCRIPT.read_text(encoding='utf-8')}</script>"))
        yield opened


def default(data):
    places = {name: rule["values"][rule["start"]] for name, rule in data["rules"].items()}
    return {name: places[name] for name in ("every", "nine", "most")} | places["level"]


def decided(page, trees, rule):
    return page.evaluate("([trees, rule]) => trees.map((tree) => Verdicts.of(tree, rule).verdict)", [trees, rule])


def again(verdict, rule):
    """A verdict by Python's rule, from the same comparisons, with other shares."""
    if verdict.parts:
        return every_part({str(place): again(part, rule) for place, part in enumerate(verdict.parts)})
    if not verdict.quantifier:
        return verdict
    shares = {
        EVERY.name: lambda m: math.ceil(rule["every"] * m - 1e-9),
        NINE_IN_TEN.name: lambda m: math.ceil(rule["nine"] * m - 1e-9),
        MOST.name: lambda m: min(m, math.floor(rule["most"] * m + 1e-9) + 1),
    }
    needed = shares.get(verdict.quantifier.name, verdict.quantifier.needed)
    return judge(verdict.comparisons, "so", Quantifier("own", needed))


def test_the_figure_has_every_claim_of_the_ledger(written, found):
    data = embedded(written)
    assert {source: [claim["key"] for claim in claims] for source, claims in data["sources"].items()} == {
        source: list(claims) for source, claims in found.items()
    }
    assert len(data["sources"][what_if.PRINTED]) > 100
    assert len(written.encode()) < LARGEST
    assert written.count("<script") == 1


def test_the_rule_it_starts_with_is_ours(written):
    rule = default(embedded(written))
    assert rule == {
        "every": 1.0, "nine": 0.9, "most": 0.5, "name": "95 %", "tail": comparisons.TAIL,
        "significant": claims.SIGNIFICANT,
    }  # fmt: skip
    for quantifier, m in itertools.product((EVERY, NINE_IN_TEN, MOST), range(1, 60)):
        verdict = judge([certain("", 1.0, True, "count")] * m, "so", quantifier)
        assert again(verdict, rule).verdict == verdict.verdict


@needs_chromium
def test_at_our_rule_the_script_gives_the_verdicts_of_the_ledger(page, written, found):
    data = embedded(written)
    for source, own in found.items():
        expected = [verdict.verdict for _, verdict in own.values()]
        assert decided(page, data["sources"][source], default(data)) == expected
        assert len(set(expected)) >= 4


@needs_chromium
@pytest.mark.parametrize(
    ("every", "nine", "most"), [(1.0, 0.9, 0.5), (0.9, 0.8, 0.5), (0.75, 0.6, 0.7), (0.5, 1.0, 1.0)]
)
def test_at_any_rule_the_script_decides_as_python_does(page, written, found, monkeypatch, every, nine, most):
    data, changed = embedded(written), 0
    for level in data["rules"]["level"]["values"]:
        rule = {"every": every, "nine": nine, "most": most} | level
        monkeypatch.setattr(claims, "TAIL", level["tail"])
        monkeypatch.setattr(claims, "SIGNIFICANT", level["significant"])
        for source, own in found.items():
            expected = [again(verdict, rule).verdict for _, verdict in own.values()]
            assert decided(page, data["sources"][source], rule) == expected, (source, level["name"])
            changed += sum(one != verdict.verdict for one, (_, verdict) in zip(expected, own.values(), strict=True))
    assert changed > 10


@needs_chromium
def test_claims_of_all_kinds_are_decided_alike(page, written):
    """Kinds that the records of today need not have: parts that fail, counts of a fixed size, nothing comparable."""
    clear, against = sample("up", [1.0, 1.1, 0.9]), sample("down", [-1.0, -1.1, -0.9])
    noise, barred = sample("noise", [0.5, -0.6, 0.2]), clear.barred("too short", too_short=True)
    made = [
        judge([clear, against, noise], "so", at_least(1)), judge([clear] * 3, "so", at_least(5)),
        judge([barred, barred], "so"), judge([barred, clear], "so", MOST), judge([], "so"),
        every_part({"one": judge([clear], "so"), "other": judge([against], "so")}),
        every_part({"one": judge([clear], "so"), "other": judge([barred], "so")}),
        every_part({"one": judge([clear] * 4, "so"), "two": judge([clear], "so"), "three": judge([noise], "so")}),
        every_part({"one": claims.not_applicable("no number"), "two": judge([clear], "so")}),
    ]  # fmt: skip
    trees = [what_if.node(verdict) for verdict in made]
    assert decided(page, trees, default(embedded(written))) == [verdict.verdict for verdict in made]
    assert len({verdict.verdict for verdict in made}) == 4


@needs_chromium
def test_a_reader_moves_the_rule_and_sees_what_changes(page, written, found):
    data = embedded(written)
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    page.set_viewport_size(DESKTOP)
    said, rows = page.locator(".what-if p[aria-live]"), page.locator(".what-if-changed > li")
    assert said.inner_text() == f"0 of {len(found[what_if.PRINTED])} verdicts change."
    level = page.locator("input[name=level]")
    level.focus()
    page.keyboard.press("End")
    assert level.get_attribute("aria-valuetext") == "99.9 %"
    rule = default(data) | data["rules"]["level"]["values"][-1]
    own = data["sources"][what_if.PRINTED]
    before = [verdict.verdict for _, verdict in found[what_if.PRINTED].values()]
    after = decided(page, own, rule)
    turned = [claim["key"] for claim, one, other in zip(own, before, after, strict=True) if one != other]
    assert turned
    assert rows.evaluate_all("all => all.map(row => row.querySelector('a').textContent)") == turned
    assert rows.first.locator("a").get_attribute("href") == f"#claim-{turned[0].lower()}"
    counts = page.locator(".what-if-counts tbody tr").evaluate_all("all => all.map(row => row.cells[2].textContent)")
    assert [int(count.split()[0]) for count in counts] == [after.count(state) for state in claims.STATES]
    page.locator("select[name=source]").select_option(what_if.OURS)
    assert f"of {len(found[what_if.OURS])} verdicts" in said.inner_text()
    page.locator("button[type=reset]").click()
    page.wait_for_function("document.querySelector('.what-if-changed').children.length === 0")
