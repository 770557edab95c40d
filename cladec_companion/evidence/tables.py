"""Tables: rows of a record -> mean, sd and n, beside what the paper printed."""

from collections.abc import Iterable
from decimal import Decimal

import numpy as np
import pandas as pd

from cladec_companion.records.record import Record
from cladec_core.data import DATASETS
from cladec_core.networks import LAYER_INDEX

DATASET_NAMES = {name: each.title for name, each in DATASETS.items()}
ARCHITECTURE_NAMES = {
    "vgg11": "VGG-11", "resnet10": "ResNet-10", "vgg5": "VGG-5", "vgg11_maxpool": "VGG-11 with max-pooling",
}  # fmt: skip
# What no information at all gives: the method of its rows. Records in which it is called "mean image" measured a
# constant grey instead, and are not read.
FLOOR = "mean training image"
KEYS = ["dataset", "architecture", "index"]


def published_summary(
    cells: Iterable[tuple[tuple, dict]],
    keys: list[str],
    differences: dict[str, tuple[str, str]] | None = None,
    runs: int = 5,
) -> pd.DataFrame:
    """Printed cells in the form of `summarise`.

    Parameters
    ----------
    cells
        Where each stands, and its values by metric; those that are no pair of mean and sd are left out.
    keys
        What the first of the two is.
    differences
        Metric -> the two whose means are subtracted: the printed differences are rounded twice.
    runs
        How many runs a printed mean is of.

    Returns
    -------
    DataFrame
        By `keys` and metric: mean, sd, n, and how far rounding may have moved the mean and the sd.
    """
    rows = [
        (*cell, metric, *pair, runs)
        for cell, values in cells for metric, pair in values.items() if isinstance(pair, list)
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=[*keys, "metric", "mean", "sd", "n"])
    column = frame.groupby([*keys[:2], "metric"])
    frame["rounding"], frame["rounding_sd"] = (column[name].transform(_half_unit) for name in ("mean", "sd"))
    frame = frame.set_index([*keys, "metric"])
    parts = [frame]
    for metric, pair in (differences or {}).items():
        first, second = (frame.xs(name, level="metric") for name in pair)
        both = pd.DataFrame({"mean": (first["mean"] - second["mean"]).round(6), "sd": np.nan, "n": first["n"],
                             "rounding": first["rounding"] + second["rounding"], "rounding_sd": np.nan})  # fmt: skip
        parts.append(pd.concat({metric: both}, names=["metric"]).reorder_levels([*keys, "metric"]))
    return pd.concat(parts).sort_index()


def _half_unit(printed: pd.Series) -> float:
    """How far a number of a printed column may be off: half a unit of the column's last decimal."""
    decimals = max(-int(Decimal(repr(float(value))).as_tuple().exponent) for value in printed)
    return 0.5 * 10.0**-decimals


def layer_index(record: Record) -> pd.Series:
    """The paper's index of each row's layer under the record's index map; missing for unnumbered layers."""
    chosen = record.manifest["configuration"]["index_map"]
    names = {
        (architecture, name): index
        for architecture, maps in LAYER_INDEX.items()
        for index, name in maps[chosen].items()
    }
    pairs = zip(record.rows["architecture"], record.rows["layer"], strict=True)
    return pd.Series([names.get(pair) for pair in pairs], index=record.rows.index, dtype="Int64")


def summarise(rows: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Mean, sample standard deviation (ddof 1, reading C-22) and number of runs of `value` over seeds."""
    grouped = rows.groupby(keys, sort=False)["value"]
    return pd.DataFrame({"mean": grouped.mean(), "sd": grouped.std(ddof=1), "n": grouped.count()})


def numbered(record: Record) -> pd.DataFrame:
    """The rows of a record that belong to a numbered layer, with its `index`."""
    rows = record.rows.assign(index=layer_index(record), value=record.rows["value"].astype(float))
    return rows.dropna(subset="index")


def columns_of(rows: pd.DataFrame, columns: dict[str, tuple[str, str]], keys: list[str]) -> pd.DataFrame:
    """One column per metric from rows of a record, all missing if nobody measured it.

    `columns` maps the name of each to (method, metric).
    """
    names = {pair: name for name, pair in columns.items()}
    name = [names.get(pair) for pair in zip(rows["method"], rows["metric"], strict=True)]
    chosen = rows.assign(name=name).dropna(subset="name")
    return chosen.pivot(index=keys, columns="name", values="value").reindex(columns=list(columns)).astype(float)


def with_differences(wide: pd.DataFrame, differences: dict[str, tuple[str, str]]) -> pd.DataFrame:
    """Columns of each run with differences taken within it."""
    return wide.assign(**{name: wide[first] - wide[second] for name, (first, second) in differences.items()})


def summarise_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Mean, sd and n over seeds of every column, which becomes the last level of the index."""
    long = runs.rename_axis(columns="metric").stack().dropna().rename("value").reset_index()
    return summarise(long, [*(name for name in runs.index.names if name != "seed"), "metric"]).sort_index()


def value_of(record: Record, method: str, metric: str) -> pd.DataFrame:
    """Mean, sd and n of one number of a record, per data set, architecture and layer."""
    rows = record.rows
    chosen = (rows["method"] == method) & (rows["metric"] == metric)
    return summarise(rows[chosen].assign(value=rows["value"].astype(float)), ["dataset", "architecture", "layer"])


def mean_sd(mean: float, sd: float, digits: int = 3) -> str:
    """Format as `0.240 ± 0.018`; without an sd for a single run, a dash for nothing.

    Means from 10 on have fewer decimals, and those below 0.01 one more.
    """
    if pd.isna(mean):
        return "–"
    digits += int(0 < abs(mean) < 0.01) - int(abs(mean) >= 10) - int(abs(mean) >= 100)
    return f"{mean:.{digits}f}" + ("" if pd.isna(sd) else f" ± {sd:.{digits}f}")


def side_by_side(
    sources: dict[str, pd.DataFrame], metrics: dict[str, str], digits: int = 3, axis: str = "layer"
) -> pd.DataFrame:
    """Sources under one another for each cell, one column per metric, mean ± sd, and n.

    Parameters
    ----------
    sources
        Summaries by name, such as published, recorded, this run. Cells that only `published` has are left out.
    metrics
        Metric -> heading.
    digits
        Decimals.
    axis
        What the third level of the summaries is: layers are listed from the output, anything else rising.

    Returns
    -------
    DataFrame
        Text, indexed by data, classifier, the axis and source.
    """
    measured = [summary.index.droplevel("metric") for name, summary in sources.items() if name != "published"]
    wanted = {
        cell for index in measured or [part.index.droplevel("metric") for part in sources.values()] for cell in index
    }
    rows = []
    for cell in sorted(wanted, key=lambda cell: (*cell[:2], -cell[2] if axis == "layer" else cell[2])):
        for name, summary in sources.items():
            if (*cell, next(iter(metrics))) not in summary.index:
                continue
            part = summary.loc[cell].reindex(list(metrics))
            texts = {
                heading: mean_sd(part.loc[metric, "mean"], part.loc[metric, "sd"], digits)
                for metric, heading in metrics.items()
            }
            names = {"data": DATASET_NAMES[cell[0]], "classifier": ARCHITECTURE_NAMES[cell[1]], axis: cell[2]}
            rows.append({**names, "source": name, "n": int(part["n"].max()), **texts})
    levels = ["data", "classifier", axis, "source"]
    return pd.DataFrame(rows, columns=[*levels, "n", *metrics.values()]).set_index(levels)


def floors_and_ceilings(record: Record) -> pd.DataFrame:
    """What makes the numbers readable: the worst and best that a reconstruction or a readout could be."""
    rows = record.rows.assign(value=record.rows["value"].astype(float))
    names = {
        ("classifier", "accuracy"): "accuracy of the classifier",
        ("probe", "accuracy"): "accuracy of a linear probe",
        (FLOOR, "loss_standardised"): "loss of the mean training image",
        ("class mean", "loss_standardised"): "loss of the class mean",
    }
    quantity = [names.get(pair) for pair in zip(rows["method"], rows["metric"], strict=True)]
    chosen = rows.assign(quantity=quantity).dropna(subset="quantity")
    summary = summarise(chosen, ["dataset", "architecture", "layer", "quantity"])
    text = summary.apply(lambda row: mean_sd(row["mean"], row["sd"]), axis=1)
    table = text.rename("value").reset_index()
    table["dataset"] = table["dataset"].map(DATASET_NAMES)
    table["architecture"] = table["architecture"].map(ARCHITECTURE_NAMES)
    table.loc[table["layer"] == "classifier", "layer"] = ""
    table.columns = ["data", "classifier", "layer", "quantity", "value"]
    return table.set_index(["data", "classifier", "quantity", "layer"]).sort_index(
        level="quantity", sort_remaining=False
    )


def scales(record: Record) -> pd.DataFrame:
    """Reconstruction loss in every scale (finding 2), averaged over seeds."""
    names = {
        "loss_standardised": "standardised mean", "loss_raw_mean": "raw mean",
        "loss_raw_sum": "raw sum per image", "loss_norm": "mean norm (not squared)",
    }  # fmt: skip
    rows = record.rows[record.rows["metric"].isin(names)]
    rows = rows.assign(value=rows["value"].astype(float), scale=rows["metric"].map(names))
    table = rows.pivot_table(
        index=["dataset", "architecture", "layer", "method"], columns="scale", values="value", sort=False
    )
    return table[list(names.values())].rename(index=DATASET_NAMES | ARCHITECTURE_NAMES).round(4)


def markdown(table: pd.DataFrame) -> str:
    """A DataFrame as a Markdown table."""
    lines = [list(table.columns), ["---"] * len(table.columns), *table.astype(str).to_numpy().tolist()]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |" for line in lines)


def joined(parts: Iterable[str]) -> str:
    """Such as "0.83, 0.78 and 0.09"."""
    *first, last = parts
    return f"{', '.join(first)} and {last}" if first else last
