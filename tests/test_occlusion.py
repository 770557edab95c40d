from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from cladec_companion.engine.models import Models
from cladec_companion.engine.setup import Setup
from cladec_companion.papers import settings_for
from cladec_companion.papers.cladec.occlusion import captions, claims, figures
from cladec_companion.papers.cladec.occlusion import experiment as occlusion
from cladec_companion.records.record import read_record
from cladec_core import networks, training
from cladec_core.errors import UsageError

CORNERS = (0, 6, 12, 20)


class Bright(nn.Module):
    """Ten classes by how bright the middle is: what it says depends on some squares only."""

    def forward(self, images):
        middle = images[:, :, 10:22, 10:22].mean((1, 2, 3))
        return -(middle.view(-1, 1) - torch.linspace(-1, 1, 10).to(middle)).abs()


@pytest.fixture
def made_up(digits):
    """A setup that trained nothing; its labels are what the classifier says of the clean images."""
    classifier = Bright()
    data = replace(digits, test_labels=classifier(digits.test_images).argmax(1))

    setup = SimpleNamespace(data=data, classifier=classifier, seed=0)

    def test(model, inputs=None):
        with torch.no_grad():
            return model(setup.data.test_images if inputs is None else inputs)

    setup.test = test
    return setup


@pytest.fixture(scope="module")
def smoke_record(run_smoke):
    return run_smoke("occlusion", layers=[-1, -5])


def test_squares_stand_where_the_corners_say():
    masks = occlusion.squares(12, CORNERS)
    assert masks.shape == (16, 32, 32)
    assert masks.sum((1, 2)).tolist() == [144] * 16
    assert masks[1, 0:12, 6:18].all()  # the second corner of a row is a column


def test_relevance_is_the_slow_sum_of_squared_changes(made_up):
    decoder, images = nn.Conv2d(1, 1, 5, padding=2), made_up.data.test_images[:3]
    made_up.data = replace(made_up.data, test_images=images)
    masks = occlusion.squares(12, (0, 20))
    found = occlusion.explanation_relevance(made_up, decoder, masks)
    for image in range(3):
        for number, (top, left) in enumerate([(0, 0), (0, 20), (20, 0), (20, 20)]):
            covered = images[image : image + 1].clone()
            covered[..., top : top + 12, left : left + 12] = 0
            with torch.no_grad():
                change = (decoder(covered) - decoder(images[image : image + 1]))[0, 0].numpy() ** 2
            inside = sum(change[y, x] for y in range(top, top + 12) for x in range(left, left + 12))
            assert found["cladec"][image, number].item() == pytest.approx(inside, rel=1e-4, abs=1e-6)
            assert found["cladec whole"][image, number].item() == pytest.approx(change.sum(), rel=1e-4, abs=1e-6)


def test_saliency_is_summed_over_each_square():
    maps, masks = torch.rand(2, 32, 32), occlusion.squares(12, (0, 6))
    found = occlusion.square_sums(maps, masks)
    assert found[1, 2].item() == pytest.approx(maps[1, 6:18, 0:12].sum().item(), rel=1e-5)
    assert torch.equal(occlusion.square_sums(torch.zeros(1, 32, 32), masks), torch.zeros(1, 4))


def test_ties_are_drawn_uniformly_and_reproducibly():
    alike = torch.zeros(8_000, 16)
    first = occlusion.ranking(alike, 1)
    assert torch.equal(first, occlusion.ranking(alike, 1))
    assert torch.equal(first.sort(1).values, torch.arange(16).expand(8_000, 16))
    assert not torch.equal(first, occlusion.ranking(alike, 2))
    for column in (0, 7, 15):
        counts = torch.bincount(first[:, column], minlength=16)
        assert (counts - 500).abs().max() < 5 * 500**0.5
    both = (first[:, 0] == occlusion.ranking(alike, 2)[:, 0]).double().mean()
    assert both.item() == pytest.approx(1 / 16, abs=0.015)  # two draws are independent


def test_ranking_puts_the_most_relevant_first_and_draws_among_equals_only():
    order = occlusion.ranking(torch.tensor([[0.0, 3.0, 1.0, 3.0]]).expand(400, 4), 0)
    assert set(order[:, 0].tolist()) == {1, 3}
    assert set(map(tuple, order[:, 2:].tolist())) == {(2, 0)}


def test_accuracies_are_those_of_the_chosen_squares():
    relevance, right = torch.rand(50, 16), torch.rand(50, 16) > 0.4
    found = occlusion.accuracies(right, relevance, 0, 1)
    most = [bool(row[scores.argmax()]) for row, scores in zip(right, relevance, strict=True)]
    least = [bool(row[scores.argmin()]) for row, scores in zip(right, relevance, strict=True)]
    assert found["acc_max"] == pytest.approx(np.mean(most))
    assert found["acc_min"] == found["acc_min_shared"] == pytest.approx(np.mean(least))
    paired = np.array(least, float) - np.array(most, float)
    assert found["delta_error"] == pytest.approx(paired.std(ddof=1) / 50**0.5)
    assert found["ties"] == 0


def test_one_draw_for_both_ends_of_a_tie_gives_no_difference():
    found = occlusion.accuracies(torch.rand(50, 16) > 0.4, torch.zeros(50, 16), 0, 1)
    assert found["ties"] == 1
    assert found["acc_min_shared"] == found["acc_max"] != found["acc_min"]


def test_deletion_curves_begin_at_the_clean_accuracy_and_end_together(made_up):
    masks = occlusion.squares(12, CORNERS)
    orders = [occlusion.ranking(torch.rand(len(made_up.data.test_labels), 16), seed) for seed in (0, 1)]
    first, second = (occlusion.deletion_curve(made_up, made_up.classifier, order, masks) for order in orders)
    assert len(first) == 17
    assert first[0] == second[0] == 1  # the labels are what this classifier says
    covered = made_up.classifier(torch.zeros(1, 1, 32, 32)).argmax()
    assert first[16] == second[16] == (made_up.data.test_labels == covered).double().mean().item()
    assert first[8] != second[8]


def test_random_relevance_makes_no_difference_but_a_good_one_does(made_up):
    masks = occlusion.squares(12, CORNERS)
    covered = [made_up.data.test_images.masked_fill(mask, 0) for mask in masks]
    right = torch.stack([occlusion._right(made_up, made_up.classifier, images) for images in covered], 1)
    assert 0.1 < right.double().mean() < 0.95
    right = right.repeat(40, 1)
    random = occlusion.accuracies(right, torch.zeros(right.shape), 3, 4)
    assert abs(random["acc_min"] - random["acc_max"]) < 3 * random["delta_error"]
    good = occlusion.accuracies(right, (~right).double(), 3, 4)
    assert good["acc_min"] - good["acc_max"] > 0.3


def test_rank_agreement_is_the_mean_of_spearmans_correlations():
    first, second = torch.rand(20, 16), torch.rand(20, 16).round(decimals=1)
    each = [spearmanr(a, b).statistic for a, b in zip(first.numpy(), second.numpy(), strict=True)]
    slow = np.mean(each)
    found = occlusion.rank_agreement(first, second)
    assert found["contrast_correlation"] == pytest.approx(slow)
    assert found["contrast_correlation_error"] == pytest.approx(np.std(each, ddof=1) / 20**0.5)
    assert occlusion.rank_agreement(torch.zeros(3, 16), torch.rand(3, 16)) == {}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"corners": [0, 24]}, "24"),
        ({"corners": [-1]}, "-1"),
        ({"square": 28}, "corners has 6"),
        ({"square": 33}, "square is 33"),
        ({"corners": [0, 0]}, "repeated"),
        ({"corners": []}, "empty"),
        ({"maps": ["gradcam"]}, "gradcam"),
        ({"maps": ["smoothgrad"]}, "smoothgrad"),
    ],
)
def test_squares_outside_the_image_are_refused_by_name(changes, named):
    with pytest.raises(UsageError, match=named):
        settings_for("occlusion", "quick", **changes)


def test_heat_maps_are_those_of_one_call(digits, smoke, on):
    setup = Setup(digits, "vgg11", 0, smoke, on)
    model = networks.classifier("vgg11", 1, 10, 0.125).eval()
    masks = occlusion.squares(12, (0, 20))
    images = digits.test_images
    own = occlusion.square_sums((images * _gradient(model, images)).sum(1), masks)
    torch.testing.assert_close(
        occlusion.map_relevance(setup, model, "gradient_x_input", masks), own, rtol=1e-3, atol=1e-6
    )


def _gradient(model, images):
    inputs = images.clone().requires_grad_()
    return torch.autograd.grad(model(inputs).max(1).values.sum(), inputs)[0]


def test_the_trainings_are_those_of_the_chapter_on_layers():
    for profile in ("smoke", "quick", "laptop", "paper"):
        ours, theirs = settings_for("occlusion", profile), settings_for("layers", profile)
        assert set(ours.layers) <= set(theirs.layers)
        shared = theirs.configuration()
        assert {name: value for name, value in ours.configuration().items() if name in shared} == shared


def test_a_smoke_run_is_a_record_that_reads_back_the_same(smoke_record):
    rows = smoke_record.rows
    pd.testing.assert_frame_equal(read_record(smoke_record.folder).rows, rows, check_dtype=False, rtol=1e-6)
    maps = {"lrp_composite", "excitation_backprop"}
    assert set(rows["method"]) == {"classifier", "random", "cladec", "cladec whole", "gradcam"} | maps
    curves = rows[rows["metric"].isin(["curve_most", "curve_least"])]
    ends = curves[curves["squares"] == curves["squares"].max()]
    assert curves[curves["squares"] == 0]["value"].nunique() == ends["value"].nunique() == 1
    top = rows[(rows["layer"] == "penultimate") & (rows["method"] == "gradcam")].set_index("metric")["value"]
    assert top["ties"] == 1
    assert "contrast_correlation" not in top
    assert any(name.endswith("conv2/max reconstruction") for name in smoke_record.samples)


def test_moved_square_is_kept_at_sixteen_places(smoke_record):
    samples = {name.removeprefix("digits/vgg11/"): array for name, array in smoke_record.samples.items()}
    assert samples["moved corners"].tolist() == [0, 7, 13, 20]
    moved, most = samples["conv2/moved reconstruction"], samples["conv2/max reconstruction"][-occlusion.MOVED :]
    assert samples["moved predicted"].shape == moved.shape[:2] == (len(most), 16)
    corners = moved[:, [0, 3, 12, 15]].astype(int)  # the places that the run itself covers
    assert (np.abs(corners - most[:, None]).max((2, 3, 4)).min(1) <= 1).all()


def test_decoders_are_trained_once_for_each_classifier(digits, smoke, on, tmp_path, monkeypatch):
    def reconstructed(settings):
        setup = Setup(digits, "vgg11", 0, settings, on)
        return setup.test(Models(tmp_path).train(setup.decoder("conv3")))

    trained = reconstructed(smoke)
    assert not torch.equal(reconstructed(replace(smoke, classifier_epochs=2)), trained)
    monkeypatch.setattr(training, "fit_many", lambda *_, **__: pytest.fail("trained again"))
    assert torch.equal(reconstructed(smoke), trained)


def test_figures_are_drawn_from_a_record(smoke_record):
    run = figures.first_run(smoke_record)
    sources = {"published": claims.printed(), "this run": claims.evidence(smoke_record)}
    pictures = figures.occluded_images(smoke_record).axes
    assert [axis.get_title() != "" for axis in pictures] == [True] * (len(pictures) // 2) + [False] * (
        len(pictures) // 2
    )
    assert len(figures.accuracy_under_occlusion(sources, run).axes) == 1  # nothing is printed for digits
    assert len(figures.accuracy_under_occlusion(sources, ("mnist", "vgg11")).axes) == 1
    assert len(figures.deletion_curves(smoke_record).axes) == 2
    assert figures.contrast(smoke_record).axes[0].get_xticklabels()[0].get_text() == "conv2"


def test_the_caption_of_the_curves_tells_of_each_data_set_and_says_which_is_drawn():
    curves = {("curve_most", 1): 0.5, ("curve_least", 1): 0.8}
    rows = [
        {"dataset": dataset, "architecture": "vgg11", "layer": layer, "method": method, "metric": metric,
         "squares": squares, "value": value - gap * (metric == "curve_most")}
        for dataset, method, layer, gap in (
            ("fashion_mnist", "cladec", "conv2", 0.0), ("fashion_mnist", "cladec", "conv3", 0.1),
            ("fashion_mnist", "gradcam", "conv3", -0.1), ("fashion_mnist", "random", "classifier", -0.3),
            ("mnist", "cladec", "conv3", 0.0), ("mnist", "gradcam", "conv3", 0.2),
        )
        for (metric, squares), value in curves.items()
    ]  # fmt: skip
    told = captions._of_every_run(SimpleNamespace(rows=pd.DataFrame(rows)))
    assert told == (
        "Fashion-MNIST, VGG-11 (drawn): ClaDec 0.30 to 0.40 against GradCAM 0.20; "
        "MNIST, VGG-11: ClaDec 0.30 against GradCAM 0.50"
    )
