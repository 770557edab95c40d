"""Limits that several chapters share, or the votes on pictures use (see `evidence.thresholds`)."""

from cladec_companion.evidence.thresholds import Threshold

ABOUT = Threshold("about (an accuracy)", 0.01, "one point of an accuracy that is given in whole points", "2026-11-21")
OMITTED = Threshold("omitted", 0.5, "share of an image's texture that is left: less than half of it", "2026-11-21")
TRAINED = Threshold(
    "a control's classifier has learnt",
    0.5,
    "share of the baseline's accuracy; set after max-pooling had not learnt at the common rate",
    "2026-11-21",
    after_data=True,
)
LOOKS_KEPT = Threshold(
    "kept (a vote)",
    0.1,
    "distance from the image as a share of the way from white to black: faint noise, which nobody sees",
    "2026-11-22",
    after_data=True,
)
LOST_BY_BOTH = Threshold(
    "nothing follows (a vote)",
    0.3,
    "distance of the reference from ClaDec, as a share of ClaDec's from the image: less than a third, so that most of "
    "what is missing is missing from both",
    "2026-11-22",
    after_data=True,
)
