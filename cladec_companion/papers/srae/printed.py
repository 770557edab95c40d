"""The printed numbers of the SRAE paper, in the form in which records are summarised."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

KEYS = ["dataset", "architecture", "explained"]
# Data set of the paper -> what stands in the columns of a summary beside it.
PLACES = {"cub": ("cub", "vgg19", "all"), "places": ("places", "vgg16", "all")}
TITLES = {"cub": "CUB", "places": "Places"}
NAMES = {"ExcitationBP": "logit"}  # methods that have another name here
METRICS = {"O1": "o1", "O2": "o2", "locality": "locality"}
WITH_SETS = {"F_reg": "f_reg", "F_cls": "f_cls"}  # printed for training and test examples
FEATURES = 5  # x-features of each table
MASKS = {"original": 0, "x-features": 1, "logit": 2}  # of Table 4: the place in a row


@lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """All printed tables, as transcribed beside this file."""
    return yaml.safe_load(Path(__file__).with_name("published.yml").read_text(encoding="utf-8"))


def name(method: str, metric: str) -> str:
    """What a number is called in a summary."""
    return f"{method} {metric}"


def _column(table: str) -> dict[tuple[str, str], float]:
    """(method, metric) -> value of Table 1 or 3."""
    printed = published()[table]
    methods = [NAMES.get(method, method) for method in printed["columns"]]
    found: dict[tuple[str, str], float] = {}
    for title, metric in METRICS.items():
        found |= {(method, metric): value for method, value in zip(methods, printed[title], strict=True)}
    for title, metric in WITH_SETS.items():
        for which, suffix in (("train", "_train"), ("test", "")):
            pairs = zip(methods, printed[title][which], strict=True)
            found |= {(method, metric + suffix): value for method, value in pairs}
    return {key: value for key, value in found.items() if value is not None}


def _masks() -> dict[tuple[str, str], float]:
    """(method, metric) -> accuracy of Table 4, which repeats Table 2b at γ = 5 %."""
    return {
        (method, "masked_0" if method == "original" else f"masked_{round(100 * gamma)}"): row[place]
        for gamma, row in published()["srae_table4_cub_mask"].items()
        for method, place in MASKS.items()
    }


def lasso_sizes(dataset: str) -> list[dict[str, float]]:
    """The tables over α: units, and F_reg on test examples."""
    table = published()["srae_table2a_cub_lasso" if dataset == "cub" else "srae_table5_places_lasso"]
    return [
        {"alpha": alpha, "units": units, "f_reg": error}
        for alpha, units, error in zip(table["alpha"], table["num_x"], table["F_reg"]["test"], strict=True)
    ]


def summary() -> pd.DataFrame:
    """Means of Tables 1, 3 and 4; a single number each, as no spread is printed.

    Returns
    -------
    DataFrame
        By data set, network, what is explained, and metric ("SRAE o1"): mean, sd, n.
    """
    found = {"cub": _column("srae_table1_cub") | _masks(), "places": _column("srae_table3_places")}
    rows = [
        (*PLACES[dataset], name(*number), value, float("nan"), 1)
        for dataset, values in found.items() for number, value in values.items()
    ]  # fmt: skip
    return pd.DataFrame(rows, columns=[*KEYS, "metric", "mean", "sd", "n"]).set_index([*KEYS, "metric"]).sort_index()
