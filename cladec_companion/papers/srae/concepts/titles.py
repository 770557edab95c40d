"""What the numbers and methods of a record are called where a reader sees them."""

from cladec_companion.papers.srae.baselines import CONSTANT, NO_PULL, NO_RECONSTRUCTION

QUANTITIES = {
    "f_reg_train": "F_reg of training examples", "f_reg": "F_reg", "f_cls": "F_cls", "f_cls_own": "F_cls of the class",
    "f_cls_others": "F_cls of others", "o1": "O1", "o2": "O2", "pull_away": "pull-away term",
    "carried": "largest contribution",
}  # fmt: skip
METHODS = {
    "logit": "the logit's map", "Z": "single units", CONSTANT: "a constant", NO_PULL: "SRAE with η = 0",
    NO_RECONSTRUCTION: "SRAE with β = 0",
}  # fmt: skip


def quantity(metric: str) -> str:
    """A metric in words."""
    return QUANTITIES.get(metric, metric)


def spoken(method: str) -> str:
    """A method in words."""
    return METHODS.get(method, method)


def number(column: str) -> str:
    """A column of a summary (see `printed.name`) in words."""
    method, _, metric = column.rpartition(" ")
    return f"{quantity(metric)} of {spoken(method)}"
