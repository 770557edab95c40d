"""Records: what a run measured, kept so that it can be trusted, continued and merged.

A record is a folder with `metrics.csv` (long form, one row per number), `samples.npz` (uint8 images) and
`manifest.json` (configuration, provenance, cells, digests). Nothing else writes results. `schema` says what is in the
files and what is checked when they are read.

The manifest is the commit point. New files are first written beside the old ones with the suffix `.new`; then
the manifest that names their checksums is renamed into place; then they are. A kill in between leaves either
the old manifest (the next write replaces the `.new` files) or the new one (the next opening moves them into place).

The engine writes a record like this, under `files.locked`:

    record = open_record(settings, root, Conditions("cpu", "bfloat16", 1, code=training_code(), name=on.description))
    known = record.classifiers("mnist", "vgg11", 0)      # {label: fingerprint}; compare before hours of training
    record.add(
        "mnist/vgg11/conv2/0", rows, samples, Cost(seconds, cpu_seconds),
        trainings={"decoder conv2": 12.3},               # seconds of each training in the cell
        classifiers={"classifier": fingerprint(weights)},  # of each classifier that the cell explains; {} for none
    )

A cell whose classifier differs from the other cells of its run (data set, architecture, seed), whose images are of
other test images (`index` among its samples), or which was trained under other conditions is refused (`Misfit`).
Where a chapter explains several classifiers in a run, each has a label of its own; the same label means the same one.
"""

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from cladec_companion.records.cells import CellName, Conditions, Cost, Misfit
from cladec_companion.records.files import BUILT, RECORDED, ROOT, digest, refuse_unwritable, write_synced
from cladec_companion.records.samples import INDEX, ImageName, fingerprint
from cladec_companion.records.schema import (
    FILES,
    MANIFEST,
    MAX_BYTES,
    PART,
    SCHEMA,
    VALUE,
    canonical,
    keys,
    kinds_of,
    manifest_bytes,
    read_manifest,
    read_rows,
    read_samples,
    rows_bytes,
    samples_bytes,
)
from cladec_core.errors import RunError

if TYPE_CHECKING:  # the settings of experiments know networks, and so import torch
    from cladec_companion.records.settings import Settings

_FINGERPRINTS = 2  # the first schema with fingerprints


@dataclass
class Record:
    """The results of one experiment under one configuration.

    Attributes
    ----------
    folder
        Where the three files are.
    rows
        Long form: `COLUMNS`, `part`, the experiment's own parameters, `metric`, `value` (NaN: undefined).
    samples
        Arrays by name; see `samples.RunImages`.
    manifest
        Configuration and provenance; see `schema`.
    conditions
        Under which cells are added; None in a record that is only read.
    """

    folder: Path
    rows: pd.DataFrame
    samples: dict[str, np.ndarray]
    manifest: dict[str, Any] = field(repr=False)
    conditions: Conditions | None = None

    @property
    def cells(self) -> dict[str, dict[str, Any]]:
        """Finished cells: key -> {"seconds", "cpu_seconds", "trainings", "run", "classifiers", "images", ...}.

        `run` is an index into the manifest's runs. Cells of schema 1 have the first, third and fourth only.
        """
        return self.manifest["cells"]

    @property
    def fingerprinted(self) -> bool:
        """Whether cells carry fingerprints; without them nobody knows if all of a run explain one classifier."""
        return self.manifest.get("schema", SCHEMA) >= _FINGERPRINTS

    @property
    def minutes(self) -> float:
        """Time of all cells: of a core where they ran on one and the record has it, else by the clock.

        The clock also counts what else the machine did, and pauses.
        """
        on_cpu = [run["device"].startswith("cpu") for run in self.manifest["runs"]]
        taken = ((on_cpu[cell["run"]] and cell.get("cpu_seconds")) or cell["seconds"] for cell in self.cells.values())
        return sum(taken) / 60

    def classifiers(self, dataset: str, architecture: str, seed: int) -> dict[str, str]:
        """Fingerprints of the classifiers that the recorded cells of a run explain, by label."""
        own = (cell for name, cell in self.cells.items() if CellName.read(name).run == (dataset, architecture, seed))
        return {label: mark for cell in own for label, mark in cell.get("classifiers", {}).items()}

    def begin(self, conditions: Conditions) -> None:
        """Say under which conditions cells are going to be added; the caller holds the lock.

        Raises
        ------
        Misfit
            If the record has cells that were trained under others, or that carry no fingerprints.
        """
        if self.cells and not self.fingerprinted:
            raise Misfit(
                f"{self.folder} was recorded before cells carried fingerprints. It can be read, but not continued; "
                f"record it anew in another folder, or move it away."
            )
        for run in self.manifest["runs"]:
            unlike = conditions.unlike(run["conditions"])
            if unlike:
                raise Misfit(
                    f"{self.folder} was recorded under other conditions ({unlike}), and numbers would differ. Continue "
                    f"it as it was begun, or record into another folder."
                )
        for name in (*FILES, MANIFEST):  # left by a process that was killed before it committed them
            (self.folder / f"{name}.new").unlink(missing_ok=True)
        self.conditions = conditions

    def add(
        self,
        cell: str,
        rows: Sequence[Mapping[str, Any]],
        samples: Mapping[str, np.ndarray],
        cost: Cost,
        trainings: Mapping[str, float] | None = None,
        classifiers: Mapping[str, str] | None = None,
    ) -> None:
        """Write one finished cell; either all of it is in the record afterwards or nothing.

        Parameters
        ----------
        cell
            Its name; see `cells.CellName`.
        rows
            What it measured: `COLUMNS`, the experiment's own parameters, `metric` and `value`. A value that is not
            finite is kept as undefined.
        samples
            Arrays by name; see `samples`. Among them, `index` says of which test images they are.
        cost, trainings
            Of the cell, and seconds of each training in it. Kept in the manifest, so that the other two files do
            not depend on the machine's speed.
        classifiers
            By label, the fingerprints of the classifiers that the cell explains.

        Raises
        ------
        Misfit
            If the cell does not belong to those in the record; the record stays as it was.
        RunError
            If the rows are not of this cell, or are in the record already; if it cannot be written.
        """
        name = CellName.read(cell)
        if self.conditions is None:
            raise RunError(f"{self.folder} was opened for reading; cells are added after `begin`.")
        table = _table(name, rows)
        self._refuse_rows(cell, table)
        marks = dict(classifiers or {})
        self._refuse_marks(name, marks, samples)
        index = samples.get(str(ImageName(name.dataset, name.architecture, (INDEX,))))
        manifest = {**self.manifest, "schema": SCHEMA, "runs": [*self.manifest["runs"]]}
        entry = {
            "seconds": round(cost.seconds, 2), "cpu_seconds": round(cost.cpu_seconds, 2),
            "trainings": dict(trainings or {}), "run": self._run(manifest["runs"]), "rows": len(table),
            "undefined": int(table[VALUE].isna().sum()), "classifiers": marks,
            "images": "" if index is None else fingerprint({INDEX: index}),
        }  # fmt: skip
        manifest["cells"] = self.cells | {cell: entry}
        joined = pd.concat([self.rows, table], ignore_index=True) if len(self.rows) else table
        self.replace(joined, self.samples | dict(samples), manifest)

    def replace(self, rows: pd.DataFrame, samples: dict[str, np.ndarray], manifest: dict[str, Any]) -> None:
        """Write other content, all of it or nothing.

        Raises
        ------
        RunError
            If it cannot be written; the record stays as it was.
        """
        rows = canonical(rows)
        payload = dict(zip(FILES, (rows_bytes(rows), samples_bytes(samples)), strict=True))
        files = {name: digest(content) for name, content in payload.items()}
        manifest = manifest | {"columns": kinds_of(rows), "files": files}
        payload[MANIFEST] = manifest_bytes(manifest)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for name, content in payload.items():
                write_synced(self.folder / f"{name}.new", content)
            os.replace(self.folder / f"{MANIFEST}.new", self.folder / MANIFEST)
            _settle(self.folder, manifest)
        except OSError as error:
            raise RunError(
                f"Cannot write the record {self.folder}: {error.strerror or error}. The cells finished before "
                f"are still in it."
            ) from error
        self.rows, self.samples, self.manifest = rows, samples, manifest

    def _run(self, runs: list[dict[str, Any]]) -> int:
        """Which of the runs this process is; it is added to them if it is none."""
        assert self.conditions is not None
        own = provenance_of(self.conditions.name) | {"conditions": self.conditions.entry()}
        for number, run in enumerate(runs):
            if {**run, "started": None} == {**own, "started": None}:
                return number
        runs.append(own)
        return len(runs) - 1

    def _refuse_rows(self, cell: str, table: pd.DataFrame) -> None:
        if cell in self.cells:
            raise RunError(f"{cell} is in {self.folder} already.")
        if len(self.rows) and set(self.rows.columns) != set(table.columns):
            differing = ", ".join(sorted(set(self.rows.columns) ^ set(table.columns)))
            raise RunError(f"The rows of {cell} have other columns than those in {self.folder}: {differing}.")
        both = pd.concat([self.rows, table]) if len(self.rows) else table
        both = canonical(both)
        twice = both[both.duplicated(keys(both))]
        if len(twice):
            row = ", ".join(f"{name} {twice.iloc[0][name]}" for name in keys(both))
            raise RunError(f"{cell} measures what {self.folder} has already, or the same twice: {row}.")

    def _refuse_marks(self, name: CellName, classifiers: dict[str, str], samples: Mapping[str, np.ndarray]) -> None:
        """Refuse a cell that explains other classifiers, or shows other images, than the recorded ones of its run."""
        where = f"the recorded cells of {name.dataset}/{name.architecture}, seed {name.seed}, in {self.folder}"
        for label, mark in self.classifiers(*name.run).items():
            if classifiers.get(label, mark) != mark:
                raise Misfit(
                    f"{name} explains another classifier than {where}: {label!r} is {classifiers[label][:12]} here, "
                    f"{mark[:12]} there."
                )
        for key, array in samples.items():
            if key in self.samples and not np.array_equal(array, self.samples[key]):
                raise Misfit(f"{name} shows other images than {where}: {key!r} differs.")


def _table(name: CellName, rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """The rows of a cell, which must be its own."""
    if not rows:
        raise RunError(f"{name} has no rows.")
    table = pd.DataFrame([dict(row) for row in rows]).assign(**{PART: name.part})
    for column in table.columns:
        values = set(table[column].map(type))
        if (not values <= {str} and not pd.api.types.is_numeric_dtype(table[column])) or bool in values:
            raise RunError(f"The rows of {name} have {column} of several types; valid: texts, or numbers.")
        if column != VALUE and table[column].isna().any():
            raise RunError(f"The rows of {name} lack {column}.")
    table[VALUE] = table[VALUE].astype(float).where(np.isfinite(table[VALUE].astype(float)))
    found = set(zip(table["dataset"], table["architecture"], table["seed"], strict=True))
    if found != {name.run}:
        raise RunError(f"The rows of {name} are of {sorted(found)}.")
    return table


def place(record: Record) -> str:
    """Whether a record is committed or was made on this machine."""
    return "committed" if RECORDED in record.folder.parents else "this machine"


def folder_of(settings: "Settings", root: Path) -> Path:
    """Where the record of a configuration is, under a folder of records."""
    return root / settings.record_name() / settings.experiment


def open_record(settings: "Settings", root: Path = BUILT, conditions: Conditions | None = None) -> Record:
    """Open the record of a configuration, or begin it; nothing is written.

    Parameters
    ----------
    settings
        The configuration; its axes (data sets, layers, seeds...) may differ from those already recorded.
    root
        Folder of records.
    conditions
        Under which cells are going to be added, by a caller that holds the lock; None to see what is there.

    Raises
    ------
    Misfit
        If the record was made under other conditions.
    RunError
        If a record is there and is damaged, or was made with another configuration, or cannot be written.
    """
    folder = folder_of(settings, root)
    configuration = settings.configuration()
    if not exists(folder):
        refuse_unwritable(folder)
        manifest = {
            "schema": SCHEMA, "experiment": settings.experiment, "profile": settings.profile,
            "configuration": configuration, "columns": {}, "cells": {}, "runs": [], "files": {},
        }  # fmt: skip
        record = Record(folder, pd.DataFrame(), {}, manifest)
    else:
        record = read_record(folder)
        found = record.manifest["configuration"]
        differing = sorted(key for key in found | configuration if found.get(key) != configuration.get(key))
        if differing:
            detail = ", ".join(f"{key} {found.get(key)!r} there, {configuration.get(key)!r} asked" for key in differing)
            raise RunError(f"{folder / MANIFEST} belongs to another configuration ({detail}).")
    if conditions:
        record.begin(conditions)
    return record


def read_record(folder: Path) -> Record:
    """Read a record and check it; see `schema` for what is checked.

    Raises
    ------
    RunError
        If a file is missing, does not fit its checksum or has another schema; the message names the file.
    """
    try:
        return _read(folder)
    except RunError:
        return _read(folder)  # a cell may have been committed after its manifest was read


def _read(folder: Path) -> Record:
    manifest = read_manifest(_content(folder / MANIFEST), folder / MANIFEST)
    _settle(folder, manifest)
    content = {}
    for name in FILES:
        content[name] = _content(folder / name)
        if digest(content[name]) != manifest["files"][name]:
            raise RunError(f"{folder / name} does not fit the checksum in its manifest; it was changed or damaged.")
    rows = read_rows(content["metrics.csv"], manifest, folder / "metrics.csv")
    samples = read_samples(content["samples.npz"], manifest, folder / "samples.npz")
    record = Record(folder, rows, samples, manifest)
    if record.fingerprinted:
        _check_marks(record)
    return record


def _content(path: Path) -> bytes:
    """The bytes of a file of a record, unless there are too many."""
    try:
        if path.stat().st_size > MAX_BYTES[path.name]:
            raise RunError(f"{path} has {path.stat().st_size:,} bytes; at most {MAX_BYTES[path.name]:,} are read.")
        return path.read_bytes()
    except FileNotFoundError:
        raise RunError(f"{path} is missing from its record.") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}.") from error


def _check_marks(record: Record) -> None:
    """Cells of one record were trained alike, those of one run explain one classifier and show the same images."""
    path = record.folder / MANIFEST
    conditions = {tuple(sorted(run["conditions"].items())) for run in record.manifest["runs"]}
    if len(conditions) > 1:
        raise Misfit(f"{path} has cells that were trained under different conditions.")
    seen: dict[tuple[Any, ...], str] = {}
    for key, cell in record.cells.items():
        name = CellName.read(key)
        shown = ImageName(name.dataset, name.architecture, (INDEX,))
        marks: dict[tuple[Any, ...], str] = {(*name.run, label): mark for label, mark in cell["classifiers"].items()}
        if cell["images"]:
            marks[shown.run] = cell["images"]
            seen.setdefault(shown.run, fingerprint({INDEX: record.samples.get(str(shown), np.array([]))}))
        for place, mark in marks.items():
            if seen.setdefault(place, mark) != mark:
                what = "shows other images" if place == shown.run else f"explains another classifier ({place[-1]!r})"
                raise Misfit(f"{path}: {key!r} {what} than other cells of its run.")


def find_records(root: Path) -> list[Record]:
    """Read all records under a folder, in the order of their names."""
    return [read_record(path.parent) for path in sorted(root.glob(f"*/*/{MANIFEST}"))]


def recorded(experiment: str, profile: str) -> Record | None:
    """The committed record of an experiment, if there is one."""
    folder = RECORDED / profile / experiment
    return read_record(folder) if exists(folder) else None


def exists(folder: Path) -> bool:
    """Whether there is a record."""
    return (folder / MANIFEST).exists()


def _settle(folder: Path, manifest: dict[str, Any]) -> None:
    """Finish a write that was cut off.

    Files that the manifest does not name stay: another process may be about to commit them.
    """
    for name, expected in manifest["files"].items():
        waiting = folder / f"{name}.new"
        with suppress(FileNotFoundError):  # there is none, or another process was faster
            if digest(waiting.read_bytes()) == expected:
                os.replace(waiting, folder / name)


def provenance_of(device: str) -> dict[str, Any]:
    """Where and with what a result is made: commit, device, versions, day."""
    versions = {"python": platform.python_version()}
    for package in ("torch", "torchvision", "numpy", "scikit-learn"):
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = "unknown"
    started = time.strftime("%Y-%m-%d", time.gmtime())
    return {"commit": _commit(), "device": device, "versions": versions, "started": started}


def _commit() -> str:
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--dirty", "--match", "-"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
