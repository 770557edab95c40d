"""A chapter whose cells train nothing, but do what they are named after: end, wait, fail. Processes can import it."""

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from threadpoolctl import threadpool_info

from cladec_companion.papers.chapter import Chapter
from cladec_companion.records.settings import Settings, parameter
from cladec_core.errors import RunError


@dataclass(frozen=True)
class ActingSettings(Settings):
    """What the cells do, one after the other: the name of a function below, and anything behind a space."""

    experiment: ClassVar[str] = "acting"
    acts: tuple[str, ...] = parameter(*(("end",),) * 4, "what each cell does", axis=True)


def cells(settings: ActingSettings, architecture: str) -> Iterator[str]:
    """One cell for each act."""
    yield from settings.acts


def run_cell(setup: Any, part: str, keep_samples: bool) -> Any:
    """Note the process below `$CLADEC_RESULTS`, and act."""
    yield []
    processes = Path(os.environ["CLADEC_RESULTS"]) / "processes"
    processes.mkdir(parents=True, exist_ok=True)
    pools = [library["num_threads"] for library in threadpool_info()]  # of NumPy and SciPy, too
    (processes / f"{part} {setup.seed}").write_text(f"{os.getpid()} {max([torch.get_num_threads(), *pools])}")
    name = part.partition(" ")[0]
    if name in ACTS:
        ACTS[name]()
    return [{"method": "m", "metric": "seed", "value": setup.seed}], {part: np.zeros(1)} if keep_samples else {}


def wait() -> None:
    """Take longer than any test has patience."""
    time.sleep(600)


def kill() -> None:
    """End this process as the system does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    """End this process without a word."""
    os._exit(7)


def diverge() -> None:
    """Fail as a training that diverges."""
    raise RunError("the loss is nan after epoch 1")


def fill() -> None:
    """Fail for lack of memory."""
    raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")


def lack() -> None:
    """Fail for lack of a package."""
    raise ModuleNotFoundError("No module named 'captum'")


def err() -> None:
    """Fail by a mistake in the program."""
    raise KeyError("no such layer")


ACTS = {act.__name__: act for act in (wait, kill, leave, diverge, fill, lack, err)}
CHAPTER = Chapter("acting", ActingSettings, cells=cells, run_cell=run_cell)
