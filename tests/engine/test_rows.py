import math

import numpy as np
import pytest
import torch

from cladec_companion.engine.rows import mean_and_error, rows_of, summary
from cladec_core import measures


def test_the_mean_and_its_error_are_numpys_without_what_is_not_defined():
    values = torch.rand(30)
    known = values[5:].double().numpy()
    values[:5] = math.nan
    assert mean_and_error(values) == pytest.approx((known.mean(), np.std(known, ddof=1) / 5))
    assert mean_and_error(torch.tensor([1.0, math.nan])) is None
    assert mean_and_error(torch.tensor([3, 5, 7])) == pytest.approx((5, 2 / 3**0.5))


@pytest.mark.parametrize("count", [2, 20, 1000])
@pytest.mark.parametrize("answer", [False, True])
def test_answers_that_all_agree_leave_open_what_wilsons_interval_does(count, answer):
    share, error = mean_and_error(torch.full((count,), answer), answers=True)
    low, high = measures.of_share(count if answer else 0, count)
    assert share == answer
    assert measures.intervals.Z * error == pytest.approx(1 - low if answer else high)


def test_an_answer_that_disagrees_makes_no_share_more_certain():
    errors = [mean_and_error((torch.arange(20) < yes).float(), answers=True)[1] for yes in range(21)]
    assert errors == pytest.approx(errors[::-1])
    assert errors[:11] == sorted(errors[:11])
    plain = mean_and_error((torch.arange(20) < 10).float())
    assert errors[10] == plain[1]


def test_the_spread_of_what_is_no_answer_may_vanish():
    found = summary({"share": torch.ones(20), "map": torch.ones(20)}, answers=["share"])
    assert found["share_error"] > 0
    assert found["map_error"] == 0


def test_rows_are_numbers_means_and_errors():
    values = {"one": {"known": 3, "judged": torch.tensor([1.0, 0.0]), "alike": torch.tensor([math.nan] * 2)}}
    assert rows_of(values | {"other": {"known": 4}}, layer="conv1") == [
        {"layer": "conv1", "method": "one", "metric": "known", "value": 3},
        {"layer": "conv1", "method": "one", "metric": "judged", "value": 0.5},
        {"layer": "conv1", "method": "one", "metric": "judged_error", "value": 0.5},
        {"layer": "conv1", "method": "other", "metric": "known", "value": 4},
    ]
