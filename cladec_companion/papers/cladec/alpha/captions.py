"""What the figures of the chapter `alpha` show, from the record that they are drawn from."""

import pandas as pd

from cladec_companion.evidence.lines import first_run
from cladec_companion.evidence.measurements import where
from cladec_companion.evidence.tables import joined
from cladec_companion.papers.cladec.alpha.claims import evidence
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages

EARLY = 0.9  # the values of α up to this one are far from 1


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentence that its caption begins with."""
    runs, images, drawn = evidence(record).runs, RunImages.of(record), first_run(record)
    assert runs is not None
    shown = ends(runs.loc[images.run].xs(images["seed"].item(), level="seed"))
    means = runs.loc[drawn].groupby("alpha").mean()
    lines = ends(means)
    sentences = {
        "fig-alpha-samples": f"The correlation of the pixels of a test image with those of its reconstruction is "
        f"{listed(shown['correlation'], '.2f')} (mean over all test images).",
        "fig-alpha-bags": f"The variance of the reconstructions within a class is "
        f"{listed(shown['variance'][shown.index < 1], '.3f')} (standardised values, all classes of the test images).",
        "fig-alpha-trade": f"Recorded, {where(drawn)}: the reconstruction loss is {listed(lines['rec_loss'], '.1f')}; "
        f"there the classifier loss is {joined(lines['cls_loss'].map('{:.2f}'.format))} nats, and the evaluation "
        f"accuracy {joined(lines['acc_cladec'].map('{:.1%}'.format))}.{_before(means)}",
    }  # fmt: skip
    return sentences


def ends(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of the smallest α, of the largest below 1, and of the largest."""
    below = table.index[table.index < 1][-1:]
    return table.loc[sorted({table.index[0], *below, table.index[-1]})]


def listed(values: pd.Series, digits: str) -> str:
    """Such as "0.83 at α = 0, 0.78 at α = 0.9 and 0.09 at α = 1"."""
    return joined(f"{value:{digits}} at α = {at:g}" for at, value in values.items())


def _before(lines: pd.DataFrame) -> str:
    """How little or how much the loss changes before α comes near to 1, where a trend may lie at its end alone."""
    early = lines.loc[lines.index <= EARLY, "rec_loss"]
    if len(early) < 2:
        return ""
    return f" Up to α = {early.index[-1]:g} the reconstruction loss is between {early.min():.1f} and {early.max():.1f}."
