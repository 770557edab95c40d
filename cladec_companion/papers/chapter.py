"""What a chapter of the book declares; the machinery asks it and knows no chapter by name.

Importing the chapters imports no torch: what trains and measures is named by its module, and imported when it is asked
for. So plans, lists of cells and refusals of a name come at once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.resources import files
from types import ModuleType
from typing import TYPE_CHECKING, Any

import yaml

from cladec_companion.records.settings import Parameters, settings_for

if TYPE_CHECKING:
    from cladec_companion.engine.runner import CellRun
    from cladec_companion.engine.setup import Setup
    from cladec_companion.records.record import Record

    RunCell = Callable[[Setup, Any, bool], CellRun]
Cells = Callable[[Any, str], Iterator[Any]]


UNMEASURED = re.compile(r"\bnan")  # how Python prints a number that is none


@dataclass(frozen=True)
class InModule:
    """The function `run_cell` of a module that is imported when the first cell runs."""

    name: str

    def __call__(self, setup: Setup, part: Any, keep_samples: bool) -> CellRun:
        """Call the function."""
        found: RunCell = import_module(self.name).run_cell
        return found(setup, part, keep_samples)


@dataclass(frozen=True, eq=False)
class Chapter:
    """One question: its parameters, what is trained for it, and how the book tells of it.

    Attributes
    ----------
    name
        Of the notebook, of the experiment in a record, and of the folder below the paper's.
    settings
        The parameters of the notebook.
    question
        What it asks, in a few words.
    cells
        `cells(settings, architecture)` gives the parts that are trained one by one; each has a name of its own (`str`).
        None for a chapter that trains no networks of its own.
    run_cell
        `run_cell(setup, part, keep_samples)` is a generator: it yields, once, the trainings that the cell needs, is
        sent their networks, and returns rows and uint8 images. A row that names no layer has the part's.
    needs
        Parts that import a package beside those that training needs: name -> package.
    judged_by
        Module of the claims (`CLAIMS`, `printed()`, `evidence(record, others)`, and `in_our_scale(printed)` where a
        record's axis has another scale than the printed one); imported when it is asked for, as training needs neither
        tables nor statistics. Empty for a chapter without claims.
    further
        Module of claims that the same records decide and no notebook lists; empty for none.
    findings_by
        Module of questions of ours that no paper asks: `findings_of(record)` gives sentence -> verdict, and a constant
        `BACKGROUND`, if there is one, what readers have to know before. Empty for none.
    captions_by
        Module of what figures show: `told(record)` gives name of a figure -> the sentence that its caption begins with,
        made from the numbers of the record that the figure is drawn from. Empty for none.
    decided_elsewhere
        Keys of claims that the chapter tells of and the records of another chapter decide.
    headings
        Name, in the module of the claims, of what the printed columns are called; empty for a chapter without a
        printed table.
    axis
        What the third level of a summary is ("layer", "alpha"...); empty where the paper prints no table.
    tables
        The paper's tables that the chapter reproduces -> network.
    reason
        Why a table may differ from its print besides the protocol.
    unrecorded
        Why no record can decide the claims; empty where one can.
    measures_time
        Whether the notebook times something, so that nothing else should run beside it.
    handed_out_by
        Module of a study with participants: `export(settings, out, ...)` and `analyse(folder, answers, ...)`. Empty for
        a chapter without one.
    mark
        Place of the chapter's number in the scheme of the method on the map of the chapters.
    classifier
        What the classifier is called where it is none of the core's architectures; empty where it is one.
    spoken
        What a sentence calls the chapter; empty where that is its name.
    """

    name: str
    settings: type[Parameters]
    question: str = ""
    cells: Cells | None = None
    run_cell: RunCell | None = None
    needs: Mapping[str, str] = field(default_factory=dict)
    judged_by: str = ""
    further: str = ""
    findings_by: str = ""
    captions_by: str = ""
    decided_elsewhere: tuple[str, ...] = ()
    headings: str = ""
    axis: str = ""
    tables: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    unrecorded: str = ""
    measures_time: bool = False
    handed_out_by: str = ""
    mark: tuple[int, int] | None = None
    classifier: str = ""
    spoken: str = ""

    @property
    def trains(self) -> bool:
        """Whether the chapter has cells of its own."""
        return self.cells is not None

    @property
    def claims(self) -> ModuleType | None:
        """The module of the claims, if there is one."""
        return import_module(self.judged_by) if self.judged_by else None

    def printed_as_recorded(self) -> Any:
        """The printed numbers at the places of a record's axis that mean the same, to be set beside its numbers."""
        assert self.claims is not None
        same_scale = getattr(self.claims, "in_our_scale", lambda printed: printed)
        return same_scale(self.claims.printed())

    @property
    def all_claims(self) -> list[ModuleType]:
        """The modules of all claims that its records decide."""
        return [import_module(name) for name in (self.judged_by, self.further) if name]

    @property
    def findings(self) -> ModuleType | None:
        """The module of the questions that no paper asks, if there is one."""
        return import_module(self.findings_by) if self.findings_by else None

    def told(self, record: Record | None) -> dict[str, str]:
        """What the figures of a record show: name of the figure -> sentence; empty without a record.

        A sentence that its module leaves empty, or that has a number which was not measured, is left out.
        """
        if record is None or not self.captions_by:
            return {}
        found: dict[str, str] = import_module(self.captions_by).told(record)
        return {name: sentence for name, sentence in found.items() if sentence and not UNMEASURED.search(sentence)}

    @property
    def kit(self) -> ModuleType:
        """The module of the study with participants."""
        return import_module(self.handed_out_by)

    @property
    def columns(self) -> dict[str, str]:
        """Metric -> heading of the printed columns."""
        return getattr(self.claims, self.headings) if self.headings else {}

    def settings_for(self, profile: str = "quick", **changes: Any) -> Any:
        """Make a checked configuration (see `records.settings.settings_for`)."""
        return settings_for(self.settings, profile, **changes)


@dataclass(frozen=True)
class Quotation:
    """A claim in the words of its paper, and where the book shows what became of it.

    Attributes
    ----------
    quote
        A short quotation; empty where the claim restates a picture or a table.
    figure
        Label of a figure of the claim's chapter; empty where none shows it.
    """

    quote: str = ""
    figure: str = ""


@dataclass(frozen=True, eq=False)
class Paper:
    """A paper with its chapters, in the order of the book.

    Attributes
    ----------
    title
        Name of its method, and its authors.
    package
        Its folder, as a package: the file `quotations.yml` in it has the sentences behind the claims.
    chapters
        What the paper asks.
    drawn_by
        Module of the pictures that no chapter draws: `write(folder)`, and `scheme()`, the method as SVG. Empty where
        there are none.
    printed_by
        Module of the printed numbers: `known()`, the noise of single runs. Empty if the paper prints no spreads.
    limits_by
        Module of the limits that several of its chapters share, or no claim. Empty where there are none.
    """

    title: str
    package: str
    chapters: tuple[Chapter, ...]
    drawn_by: str = ""
    printed_by: str = ""
    limits_by: str = ""

    @cached_property
    def quotations(self) -> dict[str, Quotation]:
        """What the paper says in its own words, by claim."""
        text = files(self.package).joinpath("quotations.yml").read_text(encoding="utf-8")
        return {key: Quotation(**said) for key, said in yaml.safe_load(text).items()}

    @property
    def pictures(self) -> ModuleType | None:
        """The module of the pictures; imported when it is asked for, as training needs no matplotlib."""
        return import_module(self.drawn_by) if self.drawn_by else None

    @property
    def printed(self) -> ModuleType | None:
        """The module of the printed numbers, if there is one."""
        return import_module(self.printed_by) if self.printed_by else None

    @property
    def limits(self) -> ModuleType | None:
        """The module of the limits that its chapters share, if there is one."""
        return import_module(self.limits_by) if self.limits_by else None
