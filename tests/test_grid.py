"""The grid: order, costs, training within a time and after a kill, locks, carrying records home, Snakemake."""

import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
import tomllib
from collections import deque
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import pytest
import torch
from torch import nn

from cladec_companion.commands import main as cli
from cladec_companion.engine import branches, estimate, grid, runner
from cladec_companion.engine import runner as experiments
from cladec_companion.engine.plan import TABLES, of_profile
from cladec_companion.papers import settings_for
from cladec_companion.papers.cladec.prototypes import network as prototype_network
from cladec_companion.records import record as records
from cladec_companion.records.files import ROOT, locked
from cladec_companion.records.record import read_record
from cladec_core import data, measures, networks, training
from cladec_core.errors import RunError, UsageError
from cladec_core.networks import convolutions

FILES = ("metrics.csv", "samples.npz")
needs_kill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL on this system")


def content(folder):
    return [(folder / name).read_bytes() for name in FILES]


@pytest.fixture
def pretend(monkeypatch, free):
    """Replace what cells do: `pretend(act)` calls `act(cell)` in the place of all training."""

    def pretended(act=lambda name: None):
        def run_cell(study, part, keep_samples):
            act(f"{study.data.name}/{study.architecture}/{part}/{study.seed}")
            return [{"method": "m", "metric": "seed", "value": study.seed}], {}

        for name, found in list(runner.EXPERIMENTS.items()):
            monkeypatch.setitem(runner.EXPERIMENTS, name, replace(found, run_cell=run_cell))

    return pretended


# ---- the order


def test_the_paper_is_trained_data_set_by_data_set_and_table_by_table():
    jobs = of_profile("paper")
    kinds = [(job.cell.dataset, job.settings.experiment, job.cell.architecture) for job in jobs]
    tables = [kind for kind, _ in groupby(kinds) if kind[1:] in TABLES.values()]
    shown = {name: settings_for(name, "paper").datasets for name, _ in TABLES.values()}
    assert tables == [
        (dataset, *table)
        for dataset in ("fashion_mnist", "mnist", "cifar100")
        for table in TABLES.values()
        if dataset in shown[table[0]]
    ]
    for _, of_one in groupby(kinds, lambda kind: kind[0]):
        has_table = [kind[1:] in TABLES.values() for kind in of_one]
        assert has_table == sorted(has_table, reverse=True)
    assert sorted(map(str, jobs)) == sorted(
        f"{name}/{cell}" for name in experiments.EXPERIMENTS for cell in experiments.plan(settings_for(name, "paper"))
    )


def test_the_cells_of_a_run_stand_together_and_the_first_seed_comes_first():
    for _, same in groupby(of_profile("paper"), lambda job: (job.cell.dataset, job.settings.experiment)):
        runs = [run for run, _ in groupby(job.cell.run for job in same)]
        assert len(runs) == len(set(runs))
    seeds = [job.cell.seed for job in of_profile("paper", "table2") if job.cell.dataset == "mnist"]
    assert seeds == sorted(seeds)
    assert set(seeds) == {0, 1, 2, 3, 4}


def test_a_table_is_an_experiment_with_one_network_whatever_the_profile_has():
    jobs = of_profile("quick", "table3", {"layers": [-1]})
    assert [str(job) for job in jobs] == [f"layers/digits/resnet10/{part}/0" for part in ("classifier", "penultimate")]
    for table, (experiment, architecture) in TABLES.items():
        found = of_profile("paper", table)
        assert {(job.settings.experiment, job.cell.architecture) for job in found} == {(experiment, architecture)}
        assert {job.settings.record_name() for job in found} == {"paper"}


def test_a_change_goes_to_the_experiments_that_know_it():
    jobs = of_profile("smoke", changes={"alphas": [0.5], "width": 0.25})
    assert [str(job.cell.part) for job in jobs if job.settings.experiment == "alpha"] == ["conv4 α=0.5"]
    assert {job.settings.width for job in jobs} == {0.25}


@pytest.mark.parametrize(
    ("only", "changes", "named", "valid"),
    [
        ("table9", {}, "'table9'", "table2"),
        ("theory", {}, "'theory'", "layers"),
        ("layers/digits/vgg11/conv9/0", {}, "'layers/digits/vgg11/conv9/0'", "layers/digits/vgg11/classifier/0"),
        ("layers", {"alphas": [0.5]}, "'alphas'", "layers"),
        (None, {"alpha": [0.5]}, "'alpha'", "alphas"),
    ],
)
def test_what_does_not_exist_is_refused_by_name(only, changes, named, valid):
    with pytest.raises(UsageError) as caught:
        of_profile("smoke", only, changes)
    assert named in str(caught.value)
    assert valid in str(caught.value)


def test_every_cell_has_a_name_by_which_it_can_be_trained_alone():
    jobs = of_profile("smoke")
    assert len(set(map(str, jobs))) == len(jobs)
    for job in (jobs[0], jobs[-1]):
        assert of_profile("smoke", str(job)) == [job]


# ---- the costs


@pytest.mark.filterwarnings("ignore:.*images are few")
def test_the_plan_counts_exactly_the_trainings_that_are_done(monkeypatch, tmp_path, on):
    """Their names and, by a slow count, their operations.

    In the order of the grid, with models shared between cells and chapters.
    """
    done = []

    def fit(job):
        if job.seed:  # no trial of an explainer
            images = len(job.inputs) // min(job.batch_size, len(job.inputs)) * min(job.batch_size, len(job.inputs))
            done.append(slow_training_step(job.model, job.inputs[:2], job.loss) * images * job.epochs)
        return [1.0] * job.epochs

    monkeypatch.setattr(training, "fit", fit)
    monkeypatch.setattr(measures, "linear_probe", lambda *_: 0.0)
    few = {
        "sizes": [64, 1], "disjoint_count": 1, "random_repeats": 1, "alphas": [0.0, 0.9], "layers": ["penultimate"],
        "train_limit": 70, "test_limit": 20,
    }  # fmt: skip
    jobs = of_profile("smoke", changes=few)
    found, seen = estimate.costs(jobs), set()
    for job in jobs:
        done.clear()
        with runner.opened(job.settings, on, tmp_path) as trainer:
            trainer.prepare([job.cell])
            (measured,) = trainer.measure([job.cell])
        if job.settings.experiment != "your_own":  # explainers note no times
            assert sorted(part.label for part in found[job]) == sorted(measured.trainings), job
        assert sorted(found[job].values()) == sorted(done), job
        seen |= {(job.settings.experiment, label.split()[0]) for label in measured.trainings}
    assert {name for name, _ in seen} == experiments.EXPERIMENTS.keys() - {"occlusion"}  # its models are `layers`'


def slow_training_step(model, inputs, loss):
    """Operations per image."""
    total, output = slow_count(model.eval(), inputs)
    if getattr(loss, "classifier", None) is not None:
        total += slow_count(loss.classifier, output, weights=False, entry=True)[0]
    if isinstance(model, prototype_network.PrototypeNetwork):
        field = 2 * 2 * 32**3  # rows and columns of a shift in two directions are blurred; nothing learns from it
        total += 2 * (field + 3 * model.weights.numel())
    return total


def slow_count(model, inputs, *, weights=True, entry=False):
    """Operations per image of a forward and a backward pass, layer by layer from the shapes that pass through."""
    total = 0

    def count(module, arguments, output):
        nonlocal total, entry
        (given,) = arguments
        sent, *sides = output.shape[1:]
        if isinstance(module, nn.Linear):
            products = module.in_features * module.out_features
        elif isinstance(module, nn.ConvTranspose2d):
            products = given[0].numel() * sent * module.kernel_size[0] ** 2
            if given.shape[-1] == 1 and isinstance(module, convolutions.ConvTranspose2d):
                products = given[0].numel() * output[0].numel()  # only the taps that end in the image
        else:
            taps = module.kernel_size[0] ** 2
            if sides == [1, 1] and isinstance(module, convolutions.Conv2d):
                taps = given.shape[-1] ** 2  # only the taps that meet the image
            products = output[0].numel() * given.shape[1] * taps
        # Backward: once for the weights, once for what was given, unless it is the data themselves.
        total += 2 * products * (1 + weights + entry)
        entry = True

    kinds = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    hooks = [part.register_forward_hook(count) for part in model.modules() if isinstance(part, kinds)]
    output = model(inputs)
    for hook in hooks:
        hook.remove()
    return total, output


@pytest.mark.parametrize("architecture", ["vgg11", "resnet10"])
@pytest.mark.parametrize("kind", ["classifier", "decoder", "subset", "RefAE", "judged", "explainer"])
def test_operations_are_those_of_a_slow_count(architecture, kind):
    channels, classes, width = 3, 7, 0.125
    layer = {"vgg11": "conv4", "resnet10": "block2"}[architecture]
    net = networks.classifier(architecture, channels, classes, width).eval()
    images = torch.zeros(2, channels, 32, 32)
    encoder = net.up_to(layer).eval()
    kept = 5 if kind == "subset" else None
    code = encoder(images)[:, :kept]
    decoder = networks.decoder(code.shape[1:], (channels, 32, 32))
    if kind == "explainer":
        decoder = networks.decoder(code.shape[1:], (channels, 32, 32), width=16)
    if kind == "classifier":
        expected, _ = slow_count(net, images)
    elif kind == "RefAE":
        expected, _ = slow_count(nn.Sequential(encoder, decoder), images)
    else:
        expected, output = slow_count(decoder, code)
        if kind == "judged":
            expected += slow_count(net, output, weights=False, entry=True)[0]
    part = estimate.Training(
        "", 0, "" if kind == "classifier" else layer, kind == "RefAE", judged=kind == "judged", channels=kept,
        explainer=16 if kind == "explainer" else 0,
    )  # fmt: skip
    assert estimate.operations(part, architecture, channels, classes, width, "code") == expected


def test_a_cell_costs_its_trainings_on_whole_batches_in_all_epochs():
    jobs = of_profile("smoke", "layers", {"batch_size": 50, "classifier_epochs": 3})
    found = estimate.costs(jobs)
    parts = {part.label: count for part, count in found[jobs[1]].items()}
    one = estimate.operations(estimate.Training("", 0), "vgg11", 1, 10, 0.125, "code")
    assert parts["evaluation ClaDec penultimate"] == one * 150 * 3
    assert {part.label: count for part, count in found[jobs[0]].items()} == {"classifier": one * 150 * 3}


def test_the_sizes_of_the_data_sets_are_those_of_the_data():
    assert estimate.SIZES.keys() == data.DATASETS.keys()
    digits = data.load("digits")
    assert estimate.SIZES["digits"] == (len(digits.train_images), digits.channels, len(digits.classes))


def test_the_plan_says_what_is_missing_and_how_long_it_takes():
    jobs = of_profile("smoke", "layers")
    found = estimate.costs(jobs[1:])
    rates = {("vgg11", False): 1e9, ("vgg11", True): 2e9}
    table = grid.plan_table(jobs, found, rates)
    row = [next(iter(column.cells)) for column in table.columns]
    counts = [(part, count) for parts in found.values() for part, count in parts.items()]
    seconds = sum(count / (2e9 if part.layer else 1e9) for part, count in counts)
    total = sum(count for _, count in counts)
    assert row == ["layers", "3", "1", "2", "9", estimate.with_unit(total), f"{seconds / 60:.1f}"]


def test_a_rate_is_operations_by_time(on, monkeypatch):
    """A device on which each step takes a second, and each training ten more."""
    clock = 0.0

    def fit(job):
        nonlocal clock
        clock += 10 + len(job.inputs) / job.batch_size

    monkeypatch.setattr(training, "fit", fit)
    monkeypatch.setattr(estimate.time, "perf_counter", lambda: clock)
    jobs = of_profile("smoke", "layers")
    found = estimate.costs(jobs)
    rates = estimate.measured_rates(found, on)
    assert rates.keys() == {("vgg11", False), ("vgg11", True)}
    (part,) = found[jobs[0]]
    assert rates["vgg11", False] == pytest.approx(32 * estimate.per_image(jobs[0], part))


def test_the_peak_is_positive_and_numbers_have_units(on):
    assert estimate.matmul_peak(on) > 0
    assert [estimate.with_unit(number) for number in (0, 12, 1.2e13, 3.456e18)] == ["0", "12", "12 T", "3.46 E"]


# ---- training


def test_a_cell_that_does_not_fit_is_not_begun(pretend, monkeypatch, tmp_path, capsys):
    pretend()
    jobs = of_profile("smoke", "alpha")
    monkeypatch.setattr(estimate, "seconds_of", lambda job, *_: 1e-9 if job in jobs[:2] else 1e9)
    grid.train(jobs, tmp_path, device="cpu", budget=60)
    assert len(read_record(tmp_path / "smoke" / "alpha").cells) == 2
    said = capsys.readouterr().out
    assert f"Stopped: {jobs[2]} needs about" in said
    assert "2 of 3 cells recorded" in said
    with pytest.raises(RunError, match=f"too short for one cell: {re.escape(str(jobs[2]))} needs about"):
        grid.train(jobs, tmp_path, device="cpu", budget=60)


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN], ids=["foreground", "background"])
def test_a_cell_that_takes_too_long_is_given_up_at_the_deadline(handler, pretend, tmp_path):
    ended = []

    def endless(name):
        if "penultimate" in name:
            for _ in range(6_000):
                time.sleep(0.01)
            ended.append(name)

    pretend(endless)
    before = signal.signal(signal.SIGINT, handler)
    try:
        grid.train(of_profile("smoke", "layers"), tmp_path, device="cpu", budget=1)
        assert signal.getsignal(signal.SIGINT) is handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert not ended
    assert list(read_record(tmp_path / "smoke" / "layers").cells) == ["digits/vgg11/classifier/0"]


def test_an_interrupt_of_the_user_is_one(pretend, tmp_path):
    def stop(name):
        raise KeyboardInterrupt

    pretend(stop)
    with pytest.raises(KeyboardInterrupt):
        grid.train(of_profile("smoke", "layers"), tmp_path, device="cpu", budget=60)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore advice"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
        MemoryError(),
        RunError("the loss is nan after epoch 1"),
        ModuleNotFoundError("No module named 'captum'"),
    ],
    ids=["CUDA", "CPU", "Python", "loss", "package"],
)
def test_a_cell_that_fails_is_named_and_the_others_are_trained(pretend, tmp_path, capsys, error):
    def fail(name):
        if "penultimate" in name:
            raise error

    pretend(fail)
    jobs = of_profile("smoke", "layers")
    with pytest.raises(RunError, match="1 cells could not be trained; layers/digits/vgg11/penultimate/0: ") as caught:
        grid.train(jobs, tmp_path, device="cpu")
    assert (str(error).partition("\n")[0] or "out of memory") in str(caught.value)
    assert "advice" not in str(caught.value)
    assert len(read_record(tmp_path / "smoke" / "layers").cells) == 2
    pretend()
    grid.train(jobs, tmp_path, device="cpu")
    assert len(read_record(tmp_path / "smoke" / "layers").cells) == 3


def test_what_needs_a_package_that_is_not_there_is_named_at_once_and_left_out(pretend, monkeypatch, tmp_path, capsys):
    pretend()
    jobs = of_profile("smoke", "your_own") + of_profile("smoke", "layers")
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "captum", None)
        with pytest.raises(RunError, match=r"could not be trained; your_own/.*: the package captum is not installed"):
            grid.train(jobs, tmp_path, device="cpu")
    said = capsys.readouterr().out
    assert said.index("your_own: the package captum is not installed, so its ") < said.index("layers/digits/vgg11/")
    assert list(_cells(tmp_path, jobs[0])) == [str(job.cell) for job in jobs[1:-3]]  # only its first cell needs it
    assert len(_cells(tmp_path, jobs[-1])) == 3
    grid.train(jobs, tmp_path, device="cpu")
    monkeypatch.setitem(sys.modules, "captum", None)
    grid.train(jobs, tmp_path, device="cpu")  # what is recorded needs nothing


def test_a_mistake_in_the_program_is_not_hidden(pretend, tmp_path):
    def fail(name):
        raise RuntimeError("shapes do not match")

    pretend(fail)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        grid.train(of_profile("smoke", "layers"), tmp_path, device="cpu")


def test_data_that_are_not_there_cost_only_their_own_cells(pretend, monkeypatch, tmp_path):
    pretend()
    load, asked = data.load, []

    def absent(name, *arguments, **options):
        if name == "mnist":
            asked.append(name)
            raise RunError("MNIST is missing")
        return load(name, *arguments, **options)

    monkeypatch.setattr(data, "load", absent)
    jobs = of_profile("smoke", changes={"datasets": ["mnist", "digits"]})
    with pytest.raises(RunError, match="MNIST is missing"):
        grid.train(jobs, tmp_path, device="cpu")
    assert len(asked) == 1
    recorded = {f"{job.settings.experiment}/{cell}" for job in jobs for cell in _cells(tmp_path, job)}
    assert recorded == {str(job) for job in jobs if job.cell.dataset == "digits"}


def _cells(root, job):
    return read_record(root / job.settings.record_name() / job.settings.experiment).cells


@pytest.mark.parametrize("name", ["manifest.json", "metrics.csv"])
def test_a_corrupt_or_foreign_record_is_named_before_anything_is_trained(pretend, tmp_path, name):
    pretend()
    jobs = of_profile("smoke", "layers") + of_profile("smoke", "prototypes")
    grid.train(jobs[:3], tmp_path, device="cpu")
    (tmp_path / "smoke" / "layers" / name).write_text('{"name": "a web page"}')
    before = content(tmp_path / "smoke" / "layers")
    pretend(lambda cell: pytest.fail(f"{cell} is trained"))
    with pytest.raises(RunError) as caught:
        grid.train(jobs, tmp_path, device="cpu")
    assert str(tmp_path / "smoke" / "layers" / name) in str(caught.value)
    assert content(tmp_path / "smoke" / "layers") == before


def test_a_full_disk_stops_the_grid_and_loses_nothing(pretend, monkeypatch, tmp_path):
    pretend()
    write, count = records.write_synced, 0

    def full(path, payload):
        nonlocal count
        count += 1
        if count > 3:  # the second cell
            raise OSError(28, "No space left on device")
        write(path, payload)

    monkeypatch.setattr(records, "write_synced", full)
    with pytest.raises(RunError, match="No space left on device"):
        grid.train(of_profile("smoke", "layers"), tmp_path, device="cpu")
    assert list(read_record(tmp_path / "smoke" / "layers").cells) == ["digits/vgg11/classifier/0"]


def test_a_full_disk_for_models_costs_only_time(monkeypatch, tmp_path, on, digits, smoke):
    def full(state, path):
        path.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", full)
    study = runner.Study(digits, "vgg11", 0, smoke, on, tmp_path / "models")
    with pytest.warns(UserWarning, match="classifier is trained, but not kept"):
        assert not study.classifier.training
    assert not list((tmp_path / "models").iterdir())


# ---- killed, and without what training does not need


NEEDED = {"numpy", "pandas", "pyyaml", "rich", "scikit-learn", "torch", "torchvision", "tqdm", "typer"}
WITH_THEM = {"filelock", "scipy"}  # torch and scikit-learn bring these
IMPORTED = {"ipykernel": "IPython", "jupyter-book": "jupyter_book"}  # names that differ


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A grid that is killed at random moments and then finished, where only the packages named above exist."""
    root = tmp_path_factory.mktemp("killed")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    names = {re.match(r"[\w-]+", line)[0] for line in project["dependencies"]}
    assert names >= NEEDED | WITH_THEM
    absent = [IMPORTED.get(name, name.replace("-", "_")) for name in sorted(names - NEEDED - WITH_THEM)]
    code = f"""
        import runpy, sys
        sys.modules |= dict.fromkeys({absent})
        sys.argv[0] = "kill_test"
        runpy.run_module("workflow.kill_test", run_name="__main__")
    """
    command = [sys.executable, "-c", textwrap.dedent(code), "--kills", "5", "--out", str(root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return root, done


@needs_kill
def test_a_grid_that_was_killed_again_and_again_ends_in_the_same_record(killed, whole_run):
    root, done = killed
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("5 kills of ")
    assert content(root / "1" / "smoke" / "layers") == content(whole_run.folder)


@needs_kill
def test_training_needs_none_of_the_book_s_packages(killed):
    root, _ = killed
    said = (root / "whole" / "log").read_text()
    assert "3 of 3 cells recorded" in said
    assert "No module named" not in said


@needs_kill
def test_the_end_of_an_attempt_is_not_the_end_of_its_parents_blocks(monkeypatch, tmp_path):
    from workflow import kill_test

    monkeypatch.setattr(kill_test.cli, "main", lambda: sys.exit(3))
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        assert kill_test.Attempt(Path(folder), "layers").wait() == 3
        assert list(tmp_path.iterdir()) == [Path(folder)]


# ---- side by side


def small_task(seed, log):
    """Train twice with random numbers in between, as a cell does."""

    def task(train):
        numbers = []
        for part in range(2):
            with training.seeded(seed):
                model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))
                inputs, labels = torch.randn(40, 4), torch.randint(2, (40,))
            log.append((seed, part))
            job = training.Job(
                model, inputs, (labels,), training.classification_loss, training.SGD, epochs=2, seed=seed,
                batch_size=8, on=training.Compute(torch.device("cpu"), torch.float32),
            )  # fmt: skip
            numbers += [*train(job), model[0].weight.sum().item()]
        return numbers

    return task


def test_tasks_side_by_side_give_what_each_gives_alone(monkeypatch):
    alone, log, at_once = [small_task(seed, [])(branches.alone) for seed in range(3)], [], []
    fit_many = training.fit_many

    def watched(jobs, **options):
        at_once.append(len(jobs))
        return fit_many(jobs, **options)

    monkeypatch.setattr(training, "fit_many", watched)
    assert branches.side_by_side([small_task(seed, log) for seed in range(3)]) == alone
    assert at_once == [3, 3]
    assert log == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]


def test_a_task_that_fails_ends_the_others():
    ended = []

    def waits(train):
        try:
            return small_task(0, [])(train)
        except BaseException as error:
            ended.append(type(error).__name__)
            raise

    def fails(train):
        raise RunError("no good")

    with pytest.raises(RunError, match="no good"):
        branches.side_by_side([waits, fails])
    deadline = time.monotonic() + 10
    while not ended and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ended == ["_GivenUp"]


def test_cells_of_several_seeds_at_once_give_the_record_of_one_after_the_other(free, monkeypatch, tmp_path, on):
    def run_cell(study, part, keep_samples):
        images = study.test(study.decoder("conv4"))
        return [{"method": "m", "metric": "sum", "value": images.double().sum().item()}], {}

    monkeypatch.setitem(runner.EXPERIMENTS, "layers", runner.Experiment(lambda *_: iter(["conv4"]), run_cell))
    settings = settings_for("layers", "smoke", seeds=[0, 1])
    experiments.run(settings, root=tmp_path / "one", device="cpu", progress=False)
    monkeypatch.setattr(runner, "CACHE", tmp_path / "other models")
    cells = experiments.plan(settings)
    with runner.opened(settings, training.compute("cpu"), tmp_path / "many") as trainer:
        trainer.prepare(cells)
        for cell, measured in zip(cells, trainer.measure(cells), strict=True):
            trainer.keep(cell, measured)
    assert content(tmp_path / "many" / "smoke" / "layers") == content(tmp_path / "one" / "smoke" / "layers")
    assert all({"classifier", "decoder conv4"} == cell["trainings"].keys() for cell in trainer.record.cells.values())


def test_only_seeds_are_grouped_and_no_more_than_fit():
    jobs = of_profile("smoke", "layers", {"seeds": [0, 1, 2]})
    groups = list(grid.grouped(jobs, 2))
    assert sorted(str(job) for group in groups for job in group) == sorted(map(str, jobs))
    assert [len(group) for group in groups] == [2, 1] * 3
    assert all(len({(job.cell.prefix, str(job.cell.part)) for job in group}) == 1 for group in groups)
    assert [group for [group] in grid.grouped(jobs, 1)] == jobs


def test_out_of_memory_halves_what_is_trained_at_once(pretend, tmp_path, on, capsys):
    pretend()
    jobs = of_profile("smoke", "layers", {"seeds": [0, 1, 2, 3]})[::3]
    asked = []
    with runner.opened(jobs[0].settings, on, tmp_path) as trainer:
        measure = trainer.measure

        def narrow(cells):
            asked.append(len(cells))
            if len(cells) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return measure(cells)

        trainer.measure = narrow
        found = {job: {} for job in jobs}
        board = grid.Board(1e9)
        whole = grid._Grid({jobs[0].settings: trainer}, found, {}, board, grid.Console(), float("inf"))
        whole.train(deque([jobs]))
    assert asked == [4, 2, 1, 1, 2, 1, 1]
    assert len(trainer.record.cells) == 4
    assert not whole.failed
    assert "CUDA out of memory; not 4 at once, but 2" in capsys.readouterr().out


# ---- the live table


def test_the_live_table_tells_loss_speed_and_share_of_the_peak(on, monkeypatch):
    jobs = of_profile("smoke", "layers", {"batch_size": 50})
    found = estimate.costs(jobs)
    (part,) = found[jobs[0]]
    board, clock = grid.Board(1000 * estimate.per_image(jobs[0], part)), [0.0]
    board.expect(jobs[:1], found, "a title")
    monkeypatch.setattr(grid.time, "perf_counter", lambda: clock[0])
    with board.bar("digits vgg11 classifier, seed 0", 4, True) as update:
        clock[0] = 0.25
        update(1, 0.125)
        clock[0] = 0.5
        update(1, 0.0625)
    assert board.rows == [["digits vgg11 classifier, seed 0", "50%", "0.0625", "200", "20%"]]
    monkeypatch.undo()
    with board.shown():
        job = training.Job(
            nn.Linear(4, 2), torch.randn(10, 4), (torch.zeros(10, dtype=torch.int64),), training.classification_loss,
            training.SGD, epochs=2, seed=0, on=on, batch_size=5, label="a training",
        )  # fmt: skip
        training.fit(job)
    assert (board.rows[1][:2], board.rows[1][3:]) == (["a training", "100%"], ["", ""])  # its cost is not known
    console = grid.Console(record=True, width=120, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(board)
    assert "a training" in console.export_text()


# ---- locks


def test_a_record_that_is_being_written_is_refused_with_the_writer(pretend, smoke, tmp_path):
    pretend()
    with locked(tmp_path / "smoke" / "layers"):
        for begin in (
            lambda: grid.train(of_profile("smoke", "layers"), tmp_path, device="cpu"),
            lambda: experiments.run(smoke, root=tmp_path, device="cpu", progress=False),
        ):
            with pytest.raises(RunError) as caught:
                begin()
            assert str(tmp_path / "smoke" / "layers") in str(caught.value)
            assert f"process {os.getpid()} on {platform.node()} since " in str(caught.value)
    grid.train(of_profile("smoke", "layers"), tmp_path, device="cpu")


def test_a_finished_record_can_be_used_while_another_process_writes(whole_run, smoke):
    with locked(whole_run.folder):
        assert experiments.run(smoke, root=whole_run.folder.parents[1], device="cpu", progress=False).cells


@needs_kill
def test_the_lock_of_a_dead_process_holds_no_longer(tmp_path):
    folder = tmp_path / "smoke" / "layers"
    code = "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print('held'); input()"
    folder.parent.mkdir()
    (folder.parent / ".layers.holder").write_text("process 1 on elsewhere")
    command = [sys.executable, "-u", "-c", code, str(folder.parent / ".layers.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="is being written by process 1 on elsewhere"), locked(folder):
            pass
        os.kill(child.pid, signal.SIGKILL)
    with locked(folder):
        assert str(os.getpid()) in (folder.parent / ".layers.holder").read_text()
    assert not (folder.parent / ".layers.holder").exists()


def test_the_names_of_the_cells_can_be_listed(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["cladec", "train", "--profile", "smoke", "--only", "layers", "--list"])
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().out.splitlines() == [
        f"smoke/layers\tlayers/digits/vgg11/{part}/0" for part in ("classifier", "penultimate", "conv2")
    ]
    assert not list(tmp_path.iterdir())
