"""What the figures of the chapter `contrast` show, from the record that they are drawn from."""

from cladec_companion.evidence.tables import DATASET_NAMES
from cladec_companion.papers.cdeepex.contrast.claims import column, evidence
from cladec_companion.papers.cdeepex.contrast.experiment import FREE, GENERATORS, NETWORKS, OURS, PICTURED, UNBIASED
from cladec_companion.papers.cdeepex.contrast.figures import NAMES, with_networks
from cladec_companion.papers.cdeepex.contrast.metrics import ENERGY
from cladec_companion.papers.cdeepex.scenes import SQUARE
from cladec_companion.records.record import Record
from cladec_companion.records.samples import RunImages

HELD = f"{ENERGY:.0%} of the energy of a change lies on"


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentence that its caption begins with; none for what a record lacks."""
    found, drawn = evidence(record), RunImages.of(record)
    means = found.summary["mean"].groupby(level=["dataset", "metric"]).mean()
    datasets, runs = means.index.unique("dataset"), found.runs
    assert runs is not None

    def mean(method: str, metric: str, dataset: str = drawn.dataset) -> float:
        return float(means.get((dataset, column(method, metric)), float("nan")))

    def seen(metric: str) -> str:
        return " and ".join(f"{mean(f'VAE {OURS}', metric, name):.0%} ({DATASET_NAMES[name]})" for name in datasets)

    def third(kind: str) -> str:
        run = runs.xs(int(drawn["seed"]), level="seed")  # the curves are of one seed
        ends = run.reindex(columns=[column(f"{name} {kind}", "third") for name in PICTURED]).to_numpy()
        return f"{ends.min():.2f} to {ends.max():.2f}"

    extents = {mean(f"{name} {OURS}", "extent"): name for name in GENERATORS}
    widest, smallest = max(extents), min(extents)
    area = SQUARE**2 / drawn.original[0].size
    single = max(mean(f"square {name}", "energy") for name in NAMES)
    asked = f"(means over all questions about {DATASET_NAMES[drawn.dataset]})"
    sentences = {
        "fig-contrast-generators": f"{HELD} {widest:.0%} of the pixels with the generator {extents[widest]}, and on "
        f"{smallest:.0%} with {extents[smallest]} {asked}.",
        "fig-contrast-outcomes": f"With CDeepEx and the VAE, the classifier sees the other class in {seen('flipped')} "
        f"of the images, the judge in {seen('judged')}.",
        "fig-contrast-curves": f"At the end the likeliest third class has a mean probability of {third(OURS)} with "
        f"constraints (CDeepEx), and of {third(FREE)} without (xGEMs).",
        "fig-contrast-biases": f"The square, {area:.1%} of the area, has {mean(f'square VAE {OURS}', 'energy'):.0%} "
        f"of the energy of CDeepEx's changes with the VAE ({mean(f'square VAE {UNBIASED}', 'energy'):.0%} for the "
        f"classifier without squares), {mean(f'square ClaDec {OURS}', 'energy'):.0%} with ClaDec's decoder, at most "
        f"{single:.0%} by methods that explain one class, and {mean('two models', 'energy'):.0%} of the difference of "
        f"two ClaDec decoders' images of it ({DATASET_NAMES[drawn.dataset]}).",
    }
    for images in with_networks(record)[-1:]:
        sizes = (
            f"{mean(f'{name} {OURS}', 'extent', images.dataset):.1%} of the pixels for {title} "
            f"({mean(f'{name} {FREE}', 'extent', images.dataset):.1%} without constraints)"
            for name, title in NETWORKS.items()
        )
        where = DATASET_NAMES[images.dataset]
        sentences["fig-contrast-networks"] = (
            f"{HELD} {', and on '.join(sizes)}; means over the questions about {where}."
        )
    return sentences
