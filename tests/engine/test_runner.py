"""Whole runs in one process: what is recorded, resumed and left alone."""

import time
from dataclasses import replace

import numpy as np
import pytest

from cladec_companion import papers
from cladec_companion.engine import runner
from cladec_companion.engine.models import side_by_side
from cladec_companion.engine.runner import Workplace
from cladec_companion.papers import settings_for
from cladec_companion.records.files import locked
from cladec_companion.records.record import FILES, open_record, read_record
from cladec_core import data, training
from cladec_core.errors import RunError, UsageError

LAYERS = papers.chapter("layers")


def run(settings, root, chapter=LAYERS, **options):
    return runner.run(chapter, settings, root=root, device="cpu", progress=False, **options)


def files(record):
    return [(record.folder / name).read_bytes() for name in FILES]


def no_training(job):
    raise AssertionError("trained again")


def test_a_run_records_every_cell_of_its_plan(whole_run, smoke):
    planned = runner.plan(LAYERS, smoke)
    assert [str(cell) for cell in planned] == [
        "digits/vgg11/classifier/0",
        "digits/vgg11/penultimate/0",
        "digits/vgg11/conv2/0",
    ]
    again = read_record(whole_run.folder)
    assert list(again.cells) == sorted(map(str, planned))
    assert set(again.rows["layer"]) == {"classifier", "penultimate", "conv2"}
    assert np.isfinite(again.rows["value"]).all()
    assert all({"seconds", "trainings", "run"} <= entry.keys() for entry in again.cells.values())


def test_the_first_seed_of_everything_comes_before_the_second_of_anything():
    settings = settings_for("layers", "smoke", seeds=[2, 0], datasets=["digits", "mnist"], layers=[-1])
    assert [str(cell) for cell in runner.plan(LAYERS, settings)] == [
        f"{dataset}/vgg11/{part}/{seed}"
        for seed in (2, 0)
        for dataset in ("digits", "mnist")
        for part in ("classifier", "penultimate")
    ]


def test_the_samples_of_a_run_are_the_images_at_their_index(whole_run):
    samples = whole_run.samples
    images = data.load("digits", train_limit=160, test_limit=80)
    index = samples["digits/vgg11/index"]
    unit = images.to_unit(images.test_images[index]).clamp(0, 1)
    assert np.abs(samples["digits/vgg11/original"] - unit.numpy() * 255).max() <= 0.51
    assert samples["digits/vgg11/label"].tolist() == images.test_labels[index].tolist()
    for layer in ("penultimate", "conv2"):
        for method in ("cladec", "refae"):
            assert samples[f"digits/vgg11/{layer}/{method}"].shape == (len(index), 1, 32, 32)
    assert not samples["digits/vgg11/penultimate/gradcam"].any()  # a single pixel on a vgg11
    right = samples["digits/vgg11/label"] == samples["digits/vgg11/predicted"]
    count = right.tolist().index(False)
    assert len(set(samples["digits/vgg11/label"][:count])) == count > 0
    assert not right[count : count + 6].any()


def test_a_finished_run_trains_nothing(whole_run, smoke, monkeypatch):
    monkeypatch.setattr(training, "fit", no_training)
    before = files(whole_run)
    with locked(whole_run.folder):  # not even while another process writes the record
        again = run(smoke, whole_run.folder.parents[1])
    assert again.rows.equals(read_record(whole_run.folder).rows)
    assert files(whole_run) == before


def interrupted(at):
    """The chapter layers, interrupted in its nth cell; and a list of the cells begun."""
    begun = []

    def run_cell(setup, part, keep_samples):
        begun.append(part)
        if len(begun) == at:
            raise KeyboardInterrupt
        return (yield from LAYERS.run_cell(setup, part, keep_samples))

    return replace(LAYERS, run_cell=run_cell), begun


def test_an_interrupted_run_continues_with_the_first_missing_cell(whole_run, smoke, tmp_path):
    chapter, _ = interrupted(at=2)
    with pytest.raises(KeyboardInterrupt):
        run(smoke, tmp_path, chapter)
    assert list(read_record(tmp_path / "smoke" / "layers").cells) == ["digits/vgg11/classifier/0"]
    chapter, begun = interrupted(at=None)
    lines = []
    resumed = run(smoke, tmp_path, chapter, report=lines.append)
    assert begun == ["penultimate", "conv2"]
    assert [line.split(":")[0] for line in lines] == ["digits/vgg11/penultimate/0", "digits/vgg11/conv2/0"]
    assert files(resumed) == files(whole_run)


def test_cells_in_another_order_and_without_a_cache_give_the_same_record(whole_run, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "model_cache", lambda: None)
    for layers in (["conv2"], ["penultimate", "conv2"]):
        record = run(settings_for("layers", "smoke", layers=layers), tmp_path)
    assert files(record) == files(whole_run)
    assert not (tmp_path / "models").exists()


def asking(act):
    """The chapter layers with cells that train nothing: `act(setup, part, keep_samples)` gives rows and images."""

    def run_cell(setup, part, keep_samples):
        yield []
        return act(setup, part, keep_samples)

    return replace(LAYERS, run_cell=run_cell)


def test_all_samples_are_of_the_first_seed_that_was_run(tmp_path):
    asked = []

    def act(setup, part, keep_samples):
        asked.append((setup.seed, keep_samples))
        return [{"method": "m", "metric": "seed", "value": setup.seed}], {part: np.zeros(1)} if keep_samples else {}

    for seeds, parts in (([3, 1], ["conv2"]), ([1], ["conv3"]), ([0, 3], ["conv3"])):
        record = run(settings_for("layers", "smoke", seeds=seeds, layers=parts), tmp_path, asking(act))
    kept = {seed for seed, keep_samples in asked if keep_samples}
    assert kept == {3}
    assert {seed for seed, _ in asked} == {0, 1, 3}
    assert record.samples["digits/vgg11/seed"] == 3
    assert {"digits/vgg11/conv2", "digits/vgg11/conv3"} <= record.samples.keys()


def test_nothing_is_begun_after_the_deadline(smoke, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "fit", no_training)
    assert not run(smoke, tmp_path, deadline=time.monotonic() - 1).cells


def test_records_go_where_the_environment_says(smoke, tmp_path, monkeypatch):
    monkeypatch.setenv("CLADEC_RESULTS", str(tmp_path / "elsewhere"))
    assert run(smoke, None, deadline=0.0).folder == tmp_path / "elsewhere" / "smoke" / "layers"


def test_a_run_that_cannot_start_says_so_before_training(smoke, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "fit", no_training)
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RunError, match="Cannot write the record"):
        run(smoke, tmp_path / "file")
    with pytest.raises(UsageError, match="No device 'gpu'"):
        runner.run(LAYERS, smoke, root=tmp_path, device="gpu", progress=False)


def test_a_cell_asks_for_its_trainings_once(smoke, tmp_path):
    def run_cell(setup, part, keep_samples):
        yield []
        yield []

    with pytest.raises(RuntimeError, match="once"):
        run(smoke, tmp_path, replace(LAYERS, run_cell=run_cell))


def test_the_networks_come_in_the_order_of_the_wishes(on, digits, smoke):
    setup = runner.Setup(digits, "vgg11", 0, smoke, on)
    wanted = [setup.reference("conv4"), setup.classifier, setup.classifier]

    def asking():
        return (yield wanted), {}

    (found,) = side_by_side([runner.cell_jobs(asking(), runner.Models())])
    networks = found[0]
    assert type(networks[1]).__name__ == "Classifier"
    assert networks[1] is networks[2]
    assert len(networks[0]) == 2


def test_cells_of_several_seeds_at_once_give_the_record_of_one_after_the_other(monkeypatch, tmp_path, on):
    def run_cell(setup, part, keep_samples):
        (explain,) = yield [setup.decoder("conv4")]
        return [{"method": "m", "metric": "sum", "value": setup.test(explain).double().sum().item()}], {}

    chapter = replace(LAYERS, cells=lambda *_: iter(["conv4"]), run_cell=run_cell)
    settings = settings_for("layers", "smoke", seeds=[0, 1])
    run(settings, tmp_path / "one", chapter)
    monkeypatch.setenv("CLADEC_MODELS", str(tmp_path / "other models"))
    with runner.one_thread():
        workplace = Workplace(training.compute("cpu"))
        record = open_record(settings, tmp_path / "many", runner.conditions_of(workplace.on))
        orders = [runner.order_of(chapter, settings, cell, record) for cell in runner.plan(chapter, settings)]
        workplace.prepare(orders)
        for order, measured in zip(orders, workplace.measure(orders), strict=True):
            runner.keep(record, order, measured)
    assert files(record) == files(read_record(tmp_path / "one" / "smoke" / "layers"))
    assert all({"classifier", "decoder conv4"} == cell["trainings"].keys() for cell in record.cells.values())


def test_only_the_networks_of_the_run_at_work_are_in_memory(on):
    chapter, settings = LAYERS, settings_for("layers", "smoke", seeds=[0, 1], layers=[-1])
    record = runner.Record(None, [], {}, {})
    orders = [runner.order_of(chapter, settings, cell, record) for cell in runner.plan(chapter, settings)]
    workplace = Workplace(on)
    workplace.prepare(orders[:1])
    (first,) = workplace.runs.values()
    workplace.prepare(orders[1:2])  # the same run
    assert list(workplace.runs.values()) == [first]
    workplace.prepare(orders[2:3])
    assert first not in workplace.runs.values()
