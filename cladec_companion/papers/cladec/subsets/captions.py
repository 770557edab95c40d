"""What the figures of the chapter `subsets` show, from the record that they are drawn from."""

from cladec_companion.evidence.lines import first_run
from cladec_companion.papers.cladec.subsets.claims import LOSS, Evidence, improvement
from cladec_companion.records.record import Record
from cladec_core.data import DATASETS


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentence that its caption begins with."""
    run, found = first_run(record), Evidence(record)
    losses, seen = (dict(found.nested("cladec", metric))[run]["mean"] for metric in (LOSS, "accuracy"))
    everything, fewest = losses.index[-1], losses.index[0]
    by_class = improvement(record).loc[run]
    part, whole = by_class.loc["disjoint"].groupby("class").mean(), by_class.loc["nested"].loc[everything]["accuracy"]
    whole, names = whole.groupby("class").mean(), DATASETS[run[0]].classes
    ends = [
        f"{part['accuracy'][label]:.0%} of the images of the class {names[int(label)]} ({whole[label]:.0%})"
        for label in (part["accuracy"].idxmax(), part["accuracy"].idxmin())
    ]
    probe = part["probe"].corr(part["accuracy"], method="spearman")
    close = losses.index[(losses - losses[everything]) / losses[everything] <= 0.1][0]
    return {
        "fig-subsets-nested": f"The classifier recognises {seen[everything]:.0%} of the reconstructions from all "
        f"{everything} channels, and {seen[fewest]:.0%} of those from {fewest} of them.",
        "fig-subsets-disjoint": f"On average over the subsets (in brackets: from all {everything} channels), the "
        f"classifier recognises {' and '.join(ends)}.",
        "fig-subsets-classes": f"Rank correlation of the probe's accuracy and the classifier's, over classes: "
        f"{probe:.2f}.",
        "fig-subsets-size": f"With {close} of {everything} channels the loss is within a tenth of that of all of them; "
        f"with {fewest} it is {losses[fewest] / losses[everything]:.1f} times as high.",
    }  # fmt: skip
