"""Two networks of one function, and the chapter `shifts`: what must stay does, what must move does."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib.figure import Figure

from cladec_companion.evidence import noise
from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, UNDECIDED
from cladec_companion.papers.xai.attribution import attribute
from cladec_companion.papers.xai.shifts import claims, figures, networks
from cladec_companion.papers.xai.shifts import experiment as shifts
from cladec_companion.records.record import Record, read_record
from cladec_companion.records.samples import RunImages
from cladec_core.errors import UsageError
from tests.made_up import content

DECIDE = {claim.key: claim.decide for claim in claims.CLAIMS}


@pytest.fixture
def perceptron():
    return networks.perceptron(2 * 16 * 16, 3, 12).double().requires_grad_(False)


@pytest.mark.parametrize("kind", networks.SHIFTS)
def test_the_network_takes_the_shift_back_at_its_first_layer(kind, perceptron):
    images, shift = torch.rand(4, 2, 16, 16).double(), networks.shift_of(kind, 2, 16).double()
    second = networks.undone(perceptron, shift)
    assert torch.allclose(second[:2](images + shift), perceptron[:2](images), atol=1e-12)
    assert not torch.allclose(second(images), perceptron(images), atol=1e-3)
    assert torch.equal(second[1].weight, perceptron[1].weight)


def test_shifts_are_those_of_the_book():
    constant, box, cat = (networks.shift_of(kind, 1, 32) for kind in networks.SHIFTS)
    assert torch.equal(constant, -torch.ones(1, 32, 32))
    assert box.unique().tolist() == pytest.approx([-0.3, 0.0, 0.3])
    assert box.sum().abs() < 1e-4
    assert box[0, :8].abs().max() == 0
    assert cat.unique().tolist() == pytest.approx([0.0, 0.3])
    with pytest.raises(UsageError, match="Unknown shift 'dog'; valid: constant, chequered, figure"):
        networks.shift_of("dog", 1, 32)


def test_splitting_keeps_the_function_and_doubles_every_neuron(perceptron):
    images = torch.rand(4, 2, 16, 16).double()
    second = networks.split(perceptron)
    assert torch.allclose(second(images), perceptron(images), atol=1e-10)
    assert second[3].weight.shape == (24, 24)
    theta = 10 * perceptron[3].weight.std()
    assert torch.allclose(second[3].weight[:12, :12], perceptron[3].weight + theta)
    assert torch.allclose(second[3].weight[:12, 12:], -theta.expand(12, 12))


def test_the_example_of_figure_13_5():
    """max(0, a1 - a2), by one neuron and by three: gradient times input agrees, LRP with γ does not."""

    def network(*weights):
        layers = [torch.nn.Flatten()]
        for weight in weights:
            layer = torch.nn.Linear(len(weight[0]), len(weight), bias=False)
            layer.weight.data = torch.tensor(weight)
            layers += [layer, torch.nn.ReLU()]
        return torch.nn.Sequential(*layers).requires_grad_(False)

    one, three = network([[1.0, -1.0]]), network([[1.0, 9.0], [0.0, 10.0]], [[1.0, -1.0]])
    point = torch.tensor([2.0, 1.0]).view(1, 1, 1, 2)
    assert torch.allclose(one(point), three(point))
    same, other = (
        [attribute(model, point, 0, method=method).flatten() for model in (one, three)]
        for method in ("gradient_x_input", "lrp_gamma")
    )
    assert torch.allclose(*same)
    assert not torch.allclose(*other, atol=0.1)


@pytest.fixture(scope="module")
def smoke_record(run_smoke):
    return run_smoke("shifts")


def test_what_the_construction_decides_is_so_in_a_record(smoke_record):
    rows = smoke_record.rows
    pd.testing.assert_frame_equal(read_record(smoke_record.folder).rows, rows, check_dtype=False, rtol=1e-6)
    moved = rows[rows["metric"] == "change"].pivot(index="method", columns="layer", values="value").astype(float)
    for name in ("gradient", "guided_backprop", "patternnet", "smoothgrad", "patternattribution", "cladec"):
        assert moved.loc[name, list(networks.SHIFTS)].max() < 1e-8, name
    for name in ("gradient_x_input", "smoothgrad_x_input", "integrated_gradients_zero", "lrp_epsilon"):
        assert moved.loc[name, list(networks.SHIFTS)].min() > 0.01, name
    assert moved.loc["integrated_gradients_black", "constant"] < 1e-8
    assert moved.loc["integrated_gradients_black", "figure"] > 0.01
    assert moved.loc["gradient_x_input", "split"] < 1e-8 < 0.01 < moved.loc["lrp_gamma", "split"]
    assert moved.loc["cladec_again", "constant"] > 0
    assert moved.loc[["cladec", "cladec_again", "cladec_shifted"], "split"].isna().all()  # twice as many codes
    assert (rows[rows["metric"] == "moved"]["value"].astype(float) < 1e-10).all()


def test_images_before_and_after_have_one_linear_scale(smoke_record):
    images = RunImages.of(smoke_record)
    original = images.original.astype(float)
    ranges = {"constant": (-1, 1), "chequered": (-0.3, 1.3), "figure": (0, 1.3), "split": (0, 1)}
    for change, (low, high) in ranges.items():
        shift = networks.shift_of(change, 1, 32).numpy() * 255 if change != "split" else 0
        for when, inputs in (("before", original), ("after", original + shift)):
            expected = (inputs - 255 * low) / (high - low)
            assert np.abs(images[when, change, "input"] - expected).max() <= 1, (change, when)


def test_a_page_shows_the_drawing_where_a_run_has_it():
    assert figures.chosen(("constant", "figure", "split")) == "figure"
    assert figures.chosen(("split",)) == "split"


def test_figures_show_the_maps_of_the_record(smoke_record):
    evidence = claims.evidence(smoke_record)
    assert isinstance(figures.before_and_after(smoke_record, "split"), Figure)
    assert len(figures.moved(evidence).axes) == 4
    data, shown = content(figures.interactive(smoke_record))
    gradient = list(shifts.EXPLAINED).index("gradient")
    assert np.array_equal(shown(1, 0, gradient, 0), shown(3, 0, gradient, 0))
    times_input = list(shifts.EXPLAINED).index("gradient_x_input")
    assert not np.array_equal(shown(1, 0, times_input, 0), shown(3, 0, times_input, 0))
    assert "moves by 0.0% of its length on average" in data["notes"][gradient * 4]


# ---- the claims


PICTURES = ("chequered", "figure")
OPPOSITE = {HOLDS: 0.0, FAILS: 0.3}
# Claim -> which methods decide it under which changes, for which values it holds and fails, and what all others have.
CASES = {
    "L26": (("gradient_x_input",), networks.SHIFTS, 0.3, 0.0, OPPOSITE),
    "L27": (("integrated_gradients_zero",), networks.SHIFTS, 0.3, 0.0, OPPOSITE),
    "L29": (("integrated_gradients_black",), PICTURES, 0.3, 0.0, OPPOSITE),
    "L30": (("lrp_epsilon",), networks.SHIFTS, 0.3, 0.0, OPPOSITE),
    "L32": (("smoothgrad_x_input",), networks.SHIFTS, 0.3, 0.0, OPPOSITE),
    "L34": (("lrp_gamma",), (shifts.SPLIT,), 0.3, 0.0, OPPOSITE),
    "L35": (("cladec_shifted",), networks.SHIFTS, 0.1, 0.5, {HOLDS: 0.3, FAILS: 0.3}),
}
# Claim -> whose numbers its verdict tells, though they cannot decide it.
CONSTRUCTED = {
    "L24": (("gradient",), networks.SHIFTS), "L25": (("guided_backprop", "patternnet"), networks.SHIFTS),
    "L28": (("integrated_gradients_black",), ("constant",)), "L31": (("patternattribution",), networks.SHIFTS),
    "L33": (("gradient_x_input",), (shifts.SPLIT,)),
}  # fmt: skip


def made_up(methods, changes, value, other, seeds=(0, 1, 2), **configuration):
    """Evidence in which some methods have a value under some changes, and everything else has another."""
    rows = [
        {"dataset": "mnist", "architecture": "vgg5", "layer": change, "method": name, "seed": seed, "metric": metric,
         "value": (value if name in methods and change in changes else other) + 1e-5 * seed
         if metric == "change" else 1e-5}
        for change in figures.CHANGES for name in shifts.TITLES for seed in seeds
        for metric in ("change", "change_error")
    ]  # fmt: skip
    found = claims.evidence(Record(None, pd.DataFrame(rows), {}, {"configuration": configuration, "cells": {}}))
    return replace(found, known=lambda: noise.pooled([]))  # whatever records there are


@pytest.mark.parametrize("key", CASES)
def test_a_claim_is_decided_by_its_own_numbers_alone(key):
    methods, changes, true, false, others = CASES[key]
    for value, verdict in ((true, HOLDS), (false, FAILS)):
        found = DECIDE[key](made_up(methods, changes, value, others[verdict]))
        assert found.verdict == verdict, found.evidence
    assert DECIDE[key](claims.printed()).verdict == NOT_APPLICABLE
    assert DECIDE[key](made_up(methods, changes, true, false, seeds=(0,))).verdict == UNDECIDED


def test_what_another_training_moves_is_told_and_decides_nothing():
    methods, changes, *_ = CASES["L35"]
    found = DECIDE["L35"](made_up((*methods, "cladec_again"), changes, 0.1, 0.5))
    assert found.verdict == HOLDS
    assert "moves 0.0% to 0.0% further than a decoder that is only trained again" in found.evidence


@pytest.mark.parametrize("key", CONSTRUCTED)
def test_what_cannot_be_otherwise_is_not_decided_and_tells_its_numbers(key):
    methods, changes = CONSTRUCTED[key]
    found = DECIDE[key](made_up(methods, changes, 0.25, 0.75))
    assert found.verdict == NOT_APPLICABLE
    cells = len(methods) * len(changes)
    assert found.evidence.startswith("true by construction: ")
    assert found.evidence.endswith(f"; measured: 0.25 to 0.25 in {cells} cells" if cells > 1 else "; measured: 0.25")
    assert DECIDE[key](claims.printed()).verdict == NOT_APPLICABLE


def test_each_claim_is_decided_or_cannot_be_otherwise():
    assert not set(CASES) & set(CONSTRUCTED)
    assert set(CASES) | set(CONSTRUCTED) == set(DECIDE) == {f"L{number}" for number in range(24, 36)}


def test_no_method_lies_outside_of_the_figure():
    """As guided backprop did, whose maps move by 10,000 times their length when neurons are split."""
    found = made_up(("guided_backprop",), (shifts.SPLIT,), 2e4, 1e-9)
    for axis in figures.moved(found).axes:
        low, high = axis.get_xlim()
        points = [line.get_xdata()[0] for line in axis.lines]
        assert all(low < point < high for point in points if np.isfinite(point))
