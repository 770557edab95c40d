import json
import math
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from cladec_companion.papers import settings_for
from cladec_companion.records import record as records
from cladec_companion.records.record import find_records, open_record, read_record
from cladec_core.errors import RunError

AXES = {"dataset": "digits", "architecture": "vgg11", "seed": 0}


def cell(layer, seed=0):
    """Key, rows, samples and seconds of a made-up cell."""
    numbers = np.random.default_rng([len(layer), seed])
    rows = [
        AXES | {"layer": layer, "seed": seed, "method": method, "metric": metric, "value": float(numbers.normal())}
        for method in ("refae", "cladec")
        for metric in ("loss_raw_sum", "accuracy")
    ]
    samples = {f"digits/vgg11/{layer}/{seed}": numbers.integers(0, 256, (3, 1, 32, 32), dtype=np.uint8)}
    return f"digits/vgg11/{layer}/{seed}", rows, samples, 1.234


@pytest.fixture(autouse=True)
def one_commit(monkeypatch):
    monkeypatch.setattr(records, "_commit", lambda: "0123456789ab-dirty")


def content(folder):
    """The bytes of each file; of the manifest, which holds the date, only that it is there."""
    return {path.name: path.name != "manifest.json" and path.read_bytes() for path in folder.iterdir()}


def same(first, second):
    """Whether two read records say the same, whatever bytes they are made of."""
    return (
        first.rows.equals(second.rows)
        and first.samples.keys() == second.samples.keys()
        and all(np.array_equal(first.samples[name], second.samples[name]) for name in first.samples)
        and first.manifest["cells"] == second.manifest["cells"]
    )


@pytest.fixture
def written(smoke, tmp_path):
    record = open_record(smoke, tmp_path, "cpu (test)")
    record.add(*cell("conv2"))
    record.add(*cell("penultimate"))
    return record


def test_what_was_added_is_read_back(written):
    found = read_record(written.folder)
    assert list(found.cells) == ["digits/vgg11/conv2/0", "digits/vgg11/penultimate/0"]
    assert len(found.rows) == 8
    assert list(found.rows.columns) == ["dataset", "architecture", "layer", "method", "seed", "metric", "value"]
    for key in ("conv2", "penultimate"):
        _, rows, samples, _ = cell(key)
        for row in rows:
            at = found.rows.query("layer == @row['layer'] and method == @row['method'] and metric == @row['metric']")
            assert at.value.item() == pytest.approx(row["value"], rel=1e-7)
        for name, array in samples.items():
            assert found.samples[name].dtype == np.uint8
            assert np.array_equal(found.samples[name], array)


def test_the_manifest_tells_where_the_numbers_come_from(written, smoke):
    manifest = json.loads((written.folder / "manifest.json").read_text())
    assert manifest["configuration"] == smoke.configuration()
    assert (manifest["experiment"], manifest["profile"], manifest["schema"]) == ("layers", "smoke", records.SCHEMA)
    (run,) = manifest["runs"]
    assert run["device"] == "cpu (test)"
    assert run["commit"] == "0123456789ab-dirty"
    assert {"python", "torch", "numpy"} <= run["versions"].keys()
    assert [entry["seconds"] for entry in manifest["cells"].values()] == [1.23, 1.23]


def test_the_commit_is_gits_or_unknown(monkeypatch, tmp_path):
    monkeypatch.undo()
    assert re.fullmatch(r"[0-9a-f]{12}(-dirty)?|unknown", records._commit())
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setattr(records, "ROOT", tmp_path)
    assert records._commit() == "unknown"
    monkeypatch.setenv("PATH", "")
    assert records._commit() == "unknown"


def test_another_device_is_another_run(written, smoke, tmp_path):
    record = open_record(smoke, tmp_path, "cuda (test)")
    record.add(*cell("conv3"))
    manifest = read_record(written.folder).manifest
    assert [run["device"] for run in manifest["runs"]] == ["cpu (test)", "cuda (test)"]
    runs = {key.split("/")[2]: entry["run"] for key, entry in manifest["cells"].items()}
    assert runs == {"conv2": 0, "penultimate": 0, "conv3": 1}


def test_the_order_of_the_cells_does_not_change_the_files(smoke, tmp_path):
    cells = [cell("conv2"), cell("penultimate"), cell("conv2", seed=1)]
    found = []
    for order in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        root = tmp_path / "".join(map(str, order))
        for index in order:
            open_record(smoke, root, "cpu").add(*cells[index])  # read anew for each, as a resumed run does
        folder = root / "smoke" / "layers"
        found.append(((folder / "metrics.csv").read_bytes(), (folder / "samples.npz").read_bytes()))
    assert found[0] == found[1] == found[2]


def test_numbers_that_are_not_finite_come_back_as_numbers(smoke, tmp_path):
    key, rows, samples, seconds = cell("conv2")
    for row, value in zip(rows, (math.nan, math.inf, 1e-30, 0.1), strict=True):
        row["value"] = value
    open_record(smoke, tmp_path).add(key, rows, samples, seconds)
    again = open_record(smoke, tmp_path)
    assert again.rows["value"].dtype == float
    assert sorted(again.rows["value"].dropna()) == [1e-30, 0.1, math.inf]
    assert again.rows["value"].isna().sum() == 1
    before = (again.folder / "metrics.csv").read_bytes()
    again.add(*cell("penultimate"))
    assert set(before.splitlines()) <= set((again.folder / "metrics.csv").read_bytes().splitlines())


def test_a_record_holds_three_files(written):
    assert content(written.folder).keys() == {"manifest.json", "metrics.csv", "samples.npz"}


def test_find_records_reads_all(written, tmp_path):
    changed = settings_for("layers", "smoke", width=0.25)
    open_record(changed, tmp_path).add(*cell("conv2"))
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
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "has schema 2; this version reads 1"),
        (lambda text: text.replace('"runs"', '"rums"'), "lacks runs"),
        (lambda text: text.replace('"metrics.csv"', '"metric.csv"'), "metrics.csv does not fit"),
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


def test_a_table_without_its_columns_is_refused_by_name(smoke, tmp_path):
    record = open_record(smoke, tmp_path)
    key, rows, samples, seconds = cell("conv2")
    record.add(key, rows, samples, seconds)
    record.rows = pd.DataFrame(rows).drop(columns="value")
    record.write()
    with pytest.raises(RunError) as caught:
        read_record(record.folder)
    assert str(caught.value) == f"{record.folder / 'metrics.csv'} lacks the column value."


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
            open_record(smoke, tmp_path).add(*cell("conv3"))
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
    record = open_record(smoke, root, "cpu")
    for layer in layers:
        record.add(*cell(layer))
    return open_record(smoke, root, "cpu")


@pytest.mark.parametrize("layers", [["conv2"], ["conv2", "penultimate"]])
def test_a_kill_at_any_point_leaves_the_record_before_or_after(smoke, tmp_path, monkeypatch, layers):
    last = cell(layers[-1])
    before, after = made(smoke, tmp_path / "before", layers[:-1]), made(smoke, tmp_path / "after", layers)
    outcomes = []
    for moment in range(1, 8):
        root = tmp_path / f"killed{moment}"
        record = made(smoke, root, layers[:-1])
        survived = survives(lambda: record.add(*last), monkeypatch, moment)  # noqa: B023
        found = open_record(smoke, root, "cpu")
        assert same(found, before) or same(found, after)
        outcomes.append("survived" if survived else "after" if same(found, after) else "before")
        if outcomes[-1] == "before":
            found.add(*last)
        assert content(found.folder) == content(after.folder)
    # Three files are written and the manifest is renamed; from then on the cell is in the record.
    assert outcomes == ["before"] * 4 + ["after"] * 2 + ["survived"]


def test_a_kill_while_a_kill_is_repaired_loses_nothing(smoke, tmp_path, monkeypatch):
    for second in (1, 2):
        record = made(smoke, tmp_path / str(second), ["conv2"])
        assert not survives(lambda: record.add(*cell("penultimate")), monkeypatch, 5)  # noqa: B023
        assert not survives(lambda: read_record(record.folder), monkeypatch, second)  # noqa: B023
        assert same(read_record(record.folder), made(smoke, tmp_path / f"whole{second}", ["conv2", "penultimate"]))


def test_a_commit_while_a_reader_reads_is_no_damage(written, smoke, tmp_path, monkeypatch):
    settle, waiting = records._settle, [cell("conv3")]

    def commit_first(folder, manifest):
        """Another process commits a cell between the reader's look at the manifest and at the files."""
        if waiting:
            new = waiting.pop()
            written.add(*new)
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
        record.add(*cell("penultimate"))
    assert seen == [1, 1, 1, 1, 2]
    assert content(record.folder) == content(expected.folder)
