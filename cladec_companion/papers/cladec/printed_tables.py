"""The printed numbers of the paper and of its conference version, in the form of our summaries."""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from cladec_companion.evidence import noise, tables
from cladec_companion.evidence.noise import ACCURACY, COMMON, CROSS_ENTROPY, LOSS, OWN_ACCURACY
from cladec_companion.records.record import RECORDED, Record, find_records

PUBLISHED = Path(__file__).with_name("published.yml")
OWN = {folder.name for folder in Path(__file__).parent.iterdir() if folder.is_dir()}  # chapters, and experiments
RUNS = 5  # behind each printed mean and standard deviation
DATASETS = {"FashionMNIST": "fashion_mnist", "MNIST": "mnist", "CIFAR-100": "cifar100"}
DIFFERENCES = {"d_rec": ("rec_cladec", "rec_refae"), "d_acc": ("acc_cladec", "acc_refae")}  # ClaDec - RefAE
# Columns of Tables 2 and 3 -> (method, metric) of a record. Their losses are standardised means (finding 2).
COLUMNS = {
    "rec_cladec": ("cladec", "loss_standardised"),
    "rec_refae": ("refae", "loss_standardised"),
    "acc_cladec": ("cladec", "accuracy"),
    "acc_refae": ("refae", "accuracy"),
}
HEADINGS = {
    "rec_cladec": "Rec ClaDec", "rec_refae": "Rec RefAE", "d_rec": "ΔRec",
    "acc_cladec": "Acc ClaDec", "acc_refae": "Acc RefAE", "d_acc": "ΔAcc",
}  # fmt: skip
OCCLUDED = "accuracy under occlusion"
DELTA = "difference under occlusion"  # of two accuracies: no record and no table has its spread, only theirs
# What chapters of this paper measure beside the common numbers.
NUMBERS = replace(
    COMMON,
    kinds={
        **COMMON.kinds,
        **{(method, f"acc_{end}"): OCCLUDED for method in ("cladec", "gradcam", "random") for end in ("max", "min")},
    },
    same={**COMMON.same, **{("cladec whole", f"acc_{end}"): OCCLUDED for end in ("max", "min")}},
    shares=COMMON.shares | {OCCLUDED}, differences={OCCLUDED: DELTA},
    relative=COMMON.relative | {
        "distance_to_refae", "within_class_variance", "texture", "effective_rank", "changed", "changed_others",
    },
    counts=COMMON.counts | {"misclassified"},
    # At α = 1 nothing keeps the reconstruction loss, and its spread says nothing about others.
    telling=lambda rows: rows[rows["alpha"].astype(float) < 1] if "alpha" in rows else rows,
)  # fmt: skip


@lru_cache(maxsize=1)
def published() -> dict[str, Any]:
    """All printed numbers, as transcribed in `published.yml`."""
    found: dict[str, Any] = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))
    return found


def by_layer(first: str, second: str, differences: dict[str, tuple[str, str]] | None = None) -> pd.DataFrame:
    """Two printed tables by data set and layer, the first of VGG-11 and the second of ResNet-10."""
    cells = [
        ((DATASETS[name], architecture, index), values)
        for table, architecture in ((first, "vgg11"), (second, "resnet10"))
        for name, layers in published()[table].items()
        for index, values in layers.items()
    ]
    return tables.published_summary(cells, tables.KEYS, differences, RUNS)


def layers() -> pd.DataFrame:
    """Tables 2 and 3 in the form of `layers_of`: mean and sd of 5 runs; differences from the means."""
    return by_layer("table2", "table3", DIFFERENCES)


def layers_of(record: Record) -> pd.DataFrame:
    """The columns of Tables 2 and 3 from a record of the experiment `layers`.

    Returns
    -------
    DataFrame
        Indexed by dataset, architecture, index and metric; columns mean, sd, n. Differences are taken within
        each seed before averaging.
    """
    runs = tables.columns_of(tables.numbered(record), COLUMNS, [*tables.KEYS, "seed"])
    return tables.summarise_runs(tables.with_differences(runs, DIFFERENCES))


def spreads() -> pd.DataFrame:
    """What the printed standard deviations say of the noise from seed to seed (see `noise.spreads`).

    Tables 2, 3 and 6 tell of losses and accuracies, 4 and 5 of the classification loss, 7 and 8 of occlusions. Cells at
    α = 1 are left out, as in `NUMBERS`. Rows of a table about one data set are taken for numbers of the same runs.
    """
    parts: list[tuple[str, str, dict[str, Any]]] = []
    for architecture, names in (("vgg11", ("table2", "table7")), ("resnet10", ("table3", "table8"))):
        parts += [(architecture, f"{name} {dataset}", values) for name in names
                  for dataset, layers in published()[name].items() for values in layers.values()]  # fmt: skip
    for architecture, name in (("vgg11", "table4"), ("resnet10", "table5"), ("vgg11", "table6")):
        parts += [
            (architecture, name, values) for label, values in published()[name].items() if name == "table6" or label < 1
        ]
    kinds = {"rec": LOSS, "cls": CROSS_ENTROPY, "acc": ACCURACY, "cladec": OCCLUDED, "gradcam": OCCLUDED}
    rows = [
        {"architecture": architecture, "cluster": cluster,
         "kind": OWN_ACCURACY if metric == "acc_classifier" else kinds[first], "mean": pair[0],
         "var": pair[1] ** 2, "count": RUNS}
        for architecture, cluster, values in parts for metric, pair in values.items()
        for first in [metric.split("_")[0]] if first in kinds and isinstance(pair, list)
    ]  # fmt: skip
    return noise.spreads(pd.DataFrame(rows), noise.PRINT)


@lru_cache(maxsize=1)
def known() -> noise.Noise:
    """The noise of single runs: what the committed records know, and where they are too few the printed tables.

    Of this paper's chapters alone: others train networks of their own under the name of one of these, or explain
    the classifiers of these chapters once more, which would count twice.
    """
    own = [record for record in find_records(RECORDED) if record.manifest["experiment"] in OWN]
    return noise.pooled(own, spreads(), NUMBERS)
