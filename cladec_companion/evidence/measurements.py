"""What claims are decided from: means and standard deviations per cell, printed or measured, and contrasts of cells."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
import pandas as pd

from cladec_companion.evidence import noise, tables
from cladec_companion.evidence.comparisons import ABOVE, NOT_CONVERGED, Comparison, Region, measured, satterthwaite
from cladec_companion.records.record import Record

RUN = ["dataset", "architecture"]
Place = tuple[str, str, float | str]  # data set, architecture, third level (layer's index or name, α, epochs)
Entry = tuple[str, str, float | str, str]  # the same, and a column
AnyEntry = TypeVar("AnyEntry", bound=Entry)
Number = tuple[str, str]  # method and metric of a record
# Columns that say whether a training's loss was still falling at its end (1: it was) are named after their method.
MARK = "falling_"
FALLING = {MARK + method: (method, "still_falling") for method in ("cladec", "refae")}
METHODS = {"cladec": "ClaDec", "refae": "RefAE"}
ERROR = "_error"  # a column of this ending holds the standard error over test images of the one that it is named after
UNKNOWN = "whether trainings had converged was not recorded"


@dataclass(frozen=True)
class Evidence:
    """What a claim is decided from.

    Attributes
    ----------
    summary
        Mean, sd, n by dataset, architecture, a third level (the layer's index, α, epochs) and metric; printed numbers
        have a fourth column, `rounding`.
    record
        The rows behind it; None for the printed numbers.
    runs
        The metrics as columns, by dataset, architecture, third level and seed. Columns that begin with `falling_` say
        which trainings had not converged, those that end in `_error` the standard error over test images.
    columns
        What each column is in a record.
    known
        Gives the noise of single runs, by default what all committed records know.
    """

    summary: pd.DataFrame
    record: Record | None = None
    runs: pd.DataFrame | None = None
    columns: Mapping[str, Number] = field(default_factory=dict)
    known: Callable[[], noise.Noise] = noise.recorded

    def cells(self, metric: str) -> pd.DataFrame:
        """Mean, sd and n per dataset, architecture and third level, rising; empty if nothing was measured."""
        if self.summary.empty:
            return self.summary
        chosen = self.summary[self.summary.index.get_level_values("metric") == metric]
        return chosen.droplevel("metric").sort_index()

    def chains(self, metric: str, least: int = 1) -> list[tuple[tuple[str, str], pd.DataFrame]]:
        """Cells of each dataset and architecture that has at least so many of them."""
        cells = self.cells(metric)
        groups = cells.groupby(level=RUN) if len(cells) else []
        return [(run, part.droplevel(RUN)) for run, part in groups if len(part) >= least]

    def has(self, *cells: Entry) -> bool:
        """Whether all these cells were measured."""
        return all(cell in self._numbers for cell in cells)

    # Plain dictionaries: a verdict looks up hundreds of cells, each of which takes pandas milliseconds.
    @cached_property
    def _numbers(self) -> dict[Entry, dict[str, float]]:
        return self.summary.to_dict("index")

    @cached_property
    def _seeds(self) -> dict[Place, dict[int, dict[str, float]]]:
        """Place -> seed -> column -> value."""
        found: dict[Place, dict[int, dict[str, float]]] = {}
        if self.runs is not None:
            for (dataset, architecture, at, seed), row in self.runs.to_dict("index").items():
                found.setdefault((dataset, architecture, at), {})[seed] = row
        return found

    @cached_property
    def test_images(self) -> dict[str, float]:
        """How many test images a record's shares are shares of, by data set."""
        if self.record is None:
            return {}
        rows = self.record.rows[self.record.rows["metric"] == "test_images"]
        return rows.groupby("dataset")["value"].first().astype(float).to_dict()

    def contrast(
        self, what: str, weights: Mapping[AnyEntry, float], claimed: Region = ABOVE, *, offset: float = 0.0,
        log: bool = False,
    ) -> Comparison:  # fmt: skip
        """Compare cells: the sum of their means times weights, with its interval.

        Where all cells have two or more seeds in common, the interval is Student's t over these seeds, each of which
        gives one value of the contrast. Else the variances of the cells add up: over their own seeds where a cell has
        several (Welch), and for a single run the pooled seed-to-seed variance plus, for a share of test images, the
        binomial one, which takes shares of the same images for independent of each other and so is cautious.

        Parameters
        ----------
        what
            Where this is.
        weights
            Weight of each cell.
        claimed
            Where the statement says that the contrast lies.
        offset
            A known number to add.
        log
            Whether logarithms are compared: for losses that differ by orders of magnitude.
        """
        per_seed = self._per_seed(weights)
        if len(per_seed) > 1:
            values = (np.log(per_seed) if log else per_seed) @ np.array(list(weights.values())) + offset
            error = values.std(ddof=1) / np.sqrt(len(values))
            found = measured(
                what, values.mean(), error, len(values) - 1, len(values), claimed, by="t over seeds, paired"
            )
        else:
            found = self._unpaired(what, weights, claimed, offset, log)
        return self._marked(found, weights)

    def _per_seed(self, weights: Iterable[Entry]) -> np.ndarray:
        """Values of the cells for the seeds that have all of them: (seeds, cells)."""
        by_cell = [
            {seed: row.get(metric, np.nan) for seed, row in self._seeds.get((dataset, architecture, at), {}).items()}
            for dataset, architecture, at, metric in weights
        ]  # fmt: skip
        seeds = [seed for seed in by_cell[0] if all(np.isfinite(own.get(seed, np.nan)) for own in by_cell)]
        return np.array([[own[seed] for own in by_cell] for seed in seeds], dtype=float)

    def _unpaired(
        self, what: str, weights: Mapping[AnyEntry, float], claimed: Region, offset: float, log: bool
    ) -> Comparison:
        rows = [self._numbers[cell] for cell in weights]
        means = np.array([row["mean"] for row in rows], dtype=float)
        factors = np.array(list(weights.values()), dtype=float)
        scale = 1 / means if log else np.ones_like(means)
        parts = [self._variances(cell, row) for cell, row in zip(weights, rows, strict=True)]
        rounding = np.array([row.get("rounding", 0.0) for row in rows], dtype=float)
        effect = float(factors @ (np.log(means) if log else means)) + offset
        n = int(min(row["n"] for row in rows))
        by = "Welch's t over seeds" if n > 1 else "one run: pooled seed-to-seed sd, and binomial for shares"
        if not all(parts):
            why = "a single run, and the records have too few seeds of this number"
            return measured(what, effect, np.nan, 1, n, claimed, by=by).barred(why)
        by_source: dict[Hashable, tuple[float, float]] = {}  # -> variance and freedom: one estimate is counted once
        for square, own in zip((factors * scale) ** 2, parts, strict=True):
            for sd, freedom, source in own:
                by_source[source] = (by_source.get(source, (0.0, freedom))[0] + square * sd**2, freedom)
        variances, freedoms = map(np.array, zip(*by_source.values(), strict=True))
        return measured(
            what, effect, float(np.sqrt(variances.sum())), satterthwaite(variances, freedoms), n, claimed,
            by=by, rounding=float(np.abs(factors * scale) @ rounding),
        )  # fmt: skip

    def _variances(self, cell: Entry, row: Mapping[str, float]) -> list[tuple[float, float, Hashable]]:
        """Standard error, degrees of freedom and name of each source of a cell's noise; none if it is not known.

        Cells whose noise was pooled from the same runs have that source in common.
        """
        if row["n"] > 1:
            # A printed sd of 0.0 is any below half a unit.
            return [((row["sd"] + row.get("rounding_sd", 0.0)) / np.sqrt(row["n"]), row["n"] - 1, cell)]
        dataset, architecture, at, metric = cell
        number = self.columns.get(metric)
        if number is None:
            return []
        known = self.known()
        spread = known.of(*number, architecture)
        if not spread:
            return []
        sources: list[tuple[float, float, Hashable]] = [(spread.of(row["mean"]), spread.freedom, spread)]
        own = self._seeds.get((dataset, architecture, at), {}).values()
        over_images = [values[metric + ERROR] for values in own if metric + ERROR in values]
        if over_images:
            error = float(np.mean(over_images))
            return [*sources, (error, np.inf, cell)] if np.isfinite(error) else []
        if known.is_share(*number):
            images = self.test_images.get(dataset)
            if not images:
                return []
            share = np.clip(row["mean"], 1 / images, 1 - 1 / images)
            sources.append((np.sqrt(share * (1 - share) / images), np.inf, cell))
        return sources

    def _marked(self, found: Comparison, weights: Iterable[Entry]) -> Comparison:
        """The comparison, barred if it involves a training that had not converged, or with a word that nobody knows."""
        falling, unknown = [], False
        for dataset, architecture, at, metric in weights:
            method = self.columns.get(metric, ("", ""))[0]
            rows = self._seeds.get((dataset, architecture, at), {}).values()
            marks = [row[MARK + method] for row in rows if MARK + method in row]
            known = [mark for mark in marks if np.isfinite(mark)]
            unknown |= bool(marks) and not known
            if any(mark > 0 for mark in known):
                falling.append(f"{METHODS.get(method, method)} at {at} of {tables.DATASET_NAMES.get(dataset, dataset)}")
        if falling:
            return found.barred(f"{NOT_CONVERGED}: {', '.join(dict.fromkeys(falling))}", too_short=True)
        return found.with_caveat(UNKNOWN) if unknown else found


def evidence_of(
    record: Record,
    runs: pd.DataFrame,
    columns: Mapping[str, Number],
    differences: Mapping[str, Number] | None = None,
    known: Callable[[], noise.Noise] = noise.recorded,
) -> Evidence:
    """Evidence from the metrics of each run, in columns, by dataset, architecture, third level and seed.

    `differences` are columns of the summary that are taken within each run; claims contrast their parts instead.
    """
    wide = tables.with_differences(runs, dict(differences or {}))
    shown = wide[[name for name in wide if not name.startswith(MARK) and not name.endswith(ERROR)]]
    return Evidence(tables.summarise_runs(shown), record, runs, dict(columns), known)


def where(run: tuple[str, str], at: str = "") -> str:
    """Name a data set and a network, and what is below them."""
    names = [tables.DATASET_NAMES.get(run[0], run[0]), tables.ARCHITECTURE_NAMES.get(run[1], run[1]), at]
    return ", ".join(name for name in names if name)
