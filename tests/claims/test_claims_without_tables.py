"""Claims B50 and B52-B54: costs from manifests, correlations and codes, two records that differ in their images."""

import copy
import json
import math
import re
import sys

import pytest

from cladec_companion.book import ledger
from cladec_companion.commands import main as cli
from cladec_companion.commands.shared import parse_changes
from cladec_companion.evidence.claims import FAILS, HOLDS, NOT_APPLICABLE, NOT_COMPARABLE, UNDECIDED
from cladec_companion.papers import CHAPTERS, settings_for
from cladec_companion.papers.cladec import claims_without_tables as without_tables
from cladec_companion.records.files import ROOT
from cladec_companion.records.record import find_records
from tests.made_up import as_claimed, made_up

DECIDE = {claim.key: claim.decide for claim in without_tables.CLAIMS}


def record(values=as_claimed, train_images=20_000, epochs=4, noise=1.1, **trainings):
    """A made-up record of `layers`; `trainings` are seconds by layer: (decoder, RefAE), `classifier` a number.

    Of the two evaluation classifiers of a layer, one takes `noise` times as long as the other.
    """
    lengths = {"decoder_epochs": epochs, "classifier_epochs": 2 * epochs, "train_limit": train_images}
    found = made_up(values, extra={"train_images": train_images}, **lengths).record
    found.manifest["profile"] = "laptop"
    found.manifest["runs"] = [{"device": "cpu"}, {"device": "cuda"}]
    found.manifest["cells"] = {
        f"fashion_mnist/vgg11/{layer}/0": {
            "run": 0,
            "trainings": {"classifier": seconds}
            if layer == "classifier"
            else {
                f"decoder {layer}": seconds[0],
                f"RefAE {layer}": seconds[1],
                f"evaluation ClaDec {layer}": 100.0,
                f"evaluation RefAE {layer}": 100.0 * noise,
            },
        }
        for layer, seconds in trainings.items()
    }
    return found


def decide(key, *records):
    return DECIDE[key](without_tables.evidence(*records[:1], records[1:]))


def test_costs_are_per_epoch_and_on_one_device():
    found = record(classifier=80.0, conv2=(10.0, 30.0), conv3=(5.0, 5.0))
    # (10 + 30) / 4 epochs over 80 / 8 epochs
    assert without_tables.costs(found).droplevel([0, 1, 2]).to_dict() == {"conv2": 1.0, "conv3": 0.25}
    found.cells["fashion_mnist/vgg11/conv3/0"]["run"] = 1  # another device: no classifier to compare with
    assert list(without_tables.costs(found).index.get_level_values("layer")) == ["conv2"]
    del found.cells["fashion_mnist/vgg11/conv2/0"]["trainings"]["RefAE conv2"]  # it came from the cache
    assert without_tables.costs(found).empty


def test_the_cost_of_an_explanation_is_judged_within_a_factor():
    assert decide("B50", record(classifier=80.0, conv2=(10.0, 30.0), conv3=(20.0, 30.0))).verdict == HOLDS
    assert decide("B50", record(classifier=80.0, conv2=(90.0, 90.0), conv3=(1.0, 1.0))).verdict == FAILS
    near = decide(
        "B50", record(classifier=80.0, conv2=(30.0, 45.0))
    )  # 1.9 times, and equal trainings differ by a tenth
    assert near.verdict == UNDECIDED
    assert "1.9" in near.evidence
    assert decide("B50", record()).verdict == UNDECIDED


def test_the_noise_of_a_timing_is_how_far_equal_trainings_differ():
    layers = {f"conv{number}": (10.0, 30.0) for number in range(2, 8)}
    noise, freedom = without_tables.timing_noise(record(classifier=80.0, noise=2.0, **layers))
    assert freedom == 11
    assert noise == pytest.approx(math.log(2) / 2 * math.sqrt(12 / 11))
    assert decide("B50", record(classifier=80.0, noise=1.1, **layers)).verdict == HOLDS
    assert decide("B50", record(classifier=80.0, noise=20.0, **layers)).verdict == UNDECIDED
    once = record(classifier=80.0, conv2=(10.0, 30.0))
    del once.cells["fashion_mnist/vgg11/conv2/0"]["trainings"]["evaluation RefAE conv2"]
    assert "no training was timed twice" in decide("B50", once).evidence


def shared(found, **shares):
    """The record on a processor of which each cell had a share, so that the clock ran for so much longer."""
    for key, cell in found.cells.items():
        share = shares[key.split("/")[2]]
        cell["trainings"] = {label: taken / share for label, taken in cell["trainings"].items()}
        cell |= {"seconds": sum(cell["trainings"].values()), "cpu_seconds": share * sum(cell["trainings"].values())}
    return found


def test_what_else_the_machine_did_changes_neither_costs_nor_noise():
    layers = {"classifier": 80.0, "conv2": (10.0, 30.0), "conv3": (5.0, 5.0)}
    alone, busy = record(**layers), shared(record(**layers), classifier=1.0, conv2=0.25, conv3=0.5)
    assert without_tables.costs(busy).to_dict() == pytest.approx(without_tables.costs(alone).to_dict())
    assert without_tables.timing_noise(busy) == pytest.approx(without_tables.timing_noise(alone))
    assert without_tables.PROCESSOR in decide("B50", busy).evidence
    assert decide("B50", busy).verdict == UNDECIDED
    assert decide("B50", busy).missing == "other work took part of the processor while they trained"
    idle = shared(record(**layers), classifier=1.0, conv2=1.0, conv3=0.95)
    assert decide("B50", idle).verdict == decide("B50", alone).verdict
    del busy.cells["fashion_mnist/vgg11/conv3/0"]["cpu_seconds"]  # of an older record: the clock counts for all cells
    assert without_tables.costs(busy).droplevel([0, 1, 2]).to_dict() == pytest.approx({"conv2": 4.0, "conv3": 0.5})
    assert without_tables.timing_noise(busy)[0] > without_tables.timing_noise(alone)[0]
    assert without_tables.CLOCK in decide("B50", busy).evidence


def test_what_the_processor_did_beside_another_device_does_not_count():
    found = shared(record(classifier=80.0, conv2=(10.0, 30.0)), classifier=1.0, conv2=0.25)
    for cell in found.cells.values():
        cell["run"] = 1
    assert without_tables.costs(found).droplevel([0, 1, 2]).to_dict() == pytest.approx({"conv2": 4.0})
    assert without_tables.CLOCK in decide("B50", found).evidence


def test_a_classifier_is_timed_in_the_cell_that_trained_nothing_else():
    found = record(classifier=80.0, conv2=(10.0, 30.0))
    found.cells["fashion_mnist/vgg11/conv2/0"]["trainings"]["classifier of seed 9"] = 800.0
    assert without_tables.costs(found).droplevel([0, 1, 2]).to_dict() == {"conv2": 1.0}
    del found.cells["fashion_mnist/vgg11/classifier/0"]
    assert without_tables.costs(found).droplevel([0, 1, 2]).to_dict() == {"conv2": 0.1}


def test_costs_are_listed_by_data_set():
    found = record(classifier=80.0, conv2=(10.0, 30.0))
    found.manifest["cells"] |= {key.replace("fashion_", ""): cell for key, cell in found.cells.items()}
    assert "; Fashion-MNIST, VGG-11: conv2 1.0; MNIST, VGG-11: conv2 1.0)" in decide("B50", found).evidence


def with_rows(**changes):
    def values(net, index, seed):
        wobble = 0.001 * seed
        rank = changes.get("rank", 2) if index == -1 else 10
        rows = {
            ("cladec", "loss_rank_correlation"): changes.get("correlation", 0.8) + wobble,
            ("activation", "active_unaveraged"): changes.get("active", 0.3) + wobble,
            ("activation", "effective_rank"): rank + wobble,
        }  # fmt: skip
        rows = {name: value for name, value in rows.items() if name[1] != changes.get("without")}
        return as_claimed(net, index, seed) | rows

    return record(values)


@pytest.mark.parametrize(
    ("key", "changes", "verdict"),
    [
        ("B52", {}, HOLDS), ("B52", {"correlation": 0.3}, FAILS), ("B52", {"correlation": 0.5}, UNDECIDED),
        ("B54", {}, HOLDS), ("B54", {"active": 0.7}, FAILS), ("B54", {"rank": 20}, FAILS),
        ("B54", {"without": "active_unaveraged"}, UNDECIDED),
    ],
)  # fmt: skip
def test_rows_decide(key, changes, verdict):
    found = decide(key, with_rows(**changes))
    assert found.verdict == verdict, found.evidence


def test_averaged_units_say_nothing_about_single_ones():
    """A mean over a map is above zero where a single value of the map is: its share is no evidence."""

    def averaged(net, index, seed):
        return as_claimed(net, index, seed) | {
            ("activation", "active"): 0.99, ("activation", "effective_rank"): (2 if index == -1 else 10) + 0.1 * seed,
        }  # fmt: skip

    assert decide("B54", record(averaged)).verdict == UNDECIDED


def test_what_an_older_record_lacks_is_undecided():
    assert {decide(key, record()).verdict for key in DECIDE} == {UNDECIDED}


def test_fewer_images_are_compared_at_equally_many_steps():
    def worse(net, index, seed):
        return {key: value * (2 if "loss" in key[1] else 1) for key, value in as_claimed(net, index, seed).items()}

    found = decide("B53", record(), record(worse, 5_000, 16))
    assert found.verdict == HOLDS
    assert "10 of 10" in found.evidence
    assert decide("B53", record(worse), record(as_claimed, 5_000, 16)).verdict == FAILS
    # As many epochs on fewer images are fewer steps, and what they do is no effect of the images.
    confounded = decide("B53", record(), record(worse, 5_000, 4))
    assert confounded.verdict == UNDECIDED
    assert "equally many steps" in confounded.evidence
    other = copy.deepcopy(record(worse, 5_000, 16))
    other.manifest["configuration"]["width"] = 2.0
    for unfit in (other, record(worse), record(worse, 40_000, 2)):
        assert decide("B53", record(), unfit).verdict == UNDECIDED


def changes_of(command):
    """What a command sets, as the command line reads it."""
    return parse_changes(re.findall(r"--set '?(\S+?)'?(?=[\s)]|$)", command))


def as_planned(**changes):
    """A record with the configuration that a command would give it."""
    found = record(train_images=changes.get("train_limit", 20_000))
    found.manifest |= {
        "configuration": settings_for("layers", "laptop", **changes).configuration(),
        "profile": "laptop",
    }
    return found


def test_the_commands_that_are_documented_record_equally_many_steps():
    written = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").replace("\\\n", " ")
    (documented,) = re.findall(r"cladec train .*--only layers .*--set train_limit.*", written)
    said = decide("B53", as_planned()).evidence
    assert "cladec train --profile laptop --only layers" in said
    for command in (documented, said):
        changes = changes_of(command)
        assert {"train_limit", "classifier_epochs", "decoder_epochs"} <= set(changes)
        assert decide("B53", as_planned(), as_planned(**changes)).comparisons
        changes["decoder_epochs"] //= 2
        assert not decide("B53", as_planned(), as_planned(**changes)).comparisons


def test_two_records_of_the_command_line_are_found_and_compared(tmp_path, monkeypatch, free):
    """Trained for real, as small as can be: 128 images once, 32 images four times."""
    usual = {"layers": [-5], "test_limit": 40, "train_limit": 128, "batch_size": 16}
    fewer = usual | {"train_limit": 32, "classifier_epochs": 4, "decoder_epochs": 4}
    for changes in (usual, fewer):
        sets = [f"--set={name}={json.dumps(value, separators=(',', ':'))}" for name, value in changes.items()]
        command = ["cladec", "train", "--profile", "smoke", "--only", "layers", "--workers", "1", *sets]
        monkeypatch.setattr(sys, "argv", [*command, "--out", str(tmp_path), "--device", "cpu"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
    found = find_records(tmp_path)
    assert len(found) == 2
    judged = ledger.judged({"layers": CHAPTERS["layers"]}, found)
    (of_b53,) = [list(verdicts.values()) for _, claim, _, verdicts in judged if claim.key == "B53"]
    (verdict,) = [one for _, one in of_b53 if one.comparisons]  # the record with more images has one to compare with
    assert len(verdict.comparisons) == 2
    assert all("not converged" in one.obstacle for one in verdict.comparisons)


def test_a_loss_that_was_falling_with_fewer_images_bars_the_comparison():
    def worse(net, index, seed):
        return {key: value * (2 if "loss" in key[1] else 1) for key, value in as_claimed(net, index, seed).items()}

    def falling(net, index, seed):
        return worse(net, index, seed) | {("cladec", "still_falling"): 1.0, ("refae", "still_falling"): 1.0}

    assert decide("B53", record(), record(worse, 5_000, 16)).verdict == HOLDS
    assert decide("B53", record(), record(falling, 5_000, 16)).verdict == NOT_COMPARABLE


def test_the_paper_prints_nothing_that_could_decide():
    assert {decide(without_tables.printed()).verdict for decide in DECIDE.values()} == {NOT_APPLICABLE}
