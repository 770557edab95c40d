"""Counts a study of one's own: shares and agreement of coders, beside what the paper printed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import cohen_kappa_score

from cladec_companion.evidence.claims import FAILS, HOLDS, UNDECIDED
from cladec_companion.papers.cladec.user_study import claims as chapter
from cladec_companion.papers.cladec.user_study import figures
from cladec_companion.papers.cladec.user_study.answers import blank_sheet, read_answers, read_codes
from cladec_companion.papers.cladec.user_study.kit import QUESTIONS, new_folder, read_manifest
from cladec_core.errors import UsageError


def agreement(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Cohen's kappa per code over the answers that both coders coded.

    Returns
    -------
    DataFrame
        `n`, share of answers coded alike (`alike`), `kappa`: NaN where each coder had one and the same for all.
    """
    both = first.index.intersection(second.index)
    rows = {}
    for code in [name for name in first if name in second]:
        one, other = first.loc[both, code], second.loc[both, code]
        varies = len(both) > 0 and (one.nunique() > 1 or other.nunique() > 1)
        kappa = cohen_kappa_score(one, other, labels=[False, True]) if varies else np.nan
        rows[code] = {"n": len(both), "alike": (one == other).mean(), "kappa": kappa}
    return pd.DataFrame.from_dict(rows, "index").rename_axis("code")


def beside_published(found: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Shares of each coder (`counted`), the printed ones, and whether they are reproduced.

    Reproduced is a share inside the interval of the printed one; undecided one outside whose interval overlaps.
    """
    printed = chapter.published_shares()[["share", "low", "high"]].add_prefix("published_")
    long = pd.concat(found, names=["coder", "code"]).join(printed, on="code").round(4)
    inside = long["share"].between(long["published_low"], long["published_high"])
    overlap = (long["low"] <= long["published_high"]) & (long["published_low"] <= long["high"])
    verdict = np.select([long["published_share"].isna(), inside, overlap], ["", HOLDS, UNDECIDED], FAILS)
    return long.assign(reproduced=verdict)


def analyse(folder: Path, answers: Path, sheets: Sequence[Path], out: Path | None = None) -> tuple[Path, list[str]]:
    """Check the answers, and with coding sheets count them; write all of it to a new folder.

    Parameters
    ----------
    folder
        Of the exported study.
    answers
        Folder of the files that participants saved.
    sheets
        None (a blank sheet is written), one coder's, or two.
    out
        A folder that does not exist yet; the default is `analysis` or, without sheets, `coding` in the study's.

    Returns
    -------
    out, lines
        Where the results are, and what is to be said about them: problems first.

    Raises
    ------
    UsageError, RunError
        If a file as a whole cannot be used, or the folder exists or cannot be written.
    """
    if len(sheets) > 2:
        raise UsageError(f"--codes was given {len(sheets)} times; valid: once for each of one or two coders.")
    out = out or folder / ("analysis" if sheets else "coding")
    with new_folder(out) as target:
        got = read_answers(read_manifest(folder), answers)
        if got.texts.empty:
            raise UsageError(
                f"{answers} holds no usable answer ({got.problems[0]}); valid: files of this study's form."
            )
        lines = got.problems
        options = got.people[list(QUESTIONS)].melt(var_name="question", value_name="option")
        options.value_counts(sort=False).to_csv(target / "participants.csv")
        if sheets:
            lines = lines + _count(target, got.texts, got.people, sheets)
        else:
            blank_sheet(got.texts).to_csv(target / "codes.csv", index=False)
        people, minutes = len(got.people), got.people["minutes"].median()
        lines = [*lines, f"{len(got.texts)} answers of {people} participants, {minutes:.0f} minutes each (median)."]
        (target / "notes.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return out, lines


def _count(target: Path, texts: pd.DataFrame, people: pd.DataFrame, sheets: Sequence[Path]) -> list[str]:
    """Write shares, agreement and figure; returns problems of the sheets, then the verdict."""
    read = {f"coder {number}": read_codes(path, texts) for number, path in enumerate(sheets, start=1)}
    coded = {name: codes for name, (codes, _) in read.items()}
    lines = [problem for _, problems in read.values() for problem in problems]
    found = {name: chapter.counted(codes) for name, codes in coded.items()}
    beside_published(found).to_csv(target / "shares.csv")
    figures.shares(chapter.published_shares(), found).savefig(target / "shares.png")
    if len(coded) == 2:
        both = agreement(*coded.values())
        both.round(4).to_csv(target / "agreement.csv")
        kappas = both["kappa"].dropna()
        lines.append(f"Cohen's kappa is {kappas.median():.2f} in the median of the {len(kappas)} codes that were used.")
    for name, codes in coded.items():
        verdict = chapter.b55(chapter.evidence(codes, people))
        lines.append(f"B55, {name}: {verdict.verdict}: {verdict.evidence}.")
    return lines
