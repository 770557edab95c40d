"""Text from elsewhere (a manifest, an answer, a file's name) on a page, in a terminal and in a spreadsheet."""

import re

ELLIPSIS = "…"
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")  # of ASCII: all that Markdown and HTML give a meaning


def plain(text: object, limit: int = 200) -> str:
    """One short line for a terminal: without control characters, cut where it is longer than `limit` characters."""
    line = "".join(character if character.isprintable() else " " for character in str(text)[: limit + 1])
    return line if len(line) <= limit else line[: limit - 1] + ELLIPSIS


def markdown(text: object, limit: int = 200) -> str:
    """One short line for a page, on which Markdown and HTML show it as it is; not for inside a code span."""
    return _PUNCTUATION.sub(r"\\\1", " ".join(plain(text, limit).split()))


def spreadsheet(text: object, limit: int = 200) -> str:
    """One short line for a cell of a CSV file, which a spreadsheet does not take for a formula."""
    line = plain(text, limit)
    return f"'{line}" if line.lstrip().startswith(("=", "+", "-", "@")) else line
