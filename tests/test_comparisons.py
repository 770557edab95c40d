"""Comparisons: intervals against scipy's, the three readings, and that noise alone hardly ever decides."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cladec_companion.evidence import noise
from cladec_companion.evidence.comparisons import (
    ABOVE,
    AGAINST,
    BELOW,
    FOR,
    OPEN,
    SATURATED,
    certain,
    measured,
    sample,
    share,
    spread_ratio,
    welch,
)
from cladec_companion.evidence.measurements import evidence_of
from cladec_companion.evidence.trends import slope, trends
from cladec_companion.records.record import Record

VALUES = [0.31, 0.12, 0.25, 0.40, 0.19]


def test_a_mean_has_students_interval_and_p_value():
    found = sample("", VALUES)
    reference = stats.ttest_1samp(VALUES, 0)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert 2 * found.p_for == pytest.approx(reference.pvalue)
    assert found.n == 5


def test_two_means_have_welchs_interval_and_p_value():
    other = [0.1, 0.7, 0.3]
    found = welch("", VALUES, other, BELOW, of="subsets")
    reference = stats.ttest_ind(VALUES, other, equal_var=False)
    assert (found.low, found.high) == pytest.approx(tuple(reference.confidence_interval(0.95)))
    assert found.p_for == pytest.approx(stats.ttest_ind(VALUES, other, equal_var=False, alternative="less").pvalue)


@pytest.mark.parametrize(
    ("effect", "claimed", "reading"),
    [
        (1.0, ABOVE, FOR), (-1.0, ABOVE, AGAINST), (0.1, ABOVE, OPEN), (-1.0, BELOW, FOR), (1.0, BELOW, AGAINST),
        (0.0, (-0.5, 0.5), FOR), (0.4, (-0.5, 0.5), OPEN), (2.0, (-0.5, 0.5), AGAINST), (-2.0, (-0.5, 0.5), AGAINST),
    ],
)  # fmt: skip
def test_a_reading_is_where_the_whole_interval_lies(effect, claimed, reading):
    found = measured("", effect, 0.2, np.inf, 1, claimed, by="")
    assert found.reading == reading
    lies = [claimed[0] < found.low and found.high < claimed[1], found.high <= claimed[0] or claimed[1] <= found.low]
    assert {FOR: [True, False], AGAINST: [False, True], OPEN: [False, False]}[reading] == lies


def test_rounding_widens_the_interval_on_both_sides():
    plain, rounded = (measured("", 0.5, 0.2, np.inf, 5, by="", rounding=r) for r in (0.0, 0.2))
    assert (plain.reading, rounded.reading) == (FOR, OPEN)
    assert rounded.high - plain.high == pytest.approx(0.2) == plain.low - rounded.low


def test_without_any_noise_a_number_is_certain_and_at_the_limit_it_is_open():
    assert [measured("", value, 0.0, 1, 2, by="").reading for value in (0.1, 0.0, -0.1)] == [FOR, OPEN, AGAINST]
    assert measured("", 0.0, 0.0, 1, 2, by="").obstacle == SATURATED
    assert sample("", [1.0, 1.0, 1.0], (-np.inf, 1.0)).obstacle == SATURATED  # an accuracy of 1 refutes nothing
    assert not sample("", [1.0, 1.0, 0.99], (-np.inf, 1.0)).obstacle
    assert [certain("", 0.0, agrees, "").reading for agrees in (True, False)] == [FOR, AGAINST]


def test_what_may_not_be_read_is_open_whatever_it_says():
    found = sample("", VALUES).barred("not converged", too_short=True)
    assert (found.reading, found.obstacle) == (OPEN, "not converged")
    assert sample("", VALUES).reading == FOR
    assert sample("", [0.3]).reading == OPEN


def test_the_runs_that_are_needed_are_those_of_a_narrower_interval():
    values = [0.3, -0.1]
    found = sample("", values)
    spread, mean = np.std(values, ddof=1), np.mean(values)
    reach = {n: stats.t.ppf(0.975, n - 1) * spread / n**0.5 for n in range(2, 50)}
    assert found.needed == min(n for n, half in reach.items() if half < mean) > 2
    assert sample("", [0.001, -0.0009]).needed is None


def test_a_share_has_wilsons_interval_and_reads_as_it():
    for count in range(31):
        found = share("", count, 30, (0.5, 1.0), of="prototypes")
        low, high = stats.binomtest(count, 30).proportion_ci(method="wilson")
        assert (found.low, found.high) == pytest.approx((low, high))
        assert found.reading == (FOR if low > 0.5 else AGAINST if high < 0.5 else OPEN)
    with pytest.raises(ValueError, match="n is 0"):
        share("", 0, 0, (0.5, 1.0), of="prototypes")


def test_the_ratio_of_two_spreads_is_that_of_the_f_distribution():
    found = spread_ratio("", 9.0, 4, 1.0, 20, (2.0, np.inf))
    assert found.effect == pytest.approx(3)
    assert found.p_for == pytest.approx(stats.f.sf(9 / 4, 4, 20))
    assert found.low == pytest.approx(3 / stats.f.ppf(0.975, 4, 20) ** 0.5)
    assert spread_ratio("", 100.0, 4, 1.0, 20, (2.0, np.inf)).reading == FOR
    assert spread_ratio("", 0.01, 4, 1.0, 20, (2.0, np.inf)).reading == AGAINST


def test_effects_are_written_with_three_digits_of_the_largest():
    assert measured("", 0.00001, 0.0014, np.inf, 1, by="").text == "0.00001 (-0.00273 to 0.00275)"
    assert measured("", 121.0, 16.4, np.inf, 1, by="").text == "121 (89 to 153)"
    assert certain("", 0.0, True, "").text == "0.000 exactly"
    assert sample("", []).text == "not measured"


# ---- noise alone


def decided(comparisons):
    return np.mean([comparison.reading != OPEN for comparison in comparisons])


@pytest.mark.parametrize("seeds", [2, 3, 5])
def test_noise_alone_decides_one_comparison_of_seeds_in_twenty(seeds):
    found = [sample("", values) for values in np.random.default_rng(seeds).normal(size=(4000, seeds))]
    assert decided(found) == pytest.approx(0.05, abs=0.012)


def rows(values, seeds):
    """Evidence of one network whose losses at layers -5 to -1 are given, (seeds, layers)."""
    index = pd.MultiIndex.from_product([["mnist"], ["vgg11"], range(-5, 0), range(seeds)],
                                       names=["dataset", "architecture", "index", "seed"])  # fmt: skip
    frame = pd.DataFrame({"rec_cladec": np.asarray(values).T.ravel()}, index)
    record = Record(None, pd.DataFrame({"dataset": [], "metric": [], "value": []}), {}, {})
    return evidence_of(record, frame, {"rec_cladec": ("cladec", "loss_standardised")})


@pytest.mark.parametrize("seeds", [1, 2, 5])
@pytest.mark.parametrize("log", [False, True])
def test_noise_alone_makes_one_trend_in_twenty(seeds, log):
    spread = 0.03
    known = noise.Noise({(noise.LOSS, ""): noise.Spread(spread, 500, True, "made up")})
    noisy = 0.2 * (1 + spread * np.random.default_rng(seeds).normal(size=(200, seeds, 5)))
    found = [
        trend
        for values in noisy
        for trend in trends(replace(rows(values, seeds), known=lambda: known), "rec_cladec", log=log)
    ]
    assert decided(found) == pytest.approx(0.05, abs=0.045)


def test_a_slope_is_that_of_the_straight_line_through_the_values():
    values = [3.0, 1.0, 4.0, 1.0, 5.0]
    assert slope(range(5)) @ values == pytest.approx(np.polyfit(range(5), values, 1)[0])
    (found,) = trends(rows([values, [2.0, 2.0, 3.0, 5.0, 4.0]], 2), "rec_cladec")
    lines = [np.polyfit(range(5), own, 1)[0] for own in (values, [2.0, 2.0, 3.0, 5.0, 4.0])]
    assert found.effect == pytest.approx(np.mean(lines))
    reference = stats.ttest_1samp(lines, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(reference))
