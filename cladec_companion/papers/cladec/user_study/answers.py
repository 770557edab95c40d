"""Reads what comes back: participants' files and coders' sheets. What cannot be used is named; the rest is kept."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from pathlib import Path
from typing import Any

import pandas as pd

from cladec_companion.papers.cladec.user_study.kit import CODEBOOK, QUESTIONS
from cladec_companion.records.escape import spreadsheet
from cladec_core.errors import UsageError

KEYS = ["participant", "pair"]
MOST_ANSWERS = 10  # for each pair that was asked about: with more, the form has not saved the file
YES, NO = {"1", "x", "X"}, {"", "0"}


@dataclass
class Answers:
    """What participants sent.

    Attributes
    ----------
    texts
        `text` by participant and pair.
    people
        One row per participant: an option of each of `QUESTIONS` or empty, and `minutes` on the page.
    problems
        One sentence for everything that is missing or was left out.
    """

    texts: pd.DataFrame
    people: pd.DataFrame
    problems: list[str]


def read_answers(manifest: dict[str, Any], folder: Path) -> Answers:
    """Read every `*.json` in a folder.

    Raises
    ------
    UsageError
        If there is no such file.
    """
    paths = sorted(folder.glob("*.json"))
    if not paths:
        raise UsageError(f"{folder} holds no answers; valid: a folder with the files that participants saved (*.json).")
    problems, usable = [], []
    for path in paths:
        try:
            usable.append((*_read(path, manifest), path.name))
        except (OSError, ValueError, RecursionError) as error:
            problems.append(f"{path.name}: {error}; the file is left out.")
    kept: dict[int, tuple[dict[str, Any], float, str]] = {}
    for number, saved, sent, name in sorted(usable, key=itemgetter(0, 1)):
        if number in kept:
            problems.append(f"{kept[number][-1]}: participant {number} again; {name}, saved last, is kept.")
        kept[number] = sent, (saved - _time(sent, "started")).total_seconds() / 60, name
    rows, people = [], {}
    for number, (sent, minutes, name) in kept.items():
        own = manifest["assignment"][number - 1]
        rows += [(number, pair, text) for pair, text in _texts(name, own, sent, problems)]
        people[number] = _about(name, sent, problems) | {"minutes": minutes}
    silent = [str(number) for number in range(1, len(manifest["assignment"]) + 1) if number not in kept]
    if silent:
        problems.append(f"No answers from participant {', '.join(silent)}.")
    texts = pd.DataFrame(rows, columns=[*KEYS, "text"]).set_index(KEYS)
    return Answers(texts, pd.DataFrame.from_dict(people, "index", columns=[*QUESTIONS, "minutes"]), problems)


def _read(path: Path, manifest: dict[str, Any]) -> tuple[int, datetime, dict[str, Any]]:
    """A participant's file, as far as it must be right to be used at all."""
    sent = json.loads(path.read_bytes())
    if not isinstance(sent, dict):
        raise ValueError("it is no file that the form saved")
    if sent.get("study") != manifest["study"]:
        raise ValueError(f"it belongs to study {sent.get('study')!r}, not to {manifest['study']!r}")
    try:
        json.dumps(sent, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("a text in it holds half a character, which no file can hold") from None
    number, count = sent.get("participant"), len(manifest["assignment"])
    if type(number) is not int or not 1 <= number <= count:
        raise ValueError(f"its participant is {number!r}, which is no number from 1 to {count}")
    _time(sent, "started")
    for name, kind in (("answers", list), ("about", dict)):
        if not isinstance(sent.get(name), kind):
            raise ValueError(f"it has no {name}")
    most = MOST_ANSWERS * len(manifest["assignment"][number - 1])
    if len(sent["answers"]) > most:
        raise ValueError(f"it has {len(sent['answers'])} answers; valid: at most {most}")
    return number, _time(sent, "saved"), sent


def _time(sent: dict[str, Any], name: str) -> datetime:
    try:
        time = datetime.fromisoformat(sent[name])
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{name!r} is {sent.get(name)!r}, which is no time") from None
    if time.tzinfo is None:
        raise ValueError(f"{name!r} is {sent[name]!r}, which has no time zone")
    return time


def _texts(name: str, wanted: list[int], sent: dict[str, Any], problems: list[str]) -> Iterable[tuple[int, str]]:
    """The answers to a participant's own pairs; whatever else there is goes to the problems."""
    seen = set()
    for entry in sent["answers"]:
        pair, text = (entry.get("pair"), entry.get("text")) if isinstance(entry, dict) else (None, None)
        if type(pair) is not int or not isinstance(text, str):
            problems.append(f"{name}: {entry!r:.60} is no answer; it is left out.")
        elif pair not in wanted:
            problems.append(f"{name}: pair {pair} is not among the participant's own {wanted}; it is left out.")
        elif pair in seen:
            problems.append(f"{name}: pair {pair} again; the first answer is kept.")
        else:
            seen.add(pair)
            if text.strip():
                yield pair, text.strip()
            else:
                problems.append(f"{name}: the answer to pair {pair} is empty.")
    problems += [f"{name}: the answer to pair {pair} is missing." for pair in wanted if pair not in seen]


def _about(name: str, sent: dict[str, Any], problems: list[str]) -> dict[str, str]:
    about = {}
    for question, asked in QUESTIONS.items():
        answer = sent["about"].get(question, "")
        if answer not in ("", *asked["options"]):
            problems.append(f"{name}: {question} is {answer!r}, which is no option; it counts as not answered.")
            answer = ""
        about[question] = answer
    return about


def codebook() -> pd.DataFrame:
    """The concepts, errors and remarks of section 6.7 in the order of the paper: `kind` and `meaning` by code."""
    return pd.read_csv(CODEBOOK, index_col="code")


def blank_sheet(texts: pd.DataFrame) -> pd.DataFrame:
    """What a coder fills in: one row per answer, one column per code."""
    safe = [spreadsheet(text, limit=len(text)) for text in texts["text"]]  # whole, as all of it is coded
    return texts.assign(text=safe, **dict.fromkeys(codebook().index, "")).reset_index()


def read_codes(path: Path, texts: pd.DataFrame) -> tuple[pd.DataFrame, list[str]]:
    """Read a coder's sheet: 1 or x where an answer has a code, nothing or 0 where it has not.

    Returns
    -------
    codes
        bool, one column per code of the codebook, then the coder's own; by participant and pair, as `texts`.
    problems
        One sentence for each row that is missing or left out.

    Raises
    ------
    UsageError
        If the file cannot be read, lacks a column or has no usable row.
    """
    try:
        head = path.read_text(encoding="utf-8-sig").partition("\n")[0]
        sheet = pd.read_csv(
            path, sep=";" if head.count(";") > head.count(",") else ",", dtype=str, keep_default_na=False,
            encoding="utf-8-sig",
        )  # fmt: skip
    except (OSError, ValueError) as error:  # parser errors of pandas are ValueErrors
        raise UsageError(f"{path} cannot be read as a table ({str(error).strip()}); valid: a CSV file.") from error
    missing = [name for name in (*KEYS, *codebook().index) if name not in sheet]
    if missing:
        raise UsageError(f"{path} lacks the column {', '.join(missing)}; valid: a sheet as `analyse` writes it.")
    names = [name for name in sheet if name not in (*KEYS, "text") and not name.startswith("Unnamed")]
    rows: dict[tuple[int, int], dict[str, bool]] = {}
    problems = []
    known = {(str(number), str(pair)): (number, pair) for number, pair in texts.index}
    for line, row in enumerate(sheet.fillna("").to_dict("records"), start=2):
        try:
            who = f"participant {row['participant']!r}, pair {row['pair']!r}"
            key = known.get((row["participant"].strip(), row["pair"].strip()))
            if key is None:
                raise ValueError(f"there is no answer of {who}")
            if key in rows:
                raise ValueError(f"{who} again")
            rows[key] = {name: _mark(name, row[name]) for name in names}
        except ValueError as error:
            problems.append(f"{path.name}, row {line}: {error}; the row is left out.")
    problems += [
        f"{path.name}: no usable row for participant {number}, pair {pair}."
        for number, pair in texts.index if (number, pair) not in rows
    ]  # fmt: skip
    if not rows:
        raise UsageError(f"{path} has no row for any of the {len(texts)} answers; valid: one for each.")
    codes = pd.DataFrame(list(rows.values()), pd.MultiIndex.from_tuples(list(rows), names=KEYS)).sort_index()
    blank = int((~codes.any(axis=1)).sum())
    if blank:
        problems.append(f"{path.name}: {blank} row(s) without any code count as answers that name nothing.")
    return codes, problems


def _mark(name: str, cell: str) -> bool:
    if cell.strip() not in YES | NO:
        raise ValueError(f"{name} is {cell!r}, valid: 1, x, 0 or nothing")
    return cell.strip() in YES
