"""The three files of a record as bytes: how they are written, and what is checked before anything in them is believed.

A record may come from another machine, or from somebody else. Sizes are bounded before anything is unpacked, every
number is finite, every text is printable and without markup, and the rows are those of the cells that the manifest
names. Whatever is wrong is told in one line (`RunError`) that names the file.

Schema 1, of the records that were made before cells carried fingerprints, is still read, with `part` unknown: its
manifest has no digest, and its rows are compared with its cells layer by layer only.
"""

import io
import json
import math
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cladec_companion.records.cells import CellName
from cladec_companion.records.files import digest
from cladec_companion.records.samples import INDEX, SEED, ImageName
from cladec_core.errors import RunError

SCHEMA = 2
OLDEST = 1
FILES = ("metrics.csv", "samples.npz")
MANIFEST = "manifest.json"
COLUMNS = ["dataset", "architecture", "layer", "method", "seed"]
PART, METRIC, VALUE = "part", "metric", "value"

MEGABYTE = 1 << 20
MAX_BYTES = {MANIFEST: 16 * MEGABYTE, "metrics.csv": 64 * MEGABYTE, "samples.npz": 64 * MEGABYTE}
MAX_UNPACKED = 512 * MEGABYTE  # of all arrays of a record together
MAX_ARRAYS = 10_000
MAX_TEXT = 10_000  # characters; the label of a training may list 512 channels
MAX_DEPTH = 6
OF_A_RUN = (SEED, INDEX, "label", "predicted", "original")  # what all images of a run share
DIMENSIONS = {SEED: 0, "original": 4}  # of those that are no list

_KINDS = {"text": str, "integer": np.int64, "number": np.float64}
_HEX = re.compile(r"[0-9a-f]{8,64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}")
_COMMIT = re.compile(r"[0-9a-f]{7,64}(-dirty)?|unknown")
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_INTEGER = re.compile(r"-?\d{1,18}")


# ---- the manifest


def manifest_bytes(manifest: Mapping[str, Any]) -> bytes:
    """A manifest as the file holds it, with a digest of everything else in it."""
    return _serialised({**manifest, "digest": digest(_serialised(manifest, without="digest"))})


def read_manifest(content: bytes, path: Path) -> dict[str, Any]:
    """Read and check a manifest.

    Raises
    ------
    RunError
        If it is not one; if a byte of it was changed.
    """
    try:
        manifest = json.loads(content.decode(), parse_constant=_refused, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} cannot be read as a manifest ({type(error).__name__}: {_line(error)}).") from error
    if not isinstance(manifest, dict) or "schema" not in manifest:
        raise RunError(f"{path} cannot be read as a manifest (it has no schema).")
    _check_texts(manifest, path)
    schema = manifest["schema"]
    if type(schema) is not int or not OLDEST <= schema <= SCHEMA:
        raise RunError(f"{path} has schema {_line(schema)}; this version reads {OLDEST} to {SCHEMA}.")
    _check_fields(manifest, path)
    if schema > OLDEST and manifest["digest"] != digest(_serialised(manifest, without="digest")):
        raise RunError(f"{path} does not fit the digest in it; it was changed or damaged.")
    if content != _serialised(manifest):
        raise RunError(f"{path} is not as it was written; it was changed or damaged.")
    return manifest


def _serialised(manifest: Mapping[str, Any], without: str = "") -> bytes:
    kept = {key: value for key, value in manifest.items() if key != without}
    return (json.dumps(kept, indent=1, sort_keys=True) + "\n").encode()


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not a finite number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands in it twice")
    return found


def _check_texts(value: Any, path: Path, depth: int = 0) -> None:
    """Every text is printable, short and without markup, at any depth."""
    if depth > MAX_DEPTH:
        raise RunError(f"{path} is nested deeper than {MAX_DEPTH} levels.")
    if isinstance(value, str):
        _check_text(value, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_text(key, path)
            _check_texts(item, path, depth + 1)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item, path, depth + 1)


def _check_text(text: str, path: Path) -> None:
    if len(text) > MAX_TEXT or not text.isprintable() or "<" in text or ">" in text:
        raise RunError(f"{path} holds a text that is too long, unprintable or has markup: {_line(text)}.")


Test = Callable[[Any], bool]


def _matches(pattern: re.Pattern[str]) -> Test:
    return lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 10**12


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and value >= 0


def _is_dict_of(test: Test, keys: Test = _is_text) -> Test:
    return lambda value: isinstance(value, dict) and all(keys(key) and test(item) for key, item in value.items())


def _is_value(value: Any) -> bool:
    """Whether something can be the value of a parameter: a scalar or a list of scalars."""
    scalars = value if isinstance(value, list) else [value]
    return all(
        item is None or isinstance(item, (str, bool, int)) or (isinstance(item, float) and math.isfinite(item))
        for item in scalars
    )


_CELL: dict[str, Test] = {"seconds": _is_seconds, "trainings": _is_dict_of(_is_seconds), "run": _is_count}
_MARKED_CELL: dict[str, Test] = _CELL | {
    "cpu_seconds": _is_seconds, "rows": _is_count, "undefined": _is_count,
    "classifiers": _is_dict_of(_matches(_HEX)), "images": lambda value: value == "" or _matches(_HEX)(value),
}  # fmt: skip
_RUN: dict[str, Test] = {
    "commit": _matches(_COMMIT), "device": _is_text, "started": _matches(_DAY), "versions": _is_dict_of(_is_text),
}  # fmt: skip
_CONDITIONS: dict[str, Test] = {
    "device": _matches(_NAME), "precision": _matches(_NAME), "threads": _is_count, "code": _matches(_HEX),
}  # fmt: skip
_FIELDS: dict[str, Test] = {
    "schema": _is_count, "experiment": _matches(_NAME), "profile": _matches(_NAME),
    "configuration": _is_dict_of(_is_value), "cells": lambda value: isinstance(value, dict) and len(value) > 0,
    "runs": lambda value: isinstance(value, list) and len(value) > 0, "files": _is_dict_of(_matches(_SHA256)),
}  # fmt: skip
_NEW_FIELDS: dict[str, Test] = {
    "columns": _is_dict_of(lambda kind: isinstance(kind, str) and kind in _KINDS, _matches(_NAME)),
    "digest": _matches(_SHA256),
}


def _check_fields(manifest: dict[str, Any], path: Path) -> None:
    old = manifest["schema"] == OLDEST
    _check_entry(manifest, _FIELDS | ({"device": _is_text} if old else _NEW_FIELDS), path, "")
    if set(manifest["files"]) != set(FILES):
        raise RunError(f"{path} names other files than {' and '.join(FILES)}.")
    for number, run in enumerate(manifest["runs"]):
        tests = _RUN if old else _RUN | {"conditions": lambda value: isinstance(value, dict)}
        _check_entry(run, tests, path, f"runs[{number}]")
        if not old:
            _check_entry(run["conditions"], _CONDITIONS, path, f"runs[{number}].conditions")
        if "torch" not in run["versions"]:
            raise RunError(f"{path}: runs[{number}].versions lacks torch.")
    for name, cell in manifest["cells"].items():
        try:
            CellName.read(name)
        except RunError as error:
            raise RunError(f"{path}: {error}") from error
        _check_entry(cell, _CELL if old else _MARKED_CELL, path, f"cells[{name!r}]")
        if cell["run"] >= len(manifest["runs"]):
            raise RunError(f"{path}: cells[{name!r}] is of run {cell['run']}; there are {len(manifest['runs'])}.")


def _check_entry(entry: Any, tests: dict[str, Test], path: Path, where: str) -> None:
    """Check that an entry is a dictionary with these keys and no others, each with a value that can be."""
    if not isinstance(entry, dict):
        raise RunError(f"{path}: {where} is {_line(entry)}; valid: a dictionary.")
    inside = f"{path}: {where}" if where else str(path)
    missing, more = sorted(tests.keys() - entry.keys()), sorted(entry.keys() - tests.keys())
    if missing or more:
        raise RunError(f"{inside} {'lacks' if missing else 'has unknown'} {', '.join(missing or more)}.")
    for key, test in tests.items():
        if not test(entry[key]):
            raise RunError(f"{inside} has {key} {_line(entry[key])}, which cannot be.")


def _line(value: Any) -> str:
    """Something from outside as a short piece of a line."""
    text = ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


# ---- the rows


def kinds_of(rows: pd.DataFrame) -> dict[str, str]:
    """Kind of each parameter column: text, integer or number."""
    parameters = [name for name in rows.columns if name not in {*COLUMNS, PART, METRIC, VALUE}]
    return {name: _kind(rows[name]) for name in parameters}


def _kind(column: pd.Series) -> str:
    if pd.api.types.is_bool_dtype(column):
        return "text"
    if pd.api.types.is_integer_dtype(column):
        return "integer"
    return "number" if pd.api.types.is_float_dtype(column) else "text"


def canonical(rows: pd.DataFrame) -> pd.DataFrame:
    """Order rows and columns so that the same cells give the same file, whatever order they were trained in."""
    first = [*COLUMNS, *([PART] if PART in rows else [])]
    order = [*first, *sorted(set(rows.columns) - {*first, METRIC, VALUE}), METRIC]
    rows = rows[[*order, VALUE]].copy()
    for name in order:
        if _kind(rows[name]) == "number":
            rows[name] = rows[name].astype(float) + 0.0  # no negative zero
    return rows.sort_values(order, kind="stable", ignore_index=True)


def rows_bytes(rows: pd.DataFrame) -> bytes:
    """Rows as the file holds them: values with 8 digits, parameters with as many as tell them apart."""
    text = rows.copy()
    for name in rows.columns:
        if name != VALUE and _kind(rows[name]) == "number":
            text[name] = rows[name].map(_shortest)
    return text.to_csv(index=False, float_format="%.8g", lineterminator="\n").encode()


def _shortest(value: float) -> str:
    return f"{value:.8g}" if float(f"{value:.8g}") == value else repr(value)


def read_rows(content: bytes, manifest: dict[str, Any], path: Path) -> pd.DataFrame:
    """Read and check rows.

    Raises
    ------
    RunError
        If they lack a column or have an unknown one; if a number is not finite or a text not printable; if two rows
        say something of the same; if they are not the rows of the manifest's cells.
    """
    try:
        text = pd.read_csv(io.BytesIO(content), dtype=str, na_filter=False, index_col=False, on_bad_lines="error")
    except (ValueError, pd.errors.ParserError) as error:
        raise RunError(f"{path} cannot be read as a table ({_line(str(error))}).") from error
    old = manifest["schema"] == OLDEST
    needed = [*COLUMNS, METRIC, VALUE, *([] if old else [PART, *manifest["columns"]])]
    absent = [name for name in needed if name not in text]
    unknown = [] if old else [name for name in text if name not in needed]
    if absent or unknown:
        problem = "lacks" if absent else "has an unknown"
        raise RunError(f"{path} {problem} column {', '.join(map(_line, absent or unknown))}.")
    kinds = dict.fromkeys((name for name in needed if name in {*COLUMNS, METRIC, PART}), "text")
    kinds |= {name: _inferred(text[name]) for name in text if name not in needed}
    kinds |= manifest.get("columns", {}) | {"seed": "integer"}
    rows = pd.DataFrame({name: _typed(text[name], kinds[name], path) for name in text if name != VALUE})
    rows[VALUE] = _values(text[VALUE], path)
    _check_unique(rows, path)
    (_check_old_cells if old else _check_cells)(rows, manifest, path)
    return rows


def _inferred(column: pd.Series) -> str:
    """Kind of a parameter column of schema 1, which does not name it."""
    if column.map(lambda text: _INTEGER.fullmatch(text) is not None).all():
        return "integer"
    return "number" if pd.to_numeric(column, errors="coerce").notna().all() else "text"


def _typed(column: pd.Series, kind: str, path: Path) -> pd.Series:
    values = column.tolist()
    for value in set(values):
        if kind == "text":
            fits = len(value) <= MAX_TEXT and value.isprintable() and not _is_code(value)
        elif kind == "integer":
            fits = _INTEGER.fullmatch(value) is not None
        else:
            fits = _is_finite(value)
        if not fits:
            raise RunError(f"{path} has {_line(column.name)} {_line(value)}, which is no valid {kind}.")
    return pd.Series(values, dtype=object if kind == "text" else None).astype(_KINDS[kind])


def _is_code(text: str) -> bool:
    """Whether a page might take a text for markup, or a spreadsheet for a formula."""
    return "<" in text or ">" in text or text.startswith(("=", "+", "-", "@"))


def _is_finite(text: str) -> bool:
    try:
        return math.isfinite(float(text)) and len(text) < 40 and "_" not in text
    except ValueError:
        return False


def _values(column: pd.Series, path: Path) -> np.ndarray:
    for value in set(column.tolist()):
        if value and not _is_finite(value):
            raise RunError(f"{path} has value {_line(value)}, which is not a finite number.")
    return np.array([float(value) if value else math.nan for value in column])


def keys(rows: pd.DataFrame) -> list[str]:
    """Columns that tell rows apart. The name of a part is none: two parts that differ in nothing else are one."""
    return [name for name in rows.columns if name not in {PART, VALUE}]


def _check_unique(rows: pd.DataFrame, path: Path) -> None:
    twice = rows[rows.duplicated(keys(rows))]
    if len(twice):
        row = ", ".join(f"{name} {twice.iloc[0][name]}" for name in keys(rows))
        raise RunError(f"{path} has {len(twice)} rows twice, such as {row}.")


def cell_names(rows: pd.DataFrame) -> pd.Series:
    """The name of each row's cell."""
    return (
        rows["dataset"] + "/" + rows["architecture"] + "/" + rows[PART] + "/" + rows["seed"].astype(str)
    ).rename("cell")  # fmt: skip


def _check_cells(rows: pd.DataFrame, manifest: dict[str, Any], path: Path) -> None:
    names = cell_names(rows)
    counts, undefined = Counter(names), Counter(names[rows[VALUE].isna()])
    for cell in sorted(counts.keys() | manifest["cells"].keys()):
        entry = manifest["cells"].get(cell)
        if entry is None:
            raise RunError(f"{path} has rows of {_line(cell)}, a cell that its manifest does not name.")
        found = (counts[cell], undefined[cell])
        if found != (entry["rows"], entry["undefined"]):
            raise RunError(
                f"{path} has {found[0]} rows of {_line(cell)}, {found[1]} without a value; by its manifest they are "
                f"{entry['rows']} and {entry['undefined']}."
            )


def _check_old_cells(rows: pd.DataFrame, manifest: dict[str, Any], path: Path) -> None:
    """Rows of schema 1 do not name their cell; the first word of a cell's part is its layer."""
    found = set(zip(rows["dataset"], rows["architecture"], rows["layer"], rows["seed"], strict=True))
    cells = map(CellName.read, manifest["cells"])
    named = {(cell.dataset, cell.architecture, cell.part.split(" ")[0], cell.seed) for cell in cells}
    for place in sorted(found ^ named):
        problem = "has rows of" if place in found else "lacks rows of"
        raise RunError(f"{path} {problem} {'/'.join(map(str, place))}, unlike its manifest.")
    if rows[VALUE].isna().any():
        raise RunError(f"{path} has {rows[VALUE].isna().sum()} rows without a value.")


# ---- the images


def samples_bytes(samples: Mapping[str, np.ndarray]) -> bytes:
    """Arrays as the file holds them."""
    buffer = io.BytesIO()
    arrays: dict[str, Any] = dict(sorted(samples.items()))
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def read_samples(content: bytes, manifest: dict[str, Any], path: Path) -> dict[str, np.ndarray]:
    """Read and check arrays.

    Raises
    ------
    RunError
        If one holds anything but numbers, or is larger than its file says; if all together are larger than
        `MAX_UNPACKED`; if one is of a run of which the manifest has no cell.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            samples = _unpacked(archive, path)
    except RunError:
        raise
    except Exception as error:  # whatever the libraries say of bytes that somebody made up
        raise RunError(f"{path} cannot be read as images ({type(error).__name__}: {_line(str(error))}).") from error
    runs = {CellName.read(cell).run[:2] for cell in manifest["cells"]}
    names = [ImageName.read(name) for name in samples]
    for name in names:
        if name.run not in runs:
            raise RunError(f"{path} holds {_line(str(name))}, of a run that its manifest does not name.")
    for run in {name.run for name in names}:
        _check_run({part: samples.get(str(ImageName(*run, (part,)))) for part in OF_A_RUN}, run, path)
    return samples


def _check_run(arrays: dict[str, np.ndarray | None], run: tuple[str, str], path: Path) -> None:
    """What all images of a run have in common: whole numbers, as many as there are test images."""
    for part, array in arrays.items():
        if array is not None and (array.dtype.kind == "f" or array.ndim != DIMENSIONS.get(part, 1)):
            raise RunError(f"{path} holds {'/'.join(run)}/{part} as {array.dtype} {array.shape}, which cannot be.")
    counts = {part: len(array) for part, array in arrays.items() if array is not None and part != SEED}
    if len(set(counts.values())) > 1:
        raise RunError(f"{path} holds other numbers of test images of {'/'.join(run)}: {counts}.")


def _unpacked(archive: zipfile.ZipFile, path: Path) -> dict[str, np.ndarray]:
    members = archive.infolist()
    if len(members) > MAX_ARRAYS or sum(member.file_size for member in members) > MAX_UNPACKED:
        raise RunError(
            f"{path} unpacks to {len(members)} arrays of {sum(member.file_size for member in members):,} bytes; at "
            f"most {MAX_ARRAYS:,} arrays of {MAX_UNPACKED:,} bytes are read."
        )
    samples: dict[str, np.ndarray] = {}
    for member in members:
        name = member.filename.removesuffix(".npy")
        packed = member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # others unpack without a bound
        if name in samples or not member.filename.endswith(".npy") or not packed:
            raise RunError(f"{path} holds {_line(member.filename)}, which is no array or stands in it twice.")
        try:
            ImageName.read(name)
        except RunError as error:
            raise RunError(f"{path}: {error}") from error
        samples[name] = _array(archive.read(member), path, name)
    return samples


def _array(content: bytes, path: Path, name: str) -> np.ndarray:
    """An array from the bytes of a `.npy` file, whose header must say just what follows it."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    if version != (1, 0):
        raise RunError(f"{path} holds {_line(name)} in an unknown format.")
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject or dtype.kind not in "uif" or len(shape) > 8:
        raise RunError(f"{path} holds {_line(name)} of type {dtype}; valid: whole or real numbers.")
    if math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise RunError(f"{path} holds {_line(name)} with another size than its header says.")
    file.seek(0)
    array = np.lib.format.read_array(file, allow_pickle=False)
    if dtype.kind == "f" and not np.isfinite(array).all():
        raise RunError(f"{path} holds {_line(name)} with numbers that are not finite.")
    return array
