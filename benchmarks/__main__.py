"""Measure, print tables of ratios, and write them as JSON.

Times on different machines, or of different moments of one machine, say little; so everything is measured in
turns within one process, and what counts are the ratios.
"""

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import cell, ladder, sizes
from cladec_companion.commands.shared import told
from cladec_companion.records.files import RECORDED, ROOT
from cladec_companion.records.record import provenance_of
from cladec_core import training
from cladec_core.errors import UsageError, one_of

PARTS = ("memory", "ladder", "cell", "sizes")
FORMS = {
    "images_per_second": "{:,.0f}", "times_plain": "{:.2f}", "times_before": "{:.2f}",
    "operations_per_second": "{:.3g}", "share_of_peak": "{:.0%}", "megabytes": "{:,.0f}", "casts_per_step": "{:.0f}",
    "first_step_seconds": "{:.2f}", "spread": "{:.0%}",
}  # fmt: skip


@told
def main(
    only: Annotated[list[str] | None, typer.Option(help=f"Measure only a part: {', '.join(PARTS)}.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats, of which the median counts.")] = 5,
    steps: Annotated[int, typer.Option(min=1, help="Training steps in each repeat (ResNet-10: a third).")] = 6,
    memory_images: Annotated[int, typer.Option(min=128, help="Images of the cell whose memory is measured.")] = 60_000,
    cell_images: Annotated[int, typer.Option(min=128, help="Images of the cell whose time is measured.")] = 1408,
    size_images: Annotated[int, typer.Option(min=128, help="Images of the smallest training under `sizes`.")] = 256,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    record: Annotated[bool, typer.Option(help="Also write the result to book/results/bench.")] = False,
) -> None:
    """Measure the training loop against a plain one, and how its cost grows."""
    for part in only or PARTS:
        one_of("part", part, PARTS)
    if record and only:
        raise UsageError(f"--record with --only {only[0]}; valid: a record holds all parts, so leave --only out.")
    on = training.compute(device)
    began = time.perf_counter()
    found: dict[str, Any] = {"settings": {"repeats": repeats, "steps": steps, "size_images": size_images}}
    fewer = max(1, repeats // 2)
    measures: dict[str, Callable[[], list[dict[str, Any]]]] = {
        "memory": lambda: [cell.memory(on, memory_images)],
        "ladder": lambda: [row for case in ladder.cases(on, steps) for row in ladder.measure(case, on, repeats)],
        "cell": lambda: [cell.measure(on, cell_images, fewer)],
        "sizes": lambda: list(sizes.measure(on, size_images, fewer)),
    }
    for part, measure in measures.items():
        if part in (only or PARTS):
            found[part] = measure()
            show(found[part])
    found |= {"provenance": provenance_of(on.description), "seconds": round(time.perf_counter() - began)}
    for folder in (ROOT / "build" / "bench", *([RECORDED / "bench"] if record else [])):
        print(write(found, folder))


def write(found: dict[str, Any], folder: Path) -> Path:
    """Write a result as JSON, and its ladder as CSV, under a name made from the device."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", found["provenance"]["device"].lower()).strip("-")
    if "ladder" in found:
        pd.DataFrame(found["ladder"]).to_csv(folder / f"{name}.csv", index=False, float_format="%.4g")
    path = folder / f"{name}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return path


def show(rows: list[dict[str, Any]]) -> None:
    """Print rows as a table."""
    table = Table(*(name.replace("_", " ") for name in rows[0]))
    for row in rows:
        forms = {name: FORMS.get(name, "{:.4g}" if isinstance(value, float) else "{}") for name, value in row.items()}
        table.add_row(*(form.format(row[name]) for name, form in forms.items()))
    console = Console()
    (console if console.is_terminal else Console(width=200)).print(table)


if __name__ == "__main__":
    typer.run(main)
