"""What a record is called in the book, and in what its run differs from the paper's."""

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from cladec_companion.evidence import tables
from cladec_companion.papers import CHAPTERS, settings_for
from cladec_companion.records.escape import markdown
from cladec_companion.records.profiles import PROFILES
from cladec_companion.records.record import Record, place
from cladec_companion.records.settings import Settings

# Parameters -> how a reader says what they were set to.
WORDS = {
    "train_limit": "{} training images", "test_limit": "{} test images",
    "classifier_epochs": "{} epochs of the classifier", "decoder_epochs": "{} epochs of the decoder",
    "resize": "images resized by {}", "width": "{} times the channels",
}  # fmt: skip
REAL = [name for name in PROFILES if name not in ("smoke", "quick")]  # profiles on real images, the shortest first


def best(experiment: str, records: list[Record]) -> Record | None:
    """The record that says most about a paper: of the longest profile, unchanged before changed, with most seeds.

    Parameters
    ----------
    experiment
        Whose record.
    records
        All there are; those of profiles on the embedded digits are passed over.
    """

    def rank(record: Record) -> tuple[int, bool, int, int]:
        unchanged = record.folder.parent.name == record.manifest["profile"]
        return REAL.index(record.manifest["profile"]), unchanged, runs(record), len(record.cells)

    own = [record for record in records if record.manifest["experiment"] == experiment]
    return max((record for record in own if record.manifest["profile"] in REAL), key=rank, default=None)


def name(record: Record) -> str:
    """A record's profile, the parameters that were changed, and where it was made."""
    profile, _, mark = record.folder.parent.name.partition("-")
    if mark:
        usual = settings_for(record.manifest["experiment"], profile).configuration()
        found = record.manifest["configuration"]
        changed = [_spoken(key, found[key]) for key, value in usual.items() if found.get(key, value) != value]
        profile = f"{profile} with {', '.join(changed)}"
    return f"{profile}, {place(record)}"


def title(record: Record) -> str:
    """A heading: the experiment, the data sets, the name."""
    datasets = ", ".join(tables.DATASET_NAMES[dataset] for dataset in record.rows["dataset"].unique())
    return f"{titled(record.manifest['experiment'])}: {datasets} (profile {name(record)})"


def spoken(experiment: str) -> str:
    """The name of an experiment in a sentence."""
    return CHAPTERS[experiment].spoken or experiment.replace("_", " ")


def titled(experiment: str) -> str:
    """The name of an experiment at the beginning of a line."""
    text = spoken(experiment)
    return text[0].upper() + text[1:]


def device(run: Mapping[str, Any]) -> str:
    """On what a run of a record was made, for a page."""
    return markdown(re.sub(r"\b1 threads\b", "1 thread", run["device"]))


def runs(record: Record) -> int:
    """How many seeds a record has: the n of its numbers."""
    return record.rows["seed"].nunique()


def seeds(record: Record) -> str:
    """How many seeds each classifier of a record has, in words."""
    counts = record.rows.groupby(["dataset", "architecture"])["seed"].nunique()
    words = " to ".join(map(str, dict.fromkeys((counts.min(), counts.max()))))
    return f"{words} seed{'s' if counts.max() > 1 else ''}"


def lengths(record: Record) -> str:
    """For how many epochs the networks of a record were trained, in words; empty where it says nothing of epochs."""
    known, of_rows = record.manifest["configuration"], record.rows
    said = []
    if "encoder_epochs" in of_rows:  # the classifiers that are explained differ in their epochs
        explained = tables.joined(map(str, sorted(of_rows["encoder_epochs"].astype(int).unique())))
        said = [f"{explained} epochs of the classifier", f"{known['classifier_epochs']} of the evaluation classifiers"]
    elif "classifier_epochs" in known:
        said = [f"{known['classifier_epochs']} epochs of the classifier"]
    longest = "up to " if {"images", "epochs"} <= {*of_rows} else ""  # each cell has its own
    if known.get("decoder_epochs"):
        said.append(f"{longest}{known['decoder_epochs']} of the decoder")
    common = {item.name for item in fields(Settings)}
    own = [item for item in fields(CHAPTERS[record.manifest["experiment"]].settings) if item.name not in common]
    said += [f"{known[item.name]} of {item.metadata['trains']}" for item in own if item.metadata["trains"]]
    return tables.joined(said) if said else ""


def trained_on(record: Record) -> str:
    """Data sets and classifiers of a record."""
    own = CHAPTERS[record.manifest["experiment"]].classifier
    pairs = record.rows[["dataset", "architecture"]].drop_duplicates().itertuples(index=False)
    return ", ".join(
        f"{tables.DATASET_NAMES[dataset]} with {own or tables.ARCHITECTURE_NAMES[architecture]}"
        for dataset, architecture in pairs
    )


def protocol(record: Record) -> str:
    """In what a record departs from the paper's protocol, as the profile `paper` states it."""
    paper = settings_for(record.manifest["experiment"], "paper")
    found, wanted = record.manifest["configuration"], paper.configuration()
    changed = [
        f"`{key}` is {_value(found[key])} (paper: {_value(value)})"
        for key, value in wanted.items()
        if found.get(key, value) != value
    ]
    others = sorted({*record.rows["dataset"]} - {*paper.datasets})
    changed += [f"the paper does not use {tables.DATASET_NAMES[name]}" for name in others]
    if runs(record) != len(paper.seeds):
        changed.append(f"n is {runs(record)} (paper: {len(paper.seeds)})")
    return ", ".join(changed) or "nothing"


def shorter(record: Record) -> bool:
    """Whether a record was trained for fewer epochs, or on fewer images, than the profile `paper` would."""
    found = record.manifest["configuration"]
    wanted = settings_for(record.manifest["experiment"], "paper").configuration()
    fewer = (found[key] < wanted[key] for key in ("classifier_epochs", "decoder_epochs"))
    return any(fewer) or found["train_limit"] is not None


def _spoken(parameter: str, value: object) -> str:
    """What a run changed, in words where there are some."""
    words = WORDS.get(parameter)
    return words.format(_value(value)) if words else f"{parameter} {_value(value)}"


def _value(value: object) -> str:
    return "all" if value is None else markdown(value)
