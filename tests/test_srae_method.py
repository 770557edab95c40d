"""SRAE's loss and x-features, excitation backprop and the baselines, against slower versions."""

import numpy as np
import pytest
import torch
from torch import nn

from cladec_companion.papers.srae import baselines
from cladec_companion.papers.srae.excitation import UpTo, contrastive_maps, head_of, winners
from cladec_companion.papers.srae.method import (
    QUIET,
    SRAE,
    Embedding,
    Examples,
    SRAELoss,
    Terms,
    fit_embedding,
    one_in_nine,
    pull_away,
    sparsity,
    spreads,
    unit_errors,
)
from cladec_core.errors import UsageError
from cladec_core.networks.convolutions import Conv2d


def made_up(examples=200, units=6, seed=0):
    """Two units carry the logit; the others are noise."""
    codes = torch.rand(examples, units, generator=torch.Generator().manual_seed(seed))
    logits = 4 * codes[:, 0] + 2 * codes[:, 1]
    return Examples(codes, logits, logits > logits.quantile(0.8))


def slow_pull_away(features):
    n, total = len(features[0]), 0.0
    columns = [[row[at] for row in features] for at in range(n)]
    for one in range(n):
        for other in range(n):
            if one != other:
                product = sum(a * b for a, b in zip(columns[one], columns[other], strict=True))
                lengths = [sum(a * a for a in columns[at]) ** 0.5 for at in (one, other)]
                total += (product / (lengths[0] * lengths[1])) ** 2
    return total / (n * (n - 1))


def test_the_terms_of_the_loss_are_the_slow_ones():
    features, codes, back = (np.random.default_rng(at).normal(size=(7, 3)) for at in range(3))
    weights, logits, predicted = (np.random.default_rng(9 + at).random(7) for at in range(3))
    errors = [
        sum(w * (a[k] - b[k]) ** 2 for w, a, b in zip(weights, back, codes, strict=True)) / sum(weights)
        for k in range(3)
    ]
    assert unit_errors(*map(torch.tensor, (back, codes, weights))).tolist() == pytest.approx(errors)
    assert sparsity(torch.tensor(errors), 10.0).item() == pytest.approx(sum(np.log(1 + 10 * e) for e in errors) / 3)
    assert sparsity(torch.tensor(errors), None).item() == pytest.approx(sum(errors) / 3)
    assert pull_away(torch.tensor(features)).item() == pytest.approx(slow_pull_away(features.tolist()))
    faithful = sum(w * (a - b) ** 2 for w, a, b in zip(weights, predicted, logits, strict=True)) / sum(weights)
    output = torch.tensor(np.concatenate([features, predicted[:, None], back], 1))
    loss = SRAELoss(3, Terms(2.0, 3.0, 10.0))(output, *map(torch.tensor, (codes, logits, weights)))
    reconstruction = sum(np.log(1 + 10 * e) for e in errors) / 3
    assert loss.item() == pytest.approx(faithful + 2 * reconstruction + 3 * slow_pull_away(features.tolist()))


@pytest.mark.parametrize("terms", [Terms(0, 0), Terms(1, 0, 10.0, 0), Terms(0, 1, 1.0, 0), Terms(0.5, 0.5, None)])
def test_the_gradient_of_each_term_is_the_numerical_one(terms):
    output = torch.randn(5, 3 + 1 + 4, dtype=torch.float64, requires_grad=True)
    codes, logits, weights = torch.randn(5, 4).double(), torch.randn(5).double(), torch.rand(5).double()
    assert torch.autograd.gradcheck(lambda made: SRAELoss(3, terms)(made, codes, logits, weights), output)


def test_a_single_x_feature_has_nothing_to_be_pulled_away_from():
    assert pull_away(torch.randn(5, 1)).item() == 0
    assert pull_away(torch.stack([torch.zeros(5), torch.ones(5)], 1)).item() == 0


def test_the_log_penalty_gives_up_the_unit_that_costs_most():
    """Moving error from a good to a bad unit lowers it, which plain squares do not see."""
    even, uneven = torch.tensor([0.5, 0.5]), torch.tensor([0.0, 1.0])
    assert sparsity(uneven, 10.0) < sparsity(even, 10.0)
    assert sparsity(uneven, None) == sparsity(even, None)


def test_an_embedding_is_fitted_and_speaks_in_units_and_logits(on):
    examples = made_up()
    embedding = fit_embedding(examples, 2, Terms(0.01, 0.01), on=on, epochs=400)
    predicted = embedding.predicted(examples.codes)
    assert (predicted - examples.logits).abs().mean() < 0.2 * examples.logits.std()
    assert (embedding.v.weight >= 0).all()
    contributions = embedding.contributions(examples.codes).sum(1) + embedding.v.bias
    assert torch.allclose(contributions, predicted, atol=1e-5)
    again = fit_embedding(examples, 2, Terms(0.01, 0.01), on=on, epochs=400)
    assert torch.equal(again.predicted(examples.codes), predicted)


def test_units_of_another_scale_give_the_same_x_features(on):
    """The divisors of the training are folded into the weights, of the mirror too."""
    examples, factor = made_up(), torch.tensor([1.0, 5, 1, 1, 0.5, 1])
    scaled = Examples(examples.codes * factor, 3 * examples.logits + 7, examples.positive)
    one, other = (fit_embedding(part, 2, Terms(), on=on, epochs=20) for part in (examples, scaled))
    features, others = one.features(examples.codes), other.features(scaled.codes)
    assert torch.allclose(features, others, atol=1e-4)
    assert torch.allclose(one.mirror(features) * factor, other.mirror(others), atol=1e-3)
    assert torch.allclose(3 * one.predicted(examples.codes) + 7, other.predicted(scaled.codes), atol=1e-3)


def test_a_unit_that_is_nearly_constant_is_not_blown_up():
    codes = torch.rand(100, 3) * torch.tensor([1.0, 1e-6, 0])
    assert spreads(codes)[1:].tolist() == pytest.approx([QUIET * codes[:, 0].std(correction=0).item()] * 2)


def test_an_auto_encoder_without_faithfulness_gets_the_best_linear_readout(on):
    examples = made_up()
    embedding = fit_embedding(examples, 3, Terms(1, 0, None, 0), on=on, epochs=50)
    features = embedding.features(examples.codes).double().numpy()
    inputs = np.column_stack([features, np.ones(len(features))])
    root = np.sqrt(examples.weights.double().numpy())
    best = np.linalg.lstsq(inputs * root[:, None], examples.logits.double().numpy() * root, rcond=None)[0]
    assert embedding.predicted(examples.codes).numpy() == pytest.approx(inputs @ best, abs=1e-3)


def test_positives_and_negatives_count_alike():
    examples = made_up()
    weights = examples.weights
    assert weights[examples.positive].sum().item() == pytest.approx(weights[~examples.positive].sum().item())
    assert weights.mean().item() == pytest.approx(1)


def test_eight_negatives_stand_beside_each_positive():
    positive = torch.arange(1000) % 5 == 0
    chosen = one_in_nine(positive, 0)
    assert (positive[chosen].sum(), (~positive[chosen]).sum()) == (100, 800)
    assert len(chosen.unique()) == 900
    assert not torch.equal(chosen, one_in_nine(positive, 1))


@pytest.mark.parametrize(
    ("change", "n", "told"),
    [
        (lambda e: e, 0, "n is 0; valid: from 1 to the 6"),
        (lambda e: e, 7, "n is 7; valid: from 1 to the 6"),
        (lambda e: Examples(torch.ones(200, 6), e.logits, e.positive), 2, "constant"),
        (lambda e: Examples(e.codes, e.logits, torch.arange(200) < 1), 2, "1 of 200 examples are positive"),
        (lambda e: Examples(e.codes, e.logits, torch.ones(200).bool()), 2, "200 of 200"),
        (lambda e: Examples(torch.rand(200, 2, 3), e.logits, e.positive), 2, "a vector of units"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, n, told, on):
    with pytest.raises(UsageError, match=told):
        fit_embedding(change(made_up()), n, Terms(), on=on, epochs=1)


@pytest.mark.parametrize(("wrong", "told"), [({"beta": -1}, "beta is -1"), ({"q": 0}, "q is 0")])
def test_wrong_weights_are_refused(wrong, told):
    with pytest.raises(UsageError, match=told):
        Terms(**wrong)


class Tiny(nn.Sequential):
    """A classifier with a layer of units."""

    def __init__(self):
        convolution = nn.Sequential(Conv2d(1, 4, 3, 2, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU())
        units = nn.Sequential(nn.Linear(4 * 9, 8), nn.ReLU())
        super().__init__()
        for name, part in {
            "maps": convolution,
            "flat": nn.Flatten(),
            "units": units,
            "logits": nn.Linear(8, 3),
        }.items():
            self.add_module(name, part)


@pytest.fixture
def tiny():
    model = Tiny()
    model.train()
    model(torch.rand(64, 1, 6, 6))  # statistics of BatchNorm
    return model.eval()


def slow_winners(model, image, start):
    """Excitation backprop of an image through convolution and units by loops; `start` is at the units."""
    convolution, norm = model.maps[0], model.maps[1]
    factor = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach().numpy()
    weights = convolution.weight.detach().numpy() * factor[:, None, None, None]
    maps = model.maps(image[None])[0].detach().numpy()
    linear = model.units[0].weight.detach().numpy().clip(min=0)
    before = np.zeros(maps.size)
    for unit, probability in enumerate(start):
        shares = maps.flatten() * linear[unit]
        before += probability * shares / max(shares.sum(), 1e-30)
    before, pixels = before.reshape(maps.shape), np.zeros((6, 6))
    picture = image[0].numpy()
    for channel, row, column in np.ndindex(*maps.shape):
        taken = {}
        for down, right in np.ndindex(3, 3):
            at = (2 * row + down - 1, 2 * column + right - 1)
            if min(at) >= 0 and max(at) < 6:
                taken[at] = picture[at] * max(weights[channel, 0, down, right], 0)
        total = sum(taken.values())
        for at, value in taken.items():
            pixels[at] += before[channel, row, column] * value / max(total, 1e-30)
    return pixels


@pytest.mark.parametrize("contrast", [False, True])
def test_excitation_backprop_is_the_slow_one(tiny, contrast):
    images = torch.rand(3, 1, 6, 6) + 0.1
    up_to = UpTo(tiny, "units")
    weights = tiny.logits.weight.detach()
    found = contrastive_maps(up_to, weights[:2], images, contrast=contrast)
    assert found.shape == (3, 2, 6, 6)
    for at, image in enumerate(images):
        codes = up_to(image[None]).detach()
        for unit in range(2):
            start = winners(codes, weights[unit]) - (winners(codes, -weights[unit]) if contrast else 0)
            slow = slow_winners(tiny, image, start[0].numpy()).clip(min=0)
            assert found[at, unit].numpy() == pytest.approx(slow, abs=1e-4)


def test_winning_probabilities_sum_to_one(tiny):
    found = contrastive_maps(UpTo(tiny, "units"), torch.rand(2, 8), torch.rand(4, 1, 6, 6) + 0.1, contrast=False)
    assert found.sum((2, 3)).numpy() == pytest.approx(1, abs=1e-3)


def test_excitation_backprop_leaves_the_model_as_it_was(tiny):
    images = torch.rand(2, 1, 6, 6)
    before, state = tiny(images), {name: value.clone() for name, value in tiny.state_dict().items()}
    contrastive_maps(UpTo(tiny, "units"), torch.randn(1, 8), images)
    assert torch.equal(tiny(images), before)
    assert all(torch.equal(value, state[name]) for name, value in tiny.state_dict().items())


def test_srae_explains_any_classifier(tiny):
    images = torch.rand(120, 1, 6, 6)
    logit = tiny(images)[:, 1].detach()
    explainer = SRAE(tiny, "units", 1, 2, terms=Terms(0.01, 0.01), epochs=800, device="cpu").fit(
        images, logit > logit.median()
    )
    assert explainer.features(images).shape == explainer.contributions(images).shape == (120, 2)
    assert explainer.explain(images[:3]).shape == (3, 2, 6, 6)
    assert (explainer.predicted(images) - logit).abs().mean() < 0.5 * logit.std()


@pytest.mark.parametrize(
    ("layer", "target", "told"),
    [
        ("maps", 1, "'maps' puts out .4, 3, 3.; valid: a layer"),
        ("none", 1, "Unknown layer"),
        ("units", 3, "target is 3"),
    ],
)
def test_what_srae_cannot_explain_is_refused(tiny, layer, target, told):
    with pytest.raises(UsageError, match=told):
        SRAE(tiny, layer, target, device="cpu").fit(torch.rand(30, 1, 6, 6))
    with pytest.raises(UsageError, match="not fitted"):
        SRAE(tiny, "units", 0, device="cpu").features(torch.rand(2, 1, 6, 6))


def test_a_model_without_a_fully_connected_layer_has_no_head():
    with pytest.raises(UsageError, match="no fully connected layer"):
        head_of(nn.Sequential(nn.Flatten()))


def test_lasso_solves_its_problem():
    """At a solution the gradient of the squares is the penalty where a weight is, and below it elsewhere."""
    examples = made_up()
    path = baselines.lasso_path(examples)
    sizes = [len(one.units) for one in path]
    assert sizes[0] <= 1
    assert sizes[-1] >= 2
    one = next(one for one in path if len(one.units) == 2)
    assert set(one.units) == {0, 1}
    codes, weights = examples.codes.double(), examples.weights.double()
    error = one.predicted(codes) - examples.logits.double()
    gradient = (weights[:, None] * codes * error[:, None]).mean(0).abs()
    assert gradient.max().item() <= one.alpha * 1.05
    for unit in one.units:
        assert gradient[unit].item() == pytest.approx(one.alpha, rel=0.05)
    assert (weights * error).mean().item() == pytest.approx(0, abs=1e-6)


def test_of_several_penalties_with_as_many_units_the_smallest_is_taken():
    path = baselines.lasso_path(made_up())
    few = [one for one in path if len(one.units) == 2]
    assert baselines.with_units(path, 2).alpha == min(one.alpha for one in few)
    assert baselines.with_units(path, 0).units == ()


def test_maps_are_of_as_many_units_as_there_are_x_features():
    """The path may jump over a number of units."""

    def selected(*units):
        return baselines.Selection(1.0, units, torch.zeros(6), 0.0)

    path = [selected(), selected(4), selected(4, 0, 2, 5), selected(1, 2, 3, 4, 5)]
    assert baselines.strongest_units(path, 3) == (4, 0, 2)
    assert baselines.with_units(path, 3).units == (4,)
    assert baselines.strongest_units(path, 6) == ()


def test_a_constant_is_what_no_unit_can_do_better_by_squares():
    examples = made_up()
    constant = baselines.constant(examples)
    assert constant.predicted(examples.codes).unique().tolist() == pytest.approx([constant.intercept])
    (empty,) = [one for one in baselines.lasso_path(examples) if not one.units][:1]
    assert constant.intercept == pytest.approx(empty.intercept)
    assert constant.intercept > examples.logits.mean() + 0.3  # positives are rare and count as much


def test_directions_are_orthonormal_and_the_principal_ones_keep_most():
    codes = torch.randn(300, 5) * torch.tensor([5.0, 3, 1, 1, 1])
    found = baselines.directions(codes, 2, 0)
    for axes in found.values():
        assert torch.allclose(axes.T @ axes, torch.eye(2), atol=1e-5)
    assert found["principal"][:2].abs().max(0).values.min() > 0.95


def test_the_baselines_are_special_cases_of_the_loss():
    found = baselines.variants(Terms(2.0, 3.0, 10.0), Terms(0.5, 0, None))
    assert found["NN"] == Terms(0, 0)
    assert found["SAE"] == Terms(0.5, 0, None)
    assert found["CAE"].faithful == 0
    assert found["SRAE, η = 0"] == Terms(2.0, 0, 10.0)
    assert found["SRAE, β = 0"] == Terms(0, 3.0, 10.0)


def test_networks_are_mirrors():
    embedding = Embedding(40, 5)
    sizes = [part.weight.shape[::-1] for part in embedding.modules() if isinstance(part, nn.Linear)]
    assert [tuple(size) for size in sizes] == [(40, 20), (20, 10), (10, 5), (5, 10), (10, 20), (20, 40), (5, 1)]
    assert embedding(torch.rand(2, 40)).shape == (2, 5 + 1 + 40)
