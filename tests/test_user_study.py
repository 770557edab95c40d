"""The user study: how answers are read, coded and counted. All answers here are made up."""

import json
import math
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from cladec_companion.book.notebook import saved
from cladec_companion.commands import main as cli
from cladec_companion.evidence.claims import FAILS, HOLDS, UNDECIDED
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.papers.cladec.user_study import analysis, answers, figures, kit
from cladec_companion.papers.cladec.user_study import claims as chapter
from cladec_core.errors import UsageError

MADE_UP = Path(__file__).parent / "fixtures" / "user_study"


@pytest.fixture
def made_up(tmp_path):
    """A copy of the made-up study, for tests that spoil it."""
    return Path(shutil.copytree(MADE_UP, tmp_path / "made_up"))


def test_made_up_answers_are_read_as_they_are():
    got = answers.read_answers(kit.read_manifest(MADE_UP), MADE_UP / "answers")
    assert got.problems == ["No answers from participant 4."]
    assert len(got.texts) == 9
    assert got.texts.loc[(2, 5), "text"] == "I see no difference."
    assert got.people["minutes"].tolist() == [11, 12, 13]
    sheet = answers.blank_sheet(got.texts)
    assert sheet["text"].iloc[7].startswith("'- the folds")  # a spreadsheet would take it for a formula
    long = answers.blank_sheet(got.texts.assign(text="=" + 500 * "lighter, "))
    assert set(long["text"]) == {"'=" + 500 * "lighter, "}  # none is cut


def changed(**changes):
    return lambda sent: sent | changes


SPOILED = {
    "another study": (changed(study="other"), "'other', not to 'made-up'", 6),
    "unknown participant": (changed(participant=5), "5, which is no number from 1 to 4", 6),
    "participant as text": (changed(participant="2"), "'2', which is no number", 6),
    "no time": (changed(saved="noon"), "'noon', which is no time", 6),
    "time without zone": (changed(started="2020-01-01T10:00"), "no time zone", 6),
    "no answers": (changed(answers=None), "it has no answers", 6),
    "a list": (lambda sent: [sent], "no file that the form saved", 6),
    "an answer that is none": (lambda sent: sent | {"answers": [*sent["answers"], 7]}, "7 is no answer", 9),
    "another's pair": (
        lambda sent: sent | {"answers": [*sent["answers"], {"pair": 0, "text": "made up"}]}, "pair 0 is not among", 9,
    ),
    "a pair twice": (lambda sent: sent | {"answers": [*sent["answers"], sent["answers"][0]]}, "pair 3 again", 9),
    "a pair missing": (lambda sent: sent | {"answers": sent["answers"][1:]}, "the answer to pair 3 is missing", 8),
    "an empty answer": (
        lambda sent: sent | {"answers": [*sent["answers"][1:], {"pair": 3, "text": " "}]}, "pair 3 is empty", 8,
    ),
    "half a character": (
        lambda sent: sent | {"answers": [{"pair": 3, "text": "\udc80"}]}, "holds half a character", 6,
    ),
    "a million answers": (
        lambda sent: sent | {"answers": sent["answers"] * 100_000}, "answers; valid: at most 30", 6,
    ),
    "an unknown option": (lambda sent: sent | {"about": {"age": "12"}}, "age is '12', which is no option", 9),
}  # fmt: skip


@pytest.mark.parametrize("case", SPOILED)
def test_what_is_wrong_is_named_in_one_line_and_the_good_answers_are_kept(case, made_up):
    spoil, named, kept = SPOILED[case]
    path = made_up / "answers" / "answers-002.json"
    path.write_text(json.dumps(spoil(json.loads(path.read_text()))))
    got = answers.read_answers(kit.read_manifest(made_up), made_up / "answers")
    assert len(got.texts) == kept
    found = [problem for problem in got.problems if named in problem]
    assert len(found) == 1
    assert found[0].startswith("answers-002.json: ")
    assert "\n" not in found[0]


def test_damaged_and_doubled_files(made_up):
    folder = made_up / "answers"
    text = (folder / "answers-001.json").read_text()
    (folder / "answers-001 (1).json").write_text(
        text.replace("10:11:00", "10:30:00").replace("The outline", "Later: the outline")
    )
    (folder / "broken.json").write_text(text[:100])
    (folder / "picture.json").write_bytes(b"\x89PNG\xff")
    (folder / "deep.json").write_text("[" * 100_000)
    got = answers.read_answers(kit.read_manifest(made_up), folder)
    assert got.texts.loc[(1, 0), "text"].startswith("Later")
    assert len(got.texts) == 9
    assert "answers-001.json: participant 1 again; answers-001 (1).json, saved last, is kept." in got.problems
    for name in ("broken.json", "picture.json", "deep.json"):
        assert sum(problem.startswith(f"{name}: ") for problem in got.problems) == 1


def texts_and_sheet():
    texts = answers.read_answers(kit.read_manifest(MADE_UP), MADE_UP / "answers").texts
    return texts, pd.read_csv(MADE_UP / "first.csv", dtype=str, keep_default_na=False)


def test_sheets_with_wrong_rows(tmp_path):
    texts, sheet = texts_and_sheet()
    sheet.loc[0, "shading"] = "2"
    sheet.loc[1, "pair"] = "9"
    sheet.loc[2, "participant"] = "one"
    sheet = pd.concat([sheet, sheet.tail(1)])
    sheet.to_csv(tmp_path / "sheet.csv", index=False)
    codes, problems = answers.read_codes(tmp_path / "sheet.csv", texts)
    assert len(codes) == 6
    assert problems[:4] == [
        "sheet.csv, row 2: shading is '2', valid: 1, x, 0 or nothing; the row is left out.",
        "sheet.csv, row 3: there is no answer of participant '1', pair '9'; the row is left out.",
        "sheet.csv, row 4: there is no answer of participant 'one', pair '2'; the row is left out.",
        "sheet.csv, row 11: participant '3', pair '4' again; the row is left out.",
    ]
    assert problems[4:] == [f"sheet.csv: no usable row for participant 1, pair {pair}." for pair in range(3)]


def test_sheets_that_cannot_be_used(tmp_path):
    texts, sheet = texts_and_sheet()
    path = tmp_path / "sheet.csv"
    with pytest.raises(UsageError, match=r"sheet\.csv cannot be read"):
        answers.read_codes(path, texts)
    sheet.drop(columns=["shading", "pair"]).to_csv(path, index=False)
    with pytest.raises(UsageError, match="lacks the column pair, shading"):
        answers.read_codes(path, texts)
    sheet.assign(participant="99").to_csv(path, index=False)
    with pytest.raises(UsageError, match="no row for any of the 9 answers"):
        answers.read_codes(path, texts)
    path.write_text('a,b\n"1,2,3')
    with pytest.raises(UsageError, match=r"sheet\.csv cannot be read"):
        answers.read_codes(path, texts)


def test_the_codebook_is_what_the_paper_reports():
    book, printed = answers.codebook(), printed_tables.published()["user_study"]
    assert list(book.index[book["kind"] == "concept"]) == list(printed["concept_share_of_responses"])
    assert list(book.index[book["kind"] == "remark"]) == [
        "shape_mentioned_as_preserved", *(name for name in printed["other"] if name != "shape_mentioned_as_preserved"),
    ]  # fmt: skip
    assert set(book.index[book["kind"] == "error"]) <= set(printed["validity"])


def slow_wilson(count, n, z=1.959963984540054):
    """The roots of (p - count/n)² = z² p (1 - p) / n."""
    share, square = count / n, z * z / n
    middle, half = share + square / 2, z * math.sqrt(share * (1 - share) / n + square / (4 * n))
    return (middle - half) / (1 + square), (middle + half) / (1 + square)


@pytest.mark.parametrize(("count", "n"), [(195, 295), (3, 295), (0, 9), (9, 9)])
def test_the_interval_is_wilsons(count, n):
    assert chapter.interval(count, n) == pytest.approx(slow_wilson(count, n), abs=1e-9)


def test_no_answers_no_knowledge():
    assert chapter.interval(0, 0) == (0, 1)


def slow_kappa(first, second):
    n = len(first)
    alike = sum(a == b for a, b in zip(first, second, strict=True)) / n
    yes, other = sum(first) / n, sum(second) / n
    chance = yes * other + (1 - yes) * (1 - other)
    return (alike - chance) / (1 - chance)


def test_agreement_is_cohens_kappa_over_what_both_coded():
    texts, _ = texts_and_sheet()
    first, second = (answers.read_codes(MADE_UP / f"{name}.csv", texts)[0] for name in ("first", "second"))
    found = analysis.agreement(first, second.drop(index=(3, 0)))
    assert "size" not in found.index  # one coder's own
    for code in ("outer_or_overall_shape", "only_differences_mentioned", "design"):
        one, other = (part.drop(index=(3, 0))[code].tolist() for part in (first, second))
        assert found.loc[code, "kappa"] == pytest.approx(slow_kappa(one, other)), code
        assert found.loc[code, "n"] == 8
    assert math.isnan(found.loc["contrast", "kappa"])  # neither used it: chance alone makes them agree
    assert found.loc["contrast", "alike"] == 1


def test_shares_are_counts_of_the_sheet():
    texts, sheet = texts_and_sheet()
    codes, _ = answers.read_codes(MADE_UP / "first.csv", texts)
    found = chapter.counted(codes)
    for code in answers.codebook().index.drop("shape_mentioned_as_preserved"):
        assert found.loc[code, ["count", "n"]].tolist() == [sum(sheet[code] == "1"), 9]
    assert found.loc["shape_mentioned_as_preserved", ["count", "n"]].tolist() == [5, 5]  # of those that mention shape
    assert found.loc["valid", ["count", "n"]].tolist() == [8, 9]
    assert found.loc["size", "kind"] == "own"
    printed = chapter.published_shares()
    assert printed.loc["claimed_no_difference_though_clear", "count"] == 3
    assert printed.loc["outer_or_overall_shape", ["count", "n", "share"]].tolist() == [195, 295, 0.66]
    assert "shape_mentioned_as_preserved" not in printed.index  # printed as a bound only


def test_reproduced_is_inside_the_printed_interval():
    codes = answers.codebook().index
    one = pd.DataFrame(False, range(1000), codes)
    one.loc[:659, "outer_or_overall_shape"] = True
    one.loc[:99, "color_or_grey_tone"] = True
    table = analysis.beside_published({"large": chapter.counted(one), "small": chapter.counted(one.iloc[98:104])})
    verdict = table["reproduced"]
    assert verdict["large", "outer_or_overall_shape"] == HOLDS
    assert verdict["large", "color_or_grey_tone"] == FAILS
    assert verdict["small", "outer_or_overall_shape"] == UNDECIDED  # all of six: 100 %, with a wide interval
    assert verdict["large", "shape_mentioned_as_preserved"] == ""


def decided(n=1000, concepts=6, errors=0, cnn=("no",) * 40 + ("yes",) * 10):
    codes = pd.DataFrame(False, range(n), answers.codebook().index)
    codes.iloc[: n // 10, :concepts] = True
    codes.loc[: errors - 1, "objectively_false_claims"] = True
    return chapter.b55(chapter.evidence(codes, pd.DataFrame({"knows_cnn": cnn}))).verdict


def test_the_claim_on_made_up_codes():
    assert decided() == HOLDS
    assert decided(concepts=4) == FAILS
    assert decided(errors=100) == FAILS
    assert decided(cnn=("yes",) * 40 + ("no",) * 10) == FAILS
    assert decided(cnn=("no", "no", "yes")) == UNDECIDED  # three people say nothing
    assert decided(errors=50) == UNDECIDED
    assert decided(n=20) == UNDECIDED
    assert decided(cnn=("", "")) == UNDECIDED


def test_the_claim_on_the_printed_numbers():
    found = chapter.b55(chapter.printed())
    assert found.verdict == HOLDS
    assert "8 of 13" in found.evidence
    assert "54 of 59" in found.evidence
    assert found.evidence.endswith(
        "; without the concepts that the paper's introduction names: undecided; "
        "with the wider intervals (one answer per participant): undecided"
    )


def test_wider_intervals_take_the_answers_of_each_participant_for_one():
    printed = chapter.printed()
    wide = chapter.one_answer_each(printed).shares
    assert wide.loc["valid", ["count", "n"]].tolist() == [58, 59]
    assert wide.loc["valid", ["low", "high"]].tolist() == pytest.approx(slow_wilson(58, 59), abs=1e-9)
    assert chapter.b55(chapter.one_answer_each(printed)).named["answers"].verdict == UNDECIDED
    texts, _ = texts_and_sheet()
    codes, _ = answers.read_codes(MADE_UP / "first.csv", texts)
    own = chapter.evidence(codes, pd.DataFrame({"knows_cnn": ["no"] * 3}))
    assert set(chapter.one_answer_each(own).shares["n"]) == {3}  # three people wrote nine answers


def test_without_the_concepts_that_the_introduction_names():
    printed = chapter.printed()
    rest = chapter.unprimed(printed).shares.index
    assert set(printed.shares.index) - set(rest) == set(chapter.PRIMED)
    assert chapter.b55(chapter.unprimed(printed)).named["concepts"].verdict == UNDECIDED


def test_the_printed_sums_are_right_but_for_the_ages():
    table = chapter.arithmetic()
    assert table.index[table["verdict"] == FAILS].tolist() == ["age groups: different ones"]
    assert table.loc["participants: education", "computed"] == 26 + 13 + 14 + 6
    assert table.loc["participants: age", "computed"] == 41 + 12 + 6


def cladec(monkeypatch, capsys, *arguments):
    """Run the command in this process; returns exit code, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["cladec", "study", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code or 0, *capsys.readouterr()


WRONG = {
    "too many pairs": (["export", "--out", "OUT", "--pairs", 101], "101"),
    "unknown profile": (["export", "--out", "OUT", "--profile", "fast"], "'fast'"),
    "unknown dataset": (["export", "--out", "OUT", "--dataset", "svhn"], "'svhn'"),
    "unequal classes": (["export", "--out", "OUT", "--profile", "smoke", "--images", 25], "25"),
    "folder exists": (["export", "--out", MADE_UP], "exists"),
    "no study": (["analyse", MADE_UP / "answers", "--answers", MADE_UP / "answers", "--out", "OUT"], "manifest.json"),
    "no answers": (["analyse", MADE_UP, "--answers", MADE_UP / "nowhere", "--out", "OUT"], "nowhere"),
    "only wrong answers": (["analyse", MADE_UP, "--answers", MADE_UP, "--out", "OUT"], "its participant is None"),
    "no sheet": (
        ["analyse", MADE_UP, "--answers", MADE_UP / "answers", "--codes", "none.csv", "--out", "OUT"], "none.csv",
    ),
    "three coders": (
        ["analyse", MADE_UP, "--answers", MADE_UP / "answers", *["--codes", "a.csv"] * 3, "--out", "OUT"], "3 times",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_use_is_one_line_and_leaves_nothing(case, monkeypatch, capsys, tmp_path):
    arguments, named = WRONG[case]
    out = tmp_path / "out"
    code, _, err = cladec(monkeypatch, capsys, *[out if each == "OUT" else each for each in arguments])
    assert code == 2
    assert named in err
    assert "valid: " in err
    assert len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_from_answers_to_shares_by_commands(monkeypatch, capsys, made_up):
    folder = ["analyse", made_up, "--answers", made_up / "answers"]
    code, out, _ = cladec(monkeypatch, capsys, *folder)
    assert code == 0
    assert "No answers from participant 4." in out
    blank = pd.read_csv(made_up / "coding" / "codes.csv")
    assert len(blank) == 9
    assert list(blank.columns[3:]) == list(answers.codebook().index)
    assert blank.iloc[:, 3:].isna().all(axis=None)
    code, out, _ = cladec(
        monkeypatch, capsys, *folder, "--codes", made_up / "first.csv", "--codes", made_up / "second.csv"
    )
    assert code == 0
    assert "B55, coder 2: undecided" in out
    written = {path.name for path in (made_up / "analysis").iterdir()}
    assert written == {"participants.csv", "shares.csv", "shares.png", "agreement.csv", "notes.txt"}
    shares = pd.read_csv(made_up / "analysis" / "shares.csv", index_col=["coder", "code"])
    assert shares.loc[("coder 1", "outer_or_overall_shape"), ["count", "n", "published_share"]].tolist() == [5, 9, 0.66]
    people = pd.read_csv(made_up / "analysis" / "participants.csv", keep_default_na=False)
    assert people.set_index(["question", "option"])["count"]["knows_cnn", "no"] == 2
    code, _, err = cladec(monkeypatch, capsys, *folder, "--codes", made_up / "first.csv")
    assert code == 2  # the first analysis stays
    assert "exists" in err


def test_help_has_an_example(monkeypatch, capsys):
    for command in ("export", "analyse"):
        assert f"cladec study {command}" in cladec(monkeypatch, capsys, command, "--help")[1]


def test_the_figures_are_drawn():
    printed = chapter.published_shares()
    wide = chapter.with_intervals(printed.assign(n=59, count=(59 * printed["share"]).round()))
    texts, _ = texts_and_sheet()
    codes, _ = answers.read_codes(MADE_UP / "first.csv", texts)
    drawn = figures.shares(printed, {"made up": chapter.counted(codes)}, wide)
    names = [label.get_text() for label in drawn.axes[0].get_yticklabels()]
    assert names[0] == "outer or overall shape *"
    assert names[-1] == "size"
    dealt = kit.assign(10, 4, 3, 0)
    bars = figures.assignment(dealt, 10).axes[1].patches
    assert [bar.get_height() for bar in bars] == [sum(pair in own for own in dealt) for pair in range(10)]


def test_the_book_shows_recorded_pairs_and_the_form():
    record = saved("layers")
    rows = [axis.get_ylabel() for axis in figures.pairs(record, ("",) * 10, count=2).axes[::2]]
    assert rows == [figures.LABELS[name] for name in ("original", "cladec", "refae")]
    frame = figures.preview(record, count=2).data
    assert 'title="The form of the study, with 2 pairs"' in frame
    assert frame.count("data:image") == 1  # the script puts the pictures in
