"""Pages made from records: what ran, published against reproduced, the front page's picture."""

from pathlib import Path

import pandas as pd

from cladec_core import claims, tables
from cladec_core.claims.layers import CLAIMS, Evidence
from cladec_core.data import DATASETS
from cladec_core.figures.layers import front_picture
from cladec_core.records import RECORDED, Record, find_records

LAYERS = "layers"


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
    """Tables 2 and 3 beside every record of the layers experiment."""
    parts = []
    for record in records:
        if record.manifest["experiment"] != LAYERS:
            continue
        sources = {"published": tables.published_layers(), "measured": tables.layers_summary(record)}
        table = tables.side_by_side(sources).reset_index()
        parts.append(f"### Layers, profile `{record.folder.parent.name}` ({place(record)})\n\n{markdown(table)}")
    return "\n\n".join(parts) or "No record yet."


def ledger(records: list[Record]) -> str:
    """The claims with a verdict from the printed numbers and from each record."""
    sources = {"printed numbers": Evidence(tables.published_layers())}
    for record in records:
        if record.manifest["experiment"] == LAYERS:
            name = f"{record.folder.parent.name} ({place(record)})"
            sources[name] = Evidence(tables.layers_summary(record), record)
    return markdown(claims.ledger(CLAIMS, sources).reset_index())


def markdown(table: pd.DataFrame) -> str:
    """A DataFrame as a Markdown table."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)
