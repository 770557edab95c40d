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
from torch import nn

from cladec_companion.engine.trainings import Training
from cladec_companion.papers.chapter import Chapter
from cladec_companion.records.settings import Settings, parameter
from cladec_core.errors import RunError
from cladec_core.training import SGD, Job, Recipe


@dataclass(frozen=True)
class ActingSettings(Settings):
    """What the cells do, one after the other: wait, or the name of a function below, and anything behind a space."""

    experiment: ClassVar[str] = "acting"
    acts: tuple[str, ...] = parameter(*(("end",),) * 4, "what each cell does", axis=True)


def cells(settings: ActingSettings, architecture: str) -> Iterator[str]:
    """One cell for each act."""
    yield from settings.acts


@dataclass(frozen=True, eq=False)
class Waiting(Training):
    """A training that takes longer than any test has patience."""

    recipe: ClassVar[Recipe] = SGD
    kept: ClassVar[bool] = False
    epochs: ClassVar[int] = 10_000
    part: str

    @property
    def label(self) -> str:
        """See `Training`."""
        return self.part

    def build(self, *needed: nn.Module) -> nn.Module:
        """See `Training`."""
        return nn.Linear(1, 1, device="meta" if self.setup.shapes_only else None)

    def job(self, model: nn.Module, *needed: nn.Module) -> Job:
        """See `Training`."""
        setup = self.setup
        return Job(
            model, torch.ones(10, 1), (), slow_loss, self.recipe, epochs=self.epochs, seed=setup.seed, on=setup.on,
            batch_size=setup.settings.batch_size, label=self.title,
        )  # fmt: skip


def slow_loss(output: torch.Tensor) -> torch.Tensor:
    """Take a while for a step."""
    time.sleep(0.05)
    return output.square().mean()


def run_cell(setup: Any, part: str, keep_samples: bool) -> Any:
    """Note the process below `$CLADEC_RESULTS`, and act."""
    name = part.partition(" ")[0]
    if not setup.shapes_only:
        processes = Path(os.environ["CLADEC_RESULTS"]) / "processes"
        processes.mkdir(parents=True, exist_ok=True)
        pools = [library["num_threads"] for library in threadpool_info()]  # of NumPy and SciPy, too
        (processes / f"{part} {setup.seed}").write_text(f"{os.getpid()} {max([torch.get_num_threads(), *pools])}")
    yield [Waiting(setup, part)] if name == "wait" else []
    if name in ACTS:
        ACTS[name]()
    return [{"method": "m", "metric": "seed", "value": setup.seed}], {part: np.zeros(1)} if keep_samples else {}


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


ACTS = {act.__name__: act for act in (kill, leave, diverge, fill, lack, err)}
CHAPTER = Chapter("acting", ActingSettings, cells=cells, run_cell=run_cell)
