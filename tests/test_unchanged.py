"""A book that is up to date is known by its files, and nothing is imported to find it so."""

import sys

import pytest

from cladec_companion.book import build, unchanged
from cladec_companion.commands import main as cli

WRITTEN = {
    "_config.yml": "title", "uv.lock": "versions", "cladec_core/errors.py": "code", "cladec_companion/book/a.html": "x",
    "notebooks/layers.ipynb": "{}", "book/index.md": "page", "build/notebooks/quick/layers.ipynb": "{}",
    "book/results/laptop/layers/manifest.json": "{}", "build/results/quick/layers/manifest.json": "{}",
}  # fmt: skip
IGNORED = ("book/unfinished/laptop/layers/manifest.json", "cladec_core/__pycache__/errors.pyc", "README.md")


@pytest.fixture
def root(tmp_path, monkeypatch):
    for name, folder in (("ROOT", ""), ("RECORDED", "book/results"), ("BUILT", "build/results")):
        monkeypatch.setattr(unchanged, name, tmp_path / folder)
    monkeypatch.setattr(unchanged, "FRONT", tmp_path / "build" / "index.html")
    monkeypatch.setattr(unchanged, "STAMP", tmp_path / "build" / "book.sha256")
    for name, text in (WRITTEN | dict.fromkeys(IGNORED, "")).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    unchanged.FRONT.write_text("")
    return tmp_path


def test_the_first_time_there_is_no_book(root):
    assert unchanged.front("quick") is None


@pytest.mark.parametrize("name", WRITTEN)
def test_whatever_a_book_is_made_of_makes_it_old(root, name):
    unchanged.keep("quick")
    assert unchanged.front("quick") == unchanged.FRONT
    assert unchanged.front("laptop") is None
    assert unchanged.front("quick", student=True) is None
    (root / name).write_text("changed")
    assert unchanged.front("quick") is None
    (root / name).write_text(WRITTEN[name])
    assert unchanged.front("quick") == unchanged.FRONT
    (root / name).unlink()
    assert unchanged.front("quick") is None


def test_other_files_do_not(root):
    unchanged.keep("quick")
    for name in (*IGNORED, "book/results/laptop/layers/metrics.csv"):
        (root / name).write_text("changed")
    assert unchanged.front("quick") == unchanged.FRONT


def test_a_book_that_was_deleted_or_not_finished_is_made_again(root, monkeypatch):
    unchanged.keep("quick")
    unchanged.FRONT.unlink()
    assert unchanged.front("quick") is None
    unchanged.FRONT.write_text("")
    monkeypatch.setattr(build, "notebook_names", lambda: ["layers"])
    monkeypatch.setattr(build, "_is_current", lambda *_: False)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(build, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build.build("quick")
    assert unchanged.front("quick") is None


@pytest.mark.parametrize("option", [(), ("--force",), ("--device", "cpu"), ("--student",)])
def test_the_command_builds_only_what_is_old_or_asked_for(root, monkeypatch, capsys, option):
    unchanged.keep("quick")
    built = []
    monkeypatch.setattr(
        build, "build", lambda profile, force, student: built.append((force, student)) or unchanged.FRONT
    )
    monkeypatch.setattr(sys, "argv", ["cladec", "book", "--no-open", *option])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    assert built == ([] if not option else [("--force" in option, "--student" in option)])
    said = capsys.readouterr().out
    assert ("book: nothing has changed" in said) == (not option)
    assert unchanged.FRONT.as_uri() in said
