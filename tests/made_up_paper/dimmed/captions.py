"""What the figure of the chapter `dimmed` shows, from the record that it is drawn from."""

from cladec_companion.records.record import Record
from tests.made_up_paper.dimmed.claims import evidence


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentence that its caption begins with."""
    means = evidence(record).cells("brightness")["mean"].groupby("dimming").mean()
    return {"fig-dimmed": f"The mean grey value is {means.iloc[0]:.2f} in the dark and {means.iloc[-1]:.2f} by day."}
