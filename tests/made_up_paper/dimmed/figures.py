"""The figure of the chapter `dimmed`."""

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from cladec_companion.evidence.style import drawn
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages


@drawn
def pictures(record: Record) -> Figure:
    """Reconstructions of the first test images, one row for each dimming."""
    images = RunImages.of(record, "digits", "vgg5")
    rows = images.values("dimming")
    figure, axes = plt.subplots(len(rows), len(images.labels), squeeze=False)
    for line, dimming in zip(axes, rows, strict=True):
        for axis, image in zip(line, images.aligned(f"dimming={dimming}", "cladec"), strict=True):
            axis.imshow(image[0], cmap="gray", vmin=0, vmax=255)
        line[0].set_ylabel(f"dimmed to {dimming}")
    return figure
