"""What the figures of the chapter `srae` show, from the record that they are drawn from."""

from cladec_companion.papers.srae.baselines import NN, SRAE
from cladec_companion.papers.srae.concepts.claims import evidence, titled
from cladec_companion.papers.srae.concepts.figures import ORDER, Target
from cladec_companion.papers.srae.printed import name
from cladec_companion.records.record import Record


def told(record: Record) -> dict[str, str]:
    """Name of a figure -> the sentence that its caption begins with; none for what a record lacks."""
    means = evidence(record).summary["mean"].groupby(level=["dataset", "metric"]).mean()
    every, drawn = means.index.unique("dataset"), Target.of(record).images.dataset

    def mean(method: str, metric: str, dataset: str = drawn) -> float:
        return float(means.get((dataset, name(method, metric)), float("nan")))

    def losses(method: str) -> str:
        return " and ".join(f"{mean(f'ClaDec of {method}', 'loss', each):.4f} ({titled(each)})" for each in every)

    split, error, alike = ({mean(method, metric): method for method in ORDER} for metric in ("split", "f_reg", "o1"))
    best, exact, apart = max(split), min(error), min(alike)
    sentences = {
        "fig-srae-contributions": f"The largest contribution is {mean(SRAE, 'carried'):.0%} of all positive ones in "
        f"SRAE and {mean(NN, 'carried'):.0%} in NN, if each is counted from what its x-feature contributes to other "
        f"classes (means over the explained classes of {titled(drawn)}).",
        "fig-srae-maps": f"{split[best]} has the clearest split between the two digits of a class: {best:.2f}, where "
        f"1 is best; SRAE has {mean(SRAE, 'split'):.2f} (means over the explained classes of {titled(drawn)}).",
        "fig-srae-meanings": f"Images decoded from the x-features have a squared error of {losses('x-features')}, "
        f"those from as many random directions of Z {losses('random')}, those from all of Z {losses('Z')}.",
        "fig-srae-places": f"In our record of {titled(drawn)}, {error[exact]} has the smallest error of the logit "
        f"({exact:.2f}) and {alike[apart]} the least correlated maps (O1 = {apart:.2f}); SRAE has "
        f"{mean(SRAE, 'f_reg'):.2f} and {mean(SRAE, 'o1'):.2f}.",
    }
    return sentences
