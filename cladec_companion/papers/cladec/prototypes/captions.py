"""What the figures of the chapter `prototypes` show, from the record that they are drawn from."""

from cladec_companion.evidence.tables import DATASET_NAMES
from cladec_companion.papers.cladec.prototypes.claims import by_prototype
from cladec_companion.papers.cladec.prototypes.figures import TEXTURES, shown_runs
from cladec_companion.records.record import Record


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentence that its caption begins with; of the prototypes that the figures show."""
    table = by_prototype(record)
    parts = {DATASET_NAMES[run[0]]: table.loc[run] for run in shown_runs(record)}
    left, nearer, textures, below, count = [], [], [], 0, 0
    for name, part in parts.items():
        means = part.mean()
        image, cladec, prototype = means[list(TEXTURES)]
        left.append(f"{prototype / image:.0%} and {cladec / image:.0%} on {name}")
        textures.append(f"{image:.3f}, {cladec:.3f} and {prototype:.3f} on {name}")
        nearer.append(f"{means['to_reconstruction'] / means['to_class_mean']:.0%} on {name}")
        below, count = below + int((part["to_reconstruction"] < part["to_class_mean"]).sum()), count + len(part)
    sentences = {
        "fig-prototypes-samples": "Of the texture (variance of the Laplacian) of the images below them, the prototypes "
        f"and ClaDec's reconstructions have {', '.join(left)}.",
        "fig-prototypes-nearest": "The mean squared difference from a prototype to the nearest reconstruction is, on "
        f"average, {' and '.join(nearer)} of that to the nearest class mean.",
        "fig-prototypes-measured": "The mean texture of images, ClaDec's reconstructions and prototypes is "
        f"{', '.join(textures)}. Below the dashed line lie {below} of {count} prototypes.",
    }
    return sentences
