"""The one rule of every verdict: quantifiers, chance, obstacles, parts, and the correction over all claims."""

from itertools import combinations

import numpy as np
import pytest

from cladec_companion.evidence.claims import (
    EVERY,
    FAILS,
    HOLDS,
    MOST,
    NINE_IN_TEN,
    NOT_APPLICABLE,
    NOT_COMPARABLE,
    SOME,
    UNDECIDED,
    Claim,
    at_least,
    corrected,
    effects,
    every_part,
    judge,
    not_applicable,
    partial_conjunction,
    undecided,
)
from cladec_companion.evidence.comparisons import TAIL, measured, sample


def part(effect, error=0.1, **options):
    return measured("here", effect, error, np.inf, 1, by="", **options)


CLEAR, OPPOSITE, NEAR = part(1.0), part(-1.0), part(0.1)


@pytest.mark.parametrize(
    ("quantifier", "comparisons", "verdict"),
    [
        (EVERY, [CLEAR] * 3, HOLDS), (EVERY, [CLEAR, CLEAR, OPPOSITE], FAILS), (EVERY, [CLEAR, CLEAR, NEAR], UNDECIDED),
        (NINE_IN_TEN, [*[CLEAR] * 9, OPPOSITE], HOLDS), (NINE_IN_TEN, [*[CLEAR] * 8, OPPOSITE, OPPOSITE], FAILS),
        (NINE_IN_TEN, [*[CLEAR] * 8, OPPOSITE, NEAR], UNDECIDED), (NINE_IN_TEN, [*[CLEAR] * 9, NEAR], HOLDS),
        (MOST, [CLEAR, CLEAR, OPPOSITE], HOLDS), (MOST, [CLEAR, OPPOSITE], FAILS), (MOST, [CLEAR, NEAR], UNDECIDED),
        (SOME, [CLEAR, OPPOSITE, OPPOSITE], HOLDS), (SOME, [OPPOSITE, OPPOSITE], FAILS),
        (at_least(2), [CLEAR, CLEAR, *[OPPOSITE] * 5], HOLDS), (at_least(3), [CLEAR, CLEAR], FAILS),
        (EVERY, [], UNDECIDED),
    ],
)  # fmt: skip
def test_a_quantifier_says_how_many_comparisons_it_takes(quantifier, comparisons, verdict):
    assert judge(comparisons, "x", quantifier).verdict == verdict


def slow_partial_conjunction(p, needed):
    """Simes' test of every subset that would have to be all true, the largest p-value of them."""
    size = len(p) - needed + 1
    simes = [min(size / rank * value for rank, value in enumerate(sorted(own), 1)) for own in combinations(p, size)]
    return min(1.0, max(simes))


def test_partial_conjunction_is_that_of_all_subsets():
    rng = np.random.default_rng(1)
    for _ in range(50):
        p = rng.uniform(size=rng.integers(1, 7)) ** 2
        for needed in range(1, len(p) + 1):
            assert partial_conjunction(p, needed) == pytest.approx(slow_partial_conjunction(p, needed))
    assert partial_conjunction([0.01, 0.2, 0.03], 3) == 0.2
    assert partial_conjunction([0.01, 0.2, 0.03], 1) == pytest.approx(0.03)
    assert [partial_conjunction([0.01], needed) for needed in (0, 2)] == [0, 1]


@pytest.mark.parametrize("quantifier", [EVERY, NINE_IN_TEN, MOST, SOME])
@pytest.mark.parametrize("count", [1, 6, 30])
def test_noise_alone_decides_a_claim_in_at_most_one_case_of_twenty(quantifier, count):
    made = [[sample("", own) for own in claim] for claim in np.random.default_rng(count).normal(size=(400, count, 4))]
    verdicts = [judge(comparisons, "x", quantifier).verdict for comparisons in made]
    share = np.mean([verdict != UNDECIDED for verdict in verdicts])
    assert share < 0.05 + 0.03
    if quantifier is EVERY and count == 30:
        # Counting alone would say that it does not hold in about half of all cases.
        counted = [min(comparison.p_against for comparison in comparisons) <= TAIL for comparisons in made]
        assert np.mean(counted) > 0.4


def test_one_weak_opposite_among_many_is_no_refutation():
    weak = part(-0.21)
    assert weak.reading == "against"
    assert judge([weak], "x").verdict == FAILS
    found = judge([*[CLEAR] * 29, weak], "x")
    assert found.verdict == UNDECIDED
    assert "could be chance" in found.evidence
    assert judge([*[CLEAR] * 29, part(-0.6)], "x").verdict == FAILS


def test_trainings_that_are_too_short_are_not_comparable_and_one_of_them_is_open():
    short = CLEAR.barred("not converged: RefAE at -1", too_short=True)
    found = judge([short, short], "x")
    assert (found.verdict, found.evidence) == (NOT_COMPARABLE, "not converged: RefAE at -1")
    assert len(found.comparisons) == 2
    assert judge([short, CLEAR], "x").verdict == UNDECIDED
    assert "open because of: not converged" in judge([short, CLEAR], "x").evidence
    assert judge([short, OPPOSITE], "x").verdict == FAILS
    assert judge([CLEAR.barred("no noise known")] * 2, "x").verdict == UNDECIDED


def test_an_undecided_claim_says_what_would_decide_it():
    values = [0.3, -0.1]
    found = judge([sample("", values)], "x")
    assert f"about {sample('', values).needed} seeds would decide" in found.evidence
    assert judge([], "x", lacking="needs two networks").evidence == "needs two networks"
    assert found.plus("; and a remark").missing == found.missing == f"{found.evidence.rsplit('; ', 1)[1]}"
    assert judge([CLEAR], "x").missing == ""


def test_enough_that_are_clear_one_by_one_may_be_chance_together():
    """Eleven weak ones of eighteen where ten are needed: each alone would do."""
    weak = [part(0.2) for _ in range(11)]
    found = judge([*weak, *[OPPOSITE] * 5, NEAR, NEAR], "x", at_least(10))
    assert {one.reading for one in weak} == {"for"}
    assert found.verdict == UNDECIDED
    assert "x in 11 of 18" in found.evidence
    assert found.missing == "enough of them are as claimed, one by one; over all 18 together, chance is not excluded"


def test_a_few_open_and_opposite_comparisons_are_named_beside_the_ends():
    near, against = (
        measured(what, effect, 0.1, np.inf, 1, by="") for what, effect in (("near", 0.1), ("against", -0.5))
    )
    least = measured("least", -1.0, 0.1, np.inf, 1, by="")
    told = judge([CLEAR, CLEAR, near, against, least], "x").evidence
    assert f"open near: {near.text}" in told
    assert f"opposite against: {against.text}" in told
    assert told.count("least: ") == 1
    assert "open" not in judge([CLEAR] * 5, "x").evidence
    assert "too near to the limit" in judge([sample("", [1.0, -0.9999])], "x").evidence


def test_a_claim_of_several_parts_holds_if_each_does():
    holds, fails = judge([CLEAR], "x"), judge([OPPOSITE], "x")
    assert every_part({"a": holds, "b": holds}).verdict == HOLDS
    assert every_part({"a": holds, "b": fails}).verdict == FAILS
    assert every_part({"a": holds, "b": undecided("no")}).verdict == UNDECIDED
    assert every_part({"a": undecided("no"), "b": fails}).verdict == FAILS
    assert every_part({"a": not_applicable("no"), "b": not_applicable("no")}).verdict == NOT_APPLICABLE
    weak = judge([part(-0.21)], "x")
    assert weak.verdict == FAILS
    assert every_part({"a": holds, "b": weak}).verdict == UNDECIDED  # two parts had a chance to fail


def test_holm_corrects_over_all_tested_claims_once():
    verdicts = {
        "B1": judge([part(0.26)], "x"),
        "B2": judge([CLEAR], "x"),
        "B3": undecided("no"),
        "B4": judge([NEAR], "x"),
    }
    found = corrected(verdicts)
    assert list(found.index) == ["B1", "B2", "B4"]
    ordered = sorted(found["p"])
    by_hand = [min(1, value * (3 - rank)) for rank, value in enumerate(ordered)]
    assert sorted(found["p_holm"]) == pytest.approx(list(np.maximum.accumulate(by_hand)))
    assert found["survives"].to_dict() == {"B1": True, "B2": True, "B4": False}
    assert corrected({"B3": undecided("no")}).empty


def test_effects_stand_beside_a_verdict_as_data():
    table = effects(judge([CLEAR, NEAR.barred("not converged")], "x"))
    assert table["reading"].tolist() == ["for", "open"]
    assert table["note"].tolist() == ["", "not converged"]
    assert table.loc[0, ["effect", "low", "high"]].tolist() == pytest.approx([1, 1 - 0.196, 1 + 0.196], abs=1e-3)
    assert judge([CLEAR], "x").n == 1
    assert undecided("no").n == 0


def test_what_was_settled_late_stands_in_the_rule():
    def decide(evidence):
        """More than before."""

    assert Claim("B1", "1", "x", decide).test == "More than before."
    assert "After the data were seen: the limit" in Claim("B1", "1", "x", decide, after_data="the limit").test
