"""The driver of every experiment: which cells are missing, train them, put each into the record."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cladec_companion.engine.branches import Train, side_by_side
from cladec_companion.engine.study import CLASSIFIER, Study, training_code
from cladec_companion.papers.cladec.alpha import experiment as alpha
from cladec_companion.papers.cladec.controls import experiment as controls
from cladec_companion.papers.cladec.encoder_training import experiment as encoder_training
from cladec_companion.papers.cladec.layers import experiment as layers
from cladec_companion.papers.cladec.occlusion import experiment as occlusion
from cladec_companion.papers.cladec.prototypes import experiment as prototypes
from cladec_companion.papers.cladec.subsets import experiment as subsets
from cladec_companion.papers.cladec.your_own import experiment as your_own
from cladec_companion.records.cells import Conditions, Cost
from cladec_companion.records.files import BUILT, ROOT, locked
from cladec_companion.records.record import Record, folder_of, open_record
from cladec_companion.records.samples import fingerprint
from cladec_companion.records.settings import Settings
from cladec_core import data, training
from cladec_core.data import ImageData

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
    needs
        Parts that import a package beside those that training needs: name -> package.
    """

    cells: Callable[[Any, str], Iterator[Any]]
    run_cell: Callable[[Study, Any, bool], tuple[list[dict[str, Any]], dict[str, np.ndarray]]]
    needs: Mapping[str, str] = field(default_factory=dict)


EXPERIMENTS = {
    "layers": Experiment(layers.cells, layers.run_cell),
    "alpha": Experiment(alpha.cells, alpha.run_cell),
    "encoder_training": Experiment(encoder_training.cells, encoder_training.run_cell),
    "occlusion": Experiment(occlusion.cells, occlusion.run_cell),
    "subsets": Experiment(subsets.cells, subsets.run_cell),
    "prototypes": Experiment(prototypes.cells, prototypes.run_cell),
    "controls": Experiment(controls.cells, controls.run_cell),
    "your_own": Experiment(your_own.cells, your_own.run_cell, needs={your_own.CLASSIFIER: "captum"}),
}


@dataclass(frozen=True)
class Cell:
    """One trained configuration: the unit that is recorded, resumed and merged."""

    seed: int
    dataset: str
    architecture: str
    part: Any

    def __str__(self) -> str:
        return f"{self.prefix}/{self.part}/{self.seed}"

    @property
    def prefix(self) -> str:
        """Where a record keeps its images."""
        return f"{self.dataset}/{self.architecture}"

    @property
    def run(self) -> tuple[str, str, int]:
        """What shares one classifier to explain: data set, architecture and seed."""
        return self.dataset, self.architecture, self.seed


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
    root = root or default_root()
    record = open_record(settings, root)
    if not missing(settings, record):
        return record
    with opened(settings, on, root, data_dir, progress) as trainer:
        for cell in missing(settings, trainer.record):
            if time.monotonic() > deadline:
                break
            trainer.prepare([cell])
            (measured,) = trainer.measure([cell])
            trainer.keep(cell, measured)
            report(f"{cell}: {measured.seconds:.0f} s")
    return trainer.record


def default_root() -> Path:
    """Where records of this machine go: `$CLADEC_RESULTS`, or `build/results`."""
    return Path(os.environ.get("CLADEC_RESULTS") or BUILT)


def missing(settings: Settings, record: Record) -> list[Cell]:
    """The cells of a configuration that its record lacks."""
    return [cell for cell in plan(settings) if str(cell) not in record.cells]


@dataclass(frozen=True)
class Measured:
    """What a cell found: rows, images, its seconds by the clock and of the CPU, and those of each training in it."""

    rows: list[dict[str, Any]]
    samples: dict[str, np.ndarray]
    seconds: float
    cpu_seconds: float
    trainings: dict[str, float]


@dataclass
class Trainer:
    """Trains cells of one configuration, in any order, and puts them into its record."""

    settings: Settings
    record: Record
    on: training.Compute
    data_dir: Path | str | None
    progress: bool
    studies: dict[tuple[str, str, int], Study] = field(default_factory=dict)

    def prepare(self, cells: Sequence[Cell]) -> None:
        """Make the studies of some cells of one data set, and forget all others."""
        limits = (self.settings.resize, self.settings.train_limit, self.settings.test_limit)
        self.studies = {cell.run: self.studies[cell.run] for cell in cells if cell.run in self.studies}
        for cell in cells:
            if cell.run not in self.studies:
                images = _data(cell.dataset, self.data_dir, *limits, self.on.device)
                self.studies[cell.run] = Study(
                    images, cell.architecture, cell.seed, self.settings, self.on, CACHE, self.progress, self.data_dir
                )

    def measure(self, cells: Sequence[Cell]) -> list[Measured]:
        """Train cells of different runs, side by side if there are several; their time is shared out equally.

        The record is as before.
        """
        began, cpu_began = time.perf_counter(), time.process_time()
        for study in self.studies.values():
            study.seconds = {}
        found = side_by_side([partial(self._run_cell, cell) for cell in cells])
        share = (time.perf_counter() - began) / len(cells)
        cpu_share = (time.process_time() - cpu_began) / len(cells)
        return [
            Measured(*result, share, cpu_share, _shared_out(self.studies[cell.run].seconds, len(cells)))
            for cell, result in zip(cells, found, strict=True)
        ]

    def _run_cell(self, cell: Cell, train: Train) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
        study = self.studies[cell.run]
        study.train = train
        return EXPERIMENTS[self.settings.experiment].run_cell(study, cell.part, cell.seed == self._shown(cell))

    def keep(self, cell: Cell, measured: Measured) -> None:
        """Put what was measured into the record."""
        axes = {"dataset": cell.dataset, "architecture": cell.architecture, "layer": str(cell.part), "seed": cell.seed}
        samples = {f"{cell.prefix}/{name}": array for name, array in measured.samples.items()}
        samples[f"{cell.prefix}/seed"] = self._shown(cell)
        rows = [axes | row for row in measured.rows]
        cost = Cost(measured.seconds, measured.cpu_seconds)
        self.record.add(str(cell), rows, samples, cost, measured.trainings, _classifiers(self.studies[cell.run]))

    def _shown(self, cell: Cell) -> np.ndarray:
        """All images of a run are of one seed, whichever seeds are added later."""
        return self.record.samples.get(f"{cell.prefix}/seed", np.array(self.settings.seeds[0]))


@contextmanager
def opened(
    settings: Settings, on: training.Compute, root: Path, data_dir: Path | str | None = None, progress: bool = False
) -> Iterator[Trainer]:
    """Keep the record of a configuration for this process, and train cells into it.

    Raises
    ------
    RunError
        If another process is writing the record, or the record cannot be opened.
    """
    with locked(folder_of(settings, root)):
        yield Trainer(settings, open_record(settings, root, conditions_of(on)), on, data_dir, progress)


def conditions_of(on: training.Compute) -> Conditions:
    """What the numbers of a training depend on beside its parameters."""
    threads = torch.get_num_threads() if on.device.type == "cpu" else 0
    precision = str(on.dtype).removeprefix("torch.")
    return Conditions(on.device.type, precision, threads, training_code()[:32], on.description)


def _classifiers(study: Study) -> dict[str, str]:
    """Fingerprint of the classifier that a study explains, if any of its cells needed one."""
    model = vars(study).get("classifier")
    if model is None:
        return {}
    weights = {name: part.detach().cpu().numpy() for name, part in model.state_dict().items()}
    return {CLASSIFIER: fingerprint(weights)}


def _shared_out(seconds: dict[str, float], count: int) -> dict[str, float]:
    return {label: round(took / count, 2) for label, took in seconds.items()}


@lru_cache(maxsize=1)
def _data(
    name: str, data_dir: Path | str | None, resize: str, train: int | None, test: int | None, device: torch.device
) -> ImageData:
    return data.load(name, data_dir, resize=resize, train_limit=train, test_limit=test).to(device)
