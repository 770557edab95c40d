"""The cells of a profile, each with its configuration, in the order of training.

The order is that of the most evidence per second: data set by data set; for each, the paper's tables one after the
other, then the chapters that belong to none; in each, the first seed of everything before the second. So the cells
of a run stand together and share its classifier.
"""

from dataclasses import dataclass, fields
from importlib.util import find_spec
from typing import Any

from cladec_companion.engine.runner import EXPERIMENTS, Cell, plan
from cladec_companion.records.settings import SETTINGS, settings_for
from cladec_core.errors import UsageError, one_of

# The paper's tables -> experiment and network.
TABLES = {
    "table2": ("layers", "vgg11"), "table3": ("layers", "resnet10"),
    "table4": ("alpha", "vgg11"), "table5": ("alpha", "resnet10"), "table6": ("encoder_training", "vgg11"),
    "table7": ("occlusion", "vgg11"), "table8": ("occlusion", "resnet10"),
}  # fmt: skip


@dataclass(frozen=True)
class Job:
    """A cell, and the configuration to whose record it belongs."""

    settings: Any
    cell: Cell

    def __str__(self) -> str:
        return f"{self.settings.experiment}/{self.cell}"

    @property
    def lacks(self) -> str:
        """The package that it needs and that is not installed; empty if there is none."""
        needs = EXPERIMENTS[self.settings.experiment].needs.get(str(self.cell.part), "")
        return needs if needs and find_spec(needs) is None else ""


def of_profile(profile: str, only: str | None = None, changes: dict[str, Any] | None = None) -> list[Job]:
    """All cells of a profile, in the order of training.

    Parameters
    ----------
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
    name = only.partition("/")[0] if only else None
    if name:
        one_of("experiment or table", name, [*EXPERIMENTS, *TABLES])
    experiment, architecture = TABLES.get(name, (name, None))
    changes = ({"architectures": [architecture]} if architecture else {}) | (changes or {})
    chosen = [experiment] if experiment else list(EXPERIMENTS)
    parameters = {name: {item.name for item in fields(SETTINGS[name])} - {"profile"} for name in chosen}
    for name in changes:
        one_of("parameter", name, sorted(set().union(*parameters.values())))
    found = []
    for name in chosen:
        settings = settings_for(name, profile, **{key: changes[key] for key in changes if key in parameters[name]})
        found += [Job(settings, cell) for cell in plan(settings)]
    datasets, tables = list(dict.fromkeys(job.cell.dataset for job in found)), list(TABLES.values())

    def place(job: Job) -> tuple[int, int]:
        table = (job.settings.experiment, job.cell.architecture)
        return datasets.index(job.cell.dataset), tables.index(table) if table in tables else len(tables)

    found.sort(key=place)  # stable: what is alike stays in the order of `plan`
    if only and "/" in only:
        cells = [job for job in found if str(job) == only]
        if not cells:
            raise UsageError(f"No cell {only!r} in the profile; valid: what --list prints, such as {str(found[0])!r}.")
        return cells
    return found
