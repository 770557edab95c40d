"""The papers, one folder each, and in each one folder per chapter; here is the list of all chapters."""

from typing import Any

from cladec_companion.papers import cdeepex, cladec, srae, xai
from cladec_companion.papers.chapter import Chapter
from cladec_core.errors import one_of

PAPERS = [cladec.PAPER, srae.PAPER, xai.PAPER, cdeepex.PAPER]
CHAPTERS: dict[str, Chapter] = {chapter.name: chapter for paper in PAPERS for chapter in paper.chapters}


def chapter(name: str) -> Chapter:
    """Find a chapter.

    Raises
    ------
    UsageError
        If there is none of that name.
    """
    one_of("experiment", name, CHAPTERS)
    return CHAPTERS[name]


def with_participants() -> Chapter:
    """The chapter that hands out a study with participants."""
    return next(chapter for chapter in CHAPTERS.values() if chapter.handed_out_by)


def settings_for(name: str, profile: str = "quick", **changes: Any) -> Any:
    """Make a checked configuration of a chapter (see `records.settings.settings_for`).

    Raises
    ------
    UsageError
        For an unknown chapter, profile or parameter, a wrong type or a value out of range.
    """
    return chapter(name).settings_for(profile, **changes)
