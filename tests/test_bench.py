"""The benchmark: its plain loops against the project's, its counts against counting by hand, its files."""

import itertools
import json
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import typer
from torch import nn

from benchmarks import __main__ as command
from benchmarks import cell, ladder, plain, sizes
from cladec_core import training
from cladec_core.networks import convolutions
from cladec_core.training import Compute

STEPS, BATCH, WIDTH = 2, 8, 0.125
HALF = Compute(torch.device("cpu"), torch.bfloat16)
EXACT = Compute(torch.device("cpu"), torch.float32)


@pytest.fixture(scope="module")
def cases():
    return {case.name: case for case in ladder.cases(HALF, STEPS, BATCH, WIDTH)}


def test_every_rung_trains_the_same_model():
    for case in ladder.cases(EXACT, STEPS, BATCH, WIDTH):
        if case.name == "vgg11":  # its dropout draws other numbers in each loop
            continue
        losses = {}
        for rung, start in ladder.rungs(case, EXACT).items():
            epochs = start(BATCH)  # a single batch, which has no order
            losses[rung] = [next(epochs) for _ in range(3)]
        job = replace(case.job(EXACT, BATCH), stop=lambda history: len(history) == 3)  # with no decay in them
        losses["the project's step"] = training.fit(job)
        assert len(losses) == 4
        for found in losses.values():
            assert found == pytest.approx(losses["plain loop"], rel=2e-3)


def test_the_plain_loops_use_none_of_the_projects_layers(cases):
    for case in cases.values():
        simple = plain.stock(case.model).eval()
        own = {type(part) for part in simple.modules()} & {convolutions.Conv2d, convolutions.ConvTranspose2d}
        assert not own
        inputs = case.inputs[:4].float()
        torch.testing.assert_close(simple(inputs), case.model.eval()(inputs), rtol=1e-4, atol=1e-4)


def test_operations_against_counting_by_hand(cases):
    case, forward = cases["resnet10"], []
    model = plain.stock(case.model)

    def look(module, inputs, output):
        taps = module.weight[0].numel()
        forward.append(2 * taps * output.numel())

    for part in model.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.register_forward_hook(look)
    model(case.inputs[:BATCH])
    # Backward costs twice as much, but nobody asks for the gradient of the images.
    assert case.operations() == 3 * sum(forward) - forward[0]


def test_casts_are_changes_of_precision():
    layer, inputs = nn.Linear(3, 2), torch.ones(4, 3)
    with ladder.Casts() as casts, torch.autocast("cpu", torch.bfloat16):
        F.mse_loss(layer(inputs).to(torch.float32), torch.ones(4, 2)).backward()
    # Forward: input, weight, bias, output; backward: the output's, weight's and bias's gradients.
    assert casts.count == 7
    with ladder.Casts() as casts:
        inputs.to(torch.float32, copy=True)
    assert casts.count == 0


def test_a_ladder_has_a_row_for_each_rung(cases):
    rows = list(ladder.measure(cases["vgg11"], HALF, 2))
    assert [row["rung"] for row in rows] == list(ladder.rungs(cases["vgg11"], HALF))
    assert rows[0]["times_plain"] == rows[0]["times_before"] == 1
    for before, row in itertools.pairwise(rows):
        assert row["times_plain"] == pytest.approx(before["times_plain"] * row["times_before"])
        assert row["operations_per_second"] / row["images_per_second"] == pytest.approx(
            cases["vgg11"].operations() / BATCH
        )
        assert row["megabytes"] > 0
        assert row["repeats_bit_for_bit"]
    # Each of 9 weights and a bias once, its gradient once, the output and its gradient.
    assert [row["casts_per_step"] for row in rows] == [0, 0, 22, 22]


def test_a_whole_cell_is_trained_both_ways(monkeypatch):
    monkeypatch.setattr(cell, "SETTINGS", replace(cell.SETTINGS, batch_size=16))
    found = cell.measure(HALF, 32, 1)
    assert found["times_plain"] == found["plain_seconds"] / found["ours_seconds"] > 0


def test_growth_is_measured_at_four_sizes_or_more(monkeypatch):
    monkeypatch.setattr(sizes, "WIDTH", 0.1)
    rows = list(sizes.measure(HALF, 8, 1))
    names = dict.fromkeys(row["what"] for row in rows)
    assert list(names) == ["images", "layers", "seeds", "channels (factor)", "side of the image"]
    for name in names:
        part = [row for row in rows if row["what"] == name]
        assert len(part) >= 4
        assert part[0]["times_smallest"] == 1
        last = part[-1]
        power = (last["size"] / part[0]["size"]) ** last["exponent"]
        assert math.isclose(power, last["times_smallest"], rel_tol=1e-6)


def test_a_result_is_written_with_what_it_was_made_with(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "ROOT", tmp_path)
    monkeypatch.setattr(command.sizes, "measure", lambda on, images, repeats: [{"what": "images", "seconds": 0.5}])
    command.main(only=["sizes"], repeats=1, size_images=8, device="cpu")
    (path,) = (tmp_path / "build" / "bench").glob("*.json")
    found = json.loads(path.read_text())
    assert path.stem.startswith("cpu-")
    assert found["sizes"] == [{"what": "images", "seconds": 0.5}]
    assert found["provenance"]["device"] == training.compute("cpu").description
    assert {"commit", "versions", "started"} < found["provenance"].keys()
    assert "0.5" in capsys.readouterr().out
    command.write(found | {"ladder": [{"training": "vgg11", "times_plain": 2.0}]}, tmp_path)
    assert (tmp_path / f"{path.stem}.csv").read_text() == "training,times_plain\nvgg11,2\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"only": ["ladders"]}, "Unknown part 'ladders'; valid: memory, ladder, cell, sizes. Did you mean 'ladder'?"),
        ({"only": ["cell"], "record": True}, "--record with --only cell; valid: a record holds all parts"),
        ({"device": "cuda:99"}, "No device 'cuda:99'"),
    ],
)
def test_wrong_use_is_named(arguments, words, capsys):
    with pytest.raises(typer.Exit) as caught:
        command.main(**arguments)
    assert caught.value.exit_code == 2
    assert words in capsys.readouterr().err
