"""A grid: what is trained within a time, what becomes of cells that fail, the live table."""

import itertools
import os
import platform
import re
import sys
from collections import deque

import pytest
import torch
from torch import nn

from cladec_companion.commands import main as cli
from cladec_companion.commands import shared
from cladec_companion.engine import estimate, grid, runner, workers
from cladec_companion.engine.plan import of_profile
from cladec_companion.engine.runner import Workplace
from cladec_companion.papers import CHAPTERS
from cladec_companion.papers.cladec.layers.experiment import JUDGE_SEED
from cladec_companion.records import record as records
from cladec_companion.records.files import locked
from cladec_companion.records.record import FILES, open_record, read_record
from cladec_core import data, training
from cladec_core.errors import RunError, UsageError
from cladec_core.training.state import progress_of


def content(folder):
    return [(folder / name).read_bytes() for name in FILES]


def layers(root):
    return read_record(root / "smoke" / "layers")


# ---- within a time


def test_a_cell_that_does_not_fit_is_not_begun(pretend, monkeypatch, tmp_path, capsys):
    tasks = of_profile(pretend(), "smoke", "alpha")
    monkeypatch.setattr(estimate, "seconds_of", lambda task, *_: 1e-9 if task in tasks[:2] else 1e9)
    grid.train(tasks, tmp_path, device="cpu", budget=60)
    assert len(read_record(tmp_path / "smoke" / "alpha").cells) == 2
    said = capsys.readouterr().out
    assert f"Stopped: {tasks[2]} needs about" in said
    assert "2 of 3 cells recorded" in said
    with pytest.raises(RunError, match=f"too short for one cell: {re.escape(str(tasks[2]))} needs about"):
        grid.train(tasks, tmp_path, device="cpu", budget=60)


def test_an_interrupt_of_the_user_is_one(pretend, tmp_path):
    def stop(name):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        grid.train(of_profile(pretend(stop), "smoke", "layers"), tmp_path, device="cpu", budget=60)


# ---- cells that fail


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore advice"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
        MemoryError(),
        RunError("the loss is nan after epoch 1"),
        UsageError("Unknown layer 'conv99'"),
        ModuleNotFoundError("No module named 'captum'"),
    ],
    ids=["CUDA", "CPU", "Python", "loss", "usage", "package"],
)
def test_a_cell_that_fails_is_named_and_the_others_are_trained(pretend, tmp_path, capsys, error):
    def fail(name):
        if "penultimate" in name:
            raise error

    with pytest.raises(RunError, match="1 cells could not be trained; layers/digits/vgg11/penultimate/0: ") as caught:
        grid.train(of_profile(pretend(fail), "smoke", "layers"), tmp_path, device="cpu")
    reason = str(error).partition("\n")[0] or "out of memory"
    assert reason in str(caught.value)
    assert "advice" not in str(caught.value)
    assert f"layers/digits/vgg11/penultimate/0: {reason}; it is left out\n" in capsys.readouterr().out
    assert len(layers(tmp_path).cells) == 2
    grid.train(of_profile(pretend(), "smoke", "layers"), tmp_path, device="cpu")
    assert len(layers(tmp_path).cells) == 3


def test_what_needs_a_package_that_is_not_there_is_named_at_once_and_left_out(pretend, monkeypatch, tmp_path, capsys):
    chapters = pretend()
    tasks = of_profile(chapters, "smoke", "your_own") + of_profile(chapters, "smoke", "layers")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "captum", None)
        with pytest.raises(RunError, match=r"could not be trained; your_own/.*: the package captum is not installed"):
            grid.train(tasks, tmp_path, device="cpu")
    said = capsys.readouterr().out
    assert said.index("your_own: the package captum is not installed, so its ") < said.index("layers/digits/vgg11/")
    assert list(_cells(tmp_path, tasks[0])) == [str(task.cell) for task in tasks[1:-3]]  # only its first cell needs it
    assert len(_cells(tmp_path, tasks[-1])) == 3
    grid.train(tasks, tmp_path, device="cpu")
    monkeypatch.setitem(sys.modules, "captum", None)
    grid.train(tasks, tmp_path, device="cpu")  # what is recorded needs nothing


def _cells(root, task):
    return read_record(root / task.settings.record_name() / task.settings.experiment).cells


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes do not match"), KeyError("no such layer")], ids=["torch", "key"]
)
def test_a_mistake_in_the_program_is_not_hidden(pretend, tmp_path, error):
    def fail(name):
        raise error

    with pytest.raises(RuntimeError, match=r"classifier/0 failed in a worker:\nTraceback(.|\n)*" + error.args[0]):
        grid.train(of_profile(pretend(fail), "smoke", "layers"), tmp_path, device="cpu")


def test_data_that_are_not_there_cost_only_their_own_cells(pretend, monkeypatch, tmp_path, capsys):
    load, asked = data.load, []

    def absent(name, *arguments, **options):
        if name == "mnist":
            asked.append(name)
            raise RunError("MNIST is missing")
        return load(name, *arguments, **options)

    monkeypatch.setattr(data, "load", absent)
    tasks = of_profile(pretend(), "smoke", changes={"datasets": ["mnist", "digits"]})
    with pytest.raises(RunError, match="MNIST is missing"):
        grid.train(tasks, tmp_path, device="cpu")
    assert len(asked) <= 2  # workers
    assert capsys.readouterr().out.count("MNIST is missing") <= 2
    recorded = {f"{task.settings.experiment}/{cell}" for task in tasks for cell in _cells(tmp_path, task)}
    assert recorded == {str(task) for task in tasks if task.cell.dataset == "digits"}


@pytest.mark.parametrize("name", ["manifest.json", "metrics.csv"])
def test_a_corrupt_or_foreign_record_is_named_before_anything_is_trained(pretend, tmp_path, name):
    def tasks(chapters):
        return of_profile(chapters, "smoke", "layers") + of_profile(chapters, "smoke", "prototypes")

    grid.train(tasks(pretend())[:3], tmp_path, device="cpu")
    (tmp_path / "smoke" / "layers" / name).write_text('{"name": "a web page"}')
    before = content(tmp_path / "smoke" / "layers")
    with pytest.raises(RunError) as caught:
        grid.train(tasks(pretend(lambda cell: pytest.fail(f"{cell} is trained"))), tmp_path, device="cpu")
    assert str(tmp_path / "smoke" / "layers" / name) in str(caught.value)
    assert content(tmp_path / "smoke" / "layers") == before


def test_a_full_disk_stops_the_grid_and_loses_nothing(pretend, monkeypatch, tmp_path):
    write, count = records.write_synced, 0

    def full(path, payload):
        nonlocal count
        count += 1
        if count > 3:  # the second cell
            raise OSError(28, "No space left on device")
        write(path, payload)

    monkeypatch.setattr(records, "write_synced", full)
    with pytest.raises(RunError, match="No space left on device"):
        grid.train(of_profile(pretend(), "smoke", "layers"), tmp_path, device="cpu")
    assert list(layers(tmp_path).cells) == ["digits/vgg11/classifier/0"]


# ---- the order of cells that share networks


def test_a_cell_waits_for_the_cell_that_trains_what_both_need(here_alone):
    tasks = of_profile(CHAPTERS, "smoke", "layers", {"seeds": [0, 1]})
    classifier, *explained = tasks[:3]
    whole = here_alone(tasks)
    whole.found |= (found := estimate.costs(tasks))
    whole.found.shared |= found.shared
    key = found.shared[classifier]["classifier", 0]
    assert whole._next(tasks[1:], {0: classifier}, set()) is tasks[3]  # the classifier of the other seed
    assert whole._next(explained, {0: classifier}, set()) is None
    assert whole._next(explained, {0: classifier}, {key}) is explained[0]  # trained, though its cell has not ended
    judge = found.shared[explained[0]]["classifier", JUDGE_SEED]
    assert whole._next(explained[1:], {0: explained[0]}, {key}) is None  # that cell trains the judge of both
    assert whole._next(explained[1:], {0: explained[0]}, {key, judge}) is explained[1]
    assert whole._next(tasks[1:], {}, set()) is explained[0]


# ---- on CUDA: in this process


def test_only_seeds_are_grouped_and_no_more_than_fit():
    tasks = of_profile(CHAPTERS, "smoke", "layers", {"seeds": [0, 1, 2]})
    groups = list(grid.grouped(tasks, 2))
    assert sorted(str(task) for group in groups for task in group) == sorted(map(str, tasks))
    assert [len(group) for group in groups] == [2, 1] * 3
    assert all(len({(task.cell.prefix, str(task.cell.part)) for task in group}) == 1 for group in groups)
    assert [group for [group] in grid.grouped(tasks, 1)] == tasks


@pytest.fixture
def here_alone(on, tmp_path):
    """Make the grid of some tasks, for `train_here`."""

    def begin(tasks):
        written = {one.settings: open_record(one.settings, tmp_path, runner.conditions_of(on)) for one in tasks}
        found = estimate.costs([])
        found |= {task: [] for task in tasks}
        return grid._Grid(written, found, {}, grid.Board(1e9), grid.Console(), deadline=float("inf"))

    return begin


def test_out_of_memory_halves_what_is_trained_at_once(pretend, here_alone, on, capsys):
    tasks = of_profile(pretend(), "smoke", "layers", {"seeds": [0, 1, 2, 3]})[::3]
    asked, whole = [], here_alone(tasks)

    class Narrow(Workplace):
        def measure(self, orders):
            asked.append(len(orders))
            if len(orders) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return super().measure(orders)

    whole.train_here(deque([tasks]), Narrow(on))
    assert asked == [4, 2, 1, 1, 2, 1, 1]
    assert len(whole.records[tasks[0].settings].cells) == 4
    assert not whole.failed
    assert "CUDA out of memory; not 4 at once, but 2" in capsys.readouterr().out


def test_data_that_are_not_there_end_no_other_group(pretend, here_alone, on, monkeypatch):
    load = data.load

    def absent(name, *arguments, **options):
        if name == "mnist":
            raise RunError("MNIST is missing")
        return load(name, *arguments, **options)

    monkeypatch.setattr(data, "load", absent)
    tasks = of_profile(pretend(), "smoke", "layers", {"datasets": ["mnist", "digits"]})
    whole = here_alone(tasks)
    whole.train_here(grid.grouped(tasks, 1), Workplace(on))
    assert [task.cell.dataset for task in whole.failed] == ["mnist"] * 3
    assert list(whole.records[tasks[0].settings].cells) == [str(task.cell) for task in tasks[3:]]


def test_a_training_that_takes_too_long_ends_and_goes_on_the_next_time(here_alone, on, tmp_path):
    """On a device, in this process."""
    (task,) = tasks = of_profile(CHAPTERS, "smoke", "layers/digits/vgg11/classifier/0")
    asked = itertools.count(1)
    whole = here_alone(tasks)
    whole.train_here(grid.grouped(tasks, 1), Workplace(on, interrupt=lambda: next(asked) > 3))
    assert whole.stopped == f"the time was over in {task}, which goes on from where it is"
    assert not whole.records[task.settings].cells
    (state,) = (tmp_path / "models").glob("*.state")
    assert progress_of(state)["done"] == 3
    again = here_alone(tasks)
    again.train_here(grid.grouped(tasks, 1), Workplace(on))
    assert len(again.records[task.settings].cells) == 1
    assert not [*(tmp_path / "models").glob("*.state")]


# ---- the live table


def test_the_live_table_tells_loss_speed_and_share_of_the_peak(on, monkeypatch):
    tasks = of_profile(CHAPTERS, "smoke", "layers", {"batch_size": 50})
    found = estimate.costs(tasks)
    (one,) = found[tasks[0]]
    board, clock = grid.Board(1000 * one.per_image), [0.0]
    board.expect(found[tasks[0]])
    monkeypatch.setattr(grid.time, "perf_counter", lambda: clock[0])
    with board.bar("digits vgg11 classifier, seed 0", 4, True) as update:
        clock[0] = 0.25
        update(1, 0.125)
        clock[0] = 0.5
        update(1, 0.0625)
    rows = board.rows
    assert list(rows.values()) == [["digits vgg11 classifier, seed 0", "50%", "0.0625", "200", "20%"]]
    monkeypatch.undo()
    with board.shown():
        job = training.Job(
            nn.Linear(4, 2), torch.randn(10, 4), (torch.zeros(10, dtype=torch.int64),), training.classification_loss,
            training.SGD, epochs=2, seed=0, on=on, batch_size=5, label="a training",
        )  # fmt: skip
        training.fit(job)
    assert rows[0, "a training"][:2] == ["a training", "100%"]
    assert rows[0, "a training"][3:] == ["", ""]  # its cost is not known
    console = grid.Console(record=True, width=120, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(board)
    assert "a training" in console.export_text()


def test_each_worker_has_rows_of_its_own(monkeypatch):
    board, clock = grid.Board(1.0), [0.0]
    monkeypatch.setattr(grid.time, "perf_counter", lambda: clock[0])
    for worker in (0, 1):
        board.update(worker, "decoder conv3", 10 * worker, 100, 0.5)
    assert [row[1] for row in board.rows.values()] == ["0%", "10%"]


# ---- locks


def test_a_record_that_is_being_written_is_refused_with_the_writer(pretend, smoke, tmp_path):
    tasks = of_profile(pretend(), "smoke", "layers")
    with locked(tmp_path / "smoke" / "layers"):
        for begin in (
            lambda: grid.train(tasks, tmp_path, device="cpu"),
            lambda: runner.run(CHAPTERS["layers"], smoke, root=tmp_path, device="cpu", progress=False),
        ):
            with pytest.raises(RunError) as caught:
                begin()
            assert str(tmp_path / "smoke" / "layers") in str(caught.value)
            assert f"process {os.getpid()} on {platform.node()} since " in str(caught.value)
    grid.train(tasks, tmp_path, device="cpu")


# ---- the command


def run_command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["cladec", "train", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return stop.value.code


def test_the_names_of_the_cells_can_be_listed(monkeypatch, capsys, tmp_path):
    run_command(monkeypatch, "--profile", "smoke", "--only", "layers", "--list")
    assert capsys.readouterr().out.splitlines() == [
        f"smoke/layers\tlayers/digits/vgg11/{part}/0" for part in ("classifier", "penultimate", "conv2")
    ]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("count", ["0", "-1", "1000", "two", "1.5", "²", "auto 2"])
def test_a_number_of_workers_that_cannot_be_is_refused_in_one_line(monkeypatch, capsys, tmp_path, count):
    monkeypatch.setattr(grid, "train", lambda *_, **__: pytest.fail("trained"))
    code = run_command(monkeypatch, "--profile", "smoke", f"--workers={count}", "--out", str(tmp_path / "out"))
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert said.err.startswith("cladec: --workers is ")
    assert said.err.count("\n") == 1
    assert count in said.err
    assert "valid: auto, or a number from 1 to 256." in said.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("text", "count"), [("auto", None), ("1", 1), ("64", 64), ("256", 256)])
def test_a_number_of_workers_is_read(text, count):
    assert shared.parse_workers(text) == count


def test_there_are_as_many_workers_as_cores_cells_and_memory_allow(monkeypatch):
    monkeypatch.setattr(workers, "cores", lambda: 8)
    monkeypatch.setattr(workers.intake, "free_memory", lambda device: 64e9)
    assert workers.affordable(None, [1e8], 100) == (8, "")
    assert workers.affordable(3, [1e8], 100) == (3, "")
    assert workers.affordable(64, [1e8], 100)[0] > 8  # more than cores, if somebody asks for them
    assert workers.affordable(None, [], 2) == (2, "")
    assert workers.affordable(None, [], 0) == (1, "")
    monkeypatch.setattr(workers.intake, "free_memory", lambda device: 10e9)
    count, said = workers.affordable(None, [1e9, 3e9], 100)
    assert count == int(0.8 * 10e9 / (workers.BASE_BYTES + 3e9)) == 2
    assert said == "2 workers, not 8: each may need 3.9 GB"
    assert workers.affordable(4, [1e12], 100)[0] == 1
