"""Claims B50 and B52-B54, which no table of the paper shows (sections 6.1 and 7): decided from records of `layers`."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cladec_companion.engine.plan import CLASSIFIER
from cladec_companion.evidence import measurements, tables
from cladec_companion.evidence.claims import MOST, RUN, Claim, Comparison, Verdict, judge, unprinted
from cladec_companion.evidence.comparisons import ABOVE, BELOW, measured, sample
from cladec_companion.evidence.measurements import FALLING, evidence_of, where
from cladec_companion.evidence.thresholds import STRONG, Threshold
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.records.record import Record

ALIKE = Threshold(
    "about the same (a cost)", 2.0, "neither takes more than so many times as long as the other", "2026-11-21"
)
STEPS = Threshold(
    "equal steps", 0.05, "relative difference of training steps: the last, smaller batch of an epoch", "2026-11-21"
)
FEW = Threshold("relatively few", 0.5, "share of the units: fewer than half", "2026-11-21")

COLUMNS = {
    "rank_correlation": ("cladec", "loss_rank_correlation"),
    "active": ("activation", "active_unaveraged"), "rank": ("activation", "effective_rank"),
}  # fmt: skip
LENGTHS = ("train_limit", "classifier_epochs", "decoder_epochs")  # what B53 lets differ: images times epochs stay
LOSSES = {"rec_cladec": "ClaDec", "rec_refae": "RefAE"}
PROCESSOR = "processor time: the clock's seconds times the share of the processor that the cell had"
CLOCK = "by the clock, which also counts what else the machine did"
UNDISTURBED = 0.9  # share of the processor from which on a cell's trainings are timed
FEWER = 4  # times fewer images, and more epochs, has the second record of B53 that `equal_steps` asks for


@dataclass(frozen=True)
class Evidence(measurements.Evidence):
    """The evidence of one record, and the other records of the experiment, which B53 compares with it."""

    others: Sequence[Record] = ()


def printed() -> Evidence:
    """The paper prints no number about these claims."""
    return Evidence(pd.DataFrame())


def evidence(record: Record, others: Iterable[Record] = ()) -> Evidence:
    """What the claims need from a record of the experiment `layers`."""
    columns = {**printed_tables.COLUMNS, **COLUMNS}
    runs = tables.columns_of(tables.numbered(record), columns | FALLING, [*tables.KEYS, "seed"])
    # Correlations and relative changes differ from image to image; a correlation's error follows from their number.
    images = record.rows[record.rows["metric"] == "test_images"].groupby("dataset")["value"].first().astype(float)
    r, n = runs["rank_correlation"], runs.index.get_level_values("dataset").map(images)
    runs["rank_correlation_error"] = np.sqrt((1 - r**2) ** 2 * (1 + r**2 / 2) / (np.asarray(n, dtype=float) - 3))
    found = evidence_of(record, runs, columns, printed_tables.DIFFERENCES)
    return Evidence(found.summary, record, runs, columns, printed_tables.known, others=tuple(others))


def processor_shares(record: Record) -> dict[str, float]:
    """Share of the processor that each cell had, of those on a CPU; empty if the record has the clock alone.

    What else the machine does makes a training last longer, and some cells meet more of it than others. Cells on
    another device are left out: their time is not the processor's.
    """
    on_cpu = {
        key: cell
        for key, cell in record.cells.items()
        if record.manifest["runs"][cell["run"]]["device"].startswith("cpu")
    }
    if not all(cell.get("cpu_seconds") and cell.get("seconds") for cell in on_cpu.values()):
        return {}
    return {key: cell["cpu_seconds"] / cell["seconds"] for key, cell in on_cpu.items()}


def clock(record: Record) -> str:
    """Which time the trainings of a record are compared by, in words."""
    return PROCESSOR if processor_shares(record) else CLOCK


def seconds(record: Record) -> pd.DataFrame:
    """Seconds of each training, times the share of the processor that its cell had where the record knows it.

    A share is that of a whole cell, so it tells most where a cell trained one network: of a classifier that has a cell
    of its own, other cells' times are left out.

    Returns
    -------
    DataFrame
        One row for each training: dataset, architecture, device, layer (that of its cell), seed, training (the first
        word of its label), seconds.
    """
    runs, shares, rows = record.manifest["runs"], processor_shares(record), []
    for key, cell in record.cells.items():
        dataset, architecture, layer, seed = key.split("/")
        place = dataset, architecture, runs[cell["run"]]["device"], layer, int(seed)
        for label, taken in cell["trainings"].items():
            rows.append([*place, label.partition(" ")[0], float(taken) * shares.get(key, 1.0)])
    found = pd.DataFrame(rows, columns=[*RUN, "device", "layer", "seed", "training", "seconds"])
    own = (found["training"] == CLASSIFIER) & (found["layer"] == CLASSIFIER)
    known = own.groupby([found[name] for name in (*RUN, "device")]).transform("any")
    return found[own | ~known | (found["training"] != CLASSIFIER)]


def costs(record: Record) -> pd.Series:
    """Seconds of a layer's decoder and RefAE over those of the classifier, per epoch and on the same device.

    Returns
    -------
    Series
        By dataset, architecture, device and layer; layers whose trainings came from the cache are left out.
    """
    epochs = record.manifest["configuration"]
    taken = seconds(record).groupby([*RUN, "device", "layer", "training"])["seconds"].mean().unstack("training")
    taken = taken.reindex(columns=["decoder", "RefAE", CLASSIFIER])
    classifier = taken.pop(CLASSIFIER).groupby(level=[*RUN, "device"]).transform("mean")
    explaining = taken.sum(axis=1, skipna=False) / epochs["decoder_epochs"]
    return (explaining / (classifier / epochs["classifier_epochs"])).dropna()


def timing_noise(record: Record) -> tuple[float, float]:
    """How far the logarithms of seconds scatter of trainings that are alike, and with how many degrees of freedom.

    The evaluation classifiers of a run are one network, trained on as many images for as many epochs, whatever the
    layer: only the machine makes their times differ, and the share of a cell that is not the share of each training.
    """
    every = seconds(record)
    alike = every[every["training"] == "evaluation"]
    groups = np.log(alike["seconds"]).groupby([alike[name] for name in (*RUN, "device")])
    freedom = float((groups.size() - 1).sum()) if len(alike) else 0.0
    return (float(np.sqrt((groups.var(ddof=0) * groups.size()).sum() / freedom)), freedom) if freedom else (np.nan, 0.0)


@unprinted("the paper states it without numbers")
def b50(evidence: Evidence) -> Verdict:
    """The decoder and the RefAE take between half and twice the classifier's training time, at most layers."""
    assert evidence.record is not None
    ratios, limit = costs(evidence.record), float(np.log2(ALIKE.value))
    noise, freedom = timing_noise(evidence.record)
    shares = processor_shares(evidence.record)
    # A share is that of a whole cell, and its trainings did not meet the other work alike.
    busy = {tuple(key.split("/")[:-1]) for key, share in shares.items() if share < UNDISTURBED}
    # The sum of two timings over a third one.
    error = float(np.sqrt(1 / 2 + 1) * noise / np.log(2))
    found = [
        measured(
            where((dataset, network), layer), float(np.log2(ratio)), error, freedom, 1, (-limit, limit),
            by="t over trainings that are alike", of="timings",
        )
        for (dataset, network, _, layer), ratio in ratios.items()
    ]  # fmt: skip
    found = [
        one.barred("other work took part of the processor while they trained") if key in busy else one
        for key, one in zip(ratios.index.droplevel("device"), found, strict=True)
    ]
    if not freedom:
        found = [one.barred("no training was timed twice, so that the noise of a timing is unknown") for one in found]
    listed = "; ".join(
        f"{where(run)}: " + ", ".join(f"{key[-1]} {ratio:.1f}" for key, ratio in own.items())
        for run, own in ratios.groupby(level=RUN)
    )
    verdict = judge(
        found,
        f"log2 of the time of decoder and reference over the classifier's within {limit:g}",
        MOST,
        lacking="needs trainings that were timed",
    )
    told = f" (times the classifier's training, per epoch; {clock(evidence.record)}; {listed})"
    return verdict.plus(told if listed else "")


@unprinted("the paper states it without numbers")
def b52(evidence: Evidence) -> Verdict:
    """The losses of RefAE and ClaDec have a strong rank correlation over test images, at every layer."""
    found = [
        evidence.contrast(where(run, f"{index}"), {(*run, index, "rank_correlation"): 1.0}, (STRONG.value, np.inf))
        for run, chain in evidence.chains("rank_correlation") for index in chain.index
    ]  # fmt: skip
    return judge(found, f"Spearman's correlation above {STRONG.value}")


@unprinted("the paper states it without numbers")
def b53(evidence: Evidence) -> Verdict:
    """After as many steps on fewer images both methods lose more on test images; at α = 0 no loss reads a label."""
    found: list[Comparison] = []
    for other in _smaller(evidence):
        assert evidence.record is not None
        assert evidence.runs is not None
        theirs = tables.columns_of(tables.numbered(other), printed_tables.COLUMNS | FALLING, [*tables.KEYS, "seed"])
        fewer = {name: f"{name}, fewer" for name in LOSSES}
        both = evidence.runs.join(theirs[list(LOSSES)].rename(columns=fewer), how="inner")
        for mark in FALLING:  # of either training
            both[mark] = np.fmax(both[mark], theirs[mark].reindex(both.index))
        columns = {**evidence.columns, **{fewer[name]: printed_tables.COLUMNS[name] for name in LOSSES}}
        pairs = evidence_of(evidence.record, both, columns, known=evidence.known)
        for metric, method in LOSSES.items():
            for cell in pairs.cells(fewer[metric]).index:
                terms = {(*cell, fewer[metric]): 1.0, (*cell, metric): -1.0}
                if pairs.has(*terms):
                    found.append(pairs.contrast(where(cell[:2], f"{method}, {cell[2]}"), terms, ABOVE))
    lacking = "needs a second record with fewer images and as many more epochs: equally many steps"
    if evidence.record is not None:
        lacking += equal_steps(evidence.record)
    return judge(found, "loss higher with fewer images", lacking=lacking)


def equal_steps(record: Record) -> str:
    """The command that records what B53 compares a record with; empty if nobody knows on how many images it learnt.

    Cells that only one of both records has are not compared: `--set datasets=...` and `--set layers=...` may leave
    some out.
    """
    found, images = record.manifest["configuration"], _images(record)
    if np.isnan(images):
        return ""
    lengths = {"train_limit": int(images) // FEWER}
    lengths |= {name: FEWER * int(found[name]) for name in ("classifier_epochs", "decoder_epochs")}
    changes = " ".join(f"--set {name}={value}" for name, value in lengths.items())
    return f" (cladec train --profile {record.manifest['profile']} --only layers {changes} --out book/results)"


def _smaller(evidence: Evidence) -> Iterable[Record]:
    """Records of the same configuration with fewer training images, each seen more often: as many steps."""
    assert evidence.record is not None
    ours = evidence.record.manifest["configuration"]
    for other in evidence.others:
        theirs = other.manifest["configuration"]
        if _without_lengths(ours) != _without_lengths(theirs):
            continue
        images = [_images(record) for record in (evidence.record, other)]
        steps = [
            images[1] * theirs[name] / (images[0] * ours[name]) for name in ("classifier_epochs", "decoder_epochs")
        ]
        if images[1] < images[0] and all(abs(ratio - 1) <= STEPS.value for ratio in steps):
            yield other


def _without_lengths(configuration: dict) -> dict:
    return {name: value for name, value in configuration.items() if name not in LENGTHS}


def _images(record: Record) -> float:
    """How many images a record's networks were trained on."""
    rows = record.rows[record.rows["metric"] == "train_images"]
    return float(rows["value"].astype(float).max()) if len(rows) else np.nan


@unprinted("stated, not shown")
def b54(evidence: Evidence) -> Verdict:
    """At layer -1 less than half of the units are active in an image, and codes have the lowest effective rank."""
    found: list[Comparison] = []
    for run, chain in evidence.chains("rank", 2):
        if -1 not in chain.index:
            continue
        active = {(*run, -1, "active"): 1.0}
        what, claimed = where(run, "active units per image"), (-np.inf, FEW.value)
        if evidence.has(*active):
            found.append(evidence.contrast(what, active, claimed))
        else:
            why = "the share of units before they are averaged is not recorded yet"
            found.append(sample(what, [], claimed).barred(why))
        for index in chain.index[:-1]:
            terms = {(*run, -1, "rank"): 1.0, (*run, index, "rank"): -1.0}
            found.append(evidence.contrast(where(run, f"effective rank, less that of {index}"), terms, BELOW))
    return judge(found, "few active, lowest rank", lacking="needs layer -1 and another one")


CLAIMS = [
    Claim(
        "B50",
        "7",
        "Explaining costs about as much as training the model",
        b50,
        after_data="the noise of a timing, which was assumed (a tenth) until equal trainings were seen to differ more, "
        "processor time in place of the clock's, and that cells which shared the processor decide nothing",
        limits=(ALIKE,),
    ),
    Claim("B52", "7", "Poor reconstructions of the RefAE go with hard-to-read ones of ClaDec", b52, limits=(STRONG,)),
    Claim("B53", "7", "Too small a data set spoils both methods; labels are not needed", b53, limits=(STEPS,)),
    Claim("B54", "6.1", "In the last layer often only relatively few neurons are active", b54, limits=(FEW,)),
]
