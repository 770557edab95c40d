"""What the figures of the chapter `occlusion` show, from the record that they are drawn from."""

import pandas as pd

from cladec_companion.evidence.lines import first_run
from cladec_companion.evidence.measurements import where
from cladec_companion.papers.cladec.occlusion.claims import evidence
from cladec_companion.papers.cladec.occlusion.figures import METHOD_NAMES, layers_of
from cladec_companion.records.record import Record


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentence that its caption begins with."""
    run, means = first_run(record), evidence(record).summary["mean"].unstack("metric").sort_index()
    layers = means.loc[run]
    top = layers.iloc[-1]
    sentences = {
        "fig-occlusion-images": f"With the square covered that is most relevant to ClaDec at "
        f"{layers_of(record, run)[0]}, the classifier recognises {top['cladec_max']:.0%} of all test images; with the "
        f"least relevant one covered, {top['cladec_min']:.0%}.",
        "fig-occlusion-accuracy": f"As recorded on {where(run)}, ΔAcc is {_range(layers['cladec_d'])} for ClaDec, by "
        f"layer, and {_range(layers['gradcam_d'])} for GradCAM.",
        "fig-occlusion-deletion": "How far the dashed line lies above the solid one (accuracy, mean over k), for "
        f"ClaDec (by layer) and the best other method. {_of_every_run(record)}.",
    }
    if "contrast" in means:
        ends = means["contrast"].dropna().groupby(level=["dataset", "architecture"]).agg(["first", "last"])
        sentences["fig-occlusion-contrast"] = (
            f"ClaDec's relevance correlates with the contrast by {_between(ends['first'])} at the layers nearest to "
            f"the input, and by {_between(ends['last'])} at those nearest to the output."
        )
    return sentences


def _range(values: pd.Series) -> str:
    """Such as `0.11 to 0.37`, or a single number where there is only one; zero has no sign."""
    return " to ".join(dict.fromkeys(f"{value:z.2f}" for value in (values.min(), values.max())))


def _between(values: pd.Series) -> str:
    """The smallest and the largest number of all runs, with the run."""
    places = dict.fromkeys([values.idxmin(), values.idxmax()])
    return " to ".join(f"{values[run]:z.2f} ({where(run)})" for run in places)


def _of_every_run(record: Record) -> str:
    """ClaDec's deletion curves, by layer, beside the best other method's: the figure draws one run, this tells all."""
    rows, told = record.rows, []
    for run in dict.fromkeys(zip(rows["dataset"], rows["architecture"], strict=True)):
        heights = _heights(record, run)
        ours = [f"ClaDec {_range(heights.pop('cladec'))}"] if "cladec" in heights else []
        best = max(heights, key=lambda name: heights[name].max(), default=None)
        others = [f"{METHOD_NAMES[best]} {_range(heights[best])}"] if best else []
        told.append(f"{where(run)}{' (drawn)' * (run == first_run(record))}: {' against '.join(ours + others)}")
    return "; ".join(told)


def _heights(record: Record, run: tuple[str, str]) -> dict[str, pd.Series]:
    """By method, how far apart its two deletion curves are on average: a value for each layer that it knows."""
    rows = record.rows[(record.rows["dataset"] == run[0]) & (record.rows["architecture"] == run[1])]
    curves = rows.pivot_table(index=["method", "layer"], columns="metric", values="value")
    heights = (curves["curve_least"] - curves["curve_most"]).dropna()
    return {name: heights[name] for name in METHOD_NAMES if name in heights}
