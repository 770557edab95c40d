"""Whether B2, B3 and B15 are facts or under-training; Q6 to Q9 are questions of ours."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np
import pandas as pd

from cladec_companion.evidence import measurements, tables
from cladec_companion.evidence.claims import (
    EVERY,
    FAILS,
    HOLDS,
    MOST,
    NINE_IN_TEN,
    RUN,
    Claim,
    Comparison,
    Quantifier,
    Verdict,
    every_part,
    judge,
    unprinted,
)
from cladec_companion.evidence.comparisons import ABOVE, AGAINST, BELOW, FOR, Region
from cladec_companion.evidence.measurements import FALLING, MARK, Entry, evidence_of, where
from cladec_companion.evidence.trends import slope
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.records.files import RECORDED
from cladec_companion.records.record import Record, read_record
from cladec_companion.records.samples import ImageName

KEYS = [*RUN, "layer", "images", "epochs"]
DELTA_REC, DELTA_ACC = {"rec_cladec": 1.0, "rec_refae": -1.0}, {"acc_cladec": 1.0, "acc_refae": -1.0}
OURS = "a question of ours; the paper trains everything for one length"
LAYERS = "layers"  # the experiment whose record has the longest training, where it was made
START = 1.0  # loss (standardised mean) of a plain image of the mean grey, from which every training comes down
STILL_FALLING, UNRECORDED = "still falling", "not recorded"
Run = tuple[str, str]


@dataclass(frozen=True)
class Evidence(measurements.Evidence):
    """The numbers of each budget; the third level of the summary is a layer with its images and epochs.

    That a training was still falling bars no comparison here, as its length is what is asked about; tables and figures
    mark it (`still_falling`).
    """

    def lengths(self) -> Iterator[tuple[Run, str, int, list[int]]]:
        """Data set and network, layer, number of images, and the lengths in epochs, rising: of each layer."""
        if self.runs is not None:
            found: dict[tuple[Run, str, int], set[int]] = {}
            for dataset, architecture, cell in self.runs.index.droplevel("seed").unique():
                layer, images, epochs = _parts(cell)
                found.setdefault(((dataset, architecture), layer, images), set()).add(epochs)
            for (run, layer, images), epochs_of in sorted(found.items()):
                yield run, layer, images, sorted(epochs_of)

    def difference(self, run: Run, cell: str, terms: dict[str, float], claimed: Region) -> Comparison | None:
        """A difference of one budget against a region; None if it was not measured."""
        weights: dict[Entry, float] = {(*run, cell, name): weight for name, weight in terms.items()}
        return self.contrast(where(run, _spoken(cell)), weights, claimed) if self.has(*weights) else None


def _name(layer: str, images: int, epochs: int) -> str:
    return f"{layer} {images} {epochs}"


def _parts(cell: object) -> tuple[str, int, int]:
    layer, images, epochs = str(cell).split(" ")
    return layer, int(images), int(epochs)


def _spoken(cell: str) -> str:
    layer, images, epochs = _parts(cell)
    return f"{layer}, {budget(images, epochs)}"


def budget(images: int, epochs: int) -> str:
    """A budget for a reader."""
    return f"{images:,} images, {epochs} epoch{'s' if epochs > 1 else ''}"


def printed() -> Evidence:
    """The paper prints no number about these questions."""
    return Evidence(pd.DataFrame())


def evidence(record: Record) -> Evidence:
    """What the claims need from a record of this experiment, with what committed records of `layers` add to it."""
    record = with_longest(record)
    steps = record.rows[["images", "epochs"]].astype(int).astype(str)
    cells = record.rows["layer"] + " " + steps["images"] + " " + steps["epochs"]
    rows = record.rows.assign(cell=cells, value=record.rows["value"].astype(float))
    runs = tables.columns_of(rows, printed_tables.COLUMNS, [*RUN, "cell", "seed"])
    found = evidence_of(record, runs, printed_tables.COLUMNS, printed_tables.DIFFERENCES)
    return Evidence(found.summary, record, runs, printed_tables.COLUMNS, printed_tables.known)


# ---- the longest training, from the record of the chapter on layers


def with_longest(record: Record, others: Iterable[Record] | None = None) -> Record:
    """A record of this experiment with what records of `layers` know of other lengths of the same trainings.

    What is taken explains the same classifier (by its fingerprint), was made with the same parameters but for its
    length, and is not in the record itself. So the longest length is trained once, for the chapter on layers.

    Parameters
    ----------
    record
        Of the experiment `budget`.
    others
        Records to look into; by default the committed ones.
    """
    rows, samples = [record.rows], dict(record.samples)
    for other in committed() if others is None else others:
        if other.manifest["experiment"] == LAYERS and _alike(record, other):
            added, images = _taken(record, other)
            rows.append(added)
            samples |= {name: array for name, array in images.items() if name not in samples}
    return replace(record, rows=pd.concat(rows, ignore_index=True), samples=samples)


@lru_cache(maxsize=1)
def committed() -> tuple[Record, ...]:
    """The committed records of the chapter on layers."""
    return tuple(read_record(folder) for folder in sorted(RECORDED.glob(f"*/{LAYERS}")))


def _alike(record: Record, other: Record) -> bool:
    """Whether two records differ in lengths alone, and the evaluation classifiers of the other in none."""
    ours, theirs = (part.manifest["configuration"] for part in (record, other))
    same = ("batch_size", "decoder_style", "resize", "width", "index_map", "train_limit", "test_limit")
    return all(ours.get(name) == theirs.get(name) for name in same) and (
        theirs.get("classifier_epochs") == theirs.get("decoder_epochs")
    )


def _taken(record: Record, other: Record) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
    """Rows and images of cells of another record that explain a classifier of ours, as rows and images of ours."""
    epochs = int(other.manifest["configuration"]["decoder_epochs"])
    counts = other.rows[other.rows["metric"] == "train_images"].groupby("dataset")["value"].first().astype(int)
    known = {(*name.split("/")[:2], name.rsplit("/", 1)[1]): _marks(cell) for name, cell in record.cells.items()}
    own = {(*name.split("/")[:2], name.split("/")[2].split(" ")[0]) for name in record.cells}
    ours = set(record.rows[[*KEYS, "seed"]].drop_duplicates().astype(str).itertuples(index=False, name=None))
    rows: list[pd.DataFrame] = []
    samples: dict[str, np.ndarray] = {}
    for name, cell in other.cells.items():
        dataset, architecture, layer, seed = name.split("/")
        marks = known.get((dataset, architecture, seed), set())
        if (dataset, architecture, layer) not in own or not marks & _marks(cell) or dataset not in counts:
            continue
        images = counts[dataset]
        if (dataset, architecture, layer, str(images), str(epochs), seed) in ours:
            continue
        part = other.rows[
            (other.rows["dataset"] == dataset) & (other.rows["architecture"] == architecture)
            & (other.rows["layer"] == layer) & (other.rows["seed"].astype(str) == seed)
        ]  # fmt: skip
        rows.append(part[[*RUN, "layer", "method", "seed", "metric", "value"]].assign(images=images, epochs=epochs))
        samples |= _pictures(record, other, (dataset, architecture), layer, (images, epochs))
    return pd.concat(rows) if rows else record.rows.iloc[:0], samples


def _marks(cell: dict) -> set[str]:
    return set(cell.get("classifiers", {}).values())


def _pictures(record: Record, other: Record, run: Run, layer: str, spent: tuple[int, int]) -> dict[str, np.ndarray]:
    """Images of a cell of another record, of the test images that ours shows; none unless it has all of those."""
    places = [found.samples.get(str(ImageName(*run, ("index",)))) for found in (record, other)]
    names = {method: str(ImageName(*run, (layer, method))) for method in ("cladec", "refae")}
    if places[0] is None or places[1] is None or any(name not in other.samples for name in names.values()):
        return {}
    theirs = {int(place): at for at, place in enumerate(places[1])}
    if any(int(place) not in theirs for place in places[0]):
        return {}
    order = [theirs[int(place)] for place in places[0]]
    return {
        str(ImageName(*run, (layer, *map(str, spent), method))): other.samples[name][order]
        for method, name in names.items()
    }


# ---- questions


def _keeps(evidence: Evidence, terms: dict[str, float], what: str) -> Verdict:
    """Whether every shorter length gives a difference the sign that the longest gives it, at every layer."""
    found = []
    for run, layer, images, lengths in evidence.lengths():
        last = evidence.difference(run, _name(layer, images, lengths[-1]), terms, ABOVE)
        claimed = BELOW if last and last.reading == AGAINST else ABOVE
        for epochs in lengths[:-1]:
            short = evidence.difference(run, _name(layer, images, epochs), terms, claimed)
            if short and last:
                clear = last.reading in (FOR, AGAINST)
                found.append(short if clear else short.barred("the longest training gives no clear sign"))
    return judge(found, f"{what} has the sign that the longest training gives it", lacking="needs two lengths")


@unprinted(OURS)
def rec_keeps(evidence: Evidence) -> Verdict:
    """After every shorter training ΔRec has the sign that it has after the longest, at every layer."""
    return _keeps(evidence, DELTA_REC, "ΔRec")


@unprinted(OURS)
def acc_keeps(evidence: Evidence) -> Verdict:
    """After every shorter training ΔAcc has the sign that it has after the longest, at every layer."""
    return _keeps(evidence, DELTA_ACC, "ΔAcc")


def _trend(evidence: Evidence, terms: dict[str, float], claimed: Region) -> list[Comparison]:
    """Slope over the lengths of each layer that has two or more."""
    found = []
    for run, layer, images, lengths in evidence.lengths():
        weights: dict[Entry, float] = (
            {
                (*run, _name(layer, images, epochs), name): weight * rise
                for epochs, rise in zip(lengths, slope(range(len(lengths))), strict=True)
                for name, weight in terms.items()
            }
            if len(lengths) > 1
            else {}
        )
        if weights and evidence.has(*weights):
            found.append(evidence.contrast(where(run, f"{layer}, {images:,} images"), weights, claimed))
    return found


def _lacks(evidence: Evidence, run: Run, cells: tuple[str, str]) -> Comparison | None:
    """The share of its own fall that the RefAE lacks after the shorter of two trainings, less what ClaDec lacks of its.

    A method's fall leads from a plain grey image to its longest training. By losses, or their logarithms, the one with
    the lower floor would always fall by more. The share is linearised at the means, so that its noise is that of the
    losses.
    None if a loss was not measured, or is no lower than that of the grey image.
    """
    weights: dict[Entry, float] = {}
    offset = 0.0
    for name, sign in (("rec_refae", 1.0), ("rec_cladec", -1.0)):
        entries: list[Entry] = [(*run, cell, name) for cell in cells]
        if not evidence.has(*entries):
            return None
        short, last = (float(evidence.summary.loc[entry, "mean"]) for entry in entries)
        fall = START - last
        if fall <= 0:
            return None
        rises = (sign / fall, -sign * (START - short) / fall**2)
        weights |= dict(zip(entries, rises, strict=True))
        offset += sign * (short - last) / fall - rises[0] * short - rises[1] * last
    layer, images, _ = _parts(cells[0])
    return evidence.contrast(where(run, f"{layer}, {images:,} images"), weights, ABOVE, offset=offset)


@unprinted(OURS)
def reference_needs_longer(evidence: Evidence) -> Verdict:
    """After the shortest training the RefAE lacks a larger share of its own fall than ClaDec of its, at every layer."""
    pairs = (
        _lacks(evidence, run, (_name(layer, images, lengths[0]), _name(layer, images, lengths[-1])))
        for run, layer, images, lengths in evidence.lengths() if len(lengths) > 1
    )  # fmt: skip
    lacking = "needs two lengths, and losses below that of a grey image"
    return _judged(pairs, "the share that RefAE lacks is larger", EVERY, lacking)


@unprinted(OURS)
def advantage_shrinks(evidence: Evidence) -> Verdict:
    """ΔAcc is above 0 after the shortest training, and falls with the length, at every layer."""
    first = (
        evidence.difference(run, _name(layer, images, lengths[0]), DELTA_ACC, ABOVE)
        for run, layer, images, lengths in evidence.lengths() if len(lengths) > 1
    )  # fmt: skip
    falls = judge(_trend(evidence, DELTA_ACC, BELOW), "ΔAcc falls per length", lacking="needs two lengths")
    there = _judged(first, "ΔAcc > 0 after the shortest training", EVERY, "needs two lengths")
    return every_part({"an advantage": there, "its trend": falls})


CLAIMS = [
    Claim("Q6", "ours", "The sign of ΔRec does not depend on how long everything was trained", rec_keeps),
    Claim("Q7", "ours", "The sign of ΔAcc does not depend on how long everything was trained", acc_keeps),
    Claim(
        "Q8",
        "ours",
        "After a short training the reference has covered a smaller share of its way than ClaDec's decoder has of its "
        "own way",
        reference_needs_longer,
    ),
    Claim("Q9", "ours", "ClaDec's advantage in evaluation accuracy shrinks with training", advantage_shrinks),
]


# ---- what follows for claims of the chapter on layers


def _b2(evidence: Evidence, cells: list[tuple[Run, int, str]]) -> Verdict:
    found = [evidence.difference(run, cell, DELTA_ACC, ABOVE) for run, index, cell in cells if index != -1]
    return _judged(found, "ΔAcc > 0 below the last layer", NINE_IN_TEN)


def _b3(evidence: Evidence, cells: list[tuple[Run, int, str]]) -> Verdict:
    found = [evidence.difference(run, cell, DELTA_ACC, BELOW) for run, index, cell in cells if index == -1]
    return _judged(found, "ΔAcc < 0 at layer -1", MOST)


def _b15(evidence: Evidence, cells: list[tuple[Run, int, str]]) -> Verdict:
    found = []
    for run in dict.fromkeys(run for run, _, _ in cells):
        own = [cell for _, cell in sorted((index, cell) for other, index, cell in cells if other == run)]
        for metric, method, claimed in (("acc_cladec", "ClaDec", ABOVE), ("acc_refae", "RefAE", BELOW)):
            if len(own) > 1 and evidence.has(*((*run, cell, metric) for cell in own)):
                rises = zip(own, slope(range(len(own))), strict=True)
                weights: dict[Entry, float] = {(*run, cell, metric): rise for cell, rise in rises}
                found.append(evidence.contrast(where(run, method), weights, claimed))
    return judge(found, "accuracy rises per layer for ClaDec, falls for RefAE,")


def _judged(
    found: Iterable[Comparison | None],
    what: str,
    quantifier: Quantifier,
    lacking: str = "needs cells that were not run",
) -> Verdict:
    return judge([one for one in found if one], what, quantifier, lacking=lacking)


FOLLOWS = {"B2": _b2, "B3": _b3, "B15": _b15}


def by_budget(evidence: Evidence) -> dict[str, dict[tuple[int, int], Verdict]]:
    """What each budget by itself says of B2, B3 and B15: claim -> (images, epochs), rising -> verdict.

    The chapter on layers asks the same of its cells. Here they are those of the layers that this chapter trains, of
    which two make a trend, and trainings count that were not finished, since their length is what is asked about.
    """
    assert evidence.record is not None
    indices = _indices(evidence.record)
    cells: dict[tuple[int, int], list[tuple[Run, int, str]]] = {}
    for run, layer, images, lengths in evidence.lengths():
        index = indices.get((run[1], layer))
        if index is None:
            continue
        for epochs in lengths:
            cells.setdefault((images, epochs), []).append((run, index, _name(layer, images, epochs)))
    return {key: {spent: decide(evidence, cells[spent]) for spent in sorted(cells)} for key, decide in FOLLOWS.items()}


def _indices(record: Record) -> dict[tuple[str, str], int]:
    """The paper's index of each layer of each network that has one."""
    named = record.rows.assign(number=tables.layer_index(record))[["architecture", "layer", "number"]]
    found = named.dropna().drop_duplicates().itertuples(index=False, name=None)
    return {(architecture, layer): int(number) for architecture, layer, number in found}


def follows(evidence: Evidence) -> pd.DataFrame:
    """A row for each claim: what each budget by itself says of it, and what that means for each number of images."""
    rows = []
    for key, verdicts in by_budget(evidence).items():
        row = {"claim": key} | {budget(*spent): f"{one.verdict}: {one.evidence}" for spent, one in verdicts.items()}
        lengths: dict[int, list[str]] = {}
        for (images, _), one in verdicts.items():
            lengths.setdefault(images, []).append(one.verdict)
        rows.append(row | {"so": "; ".join(f"{images:,} images: {meaning(own)}" for images, own in lengths.items())})
    return pd.DataFrame(rows).set_index("claim")


def meaning(verdicts: list[str]) -> str:
    """What the verdicts after trainings on as many images, from the shortest to the longest, say of a claim."""
    decided = [one for one in verdicts if one in (HOLDS, FAILS)]
    if len(verdicts) < 2:
        return "needs two lengths"
    if not decided:
        return "no length decides it"
    if verdicts[-1] not in (HOLDS, FAILS):
        return "the longest training leaves open what a shorter one decides"
    if set(decided) == {HOLDS, FAILS}:
        return "an effect of the length: a shorter training says the opposite of the longest"
    if len(decided) < len(verdicts):
        return "decided by the longest training, and contradicted by none"
    return "the same after every length"


def numbers(record: Record) -> pd.DataFrame:
    """Means over seeds of losses, evaluation accuracies and differences, by data set, network, layer and budget.

    The columns `falling_cladec` and `falling_refae` are above 0 where a loss was still falling at its end, and NaN
    where nobody recorded that.
    """
    columns = printed_tables.COLUMNS | FALLING
    wide = tables.columns_of(record.rows, columns, [*KEYS, "seed"])
    return tables.with_differences(wide, printed_tables.DIFFERENCES).groupby(level=KEYS, sort=True).mean()


def still_falling(record: Record) -> pd.DataFrame:
    """The same as text, with the names of those whose loss was still falling, or of which that is not known."""
    means = numbers(record)
    table = means.rename(columns=printed_tables.HEADINGS)[list(printed_tables.HEADINGS.values())]
    table = table.map(partial(tables.mean_sd, sd=np.nan))
    marks = {name: marked(means[MARK + method]) for method, name in measurements.METHODS.items()}
    table[STILL_FALLING] = [_named({name: own.loc[at] for name, own in marks.items()}) for at in means.index]
    return table.rename(index=tables.DATASET_NAMES | tables.ARCHITECTURE_NAMES).rename_axis(columns=None)


def marked(falling: pd.Series) -> pd.Series:
    """What a column of marks, such as `falling_refae`, says of each training; empty if its loss had ceased to fall."""
    return pd.Series(np.select([falling.isna(), falling > 0], [UNRECORDED, STILL_FALLING], ""), falling.index)


def _named(states: dict[str, str]) -> str:
    """The methods whose loss was still falling, and those of which nobody knows."""
    falling, unknown = (
        " and ".join(name for name, own in states.items() if own == state) for state in (STILL_FALLING, UNRECORDED)
    )
    said = [falling, f"{unknown}: {UNRECORDED}" if unknown else ""]
    return "; ".join(part for part in said if part) or "–"
