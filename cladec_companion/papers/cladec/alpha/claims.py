"""Claims B16-B23, about the weight α of the classification loss (section 6.2, Tables 4 and 5)."""

from collections.abc import Iterable, Sequence

import pandas as pd

from cladec_companion.evidence import tables
from cladec_companion.evidence.claims import Claim, Evidence, Verdict, count, undecided, unprinted
from cladec_companion.evidence.tables import columns_of
from cladec_companion.evidence.trends import Step, compare, evidence_of, significance, trend
from cladec_companion.records.record import Record

KEYS = ["dataset", "architecture", "alpha"]
PRINTED = {
    "total_loss": "Total loss", "rec_loss": "Rec loss", "cls_loss": "Classifier loss", "acc_cladec": "Acc ClaDec",
}  # fmt: skip
EXTRA = {
    "cls_loss_train": "Classifier loss, training images", "acc_c": "Accuracy of C on X̂",
    "agreement": "Agreement with C", "variance": "Variance within a class", "correlation": "Pixel correlation",
}  # fmt: skip
COLUMNS = {
    "total_loss": ("cladec", "loss_total"), "rec_loss": ("cladec", "loss_raw_sum"),
    "cls_loss": ("cladec", "loss_classifier"), "acc_cladec": ("cladec", "accuracy"),
    "cls_loss_train": ("cladec", "loss_classifier_train"), "acc_c": ("cladec", "accuracy_classifier"),
    "agreement": ("cladec", "agreement"), "variance": ("cladec", "within_class_variance"),
    "correlation": ("cladec", "pixel_correlation"), "mean_image": ("mean image", "loss_raw_sum"),
    "acc_classifier": ("classifier", "accuracy"),
}  # fmt: skip
FASHION = "fashion_mnist"
SLIGHTLY = 0.01  # "slightly above the minimum"
MID_GREY = 32 * 32 * 0.25  # no image in [0, 1] is further from mid-grey, summed over its squared differences
RECOGNISABLE = 0.3  # pixel correlation
ROUNDING = 0.011  # of a total, a classifier loss and a weighted reconstruction loss with two decimals


def published_summary() -> pd.DataFrame:
    """Tables 4 and 5, and the conference paper's Table 2 (as vgg5) with its labels 1 - α turned into α (I1)."""
    cells = [
        ((FASHION, architecture, round(1 - label, 6) if architecture == "vgg5" else label), values)
        for table, architecture in (("table4", "vgg11"), ("table5", "resnet10"), ("conference_table2", "vgg5"))
        for label, values in tables.published()[table].items()
    ]
    return tables.published_summary(cells, KEYS)


def printed() -> Evidence:
    """The journal's tables; the conference's is Table 4 again with more digits."""
    return Evidence(published_summary().drop("vgg5", level="architecture"))


def evidence(record: Record) -> Evidence:
    """What a record of the experiment `alpha` measured."""
    return evidence_of(record, columns_of(record.rows, COLUMNS, [*KEYS, "seed"]))


def equivalent_weights(record: Record) -> pd.DataFrame:
    """The α over grey values that weighs both losses as our α does over standardised values (reading C-8).

    Grey values have the variance σ², so (1-α) Σ standardised equals (1-α)/σ² Σ grey; for colour images σ² is an
    average over the channels.
    """
    losses = {"grey": ("cladec", "loss_raw_mean"), "standardised": ("cladec", "loss_standardised")}
    wide = columns_of(record.rows, losses, [*KEYS, "seed"]).groupby(level=KEYS).mean()
    alpha, variance = wide.index.get_level_values("alpha"), wide["grey"] / wide["standardised"]
    weights = alpha * variance / (alpha * variance + 1 - alpha)
    return weights.rename("α over grey values").to_frame().round(4)


def b16(evidence: Evidence) -> Verdict:
    """The loss rises from each α to the next."""
    return trend(compare(evidence, "rec_loss"), "reconstruction loss rises from one α to the next")


def _against_none(alphas: Sequence[float]) -> Iterable[tuple[float, float]]:
    """α = 0 with every other α."""
    return [(0, alpha) for alpha in alphas if alpha > 0 and 0 in alphas]


def b17(evidence: Evidence) -> Verdict:
    """Accuracy at every α above 0 exceeds that at α = 0."""
    return trend(compare(evidence, "acc_cladec", _against_none), "accuracy above that at α = 0")


def b18(evidence: Evidence) -> Verdict:
    """On Fashion-MNIST every accuracy meets the printed level."""
    hits, without = [], []
    for (dataset, architecture), chain in evidence.chains("acc_cladec"):
        if dataset != FASHION:
            continue
        hits += list(chain["mean"][chain.index > 0] > 0.90)
        for mean in chain["mean"][chain.index == 0]:
            hits.append(abs(mean - 0.88) < 0.01)
            without.append(f"{mean:.3f} ({tables.ARCHITECTURE_NAMES[architecture]})")
    if not hits:
        return undecided("the sentence is about Fashion-MNIST, which was not run")
    found = count(hits, "the printed level is met")
    return found.plus(f"; α = 0 gives {', '.join(without) or 'nothing: not run'}")


def b19(evidence: Evidence) -> Verdict:
    """The smallest α above 0 brings at least half of the largest gain in accuracy."""
    gains: dict[tuple[str, str], list[Step]] = {}
    for step in compare(evidence, "acc_cladec", _against_none):
        gains.setdefault(step.run, []).append(step)
    gains = {run: steps for run, steps in gains.items() if steps[0].after <= SLIGHTLY}
    if not gains:
        return undecided(f"needs α = 0 and an α of at most {SLIGHTLY}; the smallest that the paper prints is 0.9")
    hits, clear, shares = [], [], []
    for first, *others in gains.values():
        largest = max([first, *others], key=lambda step: step.change)
        hits.append(largest.change > 0 and first.change >= largest.change / 2)
        clear.append(abs(first.change - largest.change / 2) > first.noise)
        shares.append(f"{first.change:+.3f} of {largest.change:+.3f}")
    found = count(hits, "the smallest α brings half of the largest gain", clear=clear)
    return found.plus(f" ({', '.join(shares)})")


def b20(evidence: Evidence) -> Verdict:
    """At α = 1 images are worse than the mean image and do not correlate with X, and C reads them as well as X."""
    at_one = {
        metric: {run: chain["mean"].get(1.0) for run, chain in evidence.chains(metric)}
        for metric in ("rec_loss", "cls_loss", "mean_image", "correlation", "acc_c", "acc_classifier")
    }
    runs = [run for run, loss in at_one["rec_loss"].items() if loss is not None]
    if evidence.record is None:
        hits = [at_one["rec_loss"][run] > MID_GREY and at_one["cls_loss"][run] < ROUNDING for run in runs]
        return count(hits, f"loss above that of a mid-grey image (at most {MID_GREY:.0f}), classifier loss near 0,")
    hits = []
    for run in runs:
        hits += [
            at_one["rec_loss"][run] > at_one["mean_image"][run],
            abs(at_one["correlation"][run]) < RECOGNISABLE,
            at_one["acc_c"][run] > at_one["acc_classifier"][run] - 0.02,
        ]
    values = "; ".join(f"r = {at_one['correlation'][run]:.2f}, C reads {at_one['acc_c'][run]:.3f}" for run in runs)
    what = f"worse than the mean image, |r| < {RECOGNISABLE}, C as accurate as on X (within 0.02),"
    return count(hits, what).plus(f" ({values})" if runs else "")


def b21(evidence: Evidence) -> Verdict:
    """The loss of the classifier on test images falls from each α to the next."""
    found = trend(compare(evidence, "cls_loss"), "classifier loss falls from one α to the next", sign=-1)
    known = compare(evidence, "cls_loss_train")
    falls = sum(step.change < 0 for step in known)
    return found.plus(f"; on training images in {falls} of {len(known)}" if known else "")


def b22(evidence: Evidence) -> Verdict:
    """The total equals Eq. 1 of the two losses beside it, within rounding."""
    wide = evidence.summary["mean"].unstack("metric").reindex(columns=["total_loss", "rec_loss", "cls_loss"]).dropna()
    alpha = wide.index.get_level_values("alpha")
    first, second = (1 - alpha) * wide["rec_loss"], alpha * wide["cls_loss"]
    found = count((wide["total_loss"] - first - second).abs() <= ROUNDING + 1e-6 * first, "the total fits Eq. 1")
    if evidence.record is not None:
        return found.plus(" (computed so)")
    alone = ((wide["total_loss"] - first).abs() <= ROUNDING).sum()
    return found.plus(f"; (1-α)·Rec alone fits in {alone} of {len(wide)}")


@unprinted()
def b23(evidence: Evidence) -> Verdict:
    """The variance within a class falls from each α to the next, as long as there are shapes (α < 1)."""
    steps = [step for step in compare(evidence, "variance") if step.after < 1]
    found = count((s.change < 0 for s in steps), "variance within a class falls", clear=(s.clear for s in steps))
    return found.plus(significance(steps) if steps else "")


CLAIMS = [
    Claim("B16", "6.2", "The reconstruction loss increases with α", b16),
    Claim("B17", "6.2", "Evaluation accuracy with α > 0 exceeds that with α = 0", b17),
    Claim("B18", "6.2", "α > 0 gives above 90 %, α = 0 about 88 % (Tables 4 and 5)", b18),
    Claim("B19", "6.2", "An α slightly above 0 already has a strong impact", b19),
    Claim("B20", "6.2", "With α = 1 reconstructions are not recognisable for humans", b20),
    Claim("B21", "6.2", "The classifier loss decreases with α", b21),
    Claim("B22", "6.2", "The total loss is the weighted sum of Eq. 1", b22),
    Claim("B23", "6.2", "Shapes become more uniform as α grows", b23),
]
