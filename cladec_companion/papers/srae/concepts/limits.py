"""Limits of claims S1-S20 (see `evidence.thresholds`)."""

from cladec_companion.evidence.thresholds import Threshold

KEEPS_CLASSES = Threshold(
    "hardly ever changes the class",
    0.9,
    "F_cls: nine examples in ten keep their class; in our records the mean over examples of the class and over others, "
    "as a low constant keeps nine in ten of all, and only where the mean logit does not pass it, too",
    "2026-11-22",
    after_data=True,
)
CARRIES = Threshold(
    "one x-feature carries the decision",
    0.75,
    "share of the positive contributions: midway between two equal reasons and a single one",
    "2026-11-22",
)
MUCH_LARGER = Threshold(
    "far less faithful, or far worse",
    2.0,
    "times as large an error F_reg: at least twice",
    "2026-11-21",
    after_data=True,
)
ALMOST_MATCHING = Threshold(
    "almost matching (locality)",
    0.05,
    "nats above that of single units: a tenth of the gap to the logit's map that is printed",
    "2026-11-21",
    after_data=True,
)
SIMILAR_TABLES = Threshold(
    "similar results", 0.9, "share of pairs of methods in the same order; one exception in ten is usual", "2026-11-21"
)
STILL_RECOGNISED = Threshold(
    "almost complete", 0.05, "accuracy that is lost; 0.037 is printed", "2026-11-21", after_data=True
)
NO_BETTER = Threshold("no improvement", 0.1, "share by which F_reg may fall all the same", "2026-11-21")
LEARNT_MOSAICS = Threshold(
    "a classifier has learnt the mosaics",
    0.95,
    "accuracy; below it maps show what was not learnt, and the comparison means little",
    "2026-11-21",
)
