"""Records: what a run measured, kept so that it can be trusted, resumed and merged.

A record is a folder with `metrics.csv` (long form, one row per number), `samples.npz` (uint8 images) and
`manifest.json` (configuration, provenance, SHA-256 of the other two). Nothing else writes results.

The manifest is the commit point. New files are first written beside the old ones with the suffix `.new`; then
the manifest that names their checksums is renamed into place; then they are. A kill in between leaves either
the old manifest (the next write replaces the `.new` files) or the new one (the next opening moves them into place).
"""

import io
import json
import os
import platform
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cladec_companion.records.files import BUILT, RECORDED, ROOT, digest, write_synced
from cladec_companion.records.settings import Settings
from cladec_core.errors import RunError

SCHEMA = 1
COLUMNS = ["dataset", "architecture", "layer", "method", "seed"]
FILES = ("metrics.csv", "samples.npz")


@dataclass
class Record:
    """The results of one experiment under one configuration.

    Attributes
    ----------
    folder
        Where the three files are.
    rows
        Long form: `COLUMNS`, the experiment's own parameters, `metric`, `value`.
    samples
        uint8 arrays by name.
    manifest
        Configuration and provenance.
    """

    folder: Path
    rows: pd.DataFrame
    samples: dict[str, np.ndarray]
    manifest: dict[str, Any] = field(repr=False)

    @property
    def cells(self) -> dict[str, dict[str, Any]]:
        """Finished cells: key -> {"seconds", "trainings", "run"}; run is an index into the manifest's runs."""
        return self.manifest["cells"]

    @property
    def minutes(self) -> float:
        """Wall-clock time of all cells."""
        return sum(cell["seconds"] for cell in self.cells.values()) / 60

    def add(
        self,
        cell: str,
        rows: list[dict[str, Any]],
        samples: dict[str, np.ndarray],
        seconds: float,
        trainings: dict[str, float] | None = None,
    ) -> None:
        """Write one finished cell; either all of it is in the record afterwards or nothing.

        Parameters
        ----------
        cell
            Its key.
        rows, samples
            What it measured; names of samples are unique in the record.
        seconds, trainings
            Wall-clock time of the cell, and of each training in it. Kept in the manifest, so that the other
            two files do not depend on the machine's speed.
        """
        provenance = provenance_of(self.manifest["device"])
        runs = self.manifest["runs"]
        same = [run for run in runs if {**run, "started": None} == {**provenance, "started": None}]
        if not same:
            runs.append(provenance)
        run = runs.index(same[0] if same else provenance)
        self.cells[cell] = {"seconds": round(seconds, 2), "trainings": trainings or {}, "run": run}
        new = pd.DataFrame(rows)
        self.rows = canonical(pd.concat([self.rows, new], ignore_index=True) if len(self.rows) else new)
        self.samples |= samples
        self.write()

    def write(self) -> None:
        """Write all three files."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            payload = dict(zip(FILES, (_csv(self.rows), _npz(self.samples)), strict=True))
            self.manifest["files"] = {name: digest(content) for name, content in payload.items()}
            for name, content in payload.items():
                write_synced(self.folder / f"{name}.new", content)
            text = json.dumps(self.manifest, indent=1, sort_keys=True) + "\n"
            write_synced(self.folder / "manifest.json.new", text.encode())
            os.replace(self.folder / "manifest.json.new", self.folder / "manifest.json")
            _settle(self.folder, self.manifest)
        except OSError as error:
            raise RunError(
                f"Cannot write the record {self.folder}: {error.strerror or error}. The cells finished before "
                f"are still in it."
            ) from error


def folder_of(settings: Settings, root: Path) -> Path:
    """Where the record of a configuration is, under a folder of records."""
    return root / settings.record_name() / settings.experiment


def open_record(settings: Settings, root: Path = BUILT, device: str = "") -> Record:
    """Open the record of a configuration for writing, or begin it.

    Parameters
    ----------
    settings
        The configuration; its axes (data sets, layers, seeds...) may differ from those already recorded.
    root
        Folder of records.
    device
        Description of the device that will do the work, for the manifest.

    Raises
    ------
    RunError
        If a record is there and is damaged, or was made with another configuration, or cannot be written.
    """
    folder = folder_of(settings, root)
    configuration = settings.configuration()
    if not exists(folder):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / ".writable").touch()
            (folder / ".writable").unlink()
        except OSError as error:
            raise RunError(f"Cannot write the record {folder}: {error.strerror}.") from error
        manifest = {
            "schema": SCHEMA, "experiment": settings.experiment, "profile": settings.profile,
            "configuration": configuration, "cells": {}, "runs": [], "files": {},
        }  # fmt: skip
        record = Record(folder, pd.DataFrame(), {}, manifest)
    else:
        record = read_record(folder)
        found = record.manifest["configuration"]
        differing = sorted(key for key in found | configuration if found.get(key) != configuration.get(key))
        if differing:
            detail = ", ".join(f"{key} {found.get(key)!r} there, {configuration.get(key)!r} asked" for key in differing)
            raise RunError(f"{folder / 'manifest.json'} belongs to another configuration ({detail}).")
    record.manifest["device"] = device
    return record


def read_record(folder: Path) -> Record:
    """Read a record and check it.

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
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        if manifest["schema"] != SCHEMA:
            raise RunError(f"{path} has schema {manifest['schema']!r}; this version reads {SCHEMA}.")
        missing = {"experiment", "profile", "configuration", "cells", "runs", "files"} - manifest.keys()
        if missing:
            raise RunError(f"{path} lacks {', '.join(sorted(missing))}.")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path} cannot be read as a manifest ({type(error).__name__}: {error}).") from error
    _settle(folder, manifest)
    content = {}
    for name in FILES:
        if not (folder / name).is_file():
            raise RunError(f"{folder / name} is missing from its record.")
        content[name] = (folder / name).read_bytes()
        if digest(content[name]) != manifest["files"].get(name):
            raise RunError(f"{folder / name} does not fit the checksum in its manifest; it was changed or damaged.")
    rows = pd.read_csv(io.BytesIO(content["metrics.csv"]), keep_default_na=False, na_values={"value": [""]})
    absent = [column for column in [*COLUMNS, "metric", "value"] if column not in rows]
    if absent:
        raise RunError(f"{folder / 'metrics.csv'} lacks the column {', '.join(absent)}.")
    with np.load(io.BytesIO(content["samples.npz"]), allow_pickle=False) as arrays:
        samples = {name: arrays[name] for name in arrays.files}
    return Record(folder, rows, samples, manifest)


def find_records(root: Path) -> list[Record]:
    """Read all records under a folder, in the order of their names."""
    return [read_record(path.parent) for path in sorted(root.glob("*/*/manifest.json"))]


def recorded(experiment: str, profile: str) -> Record | None:
    """The committed record of an experiment, if there is one."""
    folder = RECORDED / profile / experiment
    return read_record(folder) if exists(folder) else None


def canonical(rows: pd.DataFrame) -> pd.DataFrame:
    """Order rows and columns so that the same cells give the same file, whatever order they were trained in."""
    parameters = [name for name in rows.columns if name not in {*COLUMNS, "metric", "value"}]
    order = [*COLUMNS, *parameters, "metric"]
    return rows[[*order, "value"]].sort_values(order, kind="stable", ignore_index=True)


def exists(folder: Path) -> bool:
    """Whether there is a record."""
    return (folder / "manifest.json").exists()


def _settle(folder: Path, manifest: dict[str, Any]) -> None:
    """Finish a write that was cut off.

    Files that the manifest does not name stay: another process may be about to commit them.
    """
    for name, expected in manifest["files"].items():
        waiting = folder / f"{name}.new"
        with suppress(FileNotFoundError):  # there is none, or another process was faster
            if digest(waiting.read_bytes()) == expected:
                os.replace(waiting, folder / name)


def _csv(rows: pd.DataFrame) -> bytes:
    return rows.to_csv(index=False, float_format="%.8g", lineterminator="\n").encode()


def _npz(samples: dict[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **dict(sorted(samples.items())))
    return buffer.getvalue()


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
