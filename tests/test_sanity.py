"""The chapter sanity: what each check breaks and what it leaves, how explanations are compared, how far attacks go."""

import copy

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from cladec_companion import papers
from cladec_companion.engine import estimate, runner
from cladec_companion.engine.models import Models
from cladec_companion.engine.plan import of_profile
from cladec_companion.engine.setup import Setup
from cladec_companion.papers import CHAPTERS, settings_for
from cladec_companion.papers.cladec.sanity import experiment as sanity
from cladec_companion.papers.cladec.sanity import figures
from cladec_companion.papers.cladec.sanity.attack import Search, heat_map, perturbed, relative_changes
from cladec_companion.papers.cladec.sanity.settings import cells as cells_of
from cladec_companion.papers.cladec.sanity.trainings import (
    ChosenTraining,
    RandomisedTraining,
    RatedTraining,
    accuracy_on_training_images,
    chosen,
    explaining,
    layers_with_weights,
    with_shuffled_labels,
)
from cladec_companion.records.record import read_record
from cladec_core import measures
from cladec_core.errors import UsageError
from tests.captioned import sentences_follow, sentences_stand
from tests.cells import measured, tensors

LAYER = "conv2"


@pytest.fixture(scope="module")
def base(digits, on):
    settings = settings_for("sanity", "smoke", train_limit=96, test_limit=48, rates=[0.1, 0.01], attack_images=12)
    return Setup(digits, "vgg11", 0, settings, on)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    return Models(tmp_path_factory.mktemp("models"))


def cell(base, models, check, randomised=0):
    rows, samples = measured(sanity.run_cell, base, sanity.Part(LAYER, check, randomised), True, models)
    return {(row["method"], row["metric"]): row["value"] for row in rows}, samples


# ---- what is broken


def test_labels_are_shuffled_for_the_classifier_and_for_nothing_else(base, models):
    run = with_shuffled_labels(base)
    labels = run.classifier.setup.data.train_labels
    assert not torch.equal(labels, base.data.train_labels)
    assert torch.equal(labels.bincount(), base.data.train_labels.bincount())
    assert torch.equal(run.data.train_labels, base.data.train_labels)
    assert run.classifier.key != base.classifier.key
    assert run.reference(LAYER).key == base.reference(LAYER).key
    (job,) = [one.job(one.build()) for one in [run.judge(None, "originals")]]
    assert torch.equal(job.targets[0], base.data.train_labels)


@pytest.mark.parametrize("count", [1, 3, 9])
def test_random_weights_replace_the_last_layers_and_leave_the_others(base, models, count):
    trained = models.train(base.classifier)
    before = tensors(trained)
    found = models.train(RandomisedTraining(base, count))
    names = layers_with_weights(trained)
    assert len(names) == 9
    for name in names[:-count]:  # statistics of BatchNorm, too
        theirs = getattr(found, name).state_dict()
        assert all(torch.equal(tensor, theirs[at]) for at, tensor in getattr(trained, name).state_dict().items()), name
    for name in names[-count:]:
        pairs = zip(getattr(trained, name).parameters(), getattr(found, name).parameters(), strict=True)
        same = [
            torch.equal(one, other) for one, other in pairs if one.unique().numel() > 1
        ]  # BatchNorm begins with ones
        assert not any(same), name
    for name, tensor in trained.state_dict().items():
        assert torch.equal(tensor, before[name]), name  # the trained network itself stays as it was


def test_random_layers_stay_the_same_when_more_follow_and_their_codes_are_alive(base, models):
    few, all_of_them = (models.train(RandomisedTraining(base, count)) for count in (2, 9))
    assert torch.equal(few.conv4[0].weight, all_of_them.conv4[0].weight)
    codes = base.test(all_of_them.up_to("penultimate"))
    assert codes.std(0).mean() > 0.1  # with BatchNorm's initial statistics it is below a thousandth


def test_a_rate_changes_the_step_and_not_the_start(base, models):
    usual, slow = base.classifier, RatedTraining(base, 0.01)
    assert slow.key != usual.key
    assert slow.job(slow.build()).recipe.learning_rate == 0.01
    assert usual.job(usual.build()).recipe.learning_rate == 0.1
    for name, tensor in usual.build().state_dict().items():
        assert torch.equal(tensor, slow.build().state_dict()[name]), name


def test_the_rate_is_chosen_by_training_images_alone(base, models):
    rates = (0.1, 0.01)
    candidates = [models.train(RatedTraining(base, rate)) for rate in rates]
    learnt = [accuracy_on_training_images(base, model) for model in candidates]
    best = models.train(ChosenTraining(base, rates))
    wanted = tensors(candidates[chosen(learnt)])
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in best.state_dict().items())
    assert chosen([0.2, 0.5, 0.5]) == 1


def test_decoders_of_a_stand_in_explain_it(base, models):
    other = explaining(base, RandomisedTraining(base, 9))
    decoder = models.train(other.decoder(LAYER))
    codes = base.test(models.train(RandomisedTraining(base, 9)).up_to(LAYER))
    torch.testing.assert_close(base.test(decoder.get_submodule("0")), codes)
    assert other.changed(seed=1).classifier.key == base.changed(seed=1).classifier.key


# ---- cells


def test_what_lies_above_a_layer_is_nothing_to_cladec_but_something_to_gradcam(base, models):
    values, _ = cell(base, models, sanity.CASCADE, 2)
    assert values["cladec", "rank_correlation"] == pytest.approx(1)
    assert values["cladec", "ssim"] == pytest.approx(1)
    assert values["gradcam", "ssim"] < 0.99
    wanted = next(sanity.run_cell(base, sanity.Part(LAYER, sanity.CASCADE, 2), False))
    assert [one.label for one in wanted].count(f"decoder {LAYER}") == 1
    wanted = next(sanity.run_cell(base, sanity.Part(LAYER, sanity.CASCADE, 9), False))
    assert [one.label for one in wanted].count(f"decoder {LAYER}") == 2


def test_the_other_classifier_is_explained_by_a_decoder_that_begins_like_the_runs_own(base, models):
    wanted = next(sanity.run_cell(base, sanity.Part(LAYER, sanity.AGAIN), False))
    first, second = (one for one in wanted if one.label == f"decoder {LAYER}")
    assert first.key != second.key
    explained = [models.train(one.setup.classifier) for one in (first, second)]
    starts = [tensors(one.build(model)[1]) for one, model in zip((first, second), explained, strict=True)]
    assert all(torch.equal(tensor, starts[1][name]) for name, tensor in starts[0].items())
    assert not torch.equal(explained[0].conv2[0].weight, explained[1].conv2[0].weight)
    others = {seed: sanity.another(base.changed(seed=seed)).setup.seed for seed in range(5)}
    assert len({*others.values(), *others}) == 10


def test_marks_of_both_decoders_count(base, models, monkeypatch):
    asked = []
    monkeypatch.setattr(sanity, "still_falling", lambda model: asked.append(model) or {"still_falling": len(asked) % 2})
    values, _ = cell(base, models, sanity.AGAIN)
    assert values["cladec", "still_falling"] == values["difference", "still_falling"] == 1
    assert len({id(model) for model in asked}) == 3  # two decoders and the reference


@pytest.mark.parametrize(("count", "there"), [(1, False), (5, False), (6, True), (9, True)])
def test_a_cascade_reaches_a_layer_once_its_own_weights_are_random(count, there):
    assert sanity.reaches("vgg11", "conv2", count) == there


def test_similarities_are_those_of_scipy_pair_by_pair():
    first, second = torch.rand(4, 1, 32, 32), torch.rand(4, 1, 32, 32)
    plain = [spearmanr(one.flatten(), other.flatten()).statistic for one, other in zip(first, second, strict=True)]
    found = sanity.similarity(first, second)
    assert found["rank_correlation"] == pytest.approx(np.mean(plain))
    assert found["rank_correlation_error"] == pytest.approx(np.std(plain, ddof=1) / 2)
    assert sanity.similarity(first, torch.full_like(first, 0.5))["rank_correlation"] == 0
    same = sanity.similarity(first, first)
    assert (same["rank_correlation"], same["ssim"]) == (pytest.approx(1), pytest.approx(1))
    assert same["ssim_error"] == pytest.approx(0)


def test_max_pooling_is_judged_by_the_network_of_the_protocol(base, models):
    wanted = next(sanity.run_cell(base, sanity.Part(LAYER, sanity.POOLED), False))
    kinds = {one.label: one.setup.architecture for one in wanted}
    assert kinds["classifier"] == "vgg11_maxpool"
    assert kinds[f"evaluation ClaDec {LAYER}"] == kinds[f"evaluation RefAE {LAYER}"] == "vgg11"
    values, _ = cell(base, models, sanity.POOLED)
    learnt = {rate: values[f"classifier at rate {rate}", "accuracy_train"] for rate in (0.1, 0.01)}
    assert learnt[values["classifier", "rate"]] == max(learnt.values())


# ---- attacks


def test_the_map_that_is_climbed_is_gradcams(base, models):
    classifier, images = models.train(base.classifier), base.data.test_images[:6]
    moving = images.clone().requires_grad_()
    found, wanted = heat_map(classifier, LAYER)(moving), measures.gradcam(classifier, LAYER, images)
    assert wanted.amax() == 1
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)
    (gradient,) = torch.autograd.grad(found.square().sum(), moving)
    assert gradient.isfinite().all()
    assert gradient.abs().amax() > 0


def test_a_map_without_contrast_gives_a_gradient_that_is_a_number(base, models):
    classifier = copy.deepcopy(models.train(base.classifier))
    with torch.no_grad():
        classifier.conv2[0].weight.zero_()
    moving = base.data.test_images[:3].clone().requires_grad_()
    found = heat_map(classifier, LAYER)(moving)
    (gradient,) = torch.autograd.grad(found.sum(), moving)
    assert not found.any()
    assert not gradient.any()


def test_attacked_images_stay_in_bounds_keep_their_class_and_move_their_aim(base, models):
    classifier, data = models.train(base.classifier), base.data
    images, search = data.test_images[:12], Search(0.1, 6)
    aim = classifier.up_to(LAYER).eval()
    found = perturbed(classifier, aim, images, data, search)
    assert torch.equal(classifier(found).argmax(1), classifier(images).argmax(1))
    grey = data.to_unit(found)
    assert grey.min() > -1e-5
    assert grey.max() < 1 + 1e-5
    assert (grey - data.to_unit(images)).abs().max() < 0.1 + 1e-5
    noise = images + 0.1 / data.std * torch.randn_like(images).sign()
    random = ((noise.clamp(images.min(), images.max())), found)
    moved = [(aim(part) - aim(images)).flatten(1).norm(dim=1).mean() for part in random]
    assert moved[1] > moved[0]  # a search, not noise of the same size


def test_an_attack_that_would_change_the_class_does_not(base):
    """Aimed at the logits of a linear classifier, whose class a small change of every pixel moves."""
    classifier, images = nn.Sequential(nn.Flatten(), nn.Linear(1024, 10)).eval(), base.data.test_images[:12]
    labels, seen = classifier(images).argmax(1), []

    def logits(part):
        found = classifier(part)
        seen.append(bool((found.argmax(1) != labels).any()))
        return found

    found = perturbed(classifier, logits, images, base.data, Search(0.2, 12))
    assert any(seen)  # the search came upon other classes
    assert torch.equal(classifier(found).argmax(1), labels)
    assert (found != images).flatten(1).any(1).any()


def test_a_change_is_a_share_of_what_two_images_differ_in():
    before = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]])
    pairs = [(before[i] - before[j]).square().sum() for i in range(3) for j in range(i)]
    apart = torch.stack(pairs).mean().sqrt()
    after = before + torch.tensor([[1.0, 0.0], [0.0, 0.0], [3.0, 4.0]])
    found = relative_changes(before, after)
    torch.testing.assert_close(found, (torch.tensor([1.0, 0.0, 5.0]) / apart).double())
    assert relative_changes(torch.ones(3, 2), after) is None


def test_each_methods_worst_perturbation_counts(base, models):
    values, samples = cell(base, models, sanity.ATTACK)
    for method in ("input", "layer", "cladec", "gradcam"):
        assert values[method, "attack_change"] > 0
        assert values[method, "attack_change_error"] > 0
    assert {f"{LAYER}/attack/cladec", f"{LAYER}/attack/gradcam image"} <= set(samples)


# ---- settings, plan, record


def test_more_random_layers_than_there_are_is_one_line():
    with pytest.raises(UsageError, match="randomised has 10; valid: from 1 to 9"):
        settings_for("sanity", "smoke", randomised=[10])
    with pytest.raises(UsageError, match="rates is"):
        settings_for("sanity", "smoke", rates=[])


def test_layers_without_maps_have_no_gradcam_to_compare_with():
    settings = settings_for("sanity", "smoke", layers=[-1, -5], randomised=[9])
    found = [str(part) for part in cells_of(settings, "vgg11")]
    assert found[:3] == ["penultimate trained", "penultimate shuffled", "penultimate pooled"]
    assert found[3:] == [f"conv2 {name}" for name in ("trained", "shuffled", "pooled", "again", "cascade 9", "attack")]
    assert not [part for part in cells_of(settings, "resnet10") if part.check == sanity.POOLED]


def test_a_plan_computes_nothing():
    costs = estimate.costs(of_profile(CHAPTERS, "paper", "sanity", {"seeds": [0], "randomised": [2, 9]}))
    assert len(costs) == 14
    assert sum(len(one) for one in costs.values()) > 14


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sanity")
    settings = settings_for(
        "sanity", "smoke", train_limit=64, test_limit=40, layers=[-5], randomised=[2, 9], rates=[0.1]
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CLADEC_MODELS", str(folder / "models"))
        found = runner.run(papers.chapter("sanity"), settings, root=folder, device="cpu", progress=False)
        return read_record(found.folder)


def test_captions_say_what_the_numbers_are(record):
    sentences_stand("sanity", record)
    sentences_follow("sanity", record)


def test_every_figure_is_drawn_from_a_record(record):
    classes = tuple(map(str, range(10)))
    drawn = figures.cascade(record, classes)
    titles = [axis.get_title().replace("\n", " ") for axis in drawn.axes if axis.get_title()]
    assert titles == ["X", "trained", "2 random", "9 random", "other seed"]
    lines = figures.similarity(record).axes[0].get_lines()
    assert len({line.get_color() for line in lines}) == 3
    assert len(figures.learnt(record, classes).axes) == 5 * len(record.samples["digits/vgg11/label"])
    assert figures.attacks(record, classes).axes
