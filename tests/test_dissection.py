"""Network dissection: overlaps against slow ones, planted detectors, turned bases, chance."""

import pytest
import torch
from torch import nn

from cladec_companion.papers.xai import dissection
from cladec_companion.papers.xai.units import network_dissection
from cladec_core.errors import UsageError


@pytest.fixture(scope="module")
def made():
    images = torch.rand(60, 1, 32, 32) - 0.3
    images[:, :, :8] = -0.3  # background
    images[:, :, 0, 0], images[:, :, -1, -1] = -0.3, 0.7
    return dissection.scenes(images, torch.arange(60) % 3, [0, 2], ["a", "b", "c"], 300, seed=1)


def test_masks_are_exactly_where_the_concepts_are(made):
    assert made.concepts == ("a", "c", *dissection.TEXTURES, *dissection.SEAMS)
    assert made.images.shape == (300, 1, 64, 64)
    tiles = made.masks[:-2].unflatten(3, (2, 32)).unflatten(2, (2, 32)).any(3).any(4)  # concepts, n, 2, 2
    assert (tiles.sum(0) == 1).all()
    objects = made.masks[:2].any(0)
    assert not objects[:, :8].any()
    assert (made.images[:, 0][objects] > -0.2).all()
    stripes = made.masks[2].flatten(1).any(1)
    assert stripes.any()
    rows = made.images[stripes][0, 0][made.masks[2][stripes][0]].view(-1, 32)
    assert (rows == rows[:, :1]).all()
    assert made.masks[-1].sum() == 300 * 64 * 2 * dissection.SEAM


def test_a_class_without_images_is_named():
    with pytest.raises(UsageError, match="Class 'b' has no image for the scenes"):
        dissection.scenes(torch.rand(4, 1, 8, 8), torch.zeros(4).long(), [0, 1], ["a", "b"], 3, seed=0)


def slow_overlap(activation, scenes, unit, concept):
    """Eq. 12.1, scene by scene."""
    up = [
        nn.functional.interpolate(maps[None, unit : unit + 1], (64, 64), mode="bilinear")[0, 0][::2, ::2]
        for maps in activation
    ]
    values = torch.cat([part.flatten() for part in up]).sort(descending=True).values
    threshold = values[int(dissection.SHARE * len(values)) - 1]
    kind, both, either = scenes.categories[concept], 0, 0
    alike = [place for place, own in enumerate(scenes.categories) if own == kind]
    for scene, maps in enumerate(up):
        masks = scenes.masks[:, scene, ::2, ::2]
        if not masks[alike].any():
            continue
        selected, truth = maps >= threshold, masks[concept]
        both += int((selected & truth).sum())
        either += int((selected | truth).sum())
    return both / either


def test_overlaps_are_those_of_a_slow_loop(made):
    activation = torch.randn(300, 3, 4, 4)
    (found,) = dissection.overlaps(activation, made)
    for unit, concept in ((0, 0), (1, 4), (2, len(made.concepts) - 1), (0, 7)):
        assert float(found[unit, concept]) == pytest.approx(slow_overlap(activation, made, unit, concept), abs=1e-7)


def test_the_threshold_leaves_the_share_above():
    maps = torch.randn(5, 20_000)
    assert (maps >= dissection.thresholds(maps).view(-1, 1)).sum(1).tolist() == [100] * 5
    assert not dissection.unit_masks(torch.zeros(4, 1, 2, 2), (8, 8)).any()  # a dead unit has no mask
    rare = torch.zeros(400, 1, 8, 8)
    rare[0, 0, 0, 0] = 1.0
    assert dissection.unit_masks(rare, (8, 8)).sum() == 1  # where it is silent it selects nothing


def test_a_detector_of_constant_strength_is_found(made):
    """It answers exactly as much wherever its texture is, so that more than its share of the pixels tie at T_k."""
    constant = nn.functional.avg_pool2d(torch.stack([made.masks[2 + unit].float() for unit in range(6)], 1), 4)
    own = detectors_of(constant, made)
    assert own.concept.tolist() == [2, 3, 4, 5, 6, 7]
    assert (own.iou > 0.8).all()


def detectors_of(activation, scenes):
    return dissection.Detectors.of(dissection.overlaps(activation, scenes)[0])


def planted(made):
    """Six units, each of which answers to one texture alone, with different strength from scene to scene.

    Not to an object: two of them cover so many pixels that no mask of half a per cent can overlap them by 0.04.
    """
    strength = torch.rand(len(made.images), 1, 1, generator=torch.Generator().manual_seed(0))
    maps = [made.masks[2 + unit].float() * (0.5 + strength) for unit in range(6)]
    return nn.functional.avg_pool2d(torch.stack(maps, 1), 4)


def test_planted_detectors_are_found(made):
    own = detectors_of(planted(made), made)
    assert own.concept.tolist() == [2, 3, 4, 5, 6, 7]
    assert own.detects.all()
    assert own.unique() == 6
    assert own.unique([category == "object" for category in made.categories]) == 0


def test_turning_the_basis_destroys_detectors_among_units_that_say_something_else(made):
    others = torch.randn(300, 42, 16, 16, generator=torch.Generator().manual_seed(1))
    activation = torch.cat([planted(made), others], 1)
    matrix = dissection.rotation(48, 3)
    assert torch.allclose(matrix @ matrix.T, torch.eye(48), atol=1e-5)
    turned = dissection.rotated(activation, matrix)
    assert torch.allclose(turned.pow(2).sum(1), activation.pow(2).sum(1), rtol=1e-4)
    own, after = (detectors_of(part, made) for part in (activation, turned))
    assert own.detects[:6].all()
    assert own.unique() == 6
    assert after.unique() == 0


def test_turning_units_of_concepts_that_exclude_each_other_destroys_nothing(made):
    """At the top of a weighted sum of such units is the concept with the largest weight."""
    turned = dissection.rotated(planted(made), dissection.rotation(6, 3))
    assert detectors_of(turned, made).detects.sum() >= 5


def test_masks_of_other_scenes_are_matched_by_chance_only(made):
    others = made.of_others(2)
    assert torch.equal(others.images, made.images)
    assert torch.equal(others.masks.flatten(2).sum((1, 2)), made.masks.flatten(2).sum((1, 2)))
    same = [bool((others.masks[:-2, n] == made.masks[:-2, n]).all()) for n in range(300)]
    assert not any(same)
    own, by_chance = (detectors_of(planted(made), of) for of in (made, others))
    assert by_chance.iou.mean() < 0.5 * own.iou.mean()


def test_seams_are_no_part_of_what_chance_matches(made):
    """They are at the same place in all scenes: exchanged masks of them are the same masks."""
    others = made.of_others(2)
    assert torch.equal(others.masks[-2:], made.masks[-2:])
    seam = nn.functional.avg_pool2d(made.masks[-1:].float().transpose(0, 1), 4)
    own, leaking, by_chance = (detectors_of(seam, of) for of in (made, others, others.without_seams()))
    assert leaking.iou == own.iou > 0.8
    assert by_chance.iou < 0.1
    assert others.without_seams().concepts == made.concepts[:-2]
    assert torch.equal(others.without_seams().masks, others.masks[:-2])
    counted, null = (
        network_dissection._counted(dissection.overlaps(seam, of)[0], of) for of in (made, others.without_seams())
    )  # fmt: skip
    assert counted["unique"] == counted["unique_objects"] == 0
    assert counted["detectors"] == 1
    assert counted["matched"] < 0.1
    assert null["matched"] == by_chance.iou


def test_what_never_changes_comes_with_nothing():
    assert network_dissection.together([0.1, 0.5, 0.9], [0.0, 1.0, 3.0]) == pytest.approx(1)
    assert network_dissection.together([0.1, 0.5, 0.9], [2.0, 2.0, 2.0]) == 0
    assert network_dissection.together([0.1, 0.1, 0.1], [0.0, 1.0, 3.0]) == 0
