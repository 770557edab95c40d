"""Records that were damaged or made up by somebody: each is refused in one line, and nothing in it is believed."""

import io
import json
import shutil
import tracemalloc
import zipfile
from copy import deepcopy

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cladec_companion.papers import settings_for
from cladec_companion.records import schema
from cladec_companion.records.files import digest
from cladec_companion.records.merge import merge
from cladec_companion.records.record import open_record, read_record
from cladec_core.errors import RunError
from tests.made_up import CPU, cell, same

FILES = ("manifest.json", *schema.FILES)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A small record of two cells."""
    record = open_record(settings_for("layers", "smoke"), tmp_path_factory.mktemp("good"), CPU)
    for layer in ("conv2", "penultimate"):
        made = cell(layer, index=[3, 5, 8])
        small = {name: array[..., :4, :4] if array.ndim > 2 else array for name, array in made["samples"].items()}
        record.add(**made | {"samples": small})
    return read_record(record.folder)


@pytest.fixture
def copy(good, tmp_path):
    """The same record, to be damaged."""
    return shutil.copytree(good.folder, tmp_path / "smoke" / "layers")


def refusal(folder):
    """The one line with which a record is refused."""
    with pytest.raises(RunError) as caught:
        read_record(folder)
    said = str(caught.value)
    assert said.isprintable()
    assert len(said) < 1000
    assert str(folder) in said
    return said


def signed(folder, manifest=None, **files):
    """Put other content into a record, with all digests as they should be."""
    for name, content in files.items():
        (folder / name.replace("_", ".")).write_bytes(content)
    if manifest is None:
        manifest = json.loads((folder / "manifest.json").read_bytes())
    if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict):
        for name in schema.FILES:
            manifest["files"][name] = digest((folder / name).read_bytes())
    (folder / "manifest.json").write_bytes(schema.manifest_bytes(manifest))


# ---- one byte


@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_found_wherever_it_is(good, copy, name):
    """Every place of the manifest and of the table, and some hundreds of the images; a thousand and more in all."""
    whole = (good.folder / name).read_bytes()
    places = range(len(whole)) if name != "samples.npz" else range(0, len(whole), 7)
    numbers = np.random.default_rng(0)
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= int(numbers.integers(1, 256))
        (copy / name).write_bytes(damaged)
        with pytest.raises(RunError):
            schema_of(copy, name)
    (copy / name).write_bytes(whole)
    assert same(read_record(copy), good)


def schema_of(folder, name):
    """Read only as much of a record as decides about one of its files, which is much faster than all of it."""
    content = (folder / name).read_bytes()
    manifest = schema.read_manifest((folder / "manifest.json").read_bytes(), folder / "manifest.json")
    if name != "manifest.json" and digest(content) != manifest["files"][name]:
        raise RunError("checksum")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_bytes_that_are_changed_put_in_or_left_out_are_found(good, copy, data):
    name = data.draw(st.sampled_from(FILES))
    whole = (good.folder / name).read_bytes()
    first = data.draw(st.integers(0, len(whole)))
    last = data.draw(st.integers(first, min(len(whole), first + 20)))
    damaged = whole[:first] + data.draw(st.binary(max_size=20)) + whole[last:]
    (copy / name).write_bytes(damaged)
    if damaged == whole:
        assert same(read_record(copy), good)
    else:
        refusal(copy)
    (copy / name).write_bytes(whole)


def test_a_changed_letter_in_the_name_of_a_cell_is_found(copy):
    """Of schema 1 it went unnoticed: 29 rows twice, and a cell that counted as recorded without being trained."""
    path = copy / "manifest.json"
    path.write_bytes(path.read_bytes().replace(b"digits/vgg11/conv2/0", b"digits/vgg11/conv3/0"))
    assert "does not fit the digest in it" in refusal(copy)
    signed(copy, json.loads(path.read_bytes()))
    assert "has rows of 'digits/vgg11/conv2/0', a cell that its manifest does not name" in refusal(copy)


# ---- made up: everything signed as it should be


def set_in(path, value):
    """A change of a manifest: `set_in("runs.0.device", 3)`; `...` takes the entry out."""

    def change(manifest):
        *folders, last = path.split(".")
        entry = manifest
        for key in folders:
            entry = entry[int(key) if isinstance(entry, list) else key]
        if value is ...:
            del entry[last]
        else:
            entry[int(last) if isinstance(entry, list) else last] = value

    return change


CELL = "cells.digits/vgg11/conv2/0"
MANIFESTS = {
    "schema as text": (set_in("schema", "2"), "has schema '2'"),
    "schema as truth": (set_in("schema", True), "has schema True"),
    "a later schema": (set_in("schema", 3), "this version reads 1 to 2"),
    "no runs": (set_in("runs", []), "has runs [], which cannot be"),
    "runs of nothing": (set_in("runs", None), "has runs None"),
    "a run that is none": (set_in("runs.0", "cpu"), "runs[0] is 'cpu'; valid: a dictionary"),
    "no cells": (set_in("cells", {}), "has cells {}, which cannot be"),
    "cells of nothing": (set_in("cells", None), "has cells None"),
    "cells in a list": (set_in("cells", ["digits/vgg11/conv2/0"]), "has cells"),
    "files in a list": (set_in("files", []), "has files []"),
    "another file": (set_in("files", {"../../x": "0" * 64}), "names other files"),
    "no columns": (set_in("columns", ...), "lacks columns"),
    "a column of no kind": (set_in("columns", {"alpha": "object"}), "has columns"),
    "a name too many": (set_in("pickle", "no"), "has unknown pickle"),
    "configuration in a list": (set_in("configuration", [1]), "has configuration [1]"),
    "a parameter that is a record": (set_in("configuration.width", {"a": 1}), "has configuration"),
    "experiment as a path": (set_in("experiment", "../../etc"), "has experiment '../../etc'"),
    "profile as a number": (set_in("profile", 1), "has profile 1"),
    "seconds as text": (set_in(f"{CELL}.seconds", "1"), "has seconds '1'"),
    "seconds below zero": (set_in(f"{CELL}.seconds", -1), "has seconds -1"),
    "seconds as truth": (set_in(f"{CELL}.seconds", True), "has seconds True"),
    "a run that is not there": (set_in(f"{CELL}.run", 7), "is of run 7; there are 1"),
    "a run below zero": (set_in(f"{CELL}.run", -1), "has run -1"),
    "trainings in a list": (set_in(f"{CELL}.trainings", []), "has trainings []"),
    "no fingerprint": (set_in(f"{CELL}.classifiers", {"classifier": "abc"}), "has classifiers"),
    "fingerprints left out": (set_in(f"{CELL}.classifiers", ...), "lacks classifiers"),
    "another classifier": (
        set_in(f"{CELL}.classifiers", {"classifier": "b" * 32}),
        "explains another classifier ('classifier')",
    ),
    "other images": (set_in(f"{CELL}.images", "b" * 32), "shows other images than other cells of its run"),
    "a cell without rows": (
        lambda manifest: manifest["cells"].update({"digits/vgg11/conv3/0": manifest["cells"]["digits/vgg11/conv2/0"]}),
        "has 0 rows of 'digits/vgg11/conv3/0'",
    ),
    "a cell with no name": (
        lambda manifest: manifest["cells"].update({"conv3": manifest["cells"]["digits/vgg11/conv2/0"]}),
        "'conv3' is not the name of a cell",
    ),
    "rows of no cell": (set_in(CELL, ...), "has rows of 'digits/vgg11/conv2/0', a cell that its manifest"),
    "fewer rows": (set_in(f"{CELL}.rows", 5), "has 4 rows of 'digits/vgg11/conv2/0', 0 without a value; by its mani"),
    "undefined values": (set_in(f"{CELL}.undefined", 1), "by its manifest they are 4 and 1"),
    "two conditions": (
        lambda manifest: manifest["runs"].append(
            deepcopy(manifest["runs"][0]) | {"conditions": manifest["runs"][0]["conditions"] | {"threads": 2}}
        ),
        "trained under different conditions",
    ),
    "no conditions": (set_in("runs.0.conditions", ...), "lacks conditions"),
    "threads as text": (set_in("runs.0.conditions.threads", "1"), "has threads '1'"),
    "no version of torch": (set_in("runs.0.versions", {}), "lacks torch"),
    "a script in the commit": (set_in("runs.0.commit", "<script>alert(1)</script>"), "has markup"),
    "words in the commit": (set_in("runs.0.commit", "main`{raw}`"), "has commit"),
    "a script in the device": (set_in("runs.0.device", "<img src=x onerror=alert(1)>"), "has markup"),
    "a script in a version": (set_in("runs.0.versions.torch", "<b>2"), "has markup"),
    "a script in a name": (set_in("runs.0.versions", {"torch": "2", "<b>": "2"}), "has markup"),
    "a day that is none": (set_in("runs.0.started", "today"), "has started 'today'"),
    "a bell in the device": (set_in("runs.0.device", "cpu \a\x1b[2J"), "unprintable"),
    "a lone surrogate": (set_in("runs.0.device", "cpu \ud800"), "unprintable"),
    "a long text": (set_in("runs.0.device", "x" * 100_000), "too long"),
    "a deep value": (set_in("configuration.width", [[[[[[[[1]]]]]]]]), "nested deeper than 6"),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_manifests_that_were_made_up_are_refused(copy, case):
    change, said = MANIFESTS[case]
    manifest = json.loads((copy / "manifest.json").read_bytes())
    change(manifest)
    signed(copy, manifest)
    assert said in refusal(copy)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read as a manifest"),
        (b"null", "has no schema"),
        (b"[]", "has no schema"),
        (b"\xff\xfe{\x00}\x00", "cannot be read as a manifest"),
        ('{"schema": 2}'.encode("utf-16"), "cannot be read as a manifest"),
        (b'\xef\xbb\xbf{"schema": 2}', "cannot be read as a manifest"),
        (b'{"schema": NaN}', "NaN is not a finite number"),
        (b'{"schema": -Infinity}', "not a finite number"),
        (b'{"schema": 2, "schema": 2}', "stands in it twice"),
        (b'{"schema": ' + b"9" * 5_000 + b"}", "cannot be read as a manifest"),
        (b"[" * 500_000, "cannot be read as a manifest"),
        (b'{"a":' * 100_000, "cannot be read as a manifest"),
        (b"\x00" * 100, "cannot be read as a manifest"),
        (b"{}" + b" " * (16 << 20), "bytes; at most 16,777,216 are read"),
    ],
)  # fmt: skip
def test_files_that_are_no_manifest_are_refused(copy, content, said):
    (copy / "manifest.json").write_bytes(content)
    assert said in refusal(copy)


def test_a_manifest_that_says_the_same_in_other_bytes_was_not_written_here(copy):
    path = copy / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text())))
    assert "is not as it was written" in refusal(copy)


def table(copy):
    return (copy / "metrics.csv").read_text().splitlines()


def cells_of(line, *values):
    return ",".join([*line.split(",")[: -len(values)], *values])


ROWS = {
    "not a number": (lambda lines: [*lines[:-1], cells_of(lines[-1], "nan")], "has value 'nan', which is not a finite"),
    "infinite": (lambda lines: [*lines[:-1], cells_of(lines[-1], "-inf")], "has value '-inf'"),
    "too large": (lambda lines: [*lines[:-1], cells_of(lines[-1], "1e999")], "has value '1e999'"),
    "text as value": (lambda lines: [*lines[:-1], cells_of(lines[-1], "high")], "has value 'high'"),
    "digits apart": (lambda lines: [*lines[:-1], cells_of(lines[-1], "1_0")], "has value '1_0'"),
    "no value": (lambda lines: [*lines[:-1], cells_of(lines[-1], "")], "1 without a value"),
    "a row twice": (lambda lines: [*lines, lines[-1]], "has 1 rows twice"),
    "another value": (lambda lines: [*lines, cells_of(lines[-1], "7")], "has 1 rows twice"),
    "a row too few": (lambda lines: lines[:-1], "has 3 rows of 'digits/vgg11/penultimate/0'"),
    "no rows": (lambda lines: lines[:1], "has 0 rows of"),
    "nothing": (lambda lines: [], "cannot be read as a table"),
    "a foreign row": (
        lambda lines: [*lines, lines[-1].replace("penultimate", "conv9")],
        "has rows of 'digits/vgg11/conv9/0'",
    ),
    "a foreign column": (lambda lines: [f"{line},{n}" for n, line in enumerate(lines)], "has an unknown column '0'"),
    "a column too few": (lambda lines: [line.rpartition(",")[0] for line in lines], "lacks column 'value'"),
    "a column twice": (
        lambda lines: [line + "," + line.split(",")[0] for line in lines],
        "has an unknown column 'dataset.1'",
    ),
    "a field too many": (lambda lines: [*lines[:-1], lines[-1] + ",1"], "cannot be read as a table"),
    "a field too few": (lambda lines: [*lines[:-1], lines[-1].rpartition(",")[0]], ""),
    "seed as text": (lambda lines: [line.replace(",0,", ",zero,") for line in lines], "which is no valid integer"),
    "a long seed": (lambda lines: [line.replace(",0,", f",{'9' * 30},") for line in lines], "no valid integer"),
    "markup": (lambda lines: [line.replace("refae", "<b>refae") for line in lines], "which is no valid text"),
    "a formula": (lambda lines: [line.replace("refae", "=1+1") for line in lines], "which is no valid text"),
    "a bell": (lambda lines: [line.replace("refae", "ref\a") for line in lines], "which is no valid text"),
    "a null": (lambda lines: [line.replace("refae", "ref\0") for line in lines], ""),
    "a line break": (lambda lines: [line.replace("refae", '"ref\nae"') for line in lines], "which is no valid text"),
    "a long text": (lambda lines: [line.replace("refae", "x" * 20_000) for line in lines], "which is no valid text"),
}


@pytest.mark.parametrize("case", ROWS)
def test_rows_that_were_made_up_are_refused(copy, case):
    change, said = ROWS[case]
    signed(copy, metrics_csv=("\n".join(change(table(copy))) + "\n").encode())
    assert said in refusal(copy)


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", "dataset,value\n".encode("utf-16"), b'"', b"\x00" * 50])
def test_files_that_are_no_table_are_refused(copy, content):
    signed(copy, metrics_csv=content)
    refusal(copy)


def test_rows_of_another_experiment_are_refused(copy, tmp_path):
    other = open_record(settings_for("alpha", "smoke"), tmp_path / "other", CPU)
    made = cell("conv2", index=[3, 5, 8])
    other.add(**made | {"rows": [row | {"alpha": 0.5} for row in made["rows"]]})
    signed(copy, metrics_csv=(other.folder / "metrics.csv").read_bytes())
    assert "has an unknown column 'alpha'" in refusal(copy)
    manifest = json.loads((other.folder / "manifest.json").read_bytes()) | {"experiment": "layers"}
    shutil.copy(other.folder / "samples.npz", copy)
    signed(copy, manifest)
    record = read_record(copy)  # consistent in itself
    into = open_record(settings_for("layers", "smoke"), tmp_path / "into", CPU)
    into.add(**cell("conv3"))
    record.manifest["configuration"] = into.manifest["configuration"]
    with pytest.raises(RunError, match="has other columns than"):
        merge(record, tmp_path / "into")


# ---- images


def packed(arrays, compression=zipfile.ZIP_DEFLATED):
    """A samples.npz from arrays, or from the bytes of their files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, array in arrays:
            if not isinstance(array, bytes):
                file = io.BytesIO()
                np.lib.format.write_array(file, array)
                array = file.getvalue()
            archive.writestr(name, array)
    return buffer.getvalue()


def header(shape, dtype="|u1"):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"shape": shape, "fortran_order": False, "descr": dtype})
    return file.getvalue()


NAME = "digits/vgg11/conv2/cladec.npy"
IMAGES = {
    "no zip": (b"PK", "cannot be read as images"),
    "nothing": (b"", "cannot be read as images"),
    "objects": (packed([(NAME, np.array([{"a": 1}], object))]), "of type object"),
    "records": (packed([(NAME, np.zeros(2, [("a", "u1"), ("b", "f8")]))]), "valid: whole or real numbers"),
    "texts": (packed([(NAME, np.array(["a"]))]), "valid: whole or real numbers"),
    "times": (packed([(NAME, np.zeros(2, "M8[s]"))]), "valid: whole or real numbers"),
    "no numbers": (packed([(NAME, np.array([np.nan]))]), "numbers that are not finite"),
    "40 GB by its header": (packed([(NAME, header((40 << 30,)) + b"\0" * 100)]), "another size than its header"),
    "a header below zero": (packed([(NAME, header((-5,)) + b"\0" * 100)]), ""),
    "a header of millions": (packed([(NAME, header((2,) * 4_000) + b"\0")]), ""),
    "a header with code": (
        packed([(NAME, header((1,)).replace(b"'descr': '|u1'", b"'descr': f(x)  "))]), "cannot be read as images",
    ),
    "more than its header": (packed([(NAME, header((3,)) + b"\0" * 100)]), "another size than its header"),
    "no array": (packed([(NAME, b"hello")]), "cannot be read as images"),
    "another file": (packed([("digits/vgg11/conv2.pkl", b"hello")]), "is no array"),
    "a name twice": (packed([(NAME, np.zeros(1, "u1"))] * 2), "stands in it twice"),
    "a path": (packed([("../../../etc/x.npy", np.zeros(1, "u1"))]), "of a run that its manifest does not name"),
    "no name": (packed([("x.npy", np.zeros(1, "u1"))]), "cannot be a part of an image's name"),
    "a foreign run": (packed([("mnist/vgg11/x.npy", np.zeros(1, "u1"))]), "of a run that its manifest does not name"),
    "a bell": (packed([("digits/vgg11/\a.npy", np.zeros(1, "u1"))]), "cannot be a part of an image's name"),
    "many": (
        packed([(f"digits/vgg11/{n}.npy", b"") for n in range(10_001)], zipfile.ZIP_STORED), "10001 arrays",
    ),
    "packed otherwise": (packed([(NAME, np.zeros(9, "u1"))], zipfile.ZIP_BZIP2), "is no array"),
    "labels of other images": (
        packed([(f"digits/vgg11/{n}.npy", np.zeros(k, "u1")) for n, k in (("label", 3), ("index", 4))]),
        "holds other numbers of test images",
    ),
    "labels in a square": (packed([("digits/vgg11/label.npy", np.zeros((3, 3), "u1"))]), "which cannot be"),
    "parts of a label": (packed([("digits/vgg11/label.npy", np.zeros(3))]), "which cannot be"),
    "other images than marked": (
        packed([("digits/vgg11/index.npy", np.array([3, 5, 9], np.int32))]), "shows other images than other cells",
    ),
    "images left out": (packed([(NAME, np.zeros((3, 1, 4, 4), "u1"))]), "shows other images than other cells"),
}  # fmt: skip


@pytest.mark.parametrize("case", IMAGES)
def test_images_that_were_made_up_are_refused(copy, case):
    content, said = IMAGES[case]
    signed(copy, samples_npz=content)
    assert said in refusal(copy)


def test_sizes_are_bounded_before_anything_is_unpacked(copy):
    """A file of 600 KB that unpacks to 600 MB."""
    big = header((600 << 20,)) + b"\0" * (600 << 20)
    content = packed([(NAME, big)])
    del big
    signed(copy, samples_npz=content)
    tracemalloc.start()
    assert "at most 10,000 arrays of 536,870,912 bytes are read" in refusal(copy)
    assert tracemalloc.get_traced_memory()[1] < 20 << 20
    tracemalloc.stop()


def test_files_that_are_too_large_are_not_read(copy, monkeypatch):
    monkeypatch.setitem(schema.MAX_BYTES, "samples.npz", 100)
    assert "at most 100 are read" in refusal(copy)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_stands_in_a_manifest_is_read_or_refused(good, copy, data):
    """Any JSON in any place of a signed manifest: it is refused in one line, or the record says the same as before."""
    manifest = deepcopy(good.manifest)
    place = manifest
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not (isinstance(place[key], (dict, list)) and place[key] and data.draw(st.booleans())):
            break
        place = place[key]
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
    place[key] = data.draw(
        st.recursive(scalars, lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=3), part))
    )
    (copy / "manifest.json").write_bytes(schema.manifest_bytes(manifest))
    try:
        found = read_record(copy)
    except RunError:
        refusal(copy)
    else:
        assert found.rows.equals(good.rows)
