"""What a notebook cell calls: run an experiment, and set it beside the record and the paper."""

import os

import pandas as pd
from IPython.display import Markdown
from pandas.io.formats.style import Styler

from cladec_core import claims, experiments, tables
from cladec_core.claims.layers import CLAIMS, Evidence
from cladec_core.data import DATASETS
from cladec_core.records import Record, recorded
from cladec_core.settings import Settings, settings_for

RECORDED_PROFILES = ("paper", "laptop")  # the closest to the paper first

__all__ = [
    "against_the_paper",
    "class_names",
    "evidence",
    "provenance",
    "run",
    "saved",
    "settings_for",
    "verdicts",
    "wrapped",
]


def run(settings: Settings) -> Record:
    """Train what is missing, with progress bars, and return the record of this run."""
    return experiments.run(settings, device=os.environ.get("CLADEC_DEVICE", "auto"))


def saved(experiment: str) -> Record | None:
    """The committed record that is closest to the paper's protocol, if there is one."""
    return next((found for profile in RECORDED_PROFILES if (found := recorded(experiment, profile))), None)


def class_names(dataset: str) -> tuple[str, ...]:
    """Class names of a data set, without reading it."""
    return tuple(DATASETS[dataset][1] or map(str, range(100)))


def provenance(record: Record) -> Markdown:
    """One line that says what the numbers of a record were made with."""
    manifest = record.manifest
    run = manifest["runs"][-1]
    seconds = sum(cell["seconds"] for cell in record.cells.values())
    rows = record.rows
    what = ", ".join(
        f"{tables.DATASET_NAMES[dataset]} with {tables.ARCHITECTURE_NAMES[architecture]}"
        for dataset, architecture in rows[["dataset", "architecture"]].drop_duplicates().itertuples(index=False)
    )
    epochs = manifest["configuration"]
    return Markdown(
        f"*Made with: profile `{manifest['profile']}`, {what}; {epochs['classifier_epochs']} epochs for classifiers, "
        f"{epochs['decoder_epochs']} for decoders; {rows['seed'].nunique()} seed(s); {seconds / 60:.1f} minutes on "
        f"{run['device']}; torch {run['versions']['torch']}; commit `{run['commit']}`.*"
    )


def evidence(record: Record, stored: Record | None) -> dict[str, Evidence]:
    """The three sources that every table compares: published, recorded, this run."""
    found = {"published": Evidence(tables.published_layers())}
    if stored is not None:
        found["recorded"] = Evidence(tables.layers_summary(stored), stored)
    return found | {"this run": Evidence(tables.layers_summary(record), record)}


def against_the_paper(record: Record, stored: Record | None, digits: int = 3) -> pd.DataFrame:
    """Published, recorded and this run under one another, mean ± sd and n, per data set, classifier and layer."""
    return tables.side_by_side({name: part.summary for name, part in evidence(record, stored).items()}, digits=digits)


def verdicts(record: Record, stored: Record | None) -> Styler:
    """A verdict per claim and source: holds, does not hold, undecided (why)."""
    table = claims.ledger(CLAIMS, evidence(record, stored))
    return wrapped(table)


def wrapped(table: pd.DataFrame) -> Styler:
    """A table of sentences: lines wrap, and verdicts are coloured as well as named."""
    colours = {claims.HOLDS: "#009e73", claims.FAILS: "#d55e00", claims.UNDECIDED: "#8a8f98"}

    def mark(text: object) -> str:
        colour = colours.get(str(text).split(":")[0])
        return f"border-left: 4px solid {colour}" if colour else ""

    return table.reset_index().style.map(mark).hide(axis="index").set_table_attributes('class="dataframe wrapped"')
