"""The criteria for heat maps on cases with known answers, and the chapter `heatmaps` at `smoke`."""

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure
from torch import nn

from cladec_companion.papers import settings_for
from cladec_companion.papers.xai.attribution import METHODS, Around, attribute
from cladec_companion.papers.xai.attribution.around import blurred
from cladec_companion.papers.xai.criteria import axioms, deletion
from cladec_companion.papers.xai.heatmaps import claims, figures, ranking
from cladec_companion.papers.xai.heatmaps import experiment as heatmaps
from cladec_companion.papers.xai.heatmaps.settings import SMOKE
from cladec_companion.records.record import read_record
from cladec_core import networks
from cladec_core.errors import RunError, UsageError
from tests.made_up import content

SIDE = 8
CONSERVED = 0.01  # share of the output that relevance loses: rounding in some ten layers
EQUIVALENT = 0.99  # correlation of pixels, or of sums with outputs: the rest is rounding


class Bright(nn.Module):
    """Class 1 by the brightness of the upper half."""

    def forward(self, images):
        bright = 6 * images[:, :, : images.shape[2] // 2].mean((1, 2, 3)) - 3
        return torch.stack([torch.zeros_like(bright), bright], 1)


@pytest.fixture
def images():
    return torch.ones(3, 1, SIDE, SIDE) + 0.1 * torch.rand(3, 1, SIDE, SIDE)


@pytest.fixture
def around():
    return Around(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1).expand(2, 1, SIDE, SIDE))


ONES = torch.ones(3, dtype=torch.int64)
UPPER = torch.cat([torch.ones(3, SIDE // 2, SIDE), torch.zeros(3, SIDE // 2, SIDE)], 1)


# ---- deletion


def test_ranks_are_a_permutation_that_follows_the_map_with_ties_drawn():
    maps = torch.tensor([[[0.0, 3.0], [3.0, 1.0]]]).expand(300, 2, 2)
    found = deletion.places_by_relevance(maps, 0)
    assert torch.equal(found.flatten(1).sort(1).values, torch.arange(4).expand(300, 4))
    assert set(found[:, 1, 1].tolist()) == {2}
    assert set(found[:, 0, 0].tolist()) == {3}
    assert 100 < int((found[:, 0, 1] == 0).sum()) < 200
    assert torch.equal(found, deletion.places_by_relevance(maps, 0))


def test_flipping_what_matters_is_steeper_and_curves_meet_at_both_ends(images, around):
    curves = {
        name: deletion.flipping_curves(
            Bright(), images, ONES, deletion.places_by_relevance(maps, 0), around, "black"
        )
        for name, maps in {"right": UPPER, "wrong": -UPPER, "none": 0 * UPPER}.items()
    }  # fmt: skip
    areas = {name: deletion.area_over(curve) for name, curve in curves.items()}
    assert (areas["right"] > areas["none"]).all()
    assert (areas["none"] > areas["wrong"]).all()
    for curve in curves.values():
        assert torch.allclose(curve[:, 0], deletion.probability(Bright(), images, ONES))
        assert torch.allclose(curve[:, -1], deletion.probability(Bright(), -torch.ones_like(images), ONES))
    half = deletion.SHARES.index(0.5)
    assert torch.allclose(curves["right"][:, half], curves["right"][:, -1])  # only the upper half counts


def test_the_area_is_the_mean_fall():
    curve = torch.linspace(1, 0, 3)[None].repeat_interleave(1, 0)
    slow = np.trapezoid(1 - np.interp(deletion.SHARES, [0, 0.5, 1], curve[0]), deletion.SHARES)
    found = deletion.area_over(torch.tensor(np.interp(deletion.SHARES, [0, 0.5, 1], curve[0]))[None])
    assert found.item() == pytest.approx(slow) == pytest.approx(0.5)


class Patch(nn.Module):
    """Class 1 by the brightness of a small patch."""

    def forward(self, images):
        bright = 4 * images[:, :, 2:8, 4:12].mean((1, 2, 3)) - 2
        return torch.stack([torch.zeros_like(bright), bright], 1)


def test_boxes_are_the_smallest_that_suffice():
    images = torch.full((2, 1, 32, 32), -1.0)
    images[:, :, 2:8, 4:12] = 2.0
    right = torch.zeros(2, 32, 32)
    right[:, 2:8, 4:12] = 1
    wide = right.clone()
    wide[:, 30, 31] = 1

    def slow(maps):
        whole, gone = (deletion.probability(Patch(), part, ONES[:2]) for part in (images, blurred(images)))
        best = torch.ones(2)
        for threshold in deletion.THRESHOLDS:
            for at in range(2):
                rows, columns = np.nonzero((maps[at] >= threshold).numpy())
                box = (slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
                shown = images[at : at + 1].clone()
                shown[0, :, box[0], box[1]] = blurred(images)[at][:, box[0], box[1]]
                left = (deletion.probability(Patch(), shown, ONES[:1]) - gone[at]) / (whole[at] - gone[at])
                size = (box[0].stop - box[0].start) * (box[1].stop - box[1].start) / 32**2
                if left <= 0.2 + 1e-6:
                    best[at] = min(best[at], size)
        return best

    whole, gone = (deletion.probability(Patch(), part, ONES[:2]) for part in (images, blurred(images)))
    assert (whole - gone > deletion.LEAST_FALL).all()
    noise = torch.rand(2, 32, 32)
    noise[:, 0, 0], noise[:, 31, 31] = 0, 1
    for maps in (right, wide, noise):
        assert torch.allclose(deletion.smallest_boxes(Patch(), images, ONES[:2], maps)[0.8], slow(maps))
    constant = torch.zeros(2, 1, 32, 32)  # blurring it changes nothing
    assert deletion.smallest_boxes(Patch(), constant, ONES[:2], right)[0.8].isnan().all()


def test_sensitivity_n_is_1_for_a_linear_network_and_its_contributions(around):
    model = nn.Sequential(nn.Flatten(), nn.Linear(SIDE * SIDE, 2)).requires_grad_(False)
    images = torch.randn(3, 1, SIDE, SIDE)
    masks = deletion.subset_masks(SIDE, SIDE, 0)
    assert masks.flatten(1).sum(1).unique().tolist() == [1, 6, 32]
    effects = deletion.removal_effects(model, images, ONES, masks, around)
    right = attribute(model, images, ONES, method="gradient_x_input", around=around)
    for values in deletion.sensitivity_n(right, masks, effects).values():
        assert torch.allclose(values, torch.ones(3, dtype=values.dtype), atol=1e-4)
    wrong = deletion.sensitivity_n(torch.rand(3, SIDE, SIDE), masks, effects)
    assert all((values < 0.9).all() for values in wrong.values())


# ---- axioms


def test_gaps_and_shares_by_hand():
    sums, claimed = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 2.0])
    assert axioms.relative_gap(sums, claimed) == pytest.approx(0.25)
    assert axioms.share_kept(sums, claimed) == pytest.approx(0.75)


def test_steps_are_those_of_the_path(images, around):
    moved = axioms.moved_squares(images, around.mean, 4, 2)
    assert moved.shape == (3, 3, 1, SIDE, SIDE)
    assert moved[1, 0, 0, 2:6, 2:6].abs().max() == 0
    assert torch.equal(moved[1][..., :2], images[..., :2])
    steps, jumps = axioms.mean_step(lambda part: part, moved)
    lengths = moved.flatten(2).norm(dim=2).mean(0)
    slow = torch.stack([(moved[i + 1] - moved[i]).flatten(1).norm(dim=1) for i in range(2)])
    assert torch.allclose(steps.float(), slow.mean(0) / lengths, atol=1e-5)
    assert torch.allclose(jumps.float(), slow.amax(0) / slow.mean(0), atol=1e-5)
    assert axioms.mean_step(lambda part: part * 0 + 1, moved)[0].abs().max() == 0


def test_roughness_of_a_chequered_map_is_the_largest():
    chequered = ((torch.arange(SIDE).view(-1, 1) + torch.arange(SIDE)) % 2).float()[None]
    halves = (torch.arange(SIDE) >= SIDE // 2).float().expand(1, SIDE, SIDE)
    assert axioms.roughness(chequered).item() == pytest.approx(2)
    assert axioms.roughness(halves).item() == pytest.approx(1 / 7)
    assert axioms.roughness(3 * halves + 1).item() == pytest.approx(1 / 7)


def test_a_constant_map_resembles_no_other_and_two_of_them_are_not_compared():
    maps, constant = torch.rand(2, 4, 4), torch.full((2, 4, 4), 0.3)
    assert axioms.resemblance(maps, constant).tolist() == axioms.resemblance(constant, maps).tolist() == [0, 0]
    assert axioms.resemblance(constant, 0 * constant).isnan().all()
    assert axioms.resemblance(maps, 2 * maps + 1).tolist() == pytest.approx([1, 1])


def test_a_map_with_all_signs_turned_is_alike():
    maps = torch.randn(3, 6, 6)
    for compare in (axioms.resemblance, axioms.rank_resemblance):
        assert compare(maps, -maps).tolist() == pytest.approx([1, 1, 1])
        other = torch.randn(3, 6, 6)
        assert compare(maps, other).tolist() == pytest.approx(compare(-maps, other).tolist())
        assert (compare(maps, other) < 0.7).all()


def test_another_class_is_never_the_same_and_any_other():
    found = axioms.other_classes(torch.full((400,), 2), 4, 0)
    assert set(found.tolist()) == {0, 1, 3}


def test_the_cascade_draws_from_the_output_down_and_leaves_the_network(on):
    model = networks.classifier("vgg5", 1, 3, 0.1).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    stages = axioms.cascade(model, torch.randn(20, 1, 32, 32), on, 0)
    changed = [
        [name for name, value in stage.state_dict().items() if name.endswith("weight") and name.count(".") != 1]
        and {name.split(".")[0] for name, value in stage.state_dict().items()
             if name.endswith(".0.weight") and not torch.equal(value, before[name])}
        for stage in stages
    ]  # fmt: skip
    assert changed[0] < changed[1] < changed[2] == {"conv1", "conv2", "conv3", "conv4"}
    assert "conv1" not in changed[1]
    assert not torch.equal(stages[0].logits.weight, before["logits.weight"])
    assert torch.equal(stages[0].logits.weight, stages[2].logits.weight)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_mosaics_have_the_class_in_the_tile_and_others_elsewhere():
    labels = torch.arange(5).repeat(4)
    images = labels.view(-1, 1, 1, 1).float().expand(20, 1, 4, 4)
    usable = labels != 4
    found = axioms.mosaics(images, labels, usable, 30, 0)
    inside = found.inside()
    assert found.images.shape == (30, 1, SIDE, SIDE)
    assert inside.flatten(1).sum(1).tolist() == [16] * 30
    for canvas, mask, target in zip(found.images[:, 0], inside, found.target, strict=True):
        assert canvas[mask].unique().tolist() == [int(target)]
        assert set(canvas.unique().tolist()) == {0, 1, 2, 3}  # four classes, none of which is unusable
    assert set(found.tile.tolist()) == {0, 1, 2, 3}
    with pytest.raises(RunError, match="four classes; there are 3"):
        axioms.mosaics(images, labels, labels < 3, 1, 0)


def test_pointing_and_mass_by_hand():
    inside = torch.zeros(400, 4, 4, dtype=torch.bool)
    inside[:, :2, :2] = True
    hit = torch.zeros(400, 4, 4)
    hit[:, 0, 1], hit[:, 3, 3] = 2, 1
    assert axioms.pointing(hit, inside, 0).mean() == 1
    assert axioms.mass_inside(hit, inside)[0].item() == pytest.approx(2 / 3)
    assert axioms.pointing(hit.flip(1, 2), inside, 0).mean() == 0
    assert axioms.pointing(0 * hit, inside, 0).mean().item() == pytest.approx(0.25, abs=0.08)  # ties are drawn
    assert axioms.mass_inside(-hit, inside).isnan().all()


# ---- the chapter


@pytest.fixture(scope="module")
def smoke_record(run_smoke):
    return run_smoke("heatmaps")


def test_a_smoke_run_is_a_record_that_reads_back_the_same(smoke_record):
    rows = smoke_record.rows
    pd.testing.assert_frame_equal(read_record(smoke_record.folder).rows, rows, check_dtype=False, rtol=1e-6)
    assert set(rows["method"]) == {*SMOKE, "classifier"}
    curves = rows[rows["metric"] == "curve_mean"]
    assert sorted(curves["flipped"].unique()) == list(deletion.SHARES)
    for end in (0.0, 1.0):
        assert np.ptp(curves[curves["flipped"] == end]["value"].astype(float)) < 1e-6  # whatever the method
    wide = rows[rows["flipped"] == 0].pivot(index="method", columns="metric", values="value").astype(float)
    assert wide.loc["lrp_0", "agreement_gradient_x_input"] > EQUIVALENT
    assert (wide["sensitivity"].dropna() < EQUIVALENT).all()
    assert wide.loc["gradient", "passes"] == pytest.approx(1)
    assert wide.loc["integrated_gradients", "passes"] >= 32
    assert wide.loc["integrated_gradients", "incomplete"] < 0.1
    assert wide.loc["lrp_0", "kept_unbiased"] == pytest.approx(1, abs=CONSERVED)
    assert set(wide.index[wide["passes"] == 0]) == {"random"}
    assert wide.loc["cladec", "passes"] == 50  # 7 x 7 squares and the image itself
    assert wide.loc["patternattribution", "passes"] == pytest.approx(1)  # what it learns is not counted
    assert np.isnan(wide.loc["cladec", "pointing"])
    weights = ["randomised", "randomised_1", "randomised_3_few"]
    assert (wide.loc["random", ["class_similarity", *weights]] == 1).all()  # asks for no class and no weights
    assert wide.loc["cladec", "class_similarity"] == 1
    assert wide.loc["cladec", weights].isna().all()  # its decoder is not trained anew for each network
    assert wide.loc["gradient", "class_similarity"] < 1
    assert wide.loc["cladec", "step_shown"] > 0


def test_every_method_has_numbers_of_the_same_images(smoke_record):
    rows = smoke_record.rows[smoke_record.rows["flipped"] == 0]
    wide = rows.pivot(index="method", columns="metric", values="value").astype(float)
    slow = [name for name in SMOKE if METHODS[name].slow]
    assert set(wide.loc[slow, "explained_images"]) == {2}
    per_image = [name for name in wide if f"{name}_few" in wide]
    for metric in per_image:  # of slow methods these are all images
        pd.testing.assert_series_equal(wide.loc[slow, metric], wide.loc[slow, metric + "_few"], check_names=False)
    judged = {one.metric for one in ranking.CRITERIA}
    assert judged - {"box_few", ranking.AREA} <= set(
        wide
    )  # so short a training gives probabilities that blurring hardly lowers
    changed = wide.loc["gradient", per_image].to_numpy() != wide.loc["gradient", [f"{m}_few" for m in per_image]]
    assert changed.sum() > len(per_image) / 2


def test_rows_are_means_of_all_images_and_of_the_first():
    rows = heatmaps._rows("gradient", {"box": torch.tensor([1.0, 3.0, 8.0]), "passes": 2.0}, 2)
    found = {row["metric"]: row["value"] for row in rows}
    assert found == {
        "box": 4, "box_error": pytest.approx(13**0.5 / 3**0.5), "box_few": 2, "box_few_error": pytest.approx(1),
        "passes": 2,
    }  # fmt: skip


def test_maps_and_ranks_are_kept_and_shown(smoke_record):
    samples = {name.removeprefix("digits/vgg11/"): array for name, array in smoke_record.samples.items()}
    for name in SMOKE:
        assert samples[f"map/{name}"].shape == (heatmaps.SHOWN, 1, 32, 32)
    assert samples["map/gradient"].min() >= 127  # sizes have no sign
    assert samples["map/gradient_x_input"].min() < 127 < samples["map/gradient_x_input"].max()
    for name in heatmaps.FLIPPED:
        assert sorted(samples[f"rank/{name}"][0].flatten()) == list(range(1024))
    data, shown = content(figures.interactive(smoke_record))
    half = deletion.SHARES.index(0.5)
    for pane, name in enumerate(heatmaps.FLIPPED, 1):
        hidden = samples[f"rank/{name}"][1] < 512
        expected = np.where(hidden, samples["filling"][0, 0], samples["original"][1, 0])
        assert np.abs(shown(pane, 1, half)[..., 0].astype(int) - (255 - expected)).max() <= 1
    assert f"{samples['flipping/gradient'][0, 0]:.0%}" in data["notes"][0]


def test_tables_and_figures_are_made_from_a_record(smoke_record):
    found = claims.evidence(smoke_record)
    table, order = ranking.table(found), ranking.overall(found)
    assert len(table) == len(SMOKE)
    assert order["rank"].is_monotonic_increasing
    assert order["low"].isna().all()  # one run has no interval
    assert all(text.endswith(".") for text in ranking.which_when(found)["when"])
    drawn = [
        figures.gallery(smoke_record), figures.flipping(smoke_record), figures.sanity(found), figures.ranks(found)
    ]  # fmt: skip
    assert all(isinstance(figure, Figure) for figure in drawn)
    assert len(drawn[1].axes) == 4
    assert figures.can_flip(smoke_record)
    assert not figures.can_flip(None)


def test_ranks_follow_the_direction_of_each_criterion():
    index = pd.MultiIndex.from_tuples([("digits", "vgg11", "maps", 0)], names=["dataset", "architecture", "at", "seed"])
    columns = {
        f"{method}:{one.metric}": value if one.more else -value
        for one in ranking.CRITERIA for method, value in (("gradient", 1.0), ("lime", 2.0), ("pda", 0.0))
    }  # fmt: skip
    made = claims.Evidence(pd.DataFrame(), None, pd.DataFrame([columns], index=index))
    assert list(ranking.overall(made).index) == ["lime", "gradient", "pda"]
    assert ranking.overall(made).loc["lime", "rank"] == 1
    assert ranking.table(made).loc["LIME", "pointing"] == "2 [1]"


def one_run(**numbers):
    """Evidence of one run: metric -> number by method."""
    index = pd.MultiIndex.from_tuples([("digits", "vgg11", "maps", 0)], names=["dataset", "architecture", "at", "seed"])
    columns = {f"{name}:{metric}_few": value for metric, own in numbers.items() for name, value in own.items()}
    return claims.Evidence(pd.DataFrame(), None, pd.DataFrame([columns], index=index))


def test_flipping_counts_by_the_mean_over_all_replacements():
    """A method that is the best with its own baseline alone is not the best."""
    grey = {"gradient": 0.9, "lime": 0.7}
    others = {metric: {"gradient": 0.3, "lime": 0.7} for metric in ("area_black", "area_blur", "area_refae")}
    found = ranking.values(one_run(area_mean=grey, **others))[ranking.AREA]
    assert found.to_dict() == pytest.approx({"gradient": 0.45, "lime": 0.7})


def test_methods_that_look_equal_in_the_table_have_one_rank():
    close = {"lrp_0": 0.4, "gradient_x_input": 0.4 + 1e-7, "lime": 0.3}
    made = one_run(sensitivity=close)
    assert ranking.overall(made)["rank"].to_dict() == {"lrp_0": 1.5, "gradient_x_input": 1.5, "lime": 3}
    assert list(ranking.table(made)["sensitivity-n"]) == ["0.4 [1]", "0.4 [1]", "0.3 [3]"]


def test_a_method_is_blamed_for_a_poor_number_whatever_its_place():
    names = [name for name, method in METHODS.items() if method.kind != "control"][:8]
    alike = dict(zip(names, [0.1, 0.2, 0.3, 0.4, 0.95, 0.96, 0.97, 0.98], strict=True))
    still = dict.fromkeys(names, 0.1) | {names[0]: 0.0}
    said = ranking.which_when(one_run(class_similarity=alike, step=still))["when"]
    blamed = {name for name in names if "hardly depends on the class" in said[METHODS[name].title]}
    assert blamed == set(names[4:])
    assert "has the same map for every image" in said[METHODS[names[0]].title]
    assert sum("same map" in text for text in said) == 1


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"methods": ["lrp"]}, "Unknown method 'lrp'"), ({"map_layer": -9}, "-9"), ({"few": 1}, "few is 1"),
        ({"explained": 0}, "explained is 0"), ({"methods": []}, "empty"),
    ],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused_by_name(changes, named):
    with pytest.raises(UsageError, match=named):
        settings_for("heatmaps", "quick", **changes)
