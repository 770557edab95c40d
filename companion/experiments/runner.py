"""The driver of every experiment: which cells are missing, train them, put each into the record."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from cladec_core import data, training
from cladec_core.data import ImageData
from companion.experiments import alpha, encoder_training, layers, occlusion, subsets
from companion.records import BUILT, ROOT, Record, open_record
from companion.settings import Settings
from companion.study import Study

CACHE = Path(os.environ.get("CLADEC_MODELS") or ROOT / "build" / "models")


@dataclass(frozen=True)
class Experiment:
    """One question of the paper.

    Attributes
    ----------
    cells
        `cells(settings, architecture)` gives the parts that are trained one by one; each has a name of its own (`str`).
    run_cell
        `run_cell(study, part, keep_samples)` gives rows and uint8 images. A row that names no layer has the part's.
    """

    cells: Callable[[Any, str], Iterator[Any]]
    run_cell: Callable[[Study, Any, bool], tuple[list[dict[str, Any]], dict[str, np.ndarray]]]


EXPERIMENTS = {
    "layers": Experiment(layers.cells, layers.run_cell),
    "alpha": Experiment(alpha.cells, alpha.run_cell),
    "encoder_training": Experiment(encoder_training.cells, encoder_training.run_cell),
    "occlusion": Experiment(occlusion.cells, occlusion.run_cell),
    "subsets": Experiment(subsets.cells, subsets.run_cell),
}


@dataclass(frozen=True)
class Cell:
    """One trained configuration: the unit that is recorded, resumed and merged."""

    seed: int
    dataset: str
    architecture: str
    part: Any

    def __str__(self) -> str:
        return f"{self.dataset}/{self.architecture}/{self.part}/{self.seed}"


def plan(settings: Settings) -> list[Cell]:
    """All cells of a configuration, the first seed of everything before the second of anything."""
    experiment = EXPERIMENTS[settings.experiment]
    return [
        Cell(seed, dataset, architecture, part)
        for seed in settings.seeds
        for dataset in settings.datasets
        for architecture in settings.architectures
        for part in experiment.cells(settings, architecture)
    ]


def run(
    settings: Settings,
    *,
    root: Path | None = None,
    data_dir: Path | str | None = None,
    device: str = "auto",
    progress: bool = True,
    deadline: float = float("inf"),
    report: Callable[[str], None] = lambda line: None,
) -> Record:
    """Train the cells that are missing in a record, and return the record.

    Parameters
    ----------
    settings
        From `settings_for`.
    root
        Folder of records; the default is `build/results`, or `$CLADEC_RESULTS`.
    data_dir
        Folder of data sets (see `data.load`).
    device
        See `training.compute`.
    progress
        Show progress bars.
    deadline
        `time.monotonic()` after which no further cell is begun.
    report
        Called with one line per finished cell.

    Raises
    ------
    UsageError, RunError
        See the modules that raise them. What was finished before stays in the record.
    """
    on = training.compute(device)
    record = open_record(settings, root or Path(os.environ.get("CLADEC_RESULTS") or BUILT), on.description)
    study = None
    for cell in plan(settings):
        if str(cell) in record.cells:
            continue
        if time.monotonic() > deadline:
            break
        began = time.perf_counter()
        if study is None or (study.data.name, study.architecture, study.seed) != _run_of(cell):
            images = _data(cell.dataset, data_dir, settings.resize, settings.train_limit, settings.test_limit)
            study = Study(images.to(on.device), cell.architecture, cell.seed, settings, on, CACHE, progress)
        prefix = f"{cell.dataset}/{cell.architecture}"
        # All images of a run are of one seed, whichever seeds are added later.
        shown = record.samples.setdefault(f"{prefix}/seed", np.array(settings.seeds[0]))
        rows, samples = EXPERIMENTS[settings.experiment].run_cell(study, cell.part, cell.seed == shown)
        axes = {"dataset": cell.dataset, "architecture": cell.architecture, "layer": str(cell.part), "seed": cell.seed}
        seconds = time.perf_counter() - began
        named = {f"{prefix}/{name}": array for name, array in samples.items()}
        record.add(str(cell), [axes | row for row in rows], named, seconds, study.seconds)
        study.seconds = {}
        report(f"{cell}: {seconds:.0f} s")
    return record


def _run_of(cell: Cell) -> tuple[str, str, int]:
    return cell.dataset, cell.architecture, cell.seed


@lru_cache(maxsize=1)
def _data(name: str, data_dir: Path | str | None, resize: str, train: int | None, test: int | None) -> ImageData:
    return data.load(name, data_dir, resize=resize, train_limit=train, test_limit=test)
