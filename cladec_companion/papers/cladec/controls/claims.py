"""Does the sign of ΔRec and of ΔAcc survive each control? The paper makes no claim about it; a referee would ask."""

from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from cladec_companion.evidence.claims import FAILS, HOLDS, UNDECIDED, Evidence, Verdict, count, undecided
from cladec_companion.evidence.tables import (
    ARCHITECTURE_NAMES,
    DATASET_NAMES,
    DIFFERENCES,
    METRIC_NAMES,
    columns_of,
    layers_summary,
    mean_sd,
    published_layers,
    summarise_runs,
    with_differences,
)
from cladec_companion.evidence.trends import NOISE
from cladec_companion.papers.cladec.controls.experiment import BASELINE, CONTROLS
from cladec_companion.records.record import Record

KEYS = ["dataset", "architecture", "layer", "control"]
COLUMNS = {
    "rec_cladec": ("cladec", "loss_raw_sum"), "rec_refae": ("refae", "loss_raw_sum"),
    "acc_cladec": ("cladec", "accuracy"), "acc_refae": ("refae", "accuracy"),
    "acc_classifier": ("classifier", "accuracy"), "test_images": ("classifier", "test_images"),
}  # fmt: skip
ORDER = [BASELINE, *CONTROLS]
NOT_TOUCHED = "–"
TRAINED = 0.5  # of the baseline's accuracy; a classifier below it has not learnt enough to be explained


def printed() -> Evidence:
    """What the paper prints about the baseline: Tables 2 and 3."""
    return Evidence(published_layers())


def evidence(record: Record) -> Evidence:
    """The columns of Tables 2 and 3 from the baseline of a record, and the record with the controls."""
    baseline = record.rows[record.rows["control"] == BASELINE]
    return Evidence(layers_summary(replace(record, rows=baseline)), record)


def runs(record: Record) -> pd.DataFrame:
    """Losses (raw sums per image), accuracies and their differences, one row per cell and seed."""
    return with_differences(columns_of(record.rows, COLUMNS, [*KEYS, "seed"]), DIFFERENCES)


def survival(record: Record) -> pd.DataFrame:
    """Compare both differences of every control with the baseline's.

    Returns
    -------
    DataFrame
        Indexed by `KEYS` and metric (`d_rec`, `d_acc`); columns mean, sd, n; `noise`: a mean closer to 0 has no
        clear sign; `agrees`: whether the sign is the baseline's; `clear`: whether both signs are clear and the
        control's classifier has learnt something (`TRAINED`); `verdict`, which is empty for the baseline itself.
    """
    found = runs(record)
    table = summarise_runs(found[list(DIFFERENCES)]).dropna(subset="mean")
    level = found.groupby(level=KEYS).mean()
    table["noise"] = [_noise(row, level.loc[key[:-1]], key[-1]) for key, row in table.iterrows()]
    beside = [(*key[:-2], BASELINE, key[-1]) for key in table.index]
    clear = table["mean"].abs() > table["noise"]
    table["agrees"] = table["mean"].to_numpy() * table["mean"].loc[beside].to_numpy() > 0
    accuracy = level["acc_classifier"]
    pairs = zip(table.index, beside, strict=True)
    learnt = [accuracy[own[:-1]] >= TRAINED * accuracy[base[:-1]] for own, base in pairs]
    table["clear"] = clear & clear.loc[beside].to_numpy() & np.array(learnt)
    table["verdict"] = np.where(~table["clear"], UNDECIDED, np.where(table["agrees"], HOLDS, FAILS))
    table.loc[table.index.get_level_values("control") == BASELINE, "verdict"] = ""
    return table


def _noise(row: pd.Series, level: pd.Series, metric: str) -> float:
    """How far from 0 a mean may be by chance.

    Several runs: half the 95 % confidence interval. One run: two standard errors of a difference of two shares of
    the test images, or for losses a share of the larger one (`NOISE`).
    """
    if row["n"] > 1:
        return stats.t.ppf(0.975, row["n"] - 1) * row["sd"] / np.sqrt(row["n"])
    if metric == "d_rec":
        return NOISE * level[["rec_cladec", "rec_refae"]].max()
    share = level[["acc_cladec", "acc_refae"]].mean()
    return 2 * np.sqrt(2 * share * (1 - share) / level["test_images"])


def survival_table(record: Record) -> pd.DataFrame:
    """One row per control: its classifier's accuracy, both differences, and whether their signs are the baseline's."""
    found, accuracy, rows = survival(record), runs(record)["acc_classifier"].groupby(level=KEYS).mean(), []
    cells = found.index.droplevel("metric").unique()
    for key in sorted(cells, key=lambda key: (*key[:3], ORDER.index(key[3]))):
        where = f"{DATASET_NAMES[key[0]]}, {ARCHITECTURE_NAMES[key[1]]}, {key[2]}"
        row = {"where": where, "control": key[3], "Acc of C": f"{accuracy[key]:.3f}"}
        for metric in DIFFERENCES:
            name, measured = METRIC_NAMES[metric], (*key, metric) in found.index
            part = found.loc[(*key, metric)] if measured else None
            row[name] = mean_sd(part["mean"], part["sd"]) if measured else NOT_TOUCHED
            row[f"sign of {name}"] = (part["verdict"] or _sign(part)) if measured else NOT_TOUCHED
        rows.append(row | {"n": int(found.loc[key, "n"].max())})
    return pd.DataFrame(rows).set_index("where")


def _sign(row: pd.Series) -> str:
    """The baseline's own sign, or that it has none worth the name."""
    return "unclear" if abs(row["mean"]) <= row["noise"] else "+" if row["mean"] > 0 else "−"


def answers(sources: dict[str, Evidence]) -> pd.DataFrame:
    """For each difference and source: does its sign survive every control?"""
    rows = []
    for metric in DIFFERENCES:
        row = {"question": f"Does the sign of {METRIC_NAMES[metric]} survive every control?"}
        for source, found in sources.items():
            verdict = robustness(found, metric)
            row[source] = f"{verdict.verdict}: {verdict.evidence}"
        rows.append(row)
    return pd.DataFrame(rows).set_index("question")


def robustness(evidence: Evidence, metric: str) -> Verdict:
    """Count the controls under which a difference has the baseline's sign."""
    if evidence.record is None:
        return undecided("the paper varies none of these choices")
    found = survival(evidence.record).xs(metric, level="metric").drop(BASELINE, level="control")
    return count(found["agrees"], f"{METRIC_NAMES[metric]} has the baseline's sign", clear=found["clear"])
