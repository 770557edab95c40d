"""Claims B1-B15, about layers: on made-up rows and on the printed tables."""

from dataclasses import replace

import numpy as np
import pytest

from cladec_companion.evidence import noise
from cladec_companion.evidence.claims import (
    FAILS,
    HOLDS,
    NOT_APPLICABLE,
    NOT_COMPARABLE,
    UNDECIDED,
    effects,
    too_short,
    verdict_table,
)
from cladec_companion.papers.cladec import printed_tables
from cladec_companion.papers.cladec.layers.claims import CLAIMS, printed
from tests.made_up import NAMES, RESNET, as_claimed, made_up

DECIDE = {claim.key: claim.decide for claim in CLAIMS}
PRINTED = printed()
FROM_PRINT = noise.pooled([], printed_tables.spreads(), printed_tables.NUMBERS)


def methods_exchanged(net, index, seed):
    swap = {"cladec": "refae", "refae": "cladec"}
    return {
        (swap.get(method, method), metric): value for (method, metric), value in as_claimed(net, index, seed).items()
    } | {("cladec", "shape"): 0.5}


def layers_exchanged(net, index, seed):
    return as_claimed(net, -6 - index, seed) | {
        ("cladec", "accuracy"): 0.8 - 0.01 * index, ("cladec", "judge_drift"): -0.1 * (index + 6) + 0.001 * seed,
    }  # fmt: skip


TRUE_HERE = ["B1", "B2", "B3", "B4", "B5", "B6", "B10", "B11", "B12", "B13"]


@pytest.mark.parametrize("key", TRUE_HERE)
def test_claim_holds_on_rows_made_for_it(key):
    found = DECIDE[key](made_up(as_claimed))
    assert found.verdict == HOLDS, found.evidence


AGAINST = {
    methods_exchanged: ["B1", "B2", "B3", "B5", "B6", "B12", "B13"],
    layers_exchanged: ["B4", "B10", "B11", "B15"],
}


@pytest.mark.parametrize(("rows", "key"), [(rows, key) for rows, keys in AGAINST.items() for key in keys])
def test_claim_fails_on_rows_made_against_it(rows, key):
    found = DECIDE[key](made_up(rows))
    assert found.verdict == FAILS, found.evidence


def test_a_reference_that_was_trained_briefly_can_win_but_not_lose():
    """As it may lose for that reason alone (`fair_to_reference`)."""
    brief = {"decoder_epochs": 4, "train_limit": 20_000}
    assert DECIDE["B1"](made_up(as_claimed, **brief)).verdict == HOLDS  # the reference reconstructs better
    assert DECIDE["B3"](made_up(as_claimed, **brief)).verdict == HOLDS  # a better accuracy at the last layer
    for key in ("B1", "B3"):
        lost = DECIDE[key](made_up(methods_exchanged, **brief))
        assert lost.verdict == NOT_COMPARABLE
        assert "the reference loses after 4 of 64 epochs, 20,000 training images" in lost.evidence
    assert DECIDE["B2"](made_up(as_claimed, **brief)).verdict == NOT_COMPARABLE  # ClaDec's accuracy is higher
    assert DECIDE["B2"](made_up(methods_exchanged, **brief)).verdict == FAILS


DECIDED_BY_DATA = ["B1", "B2", "B3", "B4", "B5", "B6", "B10", "B13", "B15"]


@pytest.mark.parametrize("seeds", [range(1), range(3)])
def test_noise_alone_decides_no_claim_about_layers(seeds):
    """Losses and accuracies without any effect, made with the noise that is known: hardly a claim may be decided."""
    spreads = {noise.LOSS: (0.05, True), noise.ACCURACY: (0.003, False)}
    spreads |= {"distance_to_refae of cladec": (0.05, True)}
    spreads |= {f"within_class_share of {method}": (0.05, False) for method in ("cladec", "refae")}
    known = noise.Noise({(kind, ""): noise.Spread(sd, 500, share, "here") for kind, (sd, share) in spreads.items()})

    rng = np.random.default_rng(2)

    def flat(net, index, seed):
        rows = {("cladec", "distance_to_refae"): 0.1 * (1 + 0.05 * rng.normal())}
        for method in ("cladec", "refae"):
            rows[method, "loss_standardised"] = 0.2 * (1 + 0.05 * rng.normal())
            rows[method, "accuracy"] = 0.9 + 0.003 * rng.normal()
            rows[method, "within_class_share"] = 0.5 + 0.05 * rng.normal()
        return rows

    verdicts = [
        DECIDE[key](replace(made_up(flat, seeds), known=lambda: known)).verdict
        for _ in range(10)
        for key in DECIDED_BY_DATA
    ]
    assert np.mean([verdict in (HOLDS, FAILS) for verdict in verdicts]) < 0.1


def test_cells_that_had_not_converged_are_open_and_all_of_them_not_comparable():
    def falling(layers):
        def values(net, index, seed):
            marks = {("refae", "still_falling"): float(index in layers), ("cladec", "still_falling"): 0.0}
            return as_claimed(net, index, seed) | marks

        return made_up(values)

    assert DECIDE["B1"](falling(())).verdict == HOLDS
    assert "not recorded" not in DECIDE["B1"](falling(())).evidence
    assert "whether trainings had converged was not recorded" in DECIDE["B1"](made_up(as_claimed)).evidence
    found = DECIDE["B1"](falling((-1,)))
    assert found.verdict == UNDECIDED
    assert "not converged: RefAE at -1" in found.evidence
    assert DECIDE["B2"](falling((-1,))).verdict == HOLDS  # layer -1 is no part of it
    assert DECIDE["B3"](falling((-1,))).verdict == NOT_COMPARABLE
    assert DECIDE["B6"](falling((-1,))).verdict == NOT_COMPARABLE  # a trend needs every layer


def test_an_absolute_level_is_judged_after_the_papers_training_only():
    short = made_up(as_claimed, classifier_epochs=4, train_limit=20_000)
    found = DECIDE["B14"](short)
    assert found.verdict == NOT_COMPARABLE
    assert "4 of 64 epochs, 20,000 training images" in found.evidence
    assert too_short(short.record)
    assert too_short(made_up(as_claimed).record) == too_short(None) == ""
    assert DECIDE["B14"](made_up(as_claimed)).verdict == HOLDS
    assert DECIDE["B14"](made_up(as_claimed, extra={"accuracy": 0.91})).verdict == FAILS
    near = made_up(as_claimed, seeds=(0,), extra={"accuracy": 0.921})
    assert DECIDE["B14"](replace(near, known=lambda: FROM_PRINT)).verdict == UNDECIDED
    assert DECIDE["B14"](made_up(as_claimed, dataset="digits")).verdict == UNDECIDED


def test_claims_about_two_networks():
    both = made_up(as_claimed, architectures=("vgg11", "resnet10"))
    assert DECIDE["B7"](both).verdict == HOLDS
    assert DECIDE["B8"](both).verdict == HOLDS

    def drifting(net, index, seed):
        return as_claimed(net, index, seed) | {("cladec", "accuracy"): 0.95 - 0.01 * (index + 6) + 0.0005 * seed}

    assert DECIDE["B7"](made_up(drifting, architectures=("resnet10",))).verdict == FAILS
    nets = ("vgg11", "resnet10")
    exchanged = dict(zip(nets, reversed(nets), strict=True))
    worse = made_up(lambda net, index, seed: as_claimed(exchanged[net], index, seed), architectures=nets)
    assert DECIDE["B8"](worse).verdict == FAILS
    alike = made_up(lambda net, index, seed: as_claimed("vgg11", index, seed), architectures=nets)
    assert DECIDE["B8"](alike).verdict == UNDECIDED  # equal to the last digit: the measure cannot tell
    for key in ("B7", "B8", "B9"):
        assert DECIDE[key](made_up(as_claimed)).verdict == UNDECIDED, key


def test_networks_are_compared_on_the_images_that_both_recorded_and_by_what_their_losses_allow():
    rng = np.random.default_rng(3)
    evidence = made_up(as_claimed, architectures=("vgg11", "resnet10"))
    samples, images = evidence.record.samples, rng.integers(60, 190, (20, 1, 32, 32))

    def noisy(scale):
        return rng.normal(scale=scale, size=images.shape)

    def fill(common):
        """Both methods err; `common` says which share of its error a method has in common for both networks."""
        samples.clear()
        for method, (scale, share) in common.items():
            shared = noisy(scale * share)
            for net, names in (("vgg11", NAMES), ("resnet10", RESNET)):
                samples[f"fashion_mnist/{net}/index"] = np.arange(20)
                samples[f"fashion_mnist/{net}/label"] = np.zeros(20, np.uint8)
                samples[f"fashion_mnist/{net}/original"] = images.astype(np.uint8)
                for layer in names.values():
                    own = images + shared + noisy(scale * (1 - share))
                    samples[f"fashion_mnist/{net}/{layer}/{method}"] = own.round().clip(0, 255).astype(np.uint8)

    fill({"refae": (8, 0.8), "cladec": (20, 0.2)})
    assert DECIDE["B9"](evidence).verdict == HOLDS
    # The RefAE's images still differ less, but only because its errors are small: they agree in nothing.
    fill({"refae": (8, 0.2), "cladec": (20, 0.8)})
    assert DECIDE["B9"](evidence).verdict == FAILS


def test_a_judge_that_changes_from_layer_to_layer_decides_nothing():
    def older(net, index, seed):
        return {
            name: value for name, value in as_claimed(net, index, seed).items() if not name[1].startswith("judge")
        } | {("cladec", "drift_to_predicted"): 0.1 * (index + 6)}

    assert DECIDE["B11"](made_up(older)).verdict == UNDECIDED

    def at_the_ends(net, index, seed):
        """Nothing happens but at the top: the trend is there, but no image looks more like the predicted class."""
        return as_claimed(net, index, seed) | {("cladec", "judge_drift"): -0.2 + 0.02 * index + 0.001 * seed}

    assert DECIDE["B11"](made_up(at_the_ends)).verdict == FAILS


def test_b11_tells_what_the_judge_makes_of_images_that_are_only_blurred():
    def controlled(net, index, seed):
        return as_claimed(net, index, seed) | {("refae", "judge_drift"): 0.01 * (index + 6)}

    assert DECIDE["B11"](made_up(as_claimed)).evidence.endswith("in the RefAE's images: not recorded")
    assert "in the RefAE's images: +5.0% in " in DECIDE["B11"](made_up(controlled)).evidence


def test_fig_5_is_about_bags():
    assert DECIDE["B12"](made_up(as_claimed, dataset="mnist")).verdict == UNDECIDED

    def sharp_reference(net, index, seed):
        return as_claimed(net, index, seed) | {("refae", "texture"): 0.9 + 0.001 * seed}

    assert DECIDE["B12"](made_up(sharp_reference)).verdict == FAILS


@pytest.mark.parametrize(
    ("key", "verdict", "said"),
    [
        ("B1", UNDECIDED, "28 of 29"), ("B2", UNDECIDED, "17 of 24"), ("B3", HOLDS, "4 of 6"),
        ("B4", HOLDS, "12 of 12"),
        ("B5", FAILS, "5 of 6"), ("B6", FAILS, "5 of 6"), ("B7", UNDECIDED, "5 of 6"), ("B8", FAILS, "27 of 30"),
        ("B9", NOT_APPLICABLE, "pictures"), ("B10", NOT_APPLICABLE, "pictures"), ("B11", NOT_APPLICABLE, "pictures"),
        ("B12", NOT_APPLICABLE, "pictures"), ("B13", NOT_APPLICABLE, "pictures"),
        ("B14", UNDECIDED, "has 0.904, but is an older set-up"),
        ("B15", FAILS, "the opposite in 4"),
    ],
)  # fmt: skip
def test_verdict_on_the_printed_tables(key, verdict, said):
    found = DECIDE[key](PRINTED)
    assert found.verdict == verdict
    assert said in found.evidence


def test_the_exception_that_the_paper_names_is_none_for_a_record():
    """B1 has one rule: the excepted cell is left out wherever it was measured."""
    cells = effects(DECIDE["B1"](PRINTED))["what"]
    assert not cells.str.contains("CIFAR-100, ResNet-10, -5").any()
    made = made_up(methods_exchanged, dataset="cifar100", architectures=("resnet10",))
    assert len(DECIDE["B1"](made).comparisons) == 4


def test_other_tables_of_the_paper_are_told_and_only_those_of_the_same_set_up_are_counted():
    found = DECIDE["B8"](PRINTED)
    assert found.evidence.endswith("ResNet's less VGG's is 4.71 (4.41 to 5.01) for Fashion-MNIST, ClaDec, -2")
    assert len(found.comparisons) == 30
    assert "Tables 4 and 5" not in DECIDE["B8"](made_up(as_claimed, architectures=("vgg11", "resnet10"))).evidence
    of_conference, of_journal = DECIDE["B15"](PRINTED).parts
    assert (of_conference.verdict, of_journal.verdict) == (HOLDS, FAILS)


def test_every_comparison_counts_once():
    for key in DECIDE:
        table = effects(DECIDE[key](PRINTED))
        assert table["what"].is_unique, key


def test_ledger_names_every_claim_once():
    table = verdict_table(CLAIMS, {"published": PRINTED})
    assert list(table.index) == [f"B{number}" for number in range(1, 16)]
    assert table["published"].str.match("(holds|does not hold|undecided|not applicable): ").all()
