"""Pages made from records: what ran, published against reproduced, the front page's picture."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import pandas as pd

from cladec_companion.book import found, provenance, what_if
from cladec_companion.book.ledger import differences, ledger, of
from cladec_companion.engine import runner
from cladec_companion.evidence import noise, tables, thresholds
from cladec_companion.evidence.thresholds import Threshold
from cladec_companion.papers import CHAPTERS, PAPERS
from cladec_companion.papers.chapter import Chapter
from cladec_companion.records.escape import markdown
from cladec_companion.records.files import RECORDED
from cladec_companion.records.profiles import PROFILES
from cladec_companion.records.record import Record, find_records, place
from cladec_companion.records.settings import Parameters, Settings

CHOICES = """```{{figure}} generated/compared.png
:name: fig-choices
:alt: Small colour photographs and their reconstructions, a row for each decoder and loss.

Eight test images of CIFAR-100, and what ClaDec makes of one layer of a small network with each decoder and each loss.
```

*Same prediction* is the share of test images whose reconstruction the network puts into the same class as the image,
*structure* the multi-scale similarity to the image (1: the same), *finest pattern* the share of power that changes from
pixel to pixel, as a multiple of the share in the images (checkerboards raise it). Squared errors are of values from 0
to 1, seconds those of `fit` on two cores. The networks were trained for minutes: {accuracies} of the test images.

:::{{div}} numbers
{table}
:::"""


def write(folder: Path, roots: list[Path], drawn: found.Drawn | None = None) -> None:
    """Write every generated part of the book into a folder of the staged sources.

    Parameters
    ----------
    folder
        Where the parts go; pages take them in with `{include}`.
    roots
        Folders of records: the committed ones and those of this machine.
    drawn
        Figures whose pictures are in the folder -> their alternative texts and captions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    records = [record for root in roots for record in find_records(root) if record.manifest["profile"] != "smoke"]
    of_single_runs = [paper.printed.known for paper in PAPERS if paper.printed]
    parts = {
        "found.md": found.page(CHAPTERS, find_records(RECORDED), drawn or {}),
        "status.md": status(records),
        "notebooks.md": notebooks(CHAPTERS),
        "published.md": published_against_reproduced(records),
        "claims.md": ledger(CHAPTERS, records),
        "what_if.html": what_if.page(CHAPTERS, records),
        "differences.md": differences(CHAPTERS, records),
        "thresholds.md": limits(),
        "architectures.md": architectures(RECORDED / "bench" / "explainer" / "architectures.csv"),
        "choices.md": choices(RECORDED / "bench" / "explainer", folder),
        "noise.md": "\n\n".join(tables.markdown(noise.table(known()).reset_index()) for known in of_single_runs),
    }
    for name, text in parts.items():
        (folder / name).write_text(text + "\n", encoding="utf-8")
    for pictures in filter(None, (paper.pictures for paper in PAPERS)):
        pictures.write(folder)


def notebooks(chapters: Mapping[str, Chapter]) -> str:
    """A row for each notebook: its question, and the parameters that not all trained chapters have."""
    rows = []
    for chapter in chapters.values():
        common = {item.name for item in fields(Settings if issubclass(chapter.settings, Settings) else Parameters)}
        own = ", ".join(f"`{item.name}`" for item in fields(chapter.settings) if item.name not in common)
        rows.append({"notebook": f"`{chapter.name}`", "question": chapter.question, "parameters of its own": own})
    return tables.markdown(pd.DataFrame(rows))


def limits() -> str:
    """Every limit with the claims that declare it: those of all papers, then those of each paper and its chapters."""
    found: dict[Threshold, list[str]] = {one: [] for one in thresholds.of(thresholds)}
    for paper in PAPERS:
        claims = [module for chapter in paper.chapters for module in chapter.all_claims]
        others = [paper.limits, *(chapter.findings for chapter in paper.chapters)]
        for module in filter(None, [*others, *claims]):
            for one in thresholds.of(module):
                found.setdefault(one, [])
        for claim in (claim for module in claims for claim in module.CLAIMS):
            for one in claim.limits:
                found[one].append(claim.key)
    return tables.markdown(thresholds.table(found).reset_index())


def architectures(table: Path) -> str:
    """Which foreign classifiers the explainer was tried on, and how that went (`benchmarks.architectures`)."""
    tried = pd.read_csv(table, dtype=str).fillna("")
    works = int((tried["result"] == "works").sum())
    sizes = " or ".join(sorted(tried["image"].unique(), key=lambda size: int(size.split("x")[0])))
    counts = ", ".join(f"{name} {count}" for name, count in tried["source"].value_counts().items())
    shown = tried[["model", "layer", "code", "reference", "result"]].assign(
        code=tried["code"].str.replace(" channels of ", " of "),
        reference=tried["reference"].str.extract(r"\((?:the )?(.*?) encoder\)")[0].fillna("none"),
    )
    return (
        f"{works} of {len(tried)} classifiers work ({counts}), each with random weights and the block in the middle of "
        f"its forward pass, on images of {sizes} pixels:\n\n:::{{dropdown}} The table\n{tables.markdown(shown)}\n:::"
    )


def choices(bench: Path, folder: Path) -> str:
    """What decoders and losses draw of real colour images (`benchmarks.pictures`), and what large images cost.

    The figure is copied into `folder`.
    """
    (folder / "compared.png").write_bytes((bench / "compared.png").read_bytes())
    tried = pd.read_csv(bench / "pictures.csv")
    shown = pd.DataFrame(
        {
            "network": tried["network"], "layer": tried["layer"], "decoder": tried["decoder"], "loss": tried["loss"],
            "squared error": tried["rec_cladec"].map("{:.4f}".format),
            "ΔRec": [
                f"{mean:.4f} ({low:.4f} to {high:.4f})"
                for mean, low, high in tried[["ΔRec", "ΔRec_low", "ΔRec_high"]].to_numpy()
            ],
            "same prediction": tried["agreement"].map("{:.0%}".format),
            "structure": tried["structure"].map("{:.3f}".format),
            "finest pattern": (tried["finest"] / tried["finest_original"]).map("{:.2f}".format),
            "seconds": tried["seconds"].map("{:.0f}".format),
        }
    )  # fmt: skip
    right = tried.drop_duplicates("network").set_index("network")["accuracy"]
    accuracies = ", ".join(f"`{name}` is right on {share:.0%}" for name, share in right.items())
    return "\n\n".join(
        filter(
            None,
            [CHOICES.format(table=tables.markdown(shown), accuracies=accuracies), large(bench / "large_images.json")],
        )
    )


def large(measured: Path) -> str:
    """What explaining large images costs (`benchmarks.large_images`); empty where nobody has measured it."""
    if not measured.exists():
        return ""
    found = json.loads(measured.read_text(encoding="utf-8"))
    layers = {name: cost for name, cost in found.items() if isinstance(cost, dict)}
    unread = [f"`{name}`" for name, cost in layers.items() if any("do not read" in note for note in cost["notes"])]
    short = f" This is too short: the difference to the reference must not be read for {', '.join(unread)}."
    costs = " and ".join(
        f"`{name}` took {cost['seconds'] / 60:.0f} minutes and {cost['peak_gb']:.1f} GB"
        for name, cost in layers.items()
    )
    return (
        f"**Large images.** {found['images']} images of {found['side']}x{found['side']} through a ResNet-18, with a "
        f"budget of {found['budget'] / 60:.0f} minutes of training a layer, each layer in a process of its own, on "
        f"{markdown(found['machine'])}: {costs}."
    ) + (short if unread else "")


def status(records: list[Record], chapters: Mapping[str, Chapter] = CHAPTERS) -> str:
    """What ran, where, when and how long: a row for each record, and below it what made it."""
    if not records:
        return "No record yet."
    rows, parts = [], []
    for record in records:
        manifest = record.manifest
        # With hyphens that do not end a line.
        days = sorted({run["started"].replace("-", "\u2011") for run in manifest["runs"]})
        rows.append(
            {
                "experiment": f"`{manifest['experiment']}`", "profile": f"`{record.folder.parent.name}`",
                "where": place(record), "seeds": provenance.runs(record),
                "cells": _share_done(record, chapters),
                "minutes": f"{record.minutes:.1f}", "days": " to ".join(dict.fromkeys((days[0], days[-1]))),
            }
        )  # fmt: skip
        made = {
            "Device": [provenance.device(run) for run in manifest["runs"]],
            "PyTorch": [markdown(run["versions"]["torch"]) for run in manifest["runs"]],
            "Commit": [f"`{run['commit']}`" for run in manifest["runs"]],
        }
        lines = [f"{provenance.trained_on(record)}.", f"Different from the paper: {provenance.protocol(record)}."]
        lines += [f"{name}: {', '.join(dict.fromkeys(values))}." for name, values in made.items()]
        parts.append(f"`{manifest['experiment']}`, profile {provenance.name(record)}\n: " + " \\\n  ".join(lines))
    return "\n\n".join([tables.markdown(pd.DataFrame(rows)), "## What made them", *parts])


def _share_done(record: Record, chapters: Mapping[str, Chapter]) -> str:
    """How many cells of its profile a record has; a record with a changed parameter is of none."""
    profile = record.folder.parent.name
    if profile not in PROFILES:
        return str(len(record.cells))
    chapter = chapters[record.manifest["experiment"]]
    planned = {str(cell) for cell in runner.plan(chapter, chapter.settings_for(profile))}
    done = len(planned & set(record.cells))
    more = f", {len(record.cells) - done} more" if len(record.cells) > done else ""
    return f"{done} of {len(planned)}{more}"


def published_against_reproduced(records: list[Record], chapters: Mapping[str, Chapter] = CHAPTERS) -> str:
    """The printed numbers beside those of every record that has some of the same cells, chapter by chapter."""
    parts = []
    for chapter in chapters.values():
        for record in of(chapter.name, records) if chapter.axis else []:
            claims = chapter.claims
            assert claims is not None
            found = {"published": chapter.printed_as_recorded().summary, "measured": claims.evidence(record).summary}
            table = tables.side_by_side(found, chapter.columns, axis=chapter.axis)
            for run, part in table.groupby(level=["data", "classifier"], sort=False):
                numbers = part.droplevel(["data", "classifier"]).reset_index()
                if "published" in numbers["source"].array:
                    where = f"{', '.join(run)} ({provenance.name(record)})"
                    heading = f"## {provenance.titled(chapter.name)}: {where}"
                    parts.append(f"{heading}\n\n:::{{div}} numbers\n{tables.markdown(numbers)}\n:::")
    return "\n\n".join(parts) or "No record yet."
