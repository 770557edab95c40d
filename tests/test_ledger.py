"""The ledger of all claims, the list of differences from print, and the page of what ran."""

import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from cladec_companion.book import ledger, notebook, pages, provenance
from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, NOT_COMPARABLE, STATES, UNDECIDED
from cladec_companion.papers import CHAPTERS, settings_for
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.papers.cladec.layers import claims as layers
from cladec_companion.records.files import RECORDED, ROOT
from cladec_companion.records.record import Record
from tests.made_up import as_claimed, made_up

CLAIMED = [f"B{number}" for number in range(1, 56)]
OURS = [f"Q{number}" for number in range(1, 10)]  # questions of ours, which no paper asks
OTHERS = [
    f"{series}{number}"  # of the other sources
    for series, count in (("S", 20), ("L", 54), ("X", 19))
    for number in range(1, count + 1)
]
ALL = CLAIMED + OURS + OTHERS
RUN = {"device": "cpu (test)", "commit": "0123", "started": "2026-01-02", "versions": {"torch": "2"}}


def as_record(rows, experiment="layers", profile="laptop", root=RECORDED):
    manifest = {
        "experiment": experiment, "profile": profile, 
        "cells": {"digits/vgg11/classifier/0": {"seconds": 90.0, "trainings": {}, "run": 0}},
        "configuration": settings_for(experiment, profile).configuration(),
        "runs": [RUN, RUN | {"started": "2026-01-01", "commit": "4567"}],
    }  # fmt: skip
    return Record(root / profile / experiment, rows, {}, manifest)


@pytest.fixture(scope="module")
def record():
    return as_record(made_up(as_claimed).record.rows)


def begun(experiment):
    """A record in which a run has only measured the classifier, with a column for every parameter of a cell."""
    row = {"dataset": "mnist", "architecture": "vgg11", "layer": "classifier", "method": "classifier", "seed": 0}
    parameters = {
        "alpha": 0.0, "batchnorm": "", "encoder_epochs": 0, "subset": "floors", "size": 0, "number": 0, "class": "",
        "squares": 0, "prototypes": 1, "flipped": 0, "check": "trained", "randomised": 0, "images": 1, "epochs": 1,
    }  # fmt: skip
    values = {"accuracy": 0.9, "test_images": 100.0}
    rows = [row | parameters | {"metric": metric, "value": value} for metric, value in values.items()]
    return as_record(pd.DataFrame(rows), experiment)


def test_the_ledger_has_every_claim_once_and_in_order(record):
    page = ledger.ledger(CHAPTERS, [record])
    cards = dict(re.findall(r"^\(claim-([a-z]\d+)\)=\n(.*?)^:::$", page, re.M | re.S))
    assert [key.upper() for key in cards] == ALL
    assert "28 of 29" in cards["b1"]
    assert "*laptop, committed*, n = 3: [holds]" in cards["b1"]
    assert "not recorded yet" in cards["b16"]
    assert "participants" in cards["b55"]
    assert all("../notebooks/" in card for card in cards.values())
    counted = next(line for line in page.splitlines() if line.startswith("| laptop"))
    *states, surviving = map(int, re.findall(r"\d+", counted))
    assert sum(states) == len(ALL)
    head = page.splitlines()[0]
    assert all(f"| {state} |" in head for state in (*STATES, "not recorded", "decided after Holm"))
    assert 0 < surviving <= sum(states[:2])


def matrix(page):
    """Rows of the matrix by claim: what a reader and the filters see."""
    rows = re.findall(r'<tr data-ours="(.*?)" data-disagree="(.*?)">(.*?)</tr>', page, re.S)
    return {re.search(r"#claim-(\w+)", row)[1].upper(): (ours, disagree, row) for ours, disagree, row in rows}


@pytest.mark.parametrize("chapter", [one for one in CHAPTERS.values() if one.claims], ids=lambda one: one.name)
def test_every_card_leads_to_what_shows_its_claim(chapter, record):
    page = ledger.ledger({chapter.name: chapter}, [record])
    source = (ROOT / "notebooks" / f"{chapter.name}.ipynb").read_text(encoding="utf-8")
    if f"({chapter.name}-verdicts)" in page:
        assert f'"({chapter.name}-verdicts)=' in source
    listed = {claim.key for claim in chapter.claims.CLAIMS}
    cards = dict(re.findall(r"^\*\*(\w+)\. (.*?)^:::$", page, re.M | re.S))
    assert not [key for key in listed if "*Shown in:*" not in cards[key]]


def test_the_matrix_shows_print_beside_the_best_record_alone(record):
    quick = as_record(made_up(as_claimed, seeds=(0,)).record.rows, profile="quick")
    rows = matrix(ledger.ledger(CHAPTERS, [quick, record]))
    assert sorted(rows, key=ALL.index) == ALL
    verdicts = {claim.key: (printed, found) for _, claim, printed, found in ledger.judged(CHAPTERS, [record])}
    for key, (ours, disagree, row) in rows.items():
        printed, found = verdicts[key]
        best = found["laptop, committed"][1].verdict if found else "not recorded"
        assert ours == best
        assert (disagree == "yes") == ({printed.verdict, best} == {HOLDS, FAILS})
        assert ("pictures only" in row) == ("pictures" in printed.evidence and printed.verdict == NOT_APPLICABLE)


def test_every_claim_says_what_decides_it():
    texts = [claim.test for _, claim, _, _ in ledger.judged(CHAPTERS, [])]
    assert len(set(texts)) == len(ALL)
    assert all(text.rstrip(")").endswith(".") and len(text) > 20 for text in texts)


@pytest.mark.parametrize("experiment", [name for name, found in CHAPTERS.items() if found.claims and found.trains])
def test_a_record_that_has_just_begun_decides_nothing(experiment):
    by_construction = {"B22", "B29", "B36", "B44", "B46", "B47", "S19", "S20"}
    by_construction |= {"L2", "L3", "L5", "L19", "L22", "L24", "L25", "L28", "L31", "L33", "L38", "L46"}
    for _, claim, _, verdicts in ledger.judged(CHAPTERS, [begun(experiment)]):
        for _, verdict in verdicts.values():
            level = claim.key in ("B14", "B18")  # after four epochs, whatever was measured
            expected = NOT_APPLICABLE if claim.key in by_construction else NOT_COMPARABLE if level else UNDECIDED
            assert verdict.verdict == expected, claim.key
    assert ledger.differences(CHAPTERS, [begun(experiment)]).startswith("No record yet")
    assert pages.published_against_reproduced([begun(experiment)]) == "No record yet."


def test_deviations_are_those_of_a_plain_subtraction(record):
    printed, measured = printed_tables.layers()["mean"], layers.evidence(record).summary["mean"]
    gaps = [measured[("fashion_mnist", "vgg11", index, "rec_cladec")]
            - printed[("fashion_mnist", "vgg11", index, "rec_cladec")] for index in range(-5, 0)]  # fmt: skip
    summaries = printed_tables.layers(), layers.evidence(record).summary
    (row,) = ledger.deviations(*summaries, {"rec_cladec": "Rec"}, True).to_dict("records")
    assert (row["cells"], row["higher here"]) == (5, sum(gap > 0 for gap in gaps))
    assert float(row["mean difference"]) == pytest.approx(sum(gaps) / 5, abs=0.0006)
    largest = max(gaps, key=abs)
    assert row["largest"] == f"{largest:+.3f} at {gaps.index(largest) - 5}"


@pytest.mark.parametrize(
    ("metric", "gap", "shorter", "reason"),
    [
        ("rec_cladec", 0.1, True, "shorter training"), ("acc_refae", -0.1, True, "shorter training"),
        ("rec_cladec", -0.1, True, "another set-up or reading"), ("acc_refae", 0.1, True, "another set-up or reading"),
        ("cladec_max", -0.1, False, "another set-up or reading"), ("d_acc", 0.1, True, "that of its two parts"),
    ],
)  # fmt: skip
def test_the_likely_reason_fits_the_direction(metric, gap, shorter, reason):
    index = pd.MultiIndex.from_tuples(
        [("mnist", "vgg11", -1, metric)], names=["dataset", "architecture", "i", "metric"]
    )
    printed = pd.DataFrame({"mean": [0.5], "sd": [0.01], "n": [5]}, index)
    found = ledger.deviations(printed, printed.assign(mean=0.5 + gap), {metric: "it"}, shorter)
    assert found["likely reason"].tolist() == [reason]


def test_verdicts_are_compared_on_the_same_cells():
    def top_for_bottom(net, index, seed):
        return as_claimed(net, -6 - index, seed)

    record = as_record(made_up(top_for_bottom).record.rows)
    page = ledger.differences(CHAPTERS, [record])
    assert "`classifier_epochs` is 4 (paper: 64)" in page
    assert "n is 3 (paper: 5)" in page
    (turned,) = re.findall(r"from the same cells: (.*)\.$", page, re.M)
    assert f"B4 ({HOLDS} in print, {FAILS} here)" in turned  # of the printed cells that this run has
    assert "B8" not in turned  # this record cannot compare networks


def test_the_page_of_what_ran_names_everything_once(record):
    page = pages.status([record]).replace("\u2011", "-")
    # Its one cell is of the digits, which are not in this profile.
    assert "| `layers` | `laptop` | committed | 3 | 0 of 12, 1 more | 1.5 | 2026-01-01 to 2026-01-02 |" in page
    whole = {f"fashion_mnist/vgg11/{layer}/0": {"seconds": 1.0, "run": 0} for layer in ("classifier", "conv2", "conv3")}
    more = replace(record, manifest=record.manifest | {"cells": whole})
    assert "| 3 of 12 |" in pages.status([more])
    assert "| 3 |" in pages.status([replace(more, folder=record.folder.parents[1] / "laptop-0a1b2c3d" / "layers")])
    assert page.count(r"cpu \(test\)") == page.count("Fashion-MNIST with VGG-11") == 1
    assert "`0123`, `4567`" in page
    assert pages.status([]) == "No record yet."


@pytest.mark.parametrize("schema", [1, 2])
def test_a_record_of_which_nobody_knows_the_classifiers_says_so(record, schema):
    marked = replace(record, manifest=record.manifest | {"schema": schema})
    assert (notebook.UNMARKED in notebook.provenance(marked).data) == (schema == 1)


def test_a_record_is_told_apart_from_the_papers_protocol():
    rows = made_up(as_claimed, dataset="digits", seeds=range(5)).record.rows
    assert provenance.protocol(as_record(rows, profile="paper")) == "the paper does not use Digits"
    here = as_record(made_up(as_claimed, seeds=range(5)).record.rows, profile="paper", root=Path("here"))
    assert provenance.protocol(here) == "nothing"
    assert provenance.title(here) == "Layers: Fashion-MNIST (profile paper, this machine)"
    fewer = here.manifest | {"configuration": here.manifest["configuration"] | {"train_limit": 5000}}
    changed = replace(here, folder=here.folder.parents[1] / "paper-0a1b2c3d" / "layers", manifest=fewer)
    assert provenance.name(changed) == "paper with 5000 training images, this machine"


def test_numbers_of_any_size_keep_their_digits():
    shown = {0.24: "0.240", 0.0006: "0.0006", 8.35: "8.350", 25.4: "25.40", 285.5: "285.5", 0.0: "0.000"}
    assert {value: tables.mean_sd(value, float("nan")) for value in shown} == shown
    assert tables.mean_sd(285.5, 52.01) == "285.5 ± 52.0"


def test_the_seeds_of_a_record_are_those_of_its_classifiers():
    rows = made_up(as_claimed).record.rows
    assert provenance.seeds(as_record(rows)) == "3 seeds"
    assert provenance.seeds(as_record(rows[rows["seed"] == 0])) == "1 seed"
    fewer = rows[rows["seed"] < 2].assign(dataset="mnist")
    assert provenance.seeds(as_record(pd.concat([rows, fewer]))) == "2 to 3 seeds"
