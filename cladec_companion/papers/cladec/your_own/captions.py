"""What the figures of the chapter `your_own` show, from the record that they are drawn from."""

import pandas as pd

from cladec_companion.engine.plan import CLASSIFIER
from cladec_companion.papers.cladec.your_own.experiment import BIASED, HONEST
from cladec_companion.papers.cladec.your_own.figures import DRAWN, PAIR, layers
from cladec_companion.records.record import Record


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentence that its caption begins with; means over the runs, of which images show one."""
    means = record.rows.groupby(["metric", "method", "layer"])["value"].mean()
    marked = {name: _range(means["drawn", method]) for name, method in DRAWN.items()}
    last = layers(record)[-1]
    others, rest = (
        [means[metric, DRAWN[name], last] for name in (BIASED, HONEST)] for metric in ("drawn_others", "changed_others")
    )
    shares, pair = means["share"], means["share_others", PAIR]
    maps = shares[shares.index.get_level_values("method").str.endswith(f", {BIASED}")]
    least, most = (f"{maps[place]:.1%} ({_name(place)})" for place in (maps.idxmin(), maps.idxmax()))
    sentences = {
        "fig-own-marked": f"On average over the runs, the biased classifier's reconstructions draw {marked[BIASED]} of "
        f"the square on its class, by layer, the honest one's {marked[HONEST]}, and the reference's "
        f"{marked['reference']}.",
        "fig-own-others": f"On average over the runs, the biased classifier's reconstructions from {last} draw "
        f"{others[0]:.0%} of the square, the honest one's {others[1]:.0%}; adding the square changes the rest of the "
        f"picture by {rest[0]:.3f} and by {rest[1]:.3f} (mean squares, where 1 is the variance of the images).",
        "fig-own-maps": f"On average over the runs, between {least} and {most} of a map's energy on the marked class "
        f"lies in the square, which is {shares['area'].iloc[0]:.1%} of the area.",
        "fig-own-shares": f"On average, the difference of the two models at {pair.idxmax()} has {pair.max():.0%} of "
        f"its energy in the square on other classes, and {shares[PAIR, pair.idxmax()]:.0%} on the marked class.",
    }
    return sentences


def _range(values: pd.Series) -> str:
    """Such as `88% to 98%`, or a single share where all agree."""
    return " to ".join(dict.fromkeys(f"{value:.0%}" for value in (values.min(), values.max())))


def _name(place: tuple[str, str]) -> str:
    """A method, and its layer if it has one."""
    method = place[0].removesuffix(f", {BIASED}")
    return method if place[1] == CLASSIFIER else f"{method} at {place[1]}"
