import dataclasses
import json
import math
import re
import shutil

import numpy as np
import pytest

from cladec_companion.papers import settings_for
from cladec_companion.records import record as records
from cladec_companion.records import schema
from cladec_companion.records.cells import Cost, Misfit
from cladec_companion.records.files import RECORDED
from cladec_companion.records.record import find_records, open_record, read_record
from cladec_core.errors import RunError
from tests.made_up import CPU, cell, same


@pytest.fixture(autouse=True)
def one_commit(monkeypatch):
    monkeypatch.setattr(records, "_commit", lambda: "0123456789ab-dirty")


def content(folder):
    """The bytes of each file; of the manifest, which holds the date, only that it is there."""
    return {path.name: path.name != "manifest.json" and path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def written(smoke, tmp_path):
    record = open_record(smoke, tmp_path, CPU)
    record.add(**cell("conv2"))
    record.add(**cell("penultimate"))
    return record


def test_what_was_added_is_read_back(written):
    found = read_record(written.folder)
    assert list(found.cells) == ["digits/vgg11/conv2/0", "digits/vgg11/penultimate/0"]
    assert len(found.rows) == 8
    assert list(found.rows.columns) == ["dataset", "architecture", "layer", "method", "seed", "part", "metric", "value"]
    for key in ("conv2", "penultimate"):
        made = cell(key)
        rows, samples = made["rows"], made["samples"]
        for row in rows:
            at = found.rows.query("layer == @row['layer'] and method == @row['method'] and metric == @row['metric']")
            assert at.value.item() == pytest.approx(row["value"], rel=1e-7)
        for name, array in samples.items():
            assert found.samples[name].dtype == np.uint8
            assert np.array_equal(found.samples[name], array)


def test_the_manifest_tells_where_the_numbers_come_from(written, smoke):
    manifest = json.loads((written.folder / "manifest.json").read_text())
    assert manifest["configuration"] == smoke.configuration()
    assert (manifest["experiment"], manifest["profile"], manifest["schema"]) == ("layers", "smoke", schema.SCHEMA)
    (run,) = manifest["runs"]
    assert run["device"] == "cpu (test)"
    assert run["commit"] == "0123456789ab-dirty"
    assert {"python", "torch", "numpy"} <= run["versions"].keys()
    assert run["conditions"] == {"device": "cpu", "precision": "float32", "threads": 1, "code": "c0de" * 8}
    costs = [(entry["seconds"], entry["cpu_seconds"], entry["trainings"]) for entry in manifest["cells"].values()]
    assert costs == [(1.23, 2.35, {"decoder": 1.0})] * 2


def test_the_commit_is_gits_or_unknown(monkeypatch, tmp_path):
    monkeypatch.undo()
    assert re.fullmatch(r"[0-9a-f]{12}(-dirty)?|unknown", records._commit())
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(records, "ROOT", tmp_path)
    assert records._commit() == "unknown"
    monkeypatch.setenv("PATH", "")
    assert records._commit() == "unknown"


def test_another_machine_is_another_run(written, smoke, tmp_path):
    record = open_record(smoke, tmp_path, dataclasses.replace(CPU, name="cpu (another)"))
    record.add(**cell("conv3"))
    manifest = read_record(written.folder).manifest
    assert [run["device"] for run in manifest["runs"]] == ["cpu (test)", "cpu (another)"]
    runs = {key.split("/")[2]: entry["run"] for key, entry in manifest["cells"].items()}
    assert runs == {"conv2": 0, "penultimate": 0, "conv3": 1}


def test_the_order_of_the_cells_does_not_change_the_files(smoke, tmp_path):
    cells = [cell("conv2"), cell("penultimate"), cell("conv2", seed=1)]
    found = []
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        root = tmp_path / "".join(map(str, order))
        for index in order:
            open_record(smoke, root, CPU).add(**cells[index])  # read anew for each, as a resumed run does
        folder = root / "smoke" / "layers"
        found.append(((folder / "metrics.csv").read_bytes(), (folder / "samples.npz").read_bytes()))
    assert found[0] == found[1] == found[2]


def test_numbers_that_are_not_finite_are_undefined(smoke, tmp_path):
    made = cell("conv2")
    for row, value in zip(made["rows"], (math.nan, math.inf, 1e-30, 0.1), strict=True):
        row["value"] = value
    open_record(smoke, tmp_path, CPU).add(**made)
    again = open_record(smoke, tmp_path, CPU)
    assert again.rows["value"].dtype == float
    assert sorted(again.rows["value"].dropna()) == [1e-30, 0.1]
    assert [entry["undefined"] for entry in again.cells.values()] == [2]
    before = (again.folder / "metrics.csv").read_bytes()
    again.add(**cell("penultimate"))
    assert set(before.splitlines()) <= set((again.folder / "metrics.csv").read_bytes().splitlines())


def test_a_record_holds_three_files(written):
    assert content(written.folder).keys() == {"manifest.json", "metrics.csv", "samples.npz"}


def test_find_records_reads_all(written, tmp_path):
    changed = settings_for("layers", "smoke", width=0.25)
    open_record(changed, tmp_path, CPU).add(**cell("conv2"))
    assert [record.folder.parent.name for record in find_records(tmp_path)] == ["smoke", changed.record_name()]
    assert find_records(tmp_path / "nowhere") == []


# ---- damage


@pytest.mark.parametrize("name", ["metrics.csv", "samples.npz"])
@pytest.mark.parametrize("place", [0, 100, -1])
def test_one_flipped_bit_is_refused_by_name(written, name, place):
    path = written.folder / name
    damaged = bytearray(path.read_bytes())
    damaged[place] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(RunError) as caught:
        read_record(written.folder)
    assert str(path) in str(caught.value)
    assert "checksum" in str(caught.value)


@pytest.mark.parametrize("name", ["metrics.csv", "samples.npz"])
def test_a_missing_file_is_refused_by_name(written, name):
    (written.folder / name).unlink()
    with pytest.raises(RunError) as caught:
        read_record(written.folder)
    assert str(caught.value) == f"{written.folder / name} is missing from its record."


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[:50], "cannot be read as a manifest"),
        (lambda text: "", "cannot be read as a manifest"),
        (lambda text: "[]", "cannot be read as a manifest"),
        (lambda text: "{}", "cannot be read as a manifest"),
        (lambda text: text.replace('"schema": 2', '"schema": 3'), "has schema 3; this version reads 1 to 2"),
        (lambda text: text.replace('"runs"', '"rums"'), "lacks runs"),
        (
            lambda text: text.replace('"metrics.csv"', '"metric.csv"'),
            "names other files than metrics.csv and samples.npz",
        ),
    ],
)
def test_a_bad_manifest_is_refused_by_name(written, smoke, tmp_path, change, said):
    path = written.folder / "manifest.json"
    text = path.read_text()
    assert change(text) != text
    path.write_text(change(text))
    for read in (lambda: read_record(written.folder), lambda: open_record(smoke, tmp_path)):
        with pytest.raises(RunError) as caught:
            read()
        assert str(written.folder) in str(caught.value)
        assert said in str(caught.value)


def test_a_folder_without_a_manifest_is_refused_by_name(tmp_path):
    with pytest.raises(RunError) as caught:
        read_record(tmp_path)
    assert str(tmp_path / "manifest.json") in str(caught.value)


def test_a_record_of_another_configuration_is_refused(written, tmp_path):
    wide = settings_for("layers", "smoke", width=0.25)
    shutil.copytree(written.folder, tmp_path / wide.record_name() / "layers")
    with pytest.raises(RunError, match="another configuration") as caught:
        open_record(wide, tmp_path)
    assert "width 0.125 there, 0.25 asked" in str(caught.value)
    assert str(tmp_path / wide.record_name() / "layers" / "manifest.json") in str(caught.value)


def test_other_values_along_an_axis_open_the_same_record(written, tmp_path):
    other = settings_for("layers", "smoke", seeds=[5], layers=["conv1"], architectures=["vgg5"])
    assert same(open_record(other, tmp_path), read_record(written.folder))


def test_a_place_that_cannot_be_written_is_said_before_any_work(smoke, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(RunError, match="Cannot write the record") as caught:
        open_record(smoke, tmp_path / "file" / "results")
    assert str(tmp_path / "file" / "results") in str(caught.value)


def test_a_full_disk_keeps_the_finished_cells(written, smoke, tmp_path, monkeypatch):
    before = read_record(written.folder)

    def full(path, content):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(records, "write_synced", full)
        with pytest.raises(RunError, match="No space left on device") as caught:
            open_record(smoke, tmp_path, CPU).add(**cell("conv3"))
    assert "The cells finished before are still in it" in str(caught.value)
    assert same(read_record(written.folder), before)


# ---- killed at any point


class Killed(BaseException):
    pass


def at_each_touch(patch, act):
    """Call `act(number)` before each call with which a record touches the disk; return where they are counted."""
    touched = []
    write, replace = records.write_synced, records.os.replace

    def watched(call):
        def touch(*arguments):
            touched.append(arguments)
            if act(len(touched)) == "die":
                if call is write:
                    path, content = arguments
                    path.write_bytes(content[: len(content) // 2])
                raise Killed
            return call(*arguments)

        return touch

    patch.setattr(records, "write_synced", watched(write))
    patch.setattr(records.os, "replace", watched(replace))
    return touched


def survives(action, monkeypatch, moment):
    """Kill the action at one touch of the disk, a write at its half; say whether it had ended before."""
    with monkeypatch.context() as patch:
        at_each_touch(patch, lambda number: "die" if number == moment else None)
        try:
            action()
        except Killed:
            return False
    return True


def made(smoke, root, layers):
    record = open_record(smoke, root, CPU)
    for layer in layers:
        record.add(**cell(layer))
    return open_record(smoke, root, CPU)


@pytest.mark.parametrize("layers", [["conv2"], ["conv2", "penultimate"]])
def test_a_kill_at_any_point_leaves_the_record_before_or_after(smoke, tmp_path, monkeypatch, layers):
    last = cell(layers[-1])
    before, after = made(smoke, tmp_path / "before", layers[:-1]), made(smoke, tmp_path / "after", layers)
    outcomes = []
    for moment in range(1, 8):
        root = tmp_path / f"killed{moment}"
        record = made(smoke, root, layers[:-1])
        survived = survives(lambda: record.add(**last), monkeypatch, moment)  # noqa: B023
        found = open_record(smoke, root, CPU)
        assert same(found, before) or same(found, after)
        outcomes.append("survived" if survived else "after" if same(found, after) else "before")
        if outcomes[-1] == "before":
            found.add(**last)
        assert content(found.folder) == content(after.folder)
    # Three files are written and the manifest is renamed; from then on the cell is in the record.
    assert outcomes == ["before"] * 4 + ["after"] * 2 + ["survived"]


def test_a_kill_while_a_kill_is_repaired_loses_nothing(smoke, tmp_path, monkeypatch):
    for second in (1, 2):
        record = made(smoke, tmp_path / str(second), ["conv2"])
        assert not survives(lambda: record.add(**cell("penultimate")), monkeypatch, 5)  # noqa: B023
        assert not survives(lambda: read_record(record.folder), monkeypatch, second)  # noqa: B023
        assert same(read_record(record.folder), made(smoke, tmp_path / f"whole{second}", ["conv2", "penultimate"]))


def test_a_commit_while_a_reader_reads_is_no_damage(written, smoke, tmp_path, monkeypatch):
    settle, waiting = records._settle, [cell("conv3")]

    def commit_first(folder, manifest):
        """Another process commits a cell between the reader's look at the manifest and at the files."""
        if waiting:
            new = waiting.pop()
            written.add(**new)
        settle(folder, manifest)

    monkeypatch.setattr(records, "_settle", commit_first)
    found = read_record(written.folder)
    assert not waiting
    assert len(found.cells) == 3
    assert same(found, read_record(written.folder))


def test_a_reader_in_between_disturbs_nothing(smoke, tmp_path, monkeypatch):
    expected = made(smoke, tmp_path / "alone", ["conv2", "penultimate"])
    record = made(smoke, tmp_path / "read", ["conv2"])
    seen, reading = [], False

    def read(_):
        nonlocal reading
        if not reading:  # the reader touches the disk too
            reading = True
            seen.append(len(read_record(record.folder).cells))
            reading = False

    with monkeypatch.context() as patch:
        at_each_touch(patch, read)
        record.add(**cell("penultimate"))
    assert seen == [1, 1, 1, 1, 2]
    assert content(record.folder) == content(expected.folder)


# ---- what fits together


ONE, OTHER = "1" * 32, "2" * 32


def test_a_record_has_one_classifier_of_a_run(smoke, tmp_path):
    """The worst fault of the book: conv3a of one network stood beside conv2 of another, of the same seed."""
    record = open_record(smoke, tmp_path, CPU)
    record.add(**cell("conv2", classifiers={"classifier": ONE}))
    before = content(record.folder)
    with pytest.raises(Misfit) as caught:
        record.add(**cell("conv3", classifiers={"classifier": OTHER}))
    assert str(caught.value) == (
        f"digits/vgg11/conv3/0 explains another classifier than the recorded cells of digits/vgg11, seed 0, in "
        f"{record.folder}: 'classifier' is 222222222222 here, 111111111111 there."
    )
    assert content(record.folder) == before
    assert list(record.cells) == ["digits/vgg11/conv2/0"]
    record.add(**cell("conv3", classifiers={"classifier": ONE}))
    record.add(**cell("conv3", seed=1, classifiers={"classifier": OTHER}))  # of another run
    record.add(**cell("conv4", classifiers={"4 epochs": OTHER}))  # a chapter may explain several, each by its name
    record.add(**cell("conv4a", classifiers={}))  # nothing is explained
    found = read_record(record.folder)
    assert found.fingerprinted
    assert found.classifiers("digits", "vgg11", 0) == {"classifier": ONE, "4 epochs": OTHER}
    assert found.classifiers("digits", "vgg11", 1) == {"classifier": OTHER}
    assert found.classifiers("mnist", "vgg11", 0) == {}


def test_images_of_a_run_are_of_the_same_test_images(smoke, tmp_path):
    record = open_record(smoke, tmp_path, CPU)
    record.add(**cell("conv2", index=[3, 5, 8]))
    with pytest.raises(Misfit, match=r"digits/vgg11/conv3/0 shows other images than .*'digits/vgg11/index' differs"):
        record.add(**cell("conv3", index=[3, 5, 9]))
    record.add(**cell("conv3", index=[3, 5, 8]))
    marks = {entry["images"] for entry in read_record(record.folder).cells.values()}
    assert len(marks) == 1
    assert "" not in marks


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"threads": 2}, "threads 1 there, 2 here"),
        ({"precision": "bfloat16"}, "precision 'float32' there, 'bfloat16' here"),
        ({"device": "cuda", "threads": 0}, "device 'cpu' there, 'cuda' here, threads 1 there, 0 here"),
        ({"code": "f" * 32}, f"code '{'c0de' * 8}' there, '{'f' * 32}' here"),
    ],
)
def test_a_record_is_continued_as_it_was_begun(written, smoke, tmp_path, change, said):
    with pytest.raises(Misfit) as caught:
        open_record(smoke, tmp_path, dataclasses.replace(CPU, **change))
    assert f"{written.folder} was recorded under other conditions ({said})" in str(caught.value)
    assert open_record(smoke, tmp_path).cells == written.cells  # what is there can still be seen


def test_nothing_is_added_to_a_record_that_was_opened_for_reading(written):
    with pytest.raises(RunError, match="opened for reading"):
        read_record(written.folder).add(**cell("conv3"))


def change(made, **values):
    return made | {"rows": [row | values for row in made["rows"]]}


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (cell("conv2"), "digits/vgg11/conv2/0 is in .* already"),
        (change(cell("conv3"), seed=1), r"rows of digits/vgg11/conv3/0 are of \[\('digits', 'vgg11', 1\)\]"),
        (change(cell("conv3"), dataset="mnist"), "rows of digits/vgg11/conv3/0 are of"),
        (change(cell("conv3"), layer="conv2"), "measures what .* has already, or the same twice: .*layer conv2"),
        (change(cell("conv3"), metric="accuracy"), "the same twice: .*metric accuracy"),
        (change(cell("conv3"), alpha=0.5), "have other columns than those in .*: alpha"),
        (change(cell("conv3"), method=True), "have method of several types"),
        (cell("conv3") | {"rows": []}, "has no rows"),
        (cell("conv3") | {"cell": "digits/vgg11/conv3"}, "is not the name of a cell"),
        (cell("conv3") | {"cell": "digits/vgg11/conv3/00"}, "is not the name of a cell"),
    ],
)
def test_rows_that_are_not_of_their_cell_are_refused(written, made, said):
    before = content(written.folder)
    with pytest.raises(RunError, match=said):
        written.add(**made)
    assert content(written.folder) == before


def weighted(part, alpha):
    made = change(cell("conv4"), alpha=alpha)
    return made | {"cell": f"digits/vgg11/{part}/0", "samples": {}}


def test_parameters_that_differ_in_the_last_digit_are_two_cells(tmp_path):
    record = open_record(settings_for("alpha", "smoke"), tmp_path, CPU)
    record.add(**weighted("conv4 α=0.5", 0.5))
    record.add(**weighted("conv4 α=0.500000000001", 0.500000000001))
    record.add(**weighted("conv4 α=0.1", 0.1))
    found = read_record(record.folder)
    assert sorted(found.rows["alpha"].unique()) == [0.1, 0.5, 0.500000000001]
    assert found.rows.groupby("alpha").size().tolist() == [4, 4, 4]
    record.add(**weighted("conv4 α=0.0", 0.0))
    alone = open_record(settings_for("alpha", "smoke"), tmp_path / "alone", CPU)
    alone.add(**weighted("conv4 α=-0.0", -0.0))
    assert ",-0," not in (alone.folder / "metrics.csv").read_text()
    with pytest.raises(RunError, match=r"conv4 α=-0.0/0 measures what .* has already.*alpha 0.0"):
        record.add(**weighted("conv4 α=-0.0", -0.0))


def test_records_from_before_fingerprints_are_read_and_marked_but_not_continued():
    """The committed ones; once all are made anew, there are none."""
    for record in find_records(RECORDED):
        if not record.fingerprinted:
            assert record.classifiers("fashion_mnist", "vgg11", 0) == {}
            with pytest.raises(Misfit, match="before cells carried fingerprints"):
                record.begin(CPU)


def test_what_a_killed_process_left_goes_with_the_next_run(written, smoke, tmp_path):
    for name in ("metrics.csv.new", "manifest.json.new"):
        (written.folder / name).write_text("half of")
    open_record(smoke, tmp_path)  # looks only
    assert (written.folder / "metrics.csv.new").exists()
    open_record(smoke, tmp_path, CPU)
    assert content(written.folder).keys() == {"manifest.json", *schema.FILES}


def test_looking_at_a_record_that_is_not_there_makes_nothing(smoke, tmp_path):
    open_record(smoke, tmp_path / "results", CPU)
    assert list(tmp_path.iterdir()) == []


def test_a_cell_that_could_not_be_written_is_not_in_the_record(written, monkeypatch):
    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(records, "write_synced", full)
    with pytest.raises(RunError, match="No space left"):
        written.add(**cell("conv3"))
    assert same(written, read_record(written.folder))


def test_costs_are_kept_apart(smoke, tmp_path):
    record = open_record(smoke, tmp_path, CPU)
    record.add(**cell("conv2") | {"cost": Cost(120.0, 230.0)})
    assert record.minutes == pytest.approx(230 / 60)  # of a core, whatever else the machine did
    assert record.cells["digits/vgg11/conv2/0"]["cpu_seconds"] == 230
