"""Does the sign of ΔRec and of ΔAcc survive each control? The paper makes no claim about it; a referee would ask."""

from dataclasses import replace

import pandas as pd

from cladec_companion.evidence.claims import (
    FAILS,
    HOLDS,
    RUN,
    UNDECIDED,
    Comparison,
    Evidence,
    Verdict,
    judge,
    not_applicable,
)
from cladec_companion.evidence.comparisons import ABOVE, AGAINST, BELOW, FOR
from cladec_companion.evidence.measurements import FALLING, evidence_of, where
from cladec_companion.evidence.tables import (
    ARCHITECTURE_NAMES,
    DATASET_NAMES,
    columns_of,
    mean_sd,
    with_differences,
)
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.papers.cladec.controls.settings import BASELINE, CONTROLS
from cladec_companion.papers.cladec.limits import TRAINED
from cladec_companion.papers.cladec.printed_tables import DIFFERENCES, HEADINGS
from cladec_companion.records.record import Record

KEYS = ["dataset", "architecture", "layer", "control"]
COLUMNS = {
    "rec_cladec": ("cladec", "loss_raw_sum"), "rec_refae": ("refae", "loss_raw_sum"),
    "acc_cladec": ("cladec", "accuracy"), "acc_refae": ("refae", "accuracy"),
    "acc_classifier": ("classifier", "accuracy"), "test_images": ("classifier", "test_images"),
}  # fmt: skip
ORDER = [BASELINE, *CONTROLS]
NOT_TOUCHED = "–"
# With the scale: the table beside the printed numbers has ΔRec in another one, that of Tables 2 and 3.
SCALED = {"d_rec": f"{HEADINGS['d_rec']} (raw sum per image)", "d_acc": HEADINGS["d_acc"]}
VERDICTS = {FOR: HOLDS, AGAINST: FAILS}  # of one sign


def printed() -> Evidence:
    """What the paper prints about the baseline: Tables 2 and 3."""
    return Evidence(printed_tables.layers())


def evidence(record: Record) -> Evidence:
    """The columns of Tables 2 and 3 from the baseline of a record, and the record with the controls."""
    baseline = record.rows[record.rows["control"] == BASELINE]
    return Evidence(printed_tables.layers_of(replace(record, rows=baseline)), record, known=printed_tables.known)


def runs(record: Record) -> pd.DataFrame:
    """Losses (raw sums per image), accuracies and their differences, one row per cell and seed."""
    return with_differences(columns_of(record.rows, COLUMNS, [*KEYS, "seed"]), DIFFERENCES)


def survival(record: Record) -> pd.DataFrame:
    """Compare both differences of every control with the sign of the baseline's.

    Returns
    -------
    DataFrame
        Indexed by `KEYS` and metric (`d_rec`, `d_acc`); columns mean, sd, n; `noise`: half of the 95 % interval;
        `comparison` with the sign of the baseline, for the baseline itself with a sign above 0; `verdict`, which is
        empty for the baseline.
    """
    columns = {name: pair for name, pair in COLUMNS.items() if name != "test_images"}
    wide = columns_of(record.rows, columns | FALLING, [*KEYS, "seed"]).reset_index()
    cells = wide.assign(cell=wide["layer"] + " " + wide["control"]).drop(columns=["layer", "control"])
    found = evidence_of(record, cells.set_index([*RUN, "cell", "seed"]), columns, DIFFERENCES, printed_tables.known)
    rows = []
    for cell in wide[KEYS].drop_duplicates().itertuples(index=False):
        for metric, pair in DIFFERENCES.items():
            own, baseline = ((*cell[:2], f"{cell[2]} {control}") for control in (cell[3], BASELINE))
            if not found.has(*((*place, name) for place in (own, baseline) for name in pair)):
                continue
            comparison = _sign_of_baseline(found, own, baseline, pair)
            verdict = "" if cell[3] == BASELINE else VERDICTS.get(comparison.reading, UNDECIDED)
            shown = found.summary.loc[(*own, metric)]
            noise = (comparison.high - comparison.low) / 2
            rows.append([*cell, metric, shown["mean"], shown["sd"], int(shown["n"]), noise, comparison, verdict])
    names = [*KEYS, "metric", "mean", "sd", "n", "noise", "comparison", "verdict"]
    return pd.DataFrame(rows, columns=names).set_index([*KEYS, "metric"]).sort_index()


def _sign_of_baseline(
    found: Evidence, own: tuple[str, str, str], baseline: tuple[str, str, str], pair: tuple[str, str]
) -> Comparison:
    """A control's difference against the sign of the baseline's; open where the baseline's has none."""
    above, usual = (
        found.contrast(where(place[:2], place[2]), {(*place, pair[0]): 1.0, (*place, pair[1]): -1.0}, ABOVE)
        for place in (own, baseline)
    )
    if own == baseline or usual.reading == FOR:
        compared = above
    elif usual.reading == AGAINST:
        compared = found.contrast(above.what, {(*own, pair[0]): 1.0, (*own, pair[1]): -1.0}, BELOW)
    else:
        return above.barred("the baseline itself has no clear sign")
    accuracy = [float(found.summary.loc[(*place, "acc_classifier"), "mean"]) for place in (own, baseline)]
    learnt = accuracy[0] >= TRAINED.value * accuracy[1]
    return compared if learnt else compared.barred("its classifier has hardly learnt", too_short=True)


def survival_table(record: Record) -> pd.DataFrame:
    """One row per control: its classifier's accuracy, both differences, and whether their signs are the baseline's."""
    found, accuracy, rows = survival(record), runs(record)["acc_classifier"].groupby(level=KEYS).mean(), []
    cells = found.index.droplevel("metric").unique()
    for key in sorted(cells, key=lambda key: (*key[:3], ORDER.index(key[3]))):
        where = f"{DATASET_NAMES[key[0]]}, {ARCHITECTURE_NAMES[key[1]]}, {key[2]}"
        row = {"where": where, "control": key[3], "Acc of C": f"{accuracy[key]:.3f}"}
        for metric in DIFFERENCES:
            name, measured = HEADINGS[metric], (*key, metric) in found.index
            part = found.loc[(*key, metric)] if measured else None
            row[SCALED[metric]] = NOT_TOUCHED if part is None else mean_sd(part["mean"], part["sd"])
            row[f"sign of {name}"] = NOT_TOUCHED if part is None else part["verdict"] or _sign(part)
        rows.append(row | {"n": int(found.loc[key, "n"].max())})
    return pd.DataFrame(rows).set_index("where")


def _sign(row: pd.Series) -> str:
    """The baseline's own sign, or that it has none worth the name."""
    return {FOR: "+", AGAINST: "−"}.get(row["comparison"].reading, "unclear")


def findings_of(record: Record) -> dict[str, Verdict]:
    """The verdicts on both questions of the chapter, as sentences."""
    found = evidence(record)
    return {
        f"the sign of {HEADINGS[metric]} survives every control": robustness(found, metric) for metric in DIFFERENCES
    }


def answers(sources: dict[str, Evidence]) -> pd.DataFrame:
    """For each difference and source: does its sign survive every control?"""
    rows = []
    for metric in DIFFERENCES:
        row = {"question": f"Does the sign of {HEADINGS[metric]} survive every control?"}
        for source, found in sources.items():
            verdict = robustness(found, metric)
            row[source] = f"{verdict.verdict}: {verdict.evidence}"
        rows.append(row)
    return pd.DataFrame(rows).set_index("question")


def robustness(evidence: Evidence, metric: str) -> Verdict:
    """Whether a difference has the baseline's sign under every control whose classifier has learnt.

    That limit (`limits.TRAINED`) was set after max-pooling had been seen not to learn.
    """
    if evidence.record is None:
        return not_applicable("the paper varies none of these choices")
    found = survival(evidence.record).xs(metric, level="metric").drop(BASELINE, level="control")
    return judge(found["comparison"], f"{HEADINGS[metric]} has the baseline's sign")
