"""The cells of a profile, each with its configuration, in the order of training.

The order is that of the most evidence per second: data set by data set; for each, the papers' tables one after the
other, then the chapters that belong to none; in each, the first seed of everything before the second. So the cells
of a run stand together and share its classifier.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from cladec_companion.records.settings import Parameters, Settings, settings_for
from cladec_core import data
from cladec_core.errors import UsageError, one_of

if TYPE_CHECKING:
    from cladec_companion.engine.runner import CellRun
    from cladec_companion.engine.setup import Setup


CLASSIFIER = "classifier"  # label of the classifier to explain, and of the part that measures it alone


class Experiment(Protocol):
    """What the engine asks of a chapter (`papers.chapter.Chapter` is one)."""

    @property
    def name(self) -> str:
        """Name in records."""

    @property
    def needs(self) -> Mapping[str, str]:
        """Parts that import a package beside those that training needs: name -> package."""

    @property
    def cells(self) -> Callable[[Any, str], Iterator[Any]] | None:
        """`cells(settings, architecture)` gives the parts that are trained one by one."""

    @property
    def run_cell(self) -> Callable[[Setup, Any, bool], CellRun] | None:
        """Asks for trainings, once, and returns rows and images."""


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
    def key(self) -> str:
        """Name of the data set in a record; that of a folder of images is short and has no path."""
        return data.record_key(self.dataset)

    @property
    def prefix(self) -> str:
        """Where a record keeps its images."""
        return f"{self.key}/{self.architecture}"

    @property
    def run(self) -> tuple[str, str, int]:
        """What shares one classifier to explain: data set, architecture and seed."""
        return self.dataset, self.architecture, self.seed


def plan(experiment: Experiment, settings: Settings) -> list[Cell]:
    """All cells of a configuration, the first seed of everything before the second of anything."""
    assert experiment.cells is not None
    return [
        Cell(seed, dataset, architecture, part)
        for seed in settings.seeds
        for dataset in settings.datasets
        for architecture in settings.architectures
        for part in experiment.cells(settings, architecture)
    ]


class Planned(Experiment, Protocol):
    """A chapter, as a plan sees it."""

    @property
    def settings(self) -> type[Parameters]:
        """Its parameters."""

    @property
    def tables(self) -> Mapping[str, str]:
        """The papers' tables that it reproduces -> network."""


@dataclass(frozen=True)
class PlannedCell:
    """A cell to be trained, and the configuration to whose record it belongs."""

    experiment: Experiment
    settings: Settings
    cell: Cell

    def __str__(self) -> str:
        return f"{self.settings.experiment}/{self.cell}"

    @property
    def lacks(self) -> str:
        """The package that it needs and that is not installed; empty if there is none."""
        needs = self.experiment.needs.get(str(self.cell.part), "")
        return needs if needs and find_spec(needs) is None else ""


def tables_of(chapters: Mapping[str, Planned]) -> dict[str, tuple[str, str]]:
    """The papers' tables -> experiment and network, in the order of their names."""
    found = {table: (name, network) for name, one in chapters.items() for table, network in one.tables.items()}
    return dict(sorted(found.items()))


def of_profile(
    chapters: Mapping[str, Planned], profile: str, only: str | None = None, changes: dict[str, Any] | None = None
) -> list[PlannedCell]:
    """All cells of a profile, in the order of training.

    Parameters
    ----------
    chapters
        By name; those without cells are passed over.
    profile
        One of `settings.PROFILES`.
    only
        An experiment, a table (`table2`...) or one cell (`layers/digits/vgg11/conv2/0`).
    changes
        Parameters; each goes to those experiments that have it.

    Raises
    ------
    UsageError
        For anything that does not exist.
    """
    trained = {name: one for name, one in chapters.items() if one.cells is not None}
    tables = tables_of(trained)
    name = only.partition("/")[0] if only else None
    if name:
        one_of("experiment or table", name, [*trained, *tables])
    experiment, architecture = tables.get(name or "", (name, None))
    changes = ({"architectures": [architecture]} if architecture else {}) | (changes or {})
    chosen = [experiment] if experiment else list(trained)
    parameters = {name: {item.name for item in fields(trained[name].settings)} - {"profile"} for name in chosen}
    for name in changes:
        one_of("parameter", name, sorted(set().union(*parameters.values())))
    found = []
    for name in chosen:
        own = {key: changes[key] for key in changes if key in parameters[name]}
        settings = settings_for(trained[name].settings, profile, **own)
        found += [PlannedCell(trained[name], settings, cell) for cell in plan(trained[name], settings)]
    datasets, order = list(dict.fromkeys(task.cell.dataset for task in found)), list(tables.values())

    def place(task: PlannedCell) -> tuple[int, int]:
        table = (task.settings.experiment, task.cell.architecture)
        return datasets.index(task.cell.dataset), order.index(table) if table in order else len(order)

    found.sort(key=place)  # stable: what is alike stays in the order of `runner.plan`
    if only and "/" in only:
        cells = [task for task in found if str(task) == only]
        if not cells:
            raise UsageError(f"No cell {only!r} in the profile; valid: what --list prints, such as {str(found[0])!r}.")
        return cells
    return found
