"""Figures of the chapter `encoder_training` (the paper's Figure 12)."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from cladec_companion.evidence.lines import legend_below, lines
from cladec_companion.evidence.style import COLOURS, LABELS, drawn, grid, signed_difference, unit
from cladec_companion.evidence.trends import Evidence
from cladec_companion.papers.cladec.encoder_training.settings import CALIBRATED, INITIAL, REFERENCE, TRAINED, Part
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages


def encoders(record: Record, classes: tuple[str, ...], *, count: int = 10) -> Figure:
    """Test images reconstructed from every encoder, and how the untrained one differs from the RefAE (Fig. 12).

    Parameters
    ----------
    record
        Of the experiment `encoder_training`.
    classes
        Class names of the data set.
    """
    images = RunImages.of(record)
    parts = record.rows[["layer", "encoder_epochs", "batchnorm"]].drop_duplicates()
    found = {
        (part.batchnorm, part.epochs): images.aligned(str(part))[:count]
        for part in map(Part, parts["layer"], parts["encoder_epochs"], parts["batchnorm"])
        if str(part) in images
    }
    rows = [(LABELS["original"], images.original[:count]), (LABELS["refae"], found[REFERENCE, 0])]
    if (CALIBRATED, 0) in found:
        difference = signed_difference(unit(found[REFERENCE, 0]), unit(found[CALIBRATED, 0]))
        rows += [
            ("untrained", found[CALIBRATED, 0]),
            (r"$\hat X_R - \hat X_E$", difference),
            ("untrained, not\ncalibrated", found[INITIAL, 0]),
        ]
    rows += [
        (f"{epochs} epoch{'s' * (epochs > 1)}", found[kind, epochs])
        for kind, epochs in sorted(found, key=lambda key: key[1]) if kind == TRAINED
    ]  # fmt: skip
    titles = [classes[label] for label in images.labels[:count]]
    return grid([(name, list(shown)) for name, shown in rows], titles)


@drawn
def over_epochs(sources: dict[str, Evidence]) -> Figure:
    """Loss and accuracies over the epochs of the classifier, with sd as error bars.

    Parameters
    ----------
    sources
        Evidence (see `claims.evidence`) by name; `published` is drawn dashed.
    """
    methods = {"cladec": "ClaDec, ", "refae": "RefAE, "}
    figure, axes = plt.subplots(1, 2, figsize=(7.6, 3.5))
    for axis, metric in zip(axes, ("rec", "acc"), strict=True):
        for method, name in methods.items():
            lines(axis, sources, f"{metric}_{method}", "epochs of the classifier", COLOURS[method], name)
    lines(axes[1], sources, "acc_classifier", "epochs of the classifier", COLOURS["original"], "C itself, ")
    axes[0].set_ylabel("reconstruction loss\n(raw sum per image)")
    axes[1].set_ylabel("accuracy")
    legend_below(figure)
    return figure
