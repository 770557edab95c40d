"""Merging: the cells of a record that was made elsewhere come to those that are here, or are refused."""

from pathlib import Path

import numpy as np
import pandas as pd

from cladec_companion.records.files import locked
from cladec_companion.records.record import Record, canonical, exists, read_record
from cladec_core.errors import RunError


def merge(source: Record, root: Path) -> tuple[Record, int]:
    """Add the cells of a record that was made elsewhere to the one of the same name under `root`.

    Returns
    -------
    record
        The one under `root`; it is made if it is not there.
    added
        How many cells are new in it.

    Raises
    ------
    RunError
        If the two have another configuration, or a cell in both has other numbers or images. Nothing is written.
    """
    manifest = source.manifest
    folder = root / source.folder.parent.name / source.folder.name
    if (manifest["experiment"], manifest["profile"]) != (folder.name, folder.parent.name.partition("-")[0]):
        raise RunError(f"{source.folder} holds {manifest['experiment']} of {manifest['profile']}: not its name.")
    with locked(folder):
        if exists(folder):
            target = read_record(folder)
        else:
            target = Record(folder, source.rows[:0], {}, manifest | {"cells": {}, "runs": [], "files": {}})
        if target.manifest["configuration"] != manifest["configuration"]:
            raise RunError(f"{source.folder} belongs to another configuration than {folder}.")
        rows, samples = _union(source, target)
        new = source.cells.keys() - target.cells.keys()
        for cell in sorted(new):
            run = manifest["runs"][source.cells[cell]["run"]]
            if run not in target.manifest["runs"]:
                target.manifest["runs"].append(run)
            target.cells[cell] = source.cells[cell] | {"run": target.manifest["runs"].index(run)}
        if new:
            target.rows, target.samples = rows, samples
            target.write()
    return target, len(new)


def _union(source: Record, target: Record) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """All rows and images of two records, once."""
    rows = pd.concat([part for part in (target.rows, source.rows) if len(part)]).drop_duplicates(ignore_index=True)
    names = [name for name in rows.columns if name != "value"]
    twice = rows[rows.duplicated(names, keep=False)].sort_values(names, kind="stable")
    if len(twice):
        here, there = twice["value"].iloc[:2]
        row = twice.iloc[0]
        cell = "/".join(str(row[name]) for name in ("dataset", "architecture", "layer", "seed"))
        rest = ", ".join(
            f"{name} {row[name]}" for name in names if name not in {"dataset", "architecture", "layer", "seed"}
        )
        raise RunError(
            f"{source.folder} and {target.folder} differ in {len(twice) // 2} numbers of cells in both; {cell} "
            f"({rest}) is {there} and {here}."
        )
    samples = dict(target.samples)
    for name, array in source.samples.items():
        seed = "/".join(name.split("/")[:2]) + "/seed"
        if seed in target.samples and not np.array_equal(source.samples.get(seed), target.samples[seed]):
            continue  # all images of a run are of one seed: the one that came first
        if not np.array_equal(array, samples.setdefault(name, array)):
            raise RunError(f"{source.folder} and {target.folder} differ in the images {name!r}.")
    return canonical(rows), samples
