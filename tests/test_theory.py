"""The formulas of `theory` against fits, searches and samples that are written out the long way."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize
from sklearn.random_projection import johnson_lindenstrauss_min_dim

from cladec_companion.evidence.claims import FAILS, HOLDS
from cladec_companion.papers import settings_for
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.papers.cladec.theory import checks as theory_checks
from cladec_companion.papers.cladec.theory import closed_forms as theory
from cladec_companion.papers.cladec.theory import figures
from cladec_core.errors import UsageError


@pytest.fixture(scope="module")
def inputs():
    """Correlated inputs (300, 5) with mean zero."""
    rng = np.random.default_rng(1)
    drawn = rng.standard_normal((300, 5)) @ rng.standard_normal((5, 5))
    return drawn - drawn.mean(0)


@pytest.fixture(scope="module")
def covariance(inputs):
    total = np.zeros((5, 5))
    for row in inputs:
        total += np.outer(row, row)
    return total / len(inputs)


@pytest.fixture(scope="module")
def encoder():
    return np.random.default_rng(2).standard_normal((2, 5))


def slow_loss(inputs, encoder, decoder):
    return sum(np.linalg.norm(row - decoder @ (encoder @ row)) ** 2 for row in inputs) / len(inputs)


def fit(codes, inputs):
    """Least squares through the normal equations."""
    return np.linalg.solve(codes.T @ codes, codes.T @ inputs).T


def test_covariance(inputs, covariance):
    np.testing.assert_allclose(theory.covariance_of(inputs), covariance)
    first = theory.eigenvectors(covariance)[0]
    assert first @ covariance @ first == pytest.approx(np.linalg.eigvalsh(covariance).max())


def test_d1_loss_of_any_decoder(inputs, covariance, encoder):
    decoder = np.random.default_rng(3).standard_normal((5, 2))
    assert theory.loss(covariance, encoder, decoder) == pytest.approx(slow_loss(inputs, encoder, decoder))


def test_d2_d3_best_decoder_is_what_least_squares_and_a_search_find(inputs, covariance, encoder):
    best = theory.optimal_decoder(covariance, encoder)
    np.testing.assert_allclose(best, fit(inputs @ encoder.T, inputs))
    found = minimize(lambda flat: slow_loss(inputs[:60], encoder, flat.reshape(5, 2)), np.zeros(10))
    here = theory.covariance_of(inputs[:60])
    assert theory.optimal_loss(here, encoder) == pytest.approx(found.fun, rel=1e-5)
    assert theory.optimal_loss(covariance, encoder) == pytest.approx(slow_loss(inputs, encoder, best))


def test_d2_dependent_units_change_nothing(covariance, encoder):
    dependent = np.vstack([encoder, encoder.sum(0)])
    assert theory.optimal_loss(covariance, dependent) == pytest.approx(theory.optimal_loss(covariance, encoder))


def test_d2_noise_on_the_code(covariance, encoder):
    rng = np.random.default_rng(4)
    drawn = rng.multivariate_normal(np.zeros(5), covariance, 200_000)
    codes = drawn @ encoder.T + np.sqrt(0.7) * rng.standard_normal((200_000, 2))
    decoder = fit(codes, drawn)
    np.testing.assert_allclose(theory.optimal_decoder(covariance, encoder, 0.7), decoder, atol=0.02)
    measured = np.square(drawn - codes @ decoder.T).sum(1).mean()
    assert theory.optimal_loss(covariance, encoder, 0.7) == pytest.approx(measured, rel=0.02)


@pytest.mark.parametrize("size", [1, 2])
def test_d4_no_auto_encoder_found_by_search_is_better(covariance, size):
    def value(flat):
        return theory.loss(covariance, flat[: 5 * size].reshape(size, 5), flat[5 * size :].reshape(5, size))

    starts = np.random.default_rng(5).standard_normal((4, 10 * size))
    found = min(minimize(value, start).fun for start in starts)
    assert theory.smallest_loss(covariance, size) == pytest.approx(found, rel=1e-4)


def test_d7_turning_away_from_the_first_eigenvector(inputs, covariance):
    first, _, towards, *_ = theory.eigenvectors(covariance)
    angles = np.array([0.0, 30, 60, 90])
    closed = theory.rotation(covariance, towards, angles)
    reference = inputs @ np.outer(first, first)
    for angle in angles:
        turned = np.cos(np.radians(angle)) * first + np.sin(np.radians(angle)) * towards
        made = np.outer(inputs @ turned, fit((inputs @ turned)[:, None], inputs))
        assert closed.loc[angle, "loss"] == pytest.approx(np.square(inputs - made).sum(1).mean())
        assert closed.loc[angle, "distance"] == pytest.approx(np.square(reference - made).sum(1).mean(), abs=1e-9)
    assert (np.diff(closed, axis=0) > 0).all()


def test_d6_d8_the_plane_of_figure_4():
    plane = theory.tilted((4.0, 1.0), 20)
    drawn = np.random.default_rng(6).multivariate_normal([0, 0], plane, 100_000)
    frames = theory.angle_frames(plane, np.array([0, 40, 90]))
    np.testing.assert_allclose(frames["loss"].iloc[[0, 2]], [1, 4])
    for _, frame in frames.iterrows():
        code = drawn @ frame[["e1", "e2"]].to_numpy()
        decoder = fit(code[:, None], drawn)[:, 0]
        np.testing.assert_allclose(frame[["r1", "r2"]].to_numpy(float), decoder, atol=0.02)
        for axis in (0, 1):
            kept = np.corrcoef(code, drawn[:, axis])[0, 1] ** 2
            assert frame[f"kept{axis + 1}"] == pytest.approx(kept, abs=0.02)


def test_d8_suppressor_by_sampling():
    signal, distractor, noise = np.random.default_rng(7).standard_normal((3, 100_000))
    values = np.stack([signal + distractor, distractor, signal + distractor + noise])
    model = values[0] - values[1]
    shares = [np.corrcoef(value, model)[0, 1] ** 2 for value in values]
    np.testing.assert_allclose(theory.suppressor()["share reproduced"], shares, atol=0.01)


def test_d9_regression_is_decoded_by_its_pattern(inputs, covariance):
    target = inputs[:, 0] + np.random.default_rng(8).standard_normal(len(inputs))
    weights = theory.regression(inputs, target)
    cross = sum(row * value for row, value in zip(inputs, target - target.mean(), strict=True)) / len(inputs)
    np.testing.assert_allclose(weights[0], np.linalg.solve(covariance, cross))
    pattern = cross / (cross @ np.linalg.solve(covariance, cross))
    np.testing.assert_allclose(theory.optimal_decoder(covariance, weights)[:, 0], pattern)


def test_d5_d10_fidelity_table():
    train, test = theory.small_digits()
    mean = train[0][:300].mean(0)
    train, test = ((part[0][:300] - mean, part[1][:300]) for part in (train, test))
    encoders = theory.linear_encoders(*train, 4, 0)
    found = theory.linear_fidelity(train, test, encoders)
    assert found.loc["PCA", "ΔRec"] == pytest.approx(0, abs=1e-9)
    assert found.loc["PCA", "ΔAcc"] == 0
    assert (found["ΔRec"].drop("PCA") > 0.1).all()
    assert (found["rank"] == [4, 9, 9, 4, 4]).all()


def test_d10_two_classes():
    inputs, labels = theory.two_classes(1.5, (3.0, 1.0), 50_000, 0)
    guesses = inputs[:, 1] > 0
    checks = {check.what: check for check in theory_checks.task(1.5, (3.0, 1.0), 10_000, 0)}
    assert checks["accuracy on ClaDec's reconstructions"].closed_form == pytest.approx(
        (guesses == labels).mean(), abs=0.01
    )
    assert checks["ΔRec"].closed_form == pytest.approx(inputs[:, 0].var() - inputs[:, 1].var(), abs=0.2)
    assert {check.verdict for check in checks.values()} == {HOLDS}


def test_d11_violations_are_those_of_the_printed_tables():
    found = theory.depth_violations(printed_tables.layers())
    expected = set()
    for table, network in (("table2", "vgg11"), ("table3", "resnet10")):
        for name, layers in printed_tables.published()[table].items():
            for column, method in (("rec_cladec", "ClaDec"), ("rec_refae", "RefAE")):
                for layer in (-5, -4, -3, -2):
                    if any(layers[deeper][column][0] < layers[layer][column][0] for deeper in range(layer + 1, 0)):
                        dataset = {"FashionMNIST": "fashion_mnist", "MNIST": "mnist", "CIFAR-100": "cifar100"}[name]
                        expected.add((dataset, network, method, layer))
    columns = ["dataset", "classifier", "method", "layer"]
    assert set(found[columns].itertuples(index=False, name=None)) == expected
    assert len(expected) == len(found) > 0
    worst = found.set_index(columns).loc[("fashion_mnist", "resnet10", "ClaDec", -4)]
    assert worst["share"] == pytest.approx((0.0171 - 0.0069) / 0.0171)


def test_d12_random_encoders(covariance):
    np.testing.assert_allclose(
        theory.random_losses(4 * np.eye(6), [1, 4, 6], 3, 0), [[20] * 3, [8] * 3, [0] * 3], atol=1e-9
    )
    drawn = theory.random_losses(covariance, [1, 2, 3, 4], 200, 0)
    least = [theory.smallest_loss(covariance, size) for size in (1, 2, 3, 4)]
    assert (drawn.min(1) >= least).all()
    assert (np.diff(drawn.mean(1)) < 0).all()


def test_d13_the_lemma_is_scikit_learns():
    epsilon = theory.guaranteed_distortion(1000, 500)
    assert johnson_lindenstrauss_min_dim(1000, eps=epsilon) in (499, 500)
    assert np.isnan(theory.guaranteed_distortion(1000, 100))


def test_d13_distances():
    points = np.array([[0.0, 0], [1, 0], [0, 2]])
    codes = np.array([[0.0], [1], [4]])
    ratios, correlation = theory.distance_ratios(points, codes)
    slow = [
        (codes[i, 0] - codes[j, 0]) ** 2 / np.sum((points[i] - points[j]) ** 2) for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    np.testing.assert_allclose(ratios, np.array(slow) / np.mean(slow))
    assert correlation == pytest.approx(0.5)


def test_d13_untrained_taps_are_alive(digits):
    images = digits.train_images[:24]
    before = torch.random.get_rng_state()
    taps = theory.untrained_taps(images, 0)
    assert torch.equal(before, torch.random.get_rng_state())
    assert taps["conv2"].shape == (24, 128 * 4 * 4)
    assert taps["logits"].shape == (24, 10)
    assert taps["penultimate"].std(0).mean() > 0.1
    np.testing.assert_array_equal(taps["conv4"], theory.untrained_taps(images, 0)["conv4"])


def test_d14_flow_is_gradient_descent_with_small_steps(inputs):
    labels = (inputs[:, 0] > 0).astype(int) + (inputs[:, 1] > 0)
    (start, end), accuracies = theory.gradient_flow(inputs, labels, 3, 0.5, np.array([0.0, 2.0]), 0)
    rng = np.random.default_rng(0)
    encoder = 0.5 * rng.standard_normal((3, 5)) / np.sqrt(5)
    head = 0.5 * rng.standard_normal((3, 3)) / np.sqrt(3)
    np.testing.assert_allclose(start, encoder)
    targets = np.eye(3)[labels] - np.eye(3)[labels].mean(0)
    for _ in range(4000):
        errors = inputs @ encoder.T @ head.T - targets
        step = head.T @ errors.T @ inputs / len(inputs), errors.T @ inputs @ encoder.T / len(inputs)
        encoder, head = encoder - 0.0005 * step[0], head - 0.0005 * step[1]
    np.testing.assert_allclose(end, encoder, atol=5e-3)
    assert accuracies[1] > accuracies[0]


def test_d14_relative_noise_and_the_inverted_u(covariance, encoder):
    variance = np.mean([row @ covariance @ row for row in encoder])
    found = theory.relative_noise_losses(covariance, [encoder, 7 * encoder], 0.1)
    assert found[0] == pytest.approx(theory.optimal_loss(covariance, encoder, 0.1 * variance))
    assert found[1] == pytest.approx(found[0])  # scaling a code does not help against noise that scales with it
    assert theory.rise_and_fall(np.array([2.0, 3, 2.5]))["inverted U"]
    assert not theory.rise_and_fall(np.array([2.0, 2.5, 3]))["inverted U"]
    assert not theory.rise_and_fall(np.array([3.0, 2, 2.5]))["inverted U"]


def test_d15_interleaved_bits():
    assert theory.interleave(np.array([2, 1]), 2) == Fraction(0b1001, 16)
    pixels = np.random.default_rng(9).integers(0, 32, 64)
    np.testing.assert_array_equal(theory.separate(theory.interleave(pixels, 5), 64, 5), pixels)
    measured = {check.what: check.measured for check in theory_checks.one_number(pixels, 5)}
    assert measured["bits in a double-precision number"] == 53
    assert measured["bits in a single-precision number"] == 24
    assert measured["neighbouring numbers: share of pixels changed"] == 1


def test_d16_d2_training_reaches_the_closed_forms(inputs, covariance, encoder):
    threads = torch.get_num_threads()
    inputs = np.tile(inputs, (6, 1))  # more steps per epoch; the covariance stays
    reference = theory.train_linear(inputs, 2, 80, 0).iloc[-1]
    assert reference["loss"] == pytest.approx(theory.smallest_loss(covariance, 2), rel=0.01)
    assert reference["angle"] < 3
    explained = theory.train_linear(inputs, 2, 80, 0, encoder)
    assert list(explained.index) == [1, 2, 4, 8, 16, 32, 64, 80]
    assert explained["loss"].iloc[-1] == pytest.approx(theory.optimal_loss(covariance, encoder), rel=0.01)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("relation", "measured", "verdict"),
    [("=", 1.0, HOLDS), ("=", 1.1, FAILS), ("≤", 0.5, HOLDS), ("≤", 1.1, FAILS), ("≥", 1.5, HOLDS), ("≥", 0.9, FAILS)],
)
def test_verdicts(relation, measured, verdict):
    check = theory_checks.Check("D0", "test", 1.0, measured, relation)
    assert check.verdict == verdict
    row = theory_checks.table([check]).loc["D0"]
    assert row["difference"] == pytest.approx(measured - 1, abs=1e-3)
    assert row["verdict"] == verdict


def test_rows_read_from_left_to_right(inputs):
    """What a row prints is true as it stands: measured, relation, bound."""
    reads = {"=": lambda a, b: abs(a - b) < 1e-3, "≤": lambda a, b: a <= b, "≥": lambda a, b: a >= b}
    shown = theory_checks.table([*all_exact_checks(inputs), theory_checks.Check("D0", "test", 9.6, 14.1, "≥")])
    assert list(shown.columns)[:4] == ["what", "measured", "", "closed form or bound"]
    held = shown[shown["verdict"] == HOLDS]
    assert set(held[""]) == {"=", "≥"}
    assert all(reads[row.iloc[2]](row.iloc[1], row.iloc[3]) for _, row in held.iterrows())
    assert shown.loc["D0", ["measured", "closed form or bound"]].tolist() == [14.1, 9.6]


def all_exact_checks(inputs):
    labels = np.digitize(inputs[:, 0], [-1, 0, 1])
    encoders = theory.linear_encoders(inputs, labels, 2, 0)
    checks = theory_checks.decoders(inputs, encoders["logistic"], 0) + theory_checks.optimum(inputs, encoders)
    checks += theory_checks.directions(inputs, 0)[:-1] + theory_checks.coordinates(inputs, labels.astype(float))
    return checks + theory_checks.random_encoders(inputs, encoders["random"], 3, 0)[:2]


def test_all_formulas_hold(inputs):
    assert {check.verdict for check in all_exact_checks(inputs)} == {HOLDS}


@pytest.mark.parametrize(
    ("name", "statements"),
    [("loss", {"D1"}), ("optimal_decoder", {"D2", "D3", "D4", "D12"}), ("optimal_loss", {"D3", "D12"}),
     ("smallest_loss", {"D4", "D5"}), ("rotation", {"D7"})],
)  # fmt: skip
def test_a_wrong_formula_is_noticed(inputs, monkeypatch, name, statements):
    right = getattr(theory, name)
    monkeypatch.setattr(theory, name, lambda *values: 1.001 * right(*values))
    failed = {check.statement for check in all_exact_checks(inputs) if check.verdict == FAILS}
    assert failed == statements


def test_figures_are_drawn(inputs):
    frames = theory.angle_frames(theory.tilted((4.0, 1.0), 20), np.array([0, 90]))
    curve = pd.DataFrame({"loss": [1.0, 2], "distance": [0.0, 1], "angle": [9.0, 1]}, index=[1, 2])
    ratios = {"code": (np.ones(9), 0.5)}
    drawn = [
        figures.plane(inputs[:, :2], frames),
        figures.over_angle({"u": curve}),
        figures.maps({"a": np.eye(3), "b": -np.eye(3)}, {"b"}),
        figures.two_classes(inputs[:, :2], (inputs[:, 0] > 0).astype(int), {"y": inputs[:, 0]}),
        figures.over_size([1, 2], [2.0, 1.0], np.ones((2, 3)), {"logistic": (1, 1.5)}),
        figures.distortions({"one": ratios, "two": ratios}),
        figures.while_learning(
            np.array([0, 1, 2]), {"a": {"none": np.ones(3)}, "b": {}}, {"a": [0, 1, 1], "b": [0, 0, 1]}
        ),
        figures.convergence({"refae": (curve, 0.5), "cladec": (curve, 0.5)}),
    ]  # fmt: skip
    for figure in drawn:
        figure.canvas.draw()


def test_parameters_are_checked():
    assert settings_for("theory", "smoke", dimensions=None).dimensions == 3
    for name, value in {"dimensions": 0, "epochs": 5000, "draws": 1, "images": 5}.items():
        with pytest.raises(UsageError, match=name):
            settings_for("theory", **{name: value})
    with pytest.raises(UsageError, match="valid"):
        settings_for("theory", dimension=8)


def test_the_solution_of_the_last_exercise_is_one():
    text = (Path(__file__).parents[1] / "book" / "instructor" / "theory.md").read_text(encoding="utf-8")
    solution = text.split("```{solution} ex-theory-negative")[1].split("```")[0]
    lines = [line.strip() for line in solution.splitlines() if line.startswith("    ")]
    *steps, last = lines
    scope = {"np": np, "theory": theory}
    exec("\n".join(steps), scope)
    assert eval(last, scope).loc["regression", "ΔAcc"] < -0.1
