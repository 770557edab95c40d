"""Measure, print each line when it is known, and write all as JSON.

Times on different machines, or of different moments of one machine, say little; so everything is measured in
turns within one process, and what counts are the ratios.
"""

import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from benchmarks import cell, idle, ladder, sizes, workers
from cladec_companion.commands.shared import told
from cladec_companion.records.files import RECORDED, ROOT
from cladec_companion.records.record import provenance_of
from cladec_core import training
from cladec_core.errors import UsageError, one_of

PARTS = ("memory", "ladder", "workers", "cell", "sizes")
FORMS = {
    "images_per_second": "{:,.0f}", "times_plain": "{:.2f}", "times_before": "{:.2f}", "times_all_threads": "{:.2f}",
    "operations_per_second": "{:.3g}", "share_of_peak": "{:.0%}", "megabytes": "{:,.0f}", "casts_per_step": "{:.0f}",
    "first_step_seconds": "{:.2f}", "spread": "{:.0%}", "others": "{:.0%}", "cpu_seconds_per_1000": "{:.2f}",
}  # fmt: skip


@told
def main(
    only: Annotated[list[str] | None, typer.Option(help=f"Measure only a part: {', '.join(PARTS)}.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Repeats, of which the median counts.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Training steps in each repeat (ResNet-10: a third).")] = 3,
    memory_images: Annotated[int, typer.Option(min=128, help="Images of the cell whose memory is measured.")] = 2560,
    cell_images: Annotated[int, typer.Option(min=128, help="Images of the cell whose time is measured.")] = 640,
    size_images: Annotated[int, typer.Option(min=128, help="Images of the smallest training under `sizes`.")] = 128,
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
    measures: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "memory": lambda: iter([cell.memory(on, memory_images)]),
        "ladder": lambda: (row for case in ladder.cases(on, steps) for row in ladder.measure(case, on, repeats)),
        "workers": lambda: workers.measure(steps, cell_images, fewer) if on.device.type == "cpu" else iter(()),
        "cell": lambda: iter([cell.measure(on, cell_images, fewer)]),
        "sizes": lambda: sizes.measure(on, size_images, fewer),
    }
    for part in PARTS:
        if part in (only or PARTS):
            found[part] = shown(part, idle.watched(measures[part]))
    found |= {"provenance": provenance_of(on.description), "seconds": round(time.perf_counter() - began)}
    print(f"{found['seconds']} s; {told_of_others(found)}")
    for folder in (ROOT / "build" / "bench", *([RECORDED / "bench"] if record else [])):
        print(write(found, folder))


def told_of_others(found: dict[str, Any]) -> str:
    """Whether the machine was idle, as words."""
    shares = [row["others"] for part in PARTS for row in found.get(part, [])]
    if not all(share == share for share in shares):
        return "whether the machine did other work is not known here"
    busy = [share for share in shares if share > idle.BUSY]
    if not busy:
        return "the machine was idle"
    return (
        f"NOT IDLE: during {len(busy)} of {len(shares)} lines other processes took up to {max(busy):.0%} of the "
        f"processors"
    )


def write(found: dict[str, Any], folder: Path) -> Path:
    """Write a result as JSON, and its ladder as CSV, under a name made from the device."""
    folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"[^a-z0-9]+", "-", found["provenance"]["device"].lower()).strip("-")
    if "ladder" in found:
        pd.DataFrame(found["ladder"]).to_csv(folder / f"{name}.csv", index=False, float_format="%.4g")
    path = folder / f"{name}.json"
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return path


def shown(part: str, rows: Iterator[dict[str, Any]]) -> list[dict[str, Any]]:
    """Print each row as soon as it is there; returns them all."""
    found = []
    for row in rows:
        names = {name: name.replace("_", " ") for name in row}
        if not found:
            widths = {name: max(len(title), 20 * isinstance(row[name], str)) for name, title in names.items()}
            print(f"\n{part}\n" + "  ".join(f"{title:>{widths[name]}}" for name, title in names.items()))
        forms = {name: FORMS.get(name, "{:.4g}" if isinstance(value, float) else "{}") for name, value in row.items()}
        line = "  ".join(f"{forms[name].format(value):>{widths[name]}}" for name, value in row.items())
        print(line + ("  not idle" if row["others"] > idle.BUSY else ""), flush=True)
        found.append(row)
    return found


if __name__ == "__main__":
    typer.run(main)
