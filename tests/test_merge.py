"""Carrying records home: slices in any order give the whole, and nothing foreign comes in."""

import dataclasses
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from cladec_companion.commands import main as cli
from cladec_companion.papers import settings_for
from cladec_companion.records import record as records
from cladec_companion.records.cells import Cost, Misfit
from cladec_companion.records.files import RECORDED
from cladec_companion.records.merge import merge
from cladec_companion.records.record import find_records, open_record, read_record
from cladec_companion.records.schema import FILES
from cladec_core.errors import RunError
from tests.made_up import CPU, same


@pytest.fixture(autouse=True)
def one_commit(monkeypatch):
    monkeypatch.setattr(records, "_commit", lambda: "0123456789ab-dirty")


def content(folder):
    return [(folder / name).read_bytes() for name in FILES]


def made(root, cells, *, value=0.0, seed_shown=0, conditions=CPU, classifier="a" * 32, index=(0, 1, 2), **changes):
    """A record with some (layer, seed) cells; its numbers follow from their names."""
    record = open_record(settings_for("layers", "smoke", **changes), root, conditions)
    for layer, seed in cells:
        axes = {"dataset": "digits", "architecture": "vgg11", "layer": layer, "seed": seed}
        number = len(layer) + seed / 10 + value
        rows = [axes | {"method": "cladec", "metric": metric, "value": number} for metric in "ab"]
        samples = {"digits/vgg11/seed": np.array(seed_shown)}
        if seed == seed_shown:
            samples["digits/vgg11/index"] = np.array(index, np.int32)
            samples[f"digits/vgg11/{layer}"] = np.full((3, 1, 4, 4), len(layer), np.uint8)
        name = f"digits/vgg11/{layer}/{seed}"
        record.add(name, rows, samples, Cost(1.5), {"decoder": 1.0}, {"classifier": classifier})
    return record.folder


EVERY = [("conv2", 0), ("penultimate", 0), ("conv2", 1), ("penultimate", 1)]


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0], [1, 1, 0, 2, 0]])
def test_slices_in_any_order_give_the_record_of_the_whole(tmp_path, order):
    whole = made(tmp_path / "whole", EVERY)
    slices = [made(tmp_path / str(n), cells) for n, cells in enumerate(([EVERY[0]], EVERY[1:3], EVERY[2:]))]
    for n in order:
        record, _ = merge(read_record(slices[n]), tmp_path / "into")
    assert content(record.folder) == content(whole)
    found, expected = (read_record(folder).manifest for folder in (record.folder, whole))
    assert found["cells"] == expected["cells"]
    assert [run["device"] for run in found["runs"]] == ["cpu (test)"]
    assert {path.name for path in record.folder.iterdir()} == {*FILES, "manifest.json"}


def test_merging_again_changes_nothing(tmp_path):
    source = read_record(made(tmp_path / "a", EVERY))
    assert merge(source, tmp_path / "into")[1] == 4
    folder = tmp_path / "into" / "smoke" / "layers"
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert merge(source, tmp_path / "into")[1] == 0
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_each_cell_keeps_the_run_it_was_made_in(tmp_path, monkeypatch):
    first = made(tmp_path / "a", EVERY[:1])
    monkeypatch.setattr(records, "_commit", lambda: "fedcba987654")
    second = made(tmp_path / "b", EVERY[1:])
    for folder in (second, first):
        record, _ = merge(read_record(folder), tmp_path / "into")
    manifest = read_record(record.folder).manifest
    commits = {cell: manifest["runs"][entry["run"]]["commit"] for cell, entry in manifest["cells"].items()}
    assert {cell for cell, commit in commits.items() if commit != "fedcba987654"} == {"digits/vgg11/conv2/0"}


def refusal(source, root):
    before = content(root / "smoke" / "layers")
    with pytest.raises(RunError) as caught:
        merge(read_record(source), root)
    assert content(root / "smoke" / "layers") == before
    assert str(source) in str(caught.value)
    return str(caught.value)


def test_doubles_that_differ_are_refused_with_the_cell(tmp_path):
    made(tmp_path / "into", EVERY[:3])
    said = refusal(made(tmp_path / "other", EVERY[2:], value=0.25), tmp_path / "into")
    assert "digits/vgg11/conv2/1 (method cladec, metric a) is 5.35 and 5.1" in said
    assert "2 numbers" in said


def test_images_that_differ_are_refused_by_name(tmp_path):
    folder = made(tmp_path / "into", EVERY[:1])
    record = read_record(folder)
    record.folder = tmp_path / "other" / "smoke" / "layers"
    name = "digits/vgg11/conv2"
    record.replace(record.rows, record.samples | {name: record.samples[name] + 1}, record.manifest)
    assert "the images 'digits/vgg11/conv2'" in refusal(record.folder, tmp_path / "into")


def test_images_of_another_seed_are_left_out(tmp_path):
    folder = made(tmp_path / "into", EVERY[:2])
    record, added = merge(read_record(made(tmp_path / "other", [("conv2", 1)], seed_shown=1)), tmp_path / "into")
    assert added == 1
    assert record.samples.keys() == read_record(folder).samples.keys()
    assert record.samples["digits/vgg11/seed"] == 0
    assert record.cells["digits/vgg11/conv2/1"]["images"] == ""
    assert same(record, read_record(folder))


def test_records_that_do_not_belong_together_are_refused(tmp_path):
    made(tmp_path / "into", EVERY[:1])
    wide = made(tmp_path / "wide", EVERY[:1], width=0.25)
    shutil.copytree(wide, tmp_path / "renamed" / "smoke" / "layers")
    assert "another configuration" in refusal(tmp_path / "renamed" / "smoke" / "layers", tmp_path / "into")
    shutil.copytree(wide, tmp_path / "renamed" / "smoke" / "alpha")
    with pytest.raises(RunError, match="not its name"):
        merge(read_record(tmp_path / "renamed" / "smoke" / "alpha"), tmp_path / "into")
    assert merge(read_record(wide), tmp_path / "into")[1] == 1  # beside the other


def test_the_command_merges_what_it_can_and_names_the_rest(monkeypatch, capsys, tmp_path):
    good, bad = made(tmp_path / "good", EVERY[:2]), made(tmp_path / "bad", EVERY[2:])
    (bad / "metrics.csv").write_text("damaged")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "manifest.json").write_text('{"name": "a web page"}')
    (tmp_path / "empty").mkdir()
    folders = [str(tmp_path / name) for name in ("bad", "foreign", "empty", "good")]
    monkeypatch.setattr(sys, "argv", ["cladec", "merge", *folders, "--into", str(tmp_path / "into")])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    said = capsys.readouterr()
    assert stop.value.code == 1
    assert "3 not merged" in said.err
    for part in (bad / "metrics.csv", tmp_path / "foreign" / "manifest.json", tmp_path / "empty"):
        assert str(part) in said.err
    assert "2 cells are new" in said.out
    assert content(tmp_path / "into" / "smoke" / "layers") == content(good)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"classifier": "b" * 32}, "different classifiers of digits/vgg11/0: 'classifier' is bbbbbbbbbbbb and aaaaaa"),
        ({"index": (0, 1, 7)}, "differ in the images 'digits/vgg11/index'"),
        ({"conditions": dataclasses.replace(CPU, threads=2)}, "under different conditions: threads 2 and 1"),
        ({"conditions": dataclasses.replace(CPU, precision="bfloat16")}, "precision 'bfloat16' and 'float32'"),
        ({"conditions": dataclasses.replace(CPU, code="f" * 32)}, f"code '{'f' * 32}' and '{'c0de' * 8}'"),
    ],
)
def test_cells_that_cannot_be_compared_stay_apart(tmp_path, changes, said):
    made(tmp_path / "into", EVERY[:1])
    assert said in refusal(made(tmp_path / "other", EVERY[1:2], **changes), tmp_path / "into")


def test_records_from_before_fingerprints_are_not_merged(tmp_path):
    for record in find_records(RECORDED):
        if not record.fingerprinted:
            with pytest.raises(Misfit, match="before cells carried fingerprints"):
                merge(record, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_searched_is_named(tmp_path, monkeypatch, capsys):
    def refuse(self, pattern):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "rglob", refuse)
    monkeypatch.setattr(sys, "argv", ["cladec", "merge", str(tmp_path)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    assert capsys.readouterr().err == f"cladec: 1 not merged: {tmp_path} cannot be searched (Permission denied)\n"
