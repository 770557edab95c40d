"""Locality, orthogonality, faithfulness and masking, on made-up maps with known answers; mosaics and garments."""

import math

import numpy as np
import pytest
import torch

from cladec_companion.papers.srae import garments, locality, metrics, mosaic
from cladec_core import data
from cladec_core.errors import UsageError


def quarters():
    """Four masks of an 8x8 image."""
    masks = torch.zeros(4, 8, 8)
    for part in range(4):
        row, column = 4 * (part // 2), 4 * (part % 2)
        masks[part, row : row + 4, column : column + 4] = 1
    return masks


def test_a_map_on_one_part_has_locality_0_and_a_uniform_one_ln_of_the_parts():
    weights = quarters().expand(3, 4, 8, 8)
    one, uniform = quarters()[1], torch.ones(8, 8)
    maps = torch.stack([one, uniform, quarters()[2] + quarters()[3]]).expand(3, 3, 8, 8)
    found = locality.locality(locality.part_shares(maps, weights))
    assert found.tolist() == pytest.approx([0, math.log(4), math.log(2)])
    assert locality.chance(weights) == pytest.approx(math.log(4))


def test_locality_is_the_entropy_of_the_mean_by_loops():
    maps, weights = torch.rand(5, 2, 8, 8), torch.rand(5, 3, 8, 8)
    shares = np.zeros((5, 2, 3))
    for image, feature, part in np.ndindex(5, 2, 3):
        total = maps[image, feature].sum().item()
        shares[image, feature, part] = sum(
            weights[image, part, row, column].item() * maps[image, feature, row, column].item() / total
            for row, column in np.ndindex(8, 8)
        )
    assert locality.part_shares(maps, weights).numpy() == pytest.approx(shares, rel=1e-5)
    for feature, found in enumerate(locality.locality(torch.tensor(shares)).tolist()):
        mean = shares[:, feature].mean(0)
        mean = mean / mean.sum()
        assert found == pytest.approx(-sum(share * math.log(share) for share in mean))


def test_a_part_for_each_x_feature_is_a_split_and_both_on_both_is_none():
    apart = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    together = torch.tensor([[0.5, 0.5, 0], [0.4, 0.4, 0.2]])
    beside = torch.tensor([[1e-6, 0, 1 - 1e-6], [0, 1e-6, 1 - 1e-6]])
    assert locality.split(apart) == 1
    assert locality.split(together) == 0
    assert locality.split(beside) == pytest.approx(1e-6)  # hardly anything lies on the evidence


@pytest.mark.parametrize(("maps", "told"), [(torch.zeros(1, 2, 3, 3), "2 of 2 maps have no mass"),
                                            (torch.full((1, 1, 3, 3), -1.0), "the value -1")])  # fmt: skip
def test_a_map_without_mass_is_refused(maps, told):
    with pytest.raises(UsageError, match=told):
        locality.part_shares(maps, torch.ones(1, 1, 3, 3))
    with pytest.raises(UsageError, match="fall on no part"):
        locality.locality(torch.zeros(2, 1, 3))


def test_voronoi_cells_follow_algorithm_1_by_loops():
    points, box = np.array([[2.0, 2.0], [2.0, 7.0], [8.0, 4.0]]), (1, 1, 10, 9)
    found = locality.voronoi(points, box, (12, 11))
    cells = {part: [] for part in range(3)}
    for row, column in np.ndindex(12, 11):
        if 1 <= row < 10 and 1 <= column < 9:
            away = [math.dist((row, column), point) for point in points]
            cells[away.index(min(away))].append((row, column))
        else:
            assert found[:, row, column].tolist() == [0, 0, 0, 1]
    for part, cell in cells.items():
        largest = max(math.dist(at, points[part]) for at in cell)
        for at in cell:
            expected = [0.0] * 4
            expected[part] = 1 - math.dist(at, points[part]) / largest
            assert found[(slice(None), *at)].tolist() == pytest.approx(expected)


@pytest.mark.parametrize("box", [(0, 0, 0, 4), (0, 0, 13, 4), (-1, 0, 4, 4)])
def test_a_box_that_is_none_is_refused(box):
    with pytest.raises(UsageError, match="The bounding box is"):
        locality.voronoi(np.zeros((1, 2)), box, (12, 11))


def test_faithfulness_by_loops():
    logits, predicted = torch.randn(20, 4), torch.randn(20)
    error = sum(abs(a - b) for a, b in zip(predicted.tolist(), logits[:, 2].tolist(), strict=True)) / 20
    assert metrics.regression_error(predicted, logits[:, 2]) == pytest.approx(error)
    same = 0
    for row, value in zip(logits.tolist(), predicted.tolist(), strict=True):
        replaced = [*row[:2], value, row[3]]
        same += replaced.index(max(replaced)) == row.index(max(row))
    assert metrics.unchanged_classes(predicted, logits, 2) == same / 20
    assert metrics.unchanged_classes(logits[:, 2], logits, 2) == 1


def test_orthogonality_is_numpys_and_0_for_maps_that_do_not_meet():
    maps = torch.rand(4, 3, 5, 5)
    vectors = maps.movedim(1, 0).flatten(1).double().numpy()
    found = np.corrcoef(vectors)
    assert metrics.correlations(maps).numpy() == pytest.approx(found)
    o1, o2 = metrics.orthogonality(maps)
    assert o1 == pytest.approx(np.sqrt((found**2).sum()) - np.sqrt(3))
    assert o2 == pytest.approx(-np.log(np.linalg.det(found)))
    waves = torch.stack([torch.tensor([1.0, -1, 1, -1]), torch.tensor([1.0, 1, -1, -1])]).view(1, 2, 2, 2) + 1
    assert metrics.orthogonality(waves) == pytest.approx((0, 0), abs=1e-12)


def test_copies_have_the_largest_o2_and_constant_maps_none():
    one, other = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    for maps in ([one, one], [one, other, one], [one, other, one + other]):
        o1, o2 = metrics.orthogonality(torch.cat(maps, 1))
        assert o1 > 0.1
        assert o2 == pytest.approx(-math.log(metrics.SMALLEST_DETERMINANT))
    with pytest.raises(UsageError, match="1 x-features are constant"):
        metrics.orthogonality(torch.cat([one, torch.ones_like(one)], 1))


def test_shown_are_the_pixels_above_a_share_of_the_strongest_of_any_map():
    maps = torch.tensor([[[[1.0, 0.4], [0.04, 0]], [[0, 0], [0, 10.0]]]])
    assert metrics.kept_pixels(maps, 0.05)[0].tolist() == [[True, True], [False, True]]
    assert metrics.kept_pixels(maps, 0.5)[0].tolist() == [[True, False], [False, True]]
    assert metrics.kept_pixels(maps, 0)[0].tolist() == [[True, True], [True, True]]
    with pytest.raises(UsageError, match="gamma is 2"):
        metrics.kept_pixels(maps, 2)


def test_smoothing_is_a_gaussian_that_keeps_the_mass():
    maps = torch.zeros(1, 1, 21, 21)
    maps[0, 0, 10, 10] = 1
    found = metrics.smoothed(maps)[0, 0]
    assert found.sum().item() == pytest.approx(1, abs=1e-5)
    assert (found[10, 12] / found[10, 10]).item() == pytest.approx(math.exp(-0.5), rel=1e-3)


def test_as_many_pixels_of_one_map_are_the_strongest():
    maps = torch.rand(3, 1, 4, 4)
    shown = metrics.strongest_pixels(maps, torch.tensor([0, 3, 16]))
    assert shown.sum((1, 2)).tolist() == [0, 3, 16]
    assert maps[1, 0][shown[1]].min() > maps[1, 0][~shown[1]].max()


def test_masked_pixels_are_filled_in():
    image = torch.linspace(0, 1, 16).view(1, 1, 4, 4)
    kept = torch.ones(1, 4, 4, dtype=torch.bool)
    kept[0, 1, 1] = False
    mean, smooth = (metrics.masked(image, kept, name) for name in metrics.INPAINTING)
    assert torch.equal(mean[0, 0][kept[0]], image[0, 0][kept[0]])
    assert mean[0, 0, 1, 1].item() == pytest.approx(image[0, 0][kept[0]].mean().item())
    assert smooth[0, 0, 1, 1].item() == pytest.approx(image[0, 0, 1, 1].item(), abs=0.02)  # a plane goes on
    nothing = torch.zeros_like(kept)
    assert not any(metrics.masked(image, nothing, name).any() for name in metrics.INPAINTING)
    with pytest.raises(UsageError, match="inpainting"):
        metrics.masked(image, kept, "guess")


@pytest.fixture(scope="module")
def all_digits():
    return data.load("digits", train_limit=300, test_limit=100)


def test_mosaics_are_what_they_say(all_digits):
    made = mosaic.mosaics(all_digits.to_unit(all_digits.train_images), all_digits.train_labels, 50, 3)
    assert made.images.shape == (50, 1, 64, 64)
    assert made.images.min() >= 0
    assert made.images.max() <= 1
    assert made.labels.bincount().tolist() == [5] * 10
    masks = made.masks(torch.arange(50))
    assert (masks.sum(1) == 1).all()
    for digits, label, own in zip(made.digits.tolist(), made.labels.tolist(), masks, strict=True):
        assert digits[:2] == [label, (label + 1) % 10]
        neighbours = [(one, other) for one in digits for other in digits if (one - other) % 10 == 1]
        assert neighbours == [(digits[1], digits[0])]
        assert own[:4].sum((1, 2)).tolist() == [28 * 28] * 4
    places = masks[:, 0].float().mean(0)
    assert (places > 0).float().mean() > 0.9  # the first digit is anywhere


def test_a_tile_lies_where_its_mask_says(all_digits):
    digits = torch.ones(10, 1, 28, 28) * torch.linspace(0.3, 0.9, 10).view(-1, 1, 1, 1)
    made = mosaic.mosaics(digits, torch.arange(10), 20, 0)
    masks = made.masks(torch.arange(20))
    for at, part in np.ndindex(20, 4):
        inside = made.images[at, 0][masks[at, part]]
        assert inside == pytest.approx(digits[made.digits[at, part]].max().item(), abs=1e-6)
    assert made.images[:, 0][masks[:, 4]].max() <= mosaic.NOISE


def test_mosaics_need_every_digit(all_digits):
    few = all_digits.train_labels < 9
    with pytest.raises(UsageError, match=r"no image of the digits \[9\]"):
        mosaic.mosaics(all_digits.train_images[few], all_digits.train_labels[few], 5, 0)
    with pytest.raises(UsageError, match="count is 0"):
        mosaic.mosaics(all_digits.train_images, all_digits.train_labels, 0, 0)


def test_test_mosaics_are_of_test_digits(all_digits):
    made, test = mosaic.mosaic_data(all_digits, 0)
    again, _ = mosaic.mosaic_data(all_digits, 0)
    assert torch.equal(made.train_images, again.train_images)
    assert (len(made.train_images), len(made.test_images)) == (600, 200)
    assert torch.equal(made.test_images, test.images)
    assert made.to_unit(made.test_images).equal(test.images)


def test_key_points_lie_in_the_box_of_the_garment():
    assert len(garments.KEY_POINTS) == len(data.DATASETS["fashion_mnist"].classes)
    image = torch.zeros(10, 1, 32, 32)
    image[:, 0, 4:20, 6:27] = 0.8
    made = garments.Garments(image, torch.arange(10))
    assert garments.bounding_box(image[0, 0].numpy()) == (4, 6, 20, 27)
    for label in range(10):
        (found,) = made.masks(torch.tensor([label]))
        assert len(found) == len(garments.KEY_POINTS[label]) + 1
        assert (found[-1] == 1).sum() == 32 * 32 - 16 * 21
        assert (found[:-1].amax((1, 2)) > 0.8).all()  # each has a cell, with a pixel near its key point
    assert garments.bounding_box(np.zeros((5, 4))) == (0, 0, 5, 4)
