"""Pages made from records: what ran, published against reproduced, the front page's picture."""

from pathlib import Path

import pandas as pd

from cladec_core.data import DATASETS
from companion import claims, tables
from companion.claims import alpha, encoder_training, layers, occlusion, subsets
from companion.figures.layers import front_picture
from companion.records import RECORDED, Record, find_records

LAYERS = "layers"
# experiment -> (its claims, columns beside the paper, what the third level of its summary is). The paper prints no
# numbers about subsets.
CHAPTERS = {
    LAYERS: (layers, None, "layer"),
    "alpha": (alpha, alpha.PRINTED, "alpha"),
    "encoder_training": (encoder_training, encoder_training.PRINTED, "encoder_epochs"),
    "subsets": (subsets, None, ""),
    "occlusion": (occlusion, occlusion.COLUMNS, "layer"),
}


def write(folder: Path, roots: list[Path]) -> None:
    """Write every generated part of the book into a folder of the staged sources.

    Parameters
    ----------
    folder
        Where the parts go; pages take them in with `{include}`.
    roots
        Folders of records: the committed ones and those of this machine.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = [record for root in roots for record in find_records(root) if record.manifest["profile"] != "smoke"]
    parts = {
        "status.md": status(records),
        "published.md": published_against_reproduced(records),
        "claims.md": ledger(records),
    }
    for name, text in parts.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")
    shown = next((record for record in records if record.manifest["experiment"] == LAYERS), None)
    if shown is not None:
        front_picture(shown, {name: spec[1] or [] for name, spec in DATASETS.items()}).savefig(folder / "front.png")


def place(record: Record) -> str:
    """Whether a record is committed or was made on this machine."""
    return "committed" if RECORDED in record.folder.parents else "this machine"


def status(records: list[Record]) -> str:
    """What ran, where, when and how long: one row per record."""
    rows = []
    for record in records:
        manifest = record.manifest
        runs = manifest["runs"]
        rows.append(
            {
                "experiment": manifest["experiment"],
                "profile": f"`{record.folder.parent.name}`",
                "where": place(record),
                "cells": len(record.cells),
                "minutes": f"{sum(cell['seconds'] for cell in record.cells.values()) / 60:.1f}",
                "device": "; ".join(dict.fromkeys(run["device"] for run in runs)),
                "day": ", ".join(dict.fromkeys(run["started"] for run in runs)),
                "commit": ", ".join(dict.fromkeys(f"`{run['commit']}`" for run in runs)),
                "torch": ", ".join(dict.fromkeys(run["versions"]["torch"] for run in runs)),
            }
        )
    return markdown(pd.DataFrame(rows)) if rows else "No record yet."


def published_against_reproduced(records: list[Record]) -> str:
    """The printed numbers beside those of every record, chapter by chapter."""
    parts = []
    for experiment, (chapter, columns, axis) in CHAPTERS.items():
        for record in _of(experiment, records) if axis else []:
            found = {"published": chapter.printed().summary, "measured": chapter.evidence(record).summary}
            table = tables.side_by_side(found, columns, axis=axis).reset_index()
            parts.append(f"## {_title(record)}\n\n{markdown(table)}")
    return "\n\n".join(parts) or "No record yet."


def ledger(records: list[Record]) -> str:
    """The claims, chapter by chapter, with a verdict from the printed numbers and from each record."""
    parts = []
    for experiment, (chapter, _, _) in CHAPTERS.items():
        found = {"printed numbers": chapter.printed()}
        for record in _of(experiment, records):
            found[f"{record.folder.parent.name}, {place(record)}"] = chapter.evidence(record)
        table = claims.ledger(chapter.CLAIMS, found).reset_index()
        heading = f"[{experiment.replace('_', ' ').capitalize()}](../notebooks/{experiment}.ipynb)"
        parts.append(f"## {heading}\n\n{markdown(table)}")
    return "\n\n".join(parts)


def _of(experiment: str, records: list[Record]) -> list[Record]:
    return [record for record in records if record.manifest["experiment"] == experiment]


def _title(record: Record) -> str:
    names = [tables.DATASET_NAMES[name] for name in record.rows["dataset"].unique()]
    experiment = record.manifest["experiment"].replace("_", " ").capitalize()
    return f"{experiment}: {', '.join(names)} (profile {record.folder.parent.name}, {place(record)})"


def markdown(table: pd.DataFrame) -> str:
    """A DataFrame as a Markdown table."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
