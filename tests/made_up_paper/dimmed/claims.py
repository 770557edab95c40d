"""Claims M1 and M12, about dimmed images, and what the made-up paper prints of them."""

from collections.abc import Sequence
from pathlib import Path

import yaml

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import FAILS, HOLDS, Claim, Evidence, Verdict
from cladec_companion.evidence.thresholds import Threshold
from cladec_companion.records.record import Record

PRINTED = {"brightness": "brightness of X̂"}
KEYS = ["dataset", "architecture", "dimming"]
WHITE = Threshold("white (an explanation)", 1.0, "mean grey value, of which no image has more", "2026-11-22")
PUBLISHED = Path(__file__).parents[1] / "published.yml"


def printed() -> Evidence:
    """The table that the made-up paper prints."""
    table = yaml.safe_load(PUBLISHED.read_text(encoding="utf-8"))["table99"]
    cells = [(("digits", "vgg5", dimming), {"brightness": pair}) for dimming, pair in table.items()]
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
    bright = (evidence.cells("brightness")["mean"] > WHITE.value).all()
    return Verdict(HOLDS if bright else FAILS, f"compared with {WHITE.value:g}")


CLAIMS = [
    Claim("M1", "1", "Dimmed images make dim explanations", dimmer),
    Claim("M12", "2", "Explanations are brighter than white", brighter, limits=(WHITE,)),
]
