"""Whatever is asked for: each parameter of each chapter, given anything, is used or refused in one line."""

from dataclasses import fields

import pytest

from cladec_companion.commands.shared import LONGEST, parse_changes
from cladec_companion.engine.plan import of_profile
from cladec_companion.papers import CHAPTERS
from cladec_core.errors import UsageError

# As they are typed after the `=` of `--set`.
ANYTHING = [
    "0", "-1", "1", "2.5", "1e400", ".nan", "99999999999999999999", "''", "x", "null", "true", "[]", "[[]]", "{}",
    "{a: 1}", "[0, 0]", "[-1]", "[null]", "2026-11-22", "'\u202e\x1b[31m'", "!!binary aGk=", "[" + "1," * 3000 + "2]",
]  # fmt: skip
TRAINED = {name: chapter for name, chapter in CHAPTERS.items() if chapter.trains}
PARAMETERS = [
    (name, field.name) for name, one in TRAINED.items() for field in fields(one.settings) if field.name != "profile"
]


def test_there_are_enough_of_them():
    assert len(PARAMETERS) * len(ANYTHING) > 3000


@pytest.mark.parametrize("chapter", TRAINED)
def test_anything_is_used_or_refused_in_one_line(chapter):
    refused = used = 0
    for parameter in (parameter for name, parameter in PARAMETERS if name == chapter):
        for value in ANYTHING:
            try:
                planned = of_profile(TRAINED, "smoke", chapter, parse_changes([f"{parameter}={value}"]))
                assert planned, f"{parameter}={value}"
            except UsageError as error:
                said = str(error)
                assert "\n" not in said[:LONGEST], said
                assert "valid" in said or "such as" in said, said
                refused += 1
            else:
                used += 1
    assert refused > used > 0
