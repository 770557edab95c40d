"""The noise of single runs: pooled by hand, and used where a run has no sd of its own."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from cladec_companion.evidence import noise, tables
from cladec_companion.evidence.comparisons import FOR, OPEN
from cladec_companion.evidence.measurements import Evidence, evidence_of
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.records.record import Record

CELL = {"dataset": "mnist", "architecture": "vgg11", "layer": "conv2"}


def record(values, **parameters):
    """A record of cells: (method, metric, parameters) -> one value for each seed."""
    rows = [
        {**CELL, **parameters, **own, "method": method, "metric": metric, "seed": seed, "value": value}
        for (method, metric, own), numbers in values for seed, value in enumerate(numbers)
    ]  # fmt: skip
    return Record(None, pd.DataFrame(rows), {}, {"configuration": {}})


LOSSES = [[0.20, 0.22, 0.24], [0.05, 0.06], [0.1]]


def test_losses_are_pooled_as_shares_of_their_size_by_degrees_of_freedom():
    cells = [(("cladec", "loss_standardised", {"layer": f"conv{i}"}), own) for i, own in enumerate(LOSSES)]
    squares = [(np.var(own, ddof=1) / np.mean(own) ** 2, len(own) - 1) for own in LOSSES if len(own) > 1]
    first = sum(square * freedom for square, freedom in squares) / 3
    known = noise.pooled([record(cells), *[record(cells[1:])] * 2])
    # Three seeds of the first record are two degrees of freedom, whatever was measured with them; the others add one
    # each, and so many are believed.
    by_hand = np.sqrt((first * 2 + squares[1][0] * 2) / 4)
    found = known.of("refae", "loss_raw_sum", "vgg11")
    assert (found.freedom, found.source, found.relative) == (4, "records", True)
    assert found.sd == pytest.approx(by_hand)
    assert found.of(-2.0) == pytest.approx(2 * by_hand)


@pytest.mark.parametrize("what", ["layer", "alpha"])
def test_more_numbers_of_the_same_seeds_are_no_more_evidence(what):
    cells = [(("cladec", "loss_standardised", {what: at / 10}), LOSSES[0]) for at in range(7)]
    assert noise.pooled([record(cells)]).of("cladec", "loss_standardised", "vgg11") is None
    two = noise.pooled([record(cells), record(cells, dataset="fashion_mnist")])  # other classifiers
    assert two.of("cladec", "loss_standardised", "vgg11").freedom == 4


def test_too_few_repeats_are_replaced_by_the_printed_ones():
    cells = [(("cladec", "loss_standardised", {}), LOSSES[0]), (("cladec", "accuracy", {}), [0.5, 0.9])]
    known = noise.pooled([record(cells)], printed_tables.spreads(), printed_tables.NUMBERS)
    for method, metric in (("cladec", "loss_standardised"), ("refae", "accuracy"), ("gradcam", "acc_max")):
        assert known.of(method, metric, "resnet10").source == "print"
    table2, table4, table6 = (printed_tables.published()[name] for name in ("table2", "table4", "table6"))
    tables_of = [*table2.values(), {label: row for label, row in table4.items() if label < 1}, table6]
    printed = [  # by table and data set, whose rows are numbers of the same runs
        np.mean([(p[1] / p[0]) ** 2 for row in rows.values() for key, p in row.items() if key.startswith("rec")])
        for rows in tables_of
    ]
    found = known.of("cladec", "loss_standardised", "vgg11")
    assert found.sd == pytest.approx(np.sqrt(np.mean(printed)))
    assert found.freedom == 4 * len(tables_of)
    assert known.of("cladec", "grey_tone", "vgg11") is None


def test_a_loss_that_nothing_minimises_says_nothing_about_others():
    cells = [(("cladec", "loss_standardised", {"alpha": alpha}), own) for alpha, own in
             [(0.0, [0.2, 0.202]), (0.5, [0.3, 0.303, 0.3, 0.303, 0.3]), (1.0, [1.0, 9.0, 4.0])]]  # fmt: skip
    known = noise.pooled([record(cells)], numbers=printed_tables.NUMBERS)
    assert known.of("cladec", "loss_standardised", "vgg11").sd < 0.01


def evidence(accuracies, known, images=None, error=None):
    index = pd.MultiIndex.from_tuples([("mnist", "vgg11", -1, seed) for seed in range(len(accuracies))],
                                      names=["dataset", "architecture", "index", "seed"])  # fmt: skip
    runs = pd.DataFrame(accuracies, index, ["acc_cladec", "acc_refae"])
    if error is not None:
        runs["acc_cladec_error"] = error
    rows = [] if images is None else [{**CELL, "metric": "test_images", "value": images}]
    made = Record(None, pd.DataFrame(rows, columns=[*CELL, "metric", "value"]), {}, {})
    columns = {name: printed_tables.COLUMNS[name] for name in ("acc_cladec", "acc_refae")}
    return replace(evidence_of(made, runs, columns), known=lambda: known)


TERMS = {("mnist", "vgg11", -1, "acc_cladec"): 1.0, ("mnist", "vgg11", -1, "acc_refae"): -1.0}
KNOWN = noise.Noise({(noise.ACCURACY, ""): noise.Spread(0.002, 10**6, False, "made up")})


def test_a_single_accuracy_has_the_noise_of_its_seed_and_of_its_images():
    found = evidence([[0.92, 0.91]], KNOWN, images=10_000).contrast("", TERMS)
    variance = 2 * 0.002**2 + (0.92 * 0.08 + 0.91 * 0.09) / 10_000
    assert (found.high - found.low) / 2 == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-3)
    recorded = evidence([[0.92, 0.91]], KNOWN, images=10_000, error=0.001).contrast("", TERMS)
    assert (recorded.high - recorded.low) / 2 == pytest.approx(
        1.959964 * np.sqrt(2 * 0.002**2 + 0.001**2 + 0.91 * 0.09 / 10_000), rel=1e-3
    )


def test_several_seeds_have_the_noise_of_their_own_differences():
    found = evidence([[0.92, 0.91], [0.95, 0.94], [0.90, 0.889]], noise.Noise({})).contrast("", TERMS)
    assert (found.n, found.reading, found.by) == (3, FOR, "t over seeds, paired")
    assert found.low > 0.008  # far less than the sd of either


@pytest.mark.parametrize(("known", "images"), [(noise.Noise({}), 10_000), (KNOWN, None)])
def test_a_single_run_whose_noise_is_unknown_is_open(known, images):
    found = evidence([[0.99, 0.10]], known, images).contrast("", TERMS)
    assert found.reading == OPEN
    assert "too few seeds" in found.obstacle


def test_cells_that_share_an_estimate_of_their_noise_do_not_multiply_its_freedom():
    few = noise.Noise({(noise.ACCURACY, ""): noise.Spread(0.002, 4, False, "made up")})
    found = evidence([[0.92, 0.91]], few, images=10**12).contrast("", TERMS)
    assert (found.high - found.low) / 2 == pytest.approx(stats.t.ppf(0.975, 4) * 0.002 * 2**0.5, rel=1e-3)


def test_printed_means_have_welchs_interval_widened_by_rounding():
    cells = [(("mnist", "vgg11", -1), {"acc_cladec": [0.92, 0.002], "acc_refae": [0.9, 0.0]}),
             (("mnist", "vgg11", -2), {"acc_cladec": [0.91, 0.01], "acc_refae": [0.911, 0.003]})]  # fmt: skip
    found = Evidence(tables.published_summary(cells, tables.KEYS)).contrast("", TERMS)
    # Two and three decimals of the means, three of the sds; an sd of 0.000 may be 0.0005.
    errors = [(0.002 + 0.0005) / 5**0.5, 0.0005 / 5**0.5]
    freedom = sum(e**2 for e in errors) ** 2 / sum(e**4 / 4 for e in errors)
    reach = stats.t.ppf(0.975, freedom) * np.hypot(*errors) + 0.005 + 0.0005
    assert (found.high - found.low) / 2 == pytest.approx(reach)


def test_the_table_of_the_book_names_every_kind():
    shown = noise.table(noise.pooled([], printed_tables.spreads(), printed_tables.NUMBERS))
    assert set(shown.index.get_level_values("kind")) == {*printed_tables.NUMBERS.kinds.values(), printed_tables.DELTA}
    assert set(shown["from"]) == {"print"}
