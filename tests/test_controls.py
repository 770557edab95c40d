"""The chapter controls: each control changes what it says and nothing else, and the table of surviving signs."""

import pytest
import torch
from torch import nn

from cladec_companion import papers
from cladec_companion.engine import runner
from cladec_companion.engine.models import Models
from cladec_companion.engine.setup import Setup
from cladec_companion.papers import settings_for
from cladec_companion.papers.cladec.controls import experiment as controls
from cladec_companion.papers.cladec.controls import figures
from cladec_companion.papers.cladec.controls.claims import (
    runs,
)
from cladec_companion.papers.cladec.controls.experiment import BASELINE, CONTROLS, RUNS, halves, losses
from cladec_companion.records.record import read_record
from cladec_core import data, networks, training
from cladec_core.errors import UsageError
from tests import cells

LAYER = "conv4a"


@pytest.fixture(scope="module")
def base(digits, on):
    return Setup(digits, "vgg11", 0, settings_for("controls", "smoke", train_limit=96, test_limit=48), on)


@pytest.fixture(scope="module")
def models():
    """Networks of the baseline and its controls, each trained once for all tests."""
    return Models()


def weights(model):
    return torch.cat([tensor.flatten().float() for tensor in model.state_dict().values()])


# ---- what each control changes


def test_every_control_has_a_run_and_a_description():
    assert set(RUNS) == {BASELINE, *CONTROLS}


def test_an_unknown_control_is_one_line_with_the_valid_ones():
    with pytest.raises(UsageError) as caught:
        settings_for("controls", "smoke", controls=["halfs"])
    assert "Unknown control 'halfs'; valid: same_half, other_half, originals" in str(caught.value)
    assert "\n" not in str(caught.value)
    for empty in ([], ["unit", "unit"]):
        with pytest.raises(UsageError, match="a list of different values"):
            settings_for("controls", "smoke", controls=empty)


def test_halves_are_disjoint_equal_and_other_ones_for_another_seed(digits):
    first, second = halves(digits, 0)
    assert len(first.train_images) == len(second.train_images) == len(first.train_labels) == 48
    together = torch.cat([first.train_images, second.train_images]).flatten(1)
    labels = torch.cat([first.train_labels, second.train_labels])
    order = torch.cdist(together, digits.train_images.flatten(1)).argmin(1)
    assert sorted(order.tolist()) == list(range(96))
    assert torch.equal(labels, digits.train_labels[order])
    assert not torch.equal(halves(digits, 1)[0].train_labels, first.train_labels)
    assert first.test_images is digits.test_images


def trained_on(run, models, monkeypatch):
    """Label of each training of a layer -> its inputs and targets; and the explanation."""
    seen, fit = {}, training.fit

    def spy(job):
        seen[job.label.split(" ", 2)[2].split(",")[0]] = job.inputs, job.targets
        return fit(job)

    monkeypatch.setattr(training, "fit", spy)
    explain, reference = run.decoder(LAYER), run.reference(LAYER)
    explained = models.train(explain)
    models.train(run.judge(explain, "ClaDec"))
    models.train(run.judge(reference, "RefAE"))
    return seen, explained


def test_other_half_explains_a_classifier_that_never_saw_the_images(base, models, monkeypatch):
    first, second = halves(base.data, base.seed)
    run = RUNS["other_half"](base)
    classifier = models.train(run.classifier)
    assert run.classifier.key == base.changed(data=first).classifier.key
    seen, explained = trained_on(run, models, monkeypatch)
    assert set(seen) == {f"decoder {LAYER}", f"RefAE {LAYER}", "evaluation ClaDec", "evaluation RefAE"}
    for inputs, targets in seen.values():
        assert len(inputs) == 48
        assert torch.equal(targets[-1], second.train_labels)
    assert torch.equal(seen[f"decoder {LAYER}"][1][0], second.train_images)
    torch.testing.assert_close(seen["evaluation ClaDec"][0], explained(second.train_images).detach())
    assert explained[0].module[0] is classifier[0]


def test_same_half_learns_everything_from_the_half_that_other_half_explains(base, models):
    same, other = RUNS["same_half"](base), RUNS["other_half"](base)
    assert torch.equal(same.data.train_images, other.data.train_images)
    references, classifiers = ([getter(run) for run in (same, other)] for getter in (reference_of, classifier_of))
    assert references[0].key == references[1].key
    assert not torch.equal(*(weights(models.train(one)) for one in classifiers))


def reference_of(run):
    return run.reference(LAYER)


def classifier_of(run):
    return run.classifier


def test_one_classifier_trained_on_originals_judges_both(base, models, monkeypatch):
    seen, fit = [], training.fit
    monkeypatch.setattr(training, "fit", lambda job: seen.append(job) or fit(job))
    cells.measured(controls.run_cell, base, controls.Part(LAYER, controls.ORIGINALS), models=models)
    judges = [job for job in seen if "evaluation" in job.label]
    assert len(judges) == 1
    assert judges[0].inputs is base.data.train_images


def test_the_mean_loss_is_the_sum_divided_by_the_pixels(base):
    output, images = torch.randn(2, 5, 3, 8, 8)
    assert training.ClaDecLoss(None, 0.0, mean=True)(output, images, None).item() == pytest.approx(
        training.reconstruction_loss(output, images).item() / (3 * 8 * 8)
    )
    used = []
    for run in (base, RUNS["mean_loss"](base)):
        wanted = run.reference(LAYER)
        used.append(wanted.job(wanted.build()).loss)
    assert used == [training.ClaDecLoss(None, 0.0), training.ClaDecLoss(None, 0.0, mean=True)]


def test_the_small_alpha_is_in_the_loss_of_the_explanation_only(base, models, monkeypatch):
    used = {}

    def spy(job):
        used[job.label.split(" ", 2)[2].split(",")[0]] = job.loss
        return training.History()

    classifier, untrained = models.train(base.classifier), Models()
    untrained.have(base.classifier, classifier)
    monkeypatch.setattr(training, "fit", spy)
    monkeypatch.setattr(controls.measures, "accuracy", lambda *_: 0.0)
    cells.measured(controls.run_cell, base, controls.Part(LAYER, "small_alpha"), models=untrained)
    decoder, reference = used[f"decoder {LAYER} α=0.001"], used[f"RefAE {LAYER}"]
    assert (decoder.alpha, decoder.mean, reference.alpha, reference.mean) == (0.001, True, 0.0, True)
    assert decoder.classifier is classifier
    images, labels = base.data.test_images[:4], base.data.test_labels[:4]
    output = images + 1
    crossed = training.classification_loss(decoder.classifier(output), labels)
    assert decoder(output, images, labels).item() == pytest.approx(0.999 * 1 + 0.001 * crossed.item(), rel=1e-5)


def test_unit_inputs_are_the_grey_values_themselves(base):
    unit = RUNS["unit"](base).data
    assert unit.train_images.min() == 0
    assert unit.train_images.max() == 1
    assert (unit.mean.item(), unit.std.item()) == (0, 1)
    torch.testing.assert_close(unit.train_images, base.data.to_unit(base.data.train_images), atol=1e-6, rtol=0)
    assert unit.to_unit(unit.test_images).equal(unit.test_images)


def test_a_loss_is_the_same_in_whatever_scale_images_are_kept(base):
    unit = RUNS["unit"](base).data
    reconstructions = torch.rand_like(unit.test_images)
    standardised = (reconstructions - base.data.mean) / base.data.std
    found = losses(unit, reconstructions, base.data)
    assert found == pytest.approx(losses(base.data, standardised, base.data), rel=1e-5)
    plain = sum(
        (a - b) ** 2
        for a, b in zip(unit.test_images.flatten().tolist(), reconstructions.flatten().tolist(), strict=True)
    )
    assert found["loss_raw_sum"] == pytest.approx(plain / len(reconstructions), rel=1e-5)


def test_a_sigmoid_keeps_reconstructions_in_range_and_unit_alone_does_not(base, models):
    run = RUNS["sigmoid"](base)
    images = run.test(models.train(run.decoder(LAYER)))
    assert 0 < images.min() < images.max() < 1
    linear = models.train(RUNS["unit"](base).decoder(LAYER))
    assert not isinstance(linear[1][-1], nn.Sigmoid)


def test_the_decoder_of_table_1_explains_the_same_classifier(base, models):
    run = RUNS["table1"](base)
    assert run.classifier is base.classifier
    decoder = models.train(run.decoder(LAYER))[1]
    assert {part.kernel_size for part in decoder if isinstance(part, nn.ConvTranspose2d)} == {(5, 5)}


def test_bilinear_images_are_those_of_the_loader(base):
    expected = data.load("digits", resize="bilinear", train_limit=96, test_limit=48)
    assert torch.equal(RUNS["bilinear"](base).data.train_images, expected.train_images)
    assert not torch.equal(expected.train_images, base.data.train_images)


def test_max_pooling_takes_the_place_of_every_stride(digits):
    strided, pooled = (networks.classifier(name, 1, 10, 0.125) for name in ("vgg11", "vgg11_maxpool"))
    pooled.load_state_dict(strided.state_dict())  # the same layers
    pools = [name for name, part in pooled.named_children() if any(isinstance(m, nn.MaxPool2d) for m in part.modules())]
    assert pools == [name for name, part in strided.named_children() if name[:4] == "conv" and part[0].stride == (2, 2)]
    image = digits.test_images[:2]
    convolution = strided.conv0[0].weight
    by_hand = nn.functional.conv2d(image, convolution, padding=1)
    by_hand = nn.functional.max_pool2d(strided.eval().conv0[1](by_hand).relu(), 2)
    torch.testing.assert_close(pooled.eval().conv0(image), by_hand)
    image, names = (1, 32, 32), strided.layers
    shapes = [networks.activation_shape(model.up_to(name), image) for model in (strided, pooled) for name in names]
    assert shapes[: len(shapes) // 2] == shapes[len(shapes) // 2 :]


def test_controls_that_change_nothing_are_left_out():
    settings = settings_for("controls", "smoke", resize="bilinear", decoder_style="table1", layers=[-2])
    assert {part.control for part in controls.cells(settings, "vgg11")} == {BASELINE, *CONTROLS} - {
        "bilinear",
        "table1",
    }
    assert "max_pooling" not in {part.control for part in controls.cells(settings, "resnet10")}


def test_what_a_control_changes_names_its_trainings(base):
    """Nothing is taken for another's network, and what a control leaves alone is not trained again."""
    new = {"originals": 0, "mean_loss": 2, "sigmoid": 3, "unit": 2, "table1": 2, "bilinear": 3, "max_pooling": 3}
    counts, known = {}, set()
    for control in (BASELINE, *new):
        run = RUNS[control](base)
        keys = {wanted.key for wanted in (run.classifier, run.decoder(LAYER), run.reference(LAYER))}
        counts[control] = len(keys - known)
        known |= keys
    assert counts == {BASELINE: 3} | new
    halved = RUNS["same_half"](base), base.changed(data=halves(base.data, 0)[0])
    assert len({run.classifier.key for run in (base, *halved)}) == 3


# ---- a run


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("controls")
    settings = settings_for("controls", "smoke", train_limit=64, test_limit=40, layers=[-4])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLADEC_MODELS", str(folder / "models"))
        return (
            settings,
            runner.run(papers.chapter("controls"), settings, root=folder, device="cpu", progress=False),
            folder,
        )


def test_the_experiment_records_every_control(record):
    settings, found, folder = record
    assert list(found.cells) == [f"digits/vgg11/conv3a {name}/0" for name in (BASELINE, *CONTROLS)]
    rows = runs(read_record(found.folder)).droplevel([0, 1, 2, 4])
    assert rows.loc["originals", ["rec_cladec", "rec_refae"]].isna().all()
    assert rows.drop("originals").notna().all(axis=None)
    images = found.rows.query("metric == 'train_images'").set_index("control")["value"]
    assert images[images < 64].to_dict() == {"same_half": 32, "other_half": 32}
    again = runner.run(papers.chapter("controls"), settings, root=folder, device="cpu", progress=False)
    assert again.manifest["files"] == found.manifest["files"]


def test_the_baseline_is_a_layer_of_the_chapter_on_layers(record, monkeypatch):
    settings, found, folder = record
    names = ("train_limit", "test_limit", "layers", "batch_size", "width", "classifier_epochs", "decoder_epochs")
    same = settings_for("layers", "smoke", **{name: getattr(settings, name) for name in names})
    other = runner.run(papers.chapter("layers"), same, root=folder, device="cpu", progress=False)
    pick = ["method", "metric", "value"]
    ours = found.rows.query("control == 'baseline' and method in ('cladec', 'refae')")[pick]
    theirs = other.rows.query("layer == 'conv3a'")[pick]
    both = ours.merge(theirs, on=pick[:2], suffixes=("", "_layers"))
    assert len(both) == len(ours)
    assert both["value"].tolist() == pytest.approx(both["value_layers"].tolist())


def test_the_figures_show_every_control(record):
    _, found, _ = record
    drawn = figures.differences(found)
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == [BASELINE, *CONTROLS]
    assert [axis.get_xlabel() for axis in drawn.axes] == [
        "ΔRec at conv3a (raw sum per image)", "ΔAcc at conv3a (accuracy)"
    ]  # fmt: skip
    assert len(figures.levels(found).axes) == 2
    shown = figures.pictures(found, [str(digit) for digit in range(10)], method="refae")
    assert {axis.get_ylabel() for axis in shown.axes} == {"", "X", BASELINE, *CONTROLS}
