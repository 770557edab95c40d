"""Whether a machine was idle while something was measured."""

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

BUSY = 0.05  # a machine of whose processors others take more was not idle
BURST = 0.1  # seconds: rows that come this soon after another were measured together with it


def watched(measure: Callable[[], Iterator[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """Add to each row, as `others`, the share of all processors that other processes took since the row before it."""
    before, share = _times(), 0.0
    for row in measure():
        now = _times()
        if now[0] - before[0] > BURST:
            share = others(before, now)
            before = now
        yield row | {"others": share}


def others(before: tuple[float, float, float], now: tuple[float, float, float]) -> float:
    """Share of all processors that went to other processes, and to other guests of a virtual machine's host."""
    wall, busy, own = (late - early for early, late in zip(before, now, strict=True))
    share = (busy - own) / (wall * (os.cpu_count() or 1))
    return share if math.isnan(share) else max(0.0, share)


def _times() -> tuple[float, float, float]:
    """Seconds by the clock, of all processors in work, and of this process and its children; NaN if unknown."""
    try:
        user, nice, system, _, _, interrupts, soft, steal = map(int, _fields(Path("/proc/stat"), 1, 9))
        tick = os.sysconf("SC_CLK_TCK")
        children = (Path(f"/proc/{child.pid}/stat") for child in multiprocessing.active_children())
        alive = sum(sum(map(int, _fields(child, 13, 15))) for child in children) / tick
        busy = (user + nice + system + interrupts + soft + steal) / tick
        return time.perf_counter(), busy, sum(os.times()[:4]) + alive
    except (OSError, ValueError):  # another system than Linux
        return time.perf_counter(), float("nan"), float("nan")


def _fields(path: Path, first: int, last: int) -> list[str]:
    """Numbers of the first line; a process's name in brackets may hold spaces."""
    line = path.read_text(encoding="utf-8").partition("\n")[0]
    return ("x x " + line.rpartition(") ")[2] if ")" in line else line).split()[first:last]
