"""E0-E3: what each layer keeps. Classifier; per layer decoder, RefAE and two evaluation classifiers."""

from torch import Tensor, nn

from cladec_companion.engine.plan import CLASSIFIER
from cladec_companion.engine.rows import rows_of, summary
from cladec_companion.engine.runner import CellRun, Rows, Samples
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.cladec.shared import sample_indices, still_falling
from cladec_companion.records.samples import as_uint8, originals, places, scored
from cladec_core import measures, training
from cladec_core.networks import Classifier

CODE_IMAGES = 2_000
JUDGE_SEED = 2**31 - 1  # of the classifier that judges what misclassified images turn into; no run is asked for it


def run_cell(setup: Setup, layer: str, keep_samples: bool) -> CellRun:
    """Measure the classifier, or one layer of it.

    Returns
    -------
    rows
        {"method", "metric", "value"} and the layer's index in the paper.
    samples
        uint8 images at fixed test images, if asked for.
    """
    if layer == CLASSIFIER:
        return _measure_classifier(setup, keep_samples, *(yield [setup.classifier]))
    explain, reference = setup.decoder(layer), setup.reference(layer)
    judges = setup.judge(explain, f"ClaDec {layer}"), setup.judge(reference, f"RefAE {layer}")
    independent = setup.changed(seed=JUDGE_SEED).classifier
    wanted = [setup.classifier, independent, explain, reference, *judges]
    return _measure_layer(setup, layer, keep_samples, *(yield wanted))


def _measure_classifier(setup: Setup, keep_samples: bool, classifier: nn.Module) -> tuple[Rows, Samples]:
    data = setup.data
    logits = setup.test(classifier)
    means = measures.class_means(data)
    floors = {"mean training image": measures.mean_image(data), "class mean": means[data.test_labels]}
    values: dict[str, dict[str, float]] = {
        CLASSIFIER: {
            "accuracy": measures.accuracy(logits, data.test_labels),
            "train_images": len(data.train_images),
            "test_images": len(data.test_images),
        }
    }
    for method, images in floors.items():
        values[method] = measures.reconstruction_losses(data.test_images, images, data.std)
    values["original"] = {"within_class_variance": measures.within_class_variance(data.test_images, data.test_labels)}
    samples = {}
    if keep_samples:
        at = sample_indices(data.test_labels, logits.argmax(1)).to(logits.device)
        samples = originals(data, at, logits.argmax(1)) | scored("original", logits[at])
    return rows_of(values), samples


def _measure_layer(
    setup: Setup, layer: str, keep_samples: bool, classifier: Classifier, independent: nn.Module, explain: nn.Module,
    reference: nn.Module, *judges: nn.Module,
) -> tuple[Rows, Samples]:  # fmt: skip
    data, labels, std = setup.data, setup.data.test_labels, setup.data.std
    images = {"cladec": setup.test(explain), "refae": setup.test(reference)}
    evaluation = dict(zip(images, judges, strict=True))
    predicted = setup.test(classifier).argmax(1)
    values: dict[str, dict[str, float]] = {}
    chosen = _concept_images(setup)
    seen = {method: setup.test(classifier, reconstructions) for method, reconstructions in images.items()}
    for method, reconstructions in images.items():
        values[method] = {
            **measures.reconstruction_losses(data.test_images, reconstructions, std),
            "accuracy": measures.accuracy(setup.test(evaluation[method], reconstructions), labels),
            "agreement": measures.accuracy(seen[method], predicted),
            "within_class_variance": measures.within_class_variance(reconstructions, labels),
            "within_class_share": measures.within_class_share(reconstructions, labels),
            **still_falling({"cladec": explain, "refae": reference}[method]),
            **measures.concepts_kept(data.to_unit(data.test_images[chosen]), data.to_unit(reconstructions[chosen])),
            **_drift(setup, reconstructions, independent, predicted),
        }
    values["cladec"] |= {
        "distance_to_refae": measures.distance(*images.values()),
        "loss_rank_correlation": measures.loss_rank_correlation(data.test_images, *images.values()),
    }
    values |= _read_layer(setup, classifier, layer)
    samples = {}
    if keep_samples:
        at = sample_indices(labels, predicted).to(labels.device)
        samples = {f"{layer}/{method}": as_uint8(data.to_unit(images[method][at])) for method in images}
        for method in images:
            samples |= scored(f"{layer}/{method}", seen[method][at])
        samples[f"{layer}/gradcam"] = as_uint8(measures.gradcam(classifier, layer, data.test_images[at]))
        samples |= places(at)
    return rows_of(values), samples


def _drift(setup: Setup, reconstructions: Tensor, judge: nn.Module, predicted: Tensor) -> dict[str, float]:
    """How many misclassified test images come to look like the class that they are mistaken for (B11).

    The judge is a classifier of another seed, trained on originals, and the same for every layer and run. It mistakes
    many of these images itself, for the same class: what counts is how many more of the reconstructions than of
    the originals it sees in that class. The RefAE's images are the control, as they are blurred and know no class.

    Returns
    -------
    dict
        `misclassified`: how many there are. `judge_drift`: the difference of the two shares.
        `judge_drift_error`: its standard error over these images. Without such images only the first.
    """
    wrong = predicted != setup.data.test_labels
    count, mistaken_for = int(wrong.sum()), predicted[wrong]
    if count < 2:
        return {"misclassified": count}
    before, after = (
        (setup.test(judge, images[wrong]).argmax(1) == mistaken_for).double()
        for images in (setup.data.test_images, reconstructions)
    )
    return {"misclassified": count, **summary({"judge_drift": after - before})}


def _read_layer(setup: Setup, classifier: Classifier, layer: str) -> dict[str, dict[str, float]]:
    """What the activations themselves tell: how much of the layer is used, and a linear probe of it."""
    data, encoder = setup.data, classifier.up_to(layer)
    pooled = nn.Sequential(encoder, measures.Pool())
    count = measures.PROBE_IMAGES
    train = training.apply(pooled, data.train_images[:count], setup.on)
    some = data.test_images[:CODE_IMAGES]
    values = {
        "activation": measures.code_statistics(setup.test(encoder, some)),
        "probe": {
            "accuracy": measures.linear_probe(train, data.train_labels[:count], setup.test(pooled), data.test_labels)
        },
    }
    if layer != "logits":  # which no ReLU makes
        # An average over a map is above 0 where one of its values is: the units are those before it is taken.
        last = classifier.layers[classifier.layers.index("penultimate") - 1] if layer == "penultimate" else layer
        units = setup.test(classifier.up_to(last), some)
        values["activation"]["active_unaveraged"] = (units > 0).double().mean().item()
    return values


def _concept_images(setup: Setup) -> Tensor:
    """Handbags, as in Fig. 5, where the data set has them; else all test images."""
    labels = setup.data.test_labels
    return labels == setup.data.classes.index("Bag") if "Bag" in setup.data.classes else labels >= 0
