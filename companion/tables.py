"""Tables: rows of a record -> mean, sd and n, beside what the paper printed."""

from functools import lru_cache

import numpy as np
import pandas as pd
import yaml

from cladec_core.models import LAYER_INDEX
from companion.records import ROOT, Record

PUBLISHED = ROOT / "book" / "published.yml"
DATASET_NAMES = {
    "digits": "Digits", "mnist": "MNIST", "fashion_mnist": "Fashion-MNIST",
    "cifar10": "CIFAR-10", "cifar100": "CIFAR-100",
}  # fmt: skip
ARCHITECTURE_NAMES = {"vgg11": "VGG-11", "resnet10": "ResNet-10", "vgg5": "VGG-5"}
PUBLISHED_RUNS = 5
KEYS = ["dataset", "architecture", "index"]
# Columns of Tables 2 and 3 -> (method, metric) of a record. Their losses are standardised means (finding 2).
PRINTED = {
    "rec_cladec": ("cladec", "loss_standardised"),
    "rec_refae": ("refae", "loss_standardised"),
    "acc_cladec": ("cladec", "accuracy"),
    "acc_refae": ("refae", "accuracy"),
}
METRIC_NAMES = {
    "rec_cladec": "Rec ClaDec", "rec_refae": "Rec RefAE", "d_rec": "ΔRec",
    "acc_cladec": "Acc ClaDec", "acc_refae": "Acc RefAE", "d_acc": "ΔAcc",
}  # fmt: skip


@lru_cache(maxsize=1)
def published() -> dict:
    """All printed numbers of the papers, as transcribed in `book/published.yml`."""
    return yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))


def published_layers() -> pd.DataFrame:
    """Tables 2 and 3 in the form of `layers_summary`: mean and sd of 5 runs; differences from the means."""
    datasets = {"FashionMNIST": "fashion_mnist", "MNIST": "mnist", "CIFAR-100": "cifar100"}
    rows = []
    for table, architecture in (("table2", "vgg11"), ("table3", "resnet10")):
        for name, layers in published()[table].items():
            for index, values in layers.items():
                cell = {"dataset": datasets[name], "architecture": architecture, "index": index}
                pairs = {metric: tuple(values[metric]) for metric in PRINTED}
                pairs["d_rec"] = (pairs["rec_cladec"][0] - pairs["rec_refae"][0], np.nan)
                pairs["d_acc"] = (pairs["acc_cladec"][0] - pairs["acc_refae"][0], np.nan)
                rows += [
                    {**cell, "metric": metric, "mean": mean, "sd": sd, "n": PUBLISHED_RUNS}
                    for metric, (mean, sd) in pairs.items()
                ]
    return pd.DataFrame(rows).set_index([*KEYS, "metric"]).sort_index()


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


def layers_summary(record: Record) -> pd.DataFrame:
    """The columns of Tables 2 and 3 from a record of the experiment `layers`.

    Returns
    -------
    DataFrame
        Indexed by dataset, architecture, index and metric; columns mean, sd, n. Differences are taken within
        each seed before averaging.
    """
    rows = record.rows.assign(index=layer_index(record)).dropna(subset="index")
    names = {pair: metric for metric, pair in PRINTED.items()}
    metric = [names.get(pair) for pair in zip(rows["method"], rows["metric"], strict=True)]
    rows = rows.assign(metric=metric).dropna(subset="metric")
    wide = rows.pivot(index=[*KEYS, "seed"], columns="metric", values="value").astype(float)
    wide["d_rec"] = wide["rec_cladec"] - wide["rec_refae"]
    wide["d_acc"] = wide["acc_cladec"] - wide["acc_refae"]
    long = wide[list(METRIC_NAMES)].stack().rename("value").reset_index()
    return summarise(long, [*KEYS, "metric"]).sort_index()


def value_of(record: Record, method: str, metric: str, layer: str | None = None) -> pd.DataFrame:
    """Mean, sd and n of one number of a record, per data set, architecture and layer."""
    rows = record.rows
    chosen = (rows["method"] == method) & (rows["metric"] == metric)
    if layer is not None:
        chosen &= rows["layer"] == layer
    return summarise(rows[chosen].assign(value=rows["value"].astype(float)), ["dataset", "architecture", "layer"])


def mean_sd(mean: float, sd: float, digits: int = 3) -> str:
    """Format as `0.240 ± 0.018`; without an sd for a single run, a dash for nothing."""
    if pd.isna(mean):
        return "–"
    return f"{mean:.{digits}f}" + ("" if pd.isna(sd) else f" ± {sd:.{digits}f}")


def side_by_side(
    sources: dict[str, pd.DataFrame], metrics: dict[str, str] | None = None, digits: int = 3, axis: str = "layer"
) -> pd.DataFrame:
    """Sources under one another for each cell, one column per metric, mean ± sd, and n.

    Parameters
    ----------
    sources
        Summaries by name, such as published, recorded, this run. Cells that only `published` has are left out.
    metrics
        Metric -> heading; by default those of Tables 2 and 3.
    digits
        Decimals.
    axis
        What the third level of the summaries is: layers are listed from the output, anything else rising.

    Returns
    -------
    DataFrame
        Text, indexed by data, classifier, the axis and source.
    """
    metrics = metrics or METRIC_NAMES
    measured = [summary.index.droplevel("metric") for name, summary in sources.items() if name != "published"]
    wanted = {
        cell for index in measured or [part.index.droplevel("metric") for part in sources.values()] for cell in index
    }
    rows = []
    for cell in sorted(wanted, key=lambda cell: (*cell[:2], -cell[2] if axis == "layer" else cell[2])):
        for name, summary in sources.items():
            if (*cell, next(iter(metrics))) not in summary.index:
                continue
            part = summary.loc[cell]
            texts = {heading: mean_sd(*part.loc[metric, ["mean", "sd"]], digits) for metric, heading in metrics.items()}
            names = {"data": DATASET_NAMES[cell[0]], "classifier": ARCHITECTURE_NAMES[cell[1]], axis: cell[2]}
            rows.append({**names, "source": name, "n": int(part["n"].max()), **texts})
    return pd.DataFrame(rows).set_index(["data", "classifier", axis, "source"])


def floors_and_ceilings(record: Record) -> pd.DataFrame:
    """What makes the numbers readable: the worst and best that a reconstruction or a readout could be."""
    rows = record.rows.assign(value=record.rows["value"].astype(float))
    names = {
        ("classifier", "accuracy"): "accuracy of the classifier",
        ("probe", "accuracy"): "accuracy of a linear probe",
        ("mean image", "loss_standardised"): "loss of the mean image",
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
