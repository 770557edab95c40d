"""The one atomic write, the one lock, and text from elsewhere on its way to a page."""

import csv
import html
import io
import os
import platform
import re
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cladec_companion.records import escape, files
from cladec_companion.records.files import locked, replacing, sweep, write
from cladec_core.errors import RunError

needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "new" / "file"
    write(path, b"one")
    write(path, b"two")
    assert path.read_bytes() == b"two"
    assert names(path.parent) == ["file"]


def test_a_reader_never_sees_a_part(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write(path, b"old")
    seen = []
    with replacing(path) as temporary:
        temporary.write_bytes(b"ne")
        seen.append(path.read_bytes())
        temporary.write_bytes(b"new")
    assert (seen, path.read_bytes()) == ([b"old"], b"new")


@pytest.mark.parametrize("moment", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, moment):
    path = tmp_path / "file"
    write(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, moment, full)
    with pytest.raises(OSError, match="No space left"):
        write(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


def test_content_is_on_the_disk_before_it_takes_the_place_of_the_old(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        call = getattr(os, name)
        monkeypatch.setattr(
            files.os, name, lambda *arguments, name=name, call=call: [order.append(name), call(*arguments)][1]
        )
    write(tmp_path / "file", b"new")
    assert order[:2] == ["fsync", "replace"]


KILLED_IN_A_WRITE = """
import sys, pathlib
from cladec_companion.records.files import replacing
with replacing(pathlib.Path(sys.argv[1])) as temporary:
    temporary.write_bytes(b"half")
    print("half", flush=True)
    sys.stdin.read()
"""
KILLED_IN_A_LOCK = """
import sys, pathlib
from cladec_companion.records.files import locked
with locked(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def killed(code, path, meanwhile=lambda: None):
    """Start a process, wait until it is in the middle of its work, and kill it."""
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=files.ROOT) as child:
        assert child.stdout.readline()
        meanwhile()
        child.send_signal(signal.SIGKILL)
        child.wait()


@needs_kill
def test_what_killed_writers_left_is_swept_and_what_living_ones_write_is_not(tmp_path):
    path = tmp_path / "model.pt"
    write(path, b"old")

    def meanwhile():
        sweep(tmp_path)
        assert len(names(tmp_path)) == 2

    killed(KILLED_IN_A_WRITE, path, meanwhile)
    assert path.read_bytes() == b"old"
    assert len(names(tmp_path)) == 2
    with replacing(tmp_path / "other.pt") as temporary:
        temporary.write_bytes(b"new")
        sweep(tmp_path)
    assert names(tmp_path) == ["model.pt", "other.pt"]


def test_what_another_machine_left_is_swept_after_a_day(tmp_path):
    """Also what earlier versions of the project left, whose names say nothing of their writer."""
    for name in (f"a.{os.getpid()}-0.elsewhere.new", f"b.{platform.node()}.17.new", "c.new"):
        (tmp_path / name).touch()
    sweep(tmp_path)
    assert len(names(tmp_path)) == 3
    for path in tmp_path.iterdir():
        os.utime(path, (time.time() - 90_000,) * 2)
    sweep(tmp_path)
    assert names(tmp_path) == []


@needs_kill
def test_a_lock_holds_while_its_process_lives(tmp_path):
    target = tmp_path / "records" / "layers"

    def refused():
        with pytest.raises(RunError, match=r"layers is being written by process \d+ on .* since 20"), locked(target):
            pass

    killed(KILLED_IN_A_LOCK, target, refused)
    assert names(target.parent) == [".layers.holder", ".layers.lock"]
    with locked(target):
        assert str(os.getpid()) in (target.parent / ".layers.holder").read_text()
        refused()
    assert names(target.parent) == []


def test_a_lock_leaves_nothing_if_nothing_was_written(tmp_path):
    target = tmp_path / "results" / "smoke" / "layers"
    with pytest.raises(RunError, match="no data"), locked(target):
        raise RunError("no data")
    assert names(tmp_path) == []
    with locked(target):
        target.mkdir()
    assert names(target.parent) == ["layers"]


def test_a_lock_that_cannot_be_had_says_why(tmp_path):
    (tmp_path / "file").touch()
    target, said = tmp_path / "file" / "smoke" / "layers", r"Cannot write .*file/smoke/layers: Not a directory"
    with pytest.raises(RunError, match=said), locked(target):
        pass
    assert names(tmp_path) == ["file"]


def test_who_holds_a_lock_is_told_in_printable_words(tmp_path):
    target = tmp_path / "layers"
    with locked(target):
        (tmp_path / ".layers.holder").write_text("process 1\n\x1b[2J on elsewhere" + "x" * 1_000)
        with pytest.raises(RunError) as caught, locked(target):
            pass
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600


def test_many_processes_hold_a_lock_one_after_the_other(tmp_path):
    """The lock's file goes with each of them; nobody may hold the lock on a file that is no longer there."""
    code = """
import sys, time, pathlib
from cladec_companion.records.files import locked
from cladec_core.errors import RunError
target, done = pathlib.Path(sys.argv[1]), 0
while done < 40:
    try:
        with locked(target):
            with open(target.parent / "inside", "x"):
                pass
            (target.parent / "inside").unlink()
        done += 1
    except RunError:
        pass
"""
    command = [sys.executable, "-c", code, str(tmp_path / "layers")]
    children = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=files.ROOT) for _ in range(3)]
    assert [(child.communicate()[1], child.returncode) for child in children] == [("", 0)] * 3
    assert names(tmp_path) == []


# ---- text from elsewhere


HOSTILE = st.text() | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "`a` | b",
        "[x](javascript:y)",
        "{raw}`html`",
        "$x$",
        "=1+1",
        "\x1b[2J",
        "\u202e",
        "a" * 999,
    ]
)


@given(HOSTILE)
def test_a_terminal_gets_one_short_line(text):
    line = escape.plain(text)
    assert line.isprintable()
    assert len(line) <= 200


@given(HOSTILE)
def test_a_page_shows_a_text_as_it_is(text):
    shown = " ".join(escape.plain(text).split())
    page = MarkdownIt("commonmark", {"html": True}).enable("table").render(escape.markdown(text))
    assert html.unescape(re.sub(r"^<p>|</p>\n$", "", page)) == shown
    assert page == (f"<p>{html.escape(shown, quote=False).replace(chr(34), '&quot;')}</p>\n" if shown else "")
    row = f"| a | b |\n|---|---|\n| {escape.markdown(text)} | c |\n"
    assert MarkdownIt("commonmark", {"html": True}).enable("table").render(row).count("<td>") == 2


@given(HOSTILE)
def test_a_spreadsheet_gets_no_formula(text):
    buffer = io.StringIO()
    csv.writer(buffer).writerow([escape.spreadsheet(text), "next"])
    first, second = next(csv.reader(io.StringIO(buffer.getvalue())))
    assert not first.lstrip().startswith(("=", "+", "-", "@"))
    assert second == "next"
