"""What the figures of the chapter `shifts` show, from the record that they are drawn from."""

from cladec_companion.papers.xai.shifts.claims import UNMOVED, evidence
from cladec_companion.papers.xai.shifts.experiment import TITLES
from cladec_companion.records.record import Record

CHANGE = "constant"  # the shift of which the caption tells


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentence that its caption begins with; none without a constant shift."""
    means = evidence(record).summary["mean"].unstack("metric").groupby(level="change").mean()
    moved = means.reindex([CHANGE]).loc[CHANGE].reindex(TITLES)
    maps = moved[[name for name in TITLES if not name.startswith("cladec")]].dropna()
    sentence = (
        f"Under the constant shift {sum(maps > UNMOVED.value)} of {len(maps)} heat maps move by more than "
        f"{UNMOVED.value:.0%} of their length. ClaDec moves by {moved['cladec']:.0%} with the same decoder, by "
        f"{moved['cladec_shifted']:.0%} with one trained on shifted images, and by {moved['cladec_again']:.0%} with "
        "one that is only trained again."
    )
    return {"fig-shifts-moved": sentence}
