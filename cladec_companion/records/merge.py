"""Merging: the cells of a record that was made elsewhere come to those that are here, or are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cladec_companion.records.cells import CellName, Misfit
from cladec_companion.records.files import locked
from cladec_companion.records.record import Record, exists, read_record
from cladec_companion.records.samples import SEED, ImageName
from cladec_companion.records.schema import VALUE, keys
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
    Misfit
        If the two were trained under other conditions, explain other classifiers or show other images, or if one of
        them carries no fingerprints. Nothing is written.
    RunError
        If the two have another configuration or other columns, or a cell in both has other numbers or images. Nothing
        is written.
    """
    manifest = source.manifest
    folder = root / source.folder.parent.name / source.folder.name
    if (manifest["experiment"], manifest["profile"]) != (folder.name, folder.parent.name.partition("-")[0]):
        raise RunError(f"{source.folder} holds {manifest['experiment']} of {manifest['profile']}: not its name.")
    if not source.fingerprinted:
        raise Misfit(f"{source.folder} was recorded before cells carried fingerprints; record it anew.")
    with locked(folder):
        if exists(folder):
            target = read_record(folder)
        else:
            target = Record(folder, source.rows[:0], {}, manifest | {"cells": {}, "runs": [], "files": {}})
        _refuse(source, target)
        rows, samples, left_out = _union(source, target)
        new = source.cells.keys() - target.cells.keys()
        merged = {**target.manifest, "runs": [*target.manifest["runs"]], "cells": {**target.cells}}
        for cell in sorted(new):
            run = manifest["runs"][source.cells[cell]["run"]]
            if run not in merged["runs"]:
                merged["runs"].append(run)
            entry = source.cells[cell] | {"run": merged["runs"].index(run)}
            if CellName.read(cell).run[:2] in left_out:
                entry["images"] = ""
            merged["cells"][cell] = entry
        if new:
            target.replace(rows, samples, merged)
    return target, len(new)


def _refuse(source: Record, target: Record) -> None:
    """Refuse two records that do not belong together, before anything in them is compared."""
    ours, theirs = target.manifest, source.manifest
    if ours["configuration"] != theirs["configuration"]:
        raise RunError(f"{source.folder} belongs to another configuration than {target.folder}.")
    if not target.fingerprinted:
        raise Misfit(f"{target.folder} was recorded before cells carried fingerprints; move it away first.")
    if ours["columns"] != theirs["columns"]:
        raise RunError(f"{source.folder} has other columns than {target.folder}.")
    if target.cells and ours["runs"][0]["conditions"] != theirs["runs"][0]["conditions"]:
        there, here = theirs["runs"][0]["conditions"], ours["runs"][0]["conditions"]
        unlike = ", ".join(f"{key} {there[key]!r} and {here[key]!r}" for key in there if there[key] != here[key])
        raise Misfit(f"{source.folder} and {target.folder} were recorded under different conditions: {unlike}.")
    for run in {CellName.read(cell).run for cell in source.cells}:
        here, there = target.classifiers(*run), source.classifiers(*run)
        for label in sorted(here.keys() & there.keys()):
            if here[label] != there[label]:
                raise Misfit(
                    f"{source.folder} and {target.folder} explain different classifiers of "
                    f"{'/'.join(map(str, run))}: {label!r} is {there[label][:12]} and {here[label][:12]}."
                )


def _union(source: Record, target: Record) -> tuple[pd.DataFrame, dict[str, np.ndarray], set[tuple[Any, ...]]]:
    """All rows and images of two records, once, and the runs of which the source's images were left out."""
    rows = pd.concat([part for part in (target.rows, source.rows) if len(part)]).drop_duplicates(ignore_index=True)
    twice = rows[rows.duplicated(keys(rows), keep=False)].sort_values(keys(rows), kind="stable")
    if len(twice):
        here, there = twice[VALUE].iloc[:2]
        row = twice.iloc[0]
        cell = "/".join(str(row[name]) for name in ("dataset", "architecture", "layer", "seed"))
        rest = ", ".join(
            f"{name} {row[name]}" for name in keys(rows) if name not in {"dataset", "architecture", "layer", "seed"}
        )
        raise RunError(
            f"{source.folder} and {target.folder} differ in {len(twice) // 2} numbers of cells in both; {cell} "
            f"({rest}) is {there} and {here}."
        )
    samples, left_out = dict(target.samples), set()
    for text, array in source.samples.items():
        name = ImageName.read(text)
        seed = str(name.beside(SEED))
        if seed in target.samples and not np.array_equal(source.samples.get(seed, np.array([])), target.samples[seed]):
            left_out.add(name.run)  # all images of a run are of one seed: the one that came first
        elif not np.array_equal(array, samples.setdefault(text, array)):
            raise RunError(f"{source.folder} and {target.folder} differ in the images {text!r}.")
    return rows, samples, left_out
