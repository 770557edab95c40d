"""The pool of processes: the same bits from any number of them, and what becomes of cells when processes end."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest

from cladec_companion.engine import grid, runner, workers
from cladec_companion.engine.plan import of_profile
from cladec_companion.papers import CHAPTERS
from cladec_companion.records.files import ROOT, locked
from cladec_companion.records.record import FILES, read_record
from cladec_core.errors import RunError
from cladec_core.training.state import progress_of
from tests.acting_chapter import CHAPTER
from tests.engine.conftest import is_alive, wait_until

needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="asks /proc about processes")


def acting(*acts):
    return of_profile({"acting": CHAPTER}, "smoke", changes={"acts": list(acts), "train_limit": 10, "test_limit": 10})


def recorded(tasks, root):
    settings = tasks[0].settings
    return read_record(root / settings.record_name() / settings.experiment)


@pytest.fixture
def processes(tmp_path):
    """Which process, with how many threads, has begun each cell: name -> (process, threads)."""

    def found():
        folder = tmp_path / "results" / "processes"
        texts = {path.name: path.read_text().split() for path in folder.iterdir()} if folder.exists() else {}
        return {name: tuple(map(int, numbers)) for name, numbers in texts.items() if len(numbers) == 2}

    return found


# ---- the same from any number


@pytest.fixture(scope="module")
def small():
    """Cells of two chapters that share classifiers and decoders, of two seeds."""
    few = {"seeds": [0, 1], "layers": [-1, -5], "train_limit": 64, "test_limit": 32, "corners": [0]}
    return [task for name in ("layers", "occlusion") for task in of_profile(
        CHAPTERS, "smoke", name, {key: value for key, value in few.items() if key != "corners" or name == "occlusion"}
    )]  # fmt: skip


@pytest.fixture(scope="module")
def by_workers(small, tmp_path_factory):
    """The records of the same cells, trained by 1, 2 and 4 workers: how many -> name -> record."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        for count in (1, 2, 4):
            root = tmp_path_factory.mktemp(f"workers{count}")
            patch.setenv("CLADEC_MODELS", str(root / "models"))
            patch.setattr(grid.estimate, "measured_rates", lambda tasks, found, on: dict.fromkeys(KINDS, 1e30))
            patch.setattr(grid.estimate, "matmul_peak", lambda on: 1e9)
            grid.train(small, root, device="cpu", count=count)
            found[count] = {name: recorded([task], root) for task in small for name in [task.settings.experiment]}
    return found


KINDS = [("vgg11", False), ("vgg11", True)]


def files(record):
    return [(record.folder / name).read_bytes() for name in FILES]


def test_records_do_not_depend_on_the_number_of_workers(by_workers, small):
    one, *others = by_workers.values()
    assert {name: len(record.cells) for name, record in one.items()} == {"layers": 6, "occlusion": 6}
    for other in others:
        assert {name: files(record) for name, record in other.items()} == {
            name: files(record) for name, record in one.items()
        }
    devices = {
        run["device"] for found in by_workers.values() for record in found.values() for run in record.manifest["runs"]
    }
    assert len(devices) == 1


def test_a_worker_finds_what_a_notebook_finds(by_workers, small, tmp_path):
    settings = small[0].settings
    record = runner.run(CHAPTERS["layers"], settings, root=tmp_path, device="cpu", progress=False)
    assert files(record) == files(by_workers[2]["layers"])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_nothing_is_trained_twice(by_workers, count):
    done = [
        (label, cell.rpartition("/")[2])
        for record in by_workers[count].values()
        for cell, entry in record.cells.items()
        for label in entry["trainings"]
    ]
    assert sorted(done) == sorted(set(done))
    kinds = {label.split()[0] for label, _ in done}
    assert kinds == {"classifier", "decoder", "RefAE", "evaluation"}
    # Of each seed the classifier, and four networks of each of two layers; for both seeds a classifier that judges.
    assert len(done) == 2 * (1 + 2 * 4) + 1


# ---- faults


@needs_proc
def test_a_process_that_ends_costs_its_cell_only_and_is_named(free, tmp_path, capsys, processes):
    tasks = acting("end 1", "kill", "leave", "diverge", "fill", "lack", "end 2", "end 3")
    with pytest.raises(RunError, match=r"^5 cells could not be trained; acting/digits/vgg11/"):
        grid.train(tasks, tmp_path, device="cpu", count=2)
    assert set(recorded(tasks, tmp_path).cells) == {f"digits/vgg11/end {number}/0" for number in (1, 2, 3)}
    said = capsys.readouterr()
    for act, reason in {
        "kill": "its process ended (killed by SIGKILL, perhaps for lack of memory)",
        "leave": "its process ended (exit code 7)",
        "diverge": "the loss is nan after epoch 1",
        "fill": "DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes",
        "lack": "No module named 'captum'",
    }.items():
        assert f"\nacting/digits/vgg11/{act}/0: {reason}; it is left out\n" in said.out
    assert said.err == ""
    begun = processes()
    assert len(begun) == 8
    assert {threads for _, threads in begun.values()} == {1}
    assert begun["kill 0"][0] != begun["leave 0"][0] != os.getpid()
    assert not any(is_alive(process) for process, _ in begun.values())


@needs_proc
def test_a_worker_that_dies_while_it_waits_is_replaced(free, tmp_path):
    told = []
    with workers.pool(1, None, lambda *_: None, lambda *_: None) as pool:
        (worker,) = pool._workers
        os.kill(worker.process.pid, signal.SIGKILL)
        worker.process.join()
        (task,) = acting("end")
        order = runner.Order(task.experiment, task.settings, task.cell, False)
        pool.give(order)
        while not told:
            told = pool.finished(1.0)
        assert pool.free == 1
    assert told[0][0] is order
    assert isinstance(told[0][1], runner.Measured)


@needs_proc
def test_a_training_that_takes_too_long_is_ended_at_the_deadline_and_kept(
    free, tmp_path, monkeypatch, capsys, processes
):
    """The time is over as soon as the endless cell has begun and the other has ended."""
    tasks, now = acting("end", "wait"), time.monotonic
    folder = tmp_path / tasks[0].settings.record_name() / "acting"

    def clock():
        ended = (folder / "manifest.json").exists()
        return now() + (1e6 if ended and "wait 0" in processes() else 0)

    monkeypatch.setattr(grid.time, "monotonic", clock)
    grid.train(tasks, tmp_path, device="cpu", budget=1e5, count=2)
    assert list(recorded(tasks, tmp_path).cells) == ["digits/vgg11/end/0"]
    assert "Stopped: the time was over in acting/digits/vgg11/wait/0, which goes on from" in capsys.readouterr().out
    assert not is_alive(processes()["wait 0"][0])
    (state,) = (tmp_path / "models").glob("*.state")
    assert progress_of(state)["steps"] == 10_000


# ---- the command and its processes


@pytest.fixture
def command(tmp_path, ended):
    """Begin `cladec train` on cells that wait, in a session of its own."""

    def begin(*acts):
        code = f"""
            import signal, sys
            signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores Ctrl-C
            from cladec_companion import papers
            from cladec_companion.commands import main as cli
            from tests.acting_chapter import CHAPTER
            papers.CHAPTERS["acting"] = CHAPTER
            sys.argv = {
            [
                "cladec",
                "train",
                "--profile",
                "smoke",
                "--only",
                "acting",
                "--workers",
                "2",
                "--device",
                "cpu",
                "--set",
                f"acts={list(acts)}",
                "--out",
                str(tmp_path),
            ]
        }
            cli.main()
        """
        child = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, start_new_session=True,
        )  # fmt: skip
        ended.append(child)
        return child

    return begin


def children_of(parent):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    if int(stat.read().rpartition(")")[2].split()[1]) == parent:
                        found.append(int(entry))
            except OSError:
                continue
    return found


STOPPED = "cladec: stopped; what was finished is in the record, and the next run goes on from there.\n"


@needs_proc
def test_ctrl_c_ends_all_workers_and_one_folder_is_written_by_one_command(command, tmp_path, processes):
    child = command("end", "wait 1", "wait 2")
    wait_until(lambda: len(processes()) == 3 or child.poll() is not None)
    assert child.poll() is None, child.communicate(timeout=300)
    at_work = {process for process, _ in processes().values()}
    assert len(at_work) == 2
    folder = tmp_path / "smoke" / "acting"
    with pytest.raises(RunError, match=rf"{folder} is being written by process {child.pid} on "), locked(folder):
        pass
    os.killpg(child.pid, signal.SIGINT)  # as a terminal does: to all
    said, errors = child.communicate(timeout=300)
    assert (child.returncode, errors) == (130, STOPPED)
    assert "acting/digits/vgg11/end/0: " in said
    assert not any(map(is_alive, at_work))
    assert list(read_record(folder).cells) == ["digits/vgg11/end/0"]
    with locked(folder):
        pass


@needs_proc
def test_ctrl_c_before_the_workers_are_ready_is_told_in_one_line_too(command):
    child = command("wait 1", "wait 2")
    wait_until(lambda: len(children_of(child.pid)) >= 2 or child.poll() is not None)  # their parent is there
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=300)
    assert (child.returncode, errors) == (130, STOPPED)


@needs_proc
def test_a_worker_dies_with_its_parent(command, tmp_path, processes):
    child = command("wait 1", "wait 2")
    wait_until(lambda: len(processes()) == 2 or child.poll() is not None)
    at_work = {process for process, _ in processes().values()}
    assert all(map(is_alive, at_work))
    os.kill(child.pid, signal.SIGKILL)
    child.communicate(timeout=300)
    wait_until(lambda: not any(map(is_alive, at_work)))
    assert len([*(tmp_path / "models").glob("*.state")]) == 2
