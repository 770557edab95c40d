"""The claims of the made-up chapter, and what its made-up paper prints."""

from collections.abc import Sequence

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import FAILS, HOLDS, Claim, Evidence, Verdict
from cladec_companion.records.record import Record

PRINTED = {"brightness": "brightness of X̂"}
KEYS = ["dataset", "architecture", "dimming"]
PAPER = {0.25: [0.1, 0.01], 1.0: [0.3, 0.01]}  # mean and sd by dimming


def printed() -> Evidence:
    """The table that the made-up paper prints."""
    cells = [(("digits", "vgg5", dimming), {"brightness": pair}) for dimming, pair in PAPER.items()]
    return Evidence(tables.published_summary(cells, KEYS))


def evidence(record: Record, others: Sequence[Record] = ()) -> Evidence:
    """The same table from a record."""
    runs = tables.columns_of(record.rows, {"brightness": ("cladec", "brightness")}, [*KEYS, "seed"])
    return Evidence(tables.summarise_runs(runs), record)


def dimmer(evidence: Evidence) -> Verdict:
    """Reconstructions are darker where the training images were, in every run."""
    means = evidence.cells("brightness")["mean"].unstack("dimming")
    darker = (means[0.25] < means[1.0]).all()
    return Verdict(HOLDS if darker else FAILS, f"{means[0.25].iloc[0]:.3f} against {means[1.0].iloc[0]:.3f}")


def brighter(evidence: Evidence) -> Verdict:
    """Reconstructions are brighter than white, in every cell."""
    bright = (evidence.cells("brightness")["mean"] > 1).all()
    return Verdict(HOLDS if bright else FAILS, "compared with 1")


CLAIMS = [
    Claim("M1", "1", "Dimmed images make dim explanations", dimmer),
    Claim("M12", "2", "Explanations are brighter than white", brighter),
]
