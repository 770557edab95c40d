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
from cladec_companion.papers.cladec.controls.experiment import RUNS, halves, losses
from cladec_companion.papers.cladec.controls.settings import BASELINE, CONTROLS
from cladec_companion.papers.cladec.controls.settings import cells as cells_of
from cladec_companion.records.record import read_record
from cladec_core import data, networks, training
from cladec_core.errors import UsageError

LAYER = "conv4a"


@pytest.fixture(scope="module")
def base(digits, on):
    settings = settings_for("controls", "smoke", train_limit=96, test_limit=48)
    return Setup(digits, "vgg11", 0, settings, on)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Models(tmp_path_factory.mktemp("models"))


def job_of(models, wanted):
    """What a training would be given."""
    needed = [models.train(one) for one in wanted.needs]
    return wanted.job(wanted.build(*needed), *needed)


def judges_of(run):
    explain, reference = run.decoder(LAYER), run.reference(LAYER)
    return controls.judges_of(run, controls.Part(LAYER, BASELINE), explain, reference)


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


def test_other_half_explains_a_classifier_that_never_saw_the_images(base, models):
    first, second = halves(base.data, base.seed)
    run = RUNS["other_half"](base)
    assert run.classifier.key == base.changed(data=first).classifier.key
    wanted = [run.decoder(LAYER), run.reference(LAYER), *judges_of(run)]
    jobs = [job_of(models, one) for one in wanted]
    for job in jobs:
        assert len(job.inputs) == 48
    for job, expected in zip(jobs, [second.train_images] * 2 + [second.train_labels] * 2, strict=True):
        assert torch.equal(job.targets[0], expected)
    explained = models.train(wanted[0])
    torch.testing.assert_close(jobs[2].inputs, explained(second.train_images).detach())
    assert explained[0].module[0] is models.train(run.classifier)[0]


def test_same_half_learns_everything_from_the_half_that_other_half_explains(base):
    same, other = RUNS["same_half"](base), RUNS["other_half"](base)
    assert torch.equal(same.data.train_images, other.data.train_images)
    assert same.reference(LAYER).key == other.reference(LAYER).key
    assert same.classifier.key != other.classifier.key


def test_one_classifier_trained_on_originals_judges_both(base, models):
    part = controls.Part(LAYER, controls.ORIGINALS)
    first, second = controls.judges_of(base, part, base.decoder(LAYER), base.reference(LAYER))
    assert first is second
    assert torch.equal(job_of(models, first).inputs, base.data.train_images)


def test_the_mean_loss_is_the_sum_divided_by_the_pixels(base, models):
    output, images = torch.randn(2, 5, 1, 32, 32)
    losses = [
        job_of(models, wanted).loss(output, images).item()
        for run in (base, RUNS["mean_loss"](base)) for wanted in (run.reference(LAYER), run.decoder(LAYER))
    ]  # fmt: skip
    summed = training.reconstruction_loss(output, images).item()
    assert losses == pytest.approx([summed] * 2 + [summed / 1024] * 2, rel=1e-5)


def test_the_small_alpha_is_in_the_loss_of_the_explanation_only(base, models):
    wanted = next(controls.run_cell(base, controls.Part(LAYER, controls.SMALL_ALPHA), False))
    decoder, reference = (job_of(models, one) for one in wanted[1:3])
    images, labels = base.data.test_images[:4], base.data.test_labels[:4]
    output = images + 1
    crossed = training.classification_loss(models.train(base.classifier)(output), labels)
    assert len(decoder.targets) == 2
    assert decoder.loss(output, images, labels).item() == pytest.approx(0.999 + 0.001 * crossed.item(), rel=1e-4)
    assert len(reference.targets) == 1
    assert reference.loss(output, images).item() == pytest.approx(1, rel=1e-5)


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
    assert not any(isinstance(part, nn.Sigmoid) for part in linear[1].modules())


def test_the_decoder_of_table_1_explains_the_same_classifier(base, models):
    run = RUNS["table1"](base)
    assert run.classifier is base.classifier
    decoder = models.train(run.decoder(LAYER))[1]
    assert {part.kernel_size for part in decoder.modules() if isinstance(part, nn.ConvTranspose2d)} == {(5, 5)}


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
    assert {part.control for part in cells_of(settings, "vgg11")} == {BASELINE, *CONTROLS} - {
        "bilinear",
        "table1",
    }
    assert "max_pooling" not in {part.control for part in cells_of(settings, "resnet10")}


def test_what_a_control_changes_names_its_trainings(base):
    """Nothing is taken for another's network, and what a control leaves alone is not trained again."""
    new = {BASELINE: 3, "originals": 0, "mean_loss": 2, "sigmoid": 3, "unit": 2, "table1": 2, "bilinear": 3}
    new |= {"max_pooling": 3}
    counts, known = {}, set()
    for control in new:
        run = RUNS[control](base)
        own = {one.key for one in (run.classifier, run.decoder(LAYER), run.reference(LAYER))}
        counts[control] = len(own - known)
        known |= own
    assert counts == new
    first, second = halves(base.data, 0)
    parts = (base, base.changed(data=first), base.changed(data=second))
    assert len({part.classifier.key for part in parts}) == 3


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
