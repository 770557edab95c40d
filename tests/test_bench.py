"""The benchmark: its plain loops against the project's, its counts against counting by hand, its files."""

import itertools
import json
import math
import multiprocessing
import os
import time
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
import typer
from torch import nn

from benchmarks import __main__ as command
from benchmarks import architectures, cell, idle, ladder, plain, same_trainings, sizes, workers
from cladec_companion.book import pages
from cladec_companion.records.files import RECORDED
from cladec_core import training
from cladec_core.errors import UsageError
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


def test_a_ladder_has_a_row_for_each_rung(cases, monkeypatch):
    monkeypatch.setattr(ladder, "matmul_peak", lambda on: 1e12)  # minutes where bf16 is emulated
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
    # Each of 9 weights and a bias once, its gradient once, the output and its gradient; and the float32 sums of five
    # convolutions that are made by products, two of them of the last one.
    assert [row["casts_per_step"] for row in rows] == [0, 0, 22, 22 + 6]


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
    row = {"what": "images", "seconds": 0.5}
    monkeypatch.setattr(command.sizes, "measure", lambda on, images, repeats: iter([row]))
    command.main(only=["sizes"], repeats=1, size_images=8, device="cpu")
    (path,) = (tmp_path / "build" / "bench").glob("*.json")
    found = json.loads(path.read_text())
    assert path.stem.startswith("cpu-")
    assert found["sizes"] == [row | {"others": found["sizes"][0]["others"]}]
    assert found["provenance"]["device"] == training.compute("cpu").description
    assert {"commit", "versions", "started"} < found["provenance"].keys()
    assert "0.5" in capsys.readouterr().out
    command.write(found | {"ladder": [{"training": "vgg11", "times_plain": 2.0}]}, tmp_path)
    assert (tmp_path / f"{path.stem}.csv").read_text() == "training,times_plain\nvgg11,2\n"


def test_rows_are_printed_as_soon_as_they_are_there(capsys):
    printed = []

    def rows():
        yield {"what": "first", "seconds": 0.25, "others": 0.01}
        printed.append(capsys.readouterr().out)
        yield {"what": "second", "seconds": 4.0, "others": 0.5}

    found = command.shown("ladder", rows())
    assert [row["what"] for row in found] == ["first", "second"]
    title, head, line = printed[0].split("\n")[1:4]
    assert (title, head.split(), line.split()) == ("ladder", ["what", "seconds", "others"], ["first", "0.25", "1%"])
    assert capsys.readouterr().out.split() == ["second", "4", "50%", "not", "idle"]


def test_what_other_processes_take_is_told(monkeypatch):
    """Of two processors, for ten seconds: 12 seconds in work, of which 9 are ours."""
    monkeypatch.setattr(idle.os, "cpu_count", lambda: 2)
    assert idle.others((100.0, 50.0, 7.0), (110.0, 62.0, 16.0)) == pytest.approx(3 / 20)
    assert idle.others((100.0, 50.0, 7.0), (110.0, 58.99, 16.0)) == 0  # the clocks differ a little
    assert math.isnan(idle.others((100.0, math.nan, math.nan), (110.0, math.nan, math.nan)))
    times = iter([(0.0, 0.0, 0.0), (10.0, 10.0, 10.0), (10.01, 10.0, 10.0), (20.0, 22.0, 15.0)])
    monkeypatch.setattr(idle, "_times", lambda: next(times))
    rows = list(idle.watched(lambda: iter([{"row": 1}, {"row": 2}, {"row": 3}])))
    assert rows == [{"row": 1, "others": 0}, {"row": 2, "others": 0}, {"row": 3, "others": pytest.approx(7 / 20)}]
    assert command.told_of_others({"cell": rows[:2]}) == "the machine was idle"
    told = "NOT IDLE: during 1 of 3 lines other processes took up to 35% of the processors"
    assert command.told_of_others({"cell": rows}) == told
    unknown = {"cell": [{"others": math.nan}]}
    assert command.told_of_others(unknown) == "whether the machine did other work is not known here"


@pytest.mark.skipif(not Path("/proc/stat").exists(), reason="needs Linux's counters")
def test_own_work_is_not_that_of_others():
    """Nor is that of a child that is still alive."""
    before = idle._times()
    child = multiprocessing.get_context("fork").Process(target=work, args=(0.5,))
    child.start()
    work(0.5)
    own = idle._times()[2] - before[2]
    child.kill()
    child.join()
    assert own > 0.55


def work(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass


def test_every_core_is_busy_in_each_setting(monkeypatch):
    """As many processes as cores, as in the grid."""
    monkeypatch.setattr(workers, "cores", lambda: sorted(os.sched_getaffinity(0))[:2])
    count = len(workers.cores())
    rows = list(workers.measure(1, 128, 1, only=["decoder of conv3"], width=WIDTH))
    settings = [(row["loop"], row["processes"], row["threads"]) for row in rows]
    assert {("ours", count, 1), ("plain", count, 1), ("ours", 1, 1)} <= set(settings)
    assert len(set(settings)) == len(settings)
    for row in rows:
        base = next(other for other in rows if (other["loop"], other["processes"]) == ("plain", row["processes"]))
        assert row["times_plain"] == row["images_per_second"] / base["images_per_second"]
        assert row["times_all_threads"] == row["images_per_second"] / rows[0]["images_per_second"]
        assert row["cpu_seconds_per_1000"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"only": ["ladders"]},
            "valid: memory, ladder, workers, cell, sizes. Did you mean 'ladder'?",
        ),
        ({"only": ["cell"], "record": True}, "--record with --only cell; valid: a record holds all parts"),
        ({"device": "cuda:99"}, "No device 'cuda:99'"),
    ],
)
def test_wrong_use_is_named(arguments, words, capsys):
    with pytest.raises(typer.Exit) as caught:
        command.main(**arguments)
    assert caught.value.exit_code == 2
    assert words in capsys.readouterr().err


def test_two_sets_of_trainings_agree_only_bit_for_bit():
    zero = {"weight": torch.zeros(2), "count": torch.tensor(3)}
    assert same_trainings.differences(zero, {name: tensor.clone() for name, tensor in zero.items()}) == []
    for other in ({"weight": -torch.zeros(2)}, {"weight": torch.zeros(2).double()}, {"count": torch.tensor(4)}):
        assert same_trainings.differences(zero, zero | other) == list(other)
    assert same_trainings.differences(zero, {"weight": zero["weight"], "bias": torch.ones(1)}) == ["bias", "count"]


@pytest.mark.parametrize("agree", [True, False])
def test_a_line_is_printed_only_for_trainings_that_agree(capsys, monkeypatch, agree):
    runs = []

    def trained(root, path, threads):
        older = root != same_trainings.ROOT
        runs.append((older, threads))
        about = {"digest": "old" if older else "new", "counts as": "oldest" if older else "new", "on": "a processor"}
        return about, {"weight": torch.tensor(0.0 if older or agree or threads == 1 else 1e-9)}

    monkeypatch.setattr(same_trainings, "trained", trained)
    monkeypatch.setattr(same_trainings, "unpacked", lambda commit, folder: folder)
    if agree:
        same_trainings.main("0a1b2c3")
    else:
        with pytest.raises(typer.Exit):
            same_trainings.main("0a1b2c3")
    printed = capsys.readouterr().out
    assert runs == [(True, 1), (False, 1), (True, 2), (False, 2)]
    assert ('"new": (' in printed and '"oldest"' in printed and ", with 0a1b2c3" in printed) == agree
    assert ("1 of 1 tensors differ, such as weight" in printed) != agree


def test_a_commit_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(UsageError, match="No code of commit 'nowhere'"):
        same_trainings.unpacked("nowhere", tmp_path)
    assert (same_trainings.unpacked("HEAD", tmp_path / "older") / "cladec_core" / "errors.py").is_file()


def test_the_table_of_architectures_counts_those_that_work(tmp_path):
    table = tmp_path / "architectures.csv"
    rest = "64x64,conv,8 channels of 4x4,RefAE (copied encoder)"
    table.write_text(
        "source,model,image,layer,code,reference,result\n"
        f"timm,a,{rest},works\ntimm,b,96x96,,,,refused: too small\ntorchvision,c,{rest},works\n"
    )
    text = pages.architectures(table)
    assert text.startswith("2 of 3 classifiers work (timm 2, torchvision 1)")
    assert "on images of 64x64 or 96x96 pixels" in text
    assert "| a | conv | 8 of 4x4 | copied | works |" in text
    assert "refused: too small" in text


def test_choices_of_decoder_and_loss_are_told_with_their_figure(tmp_path):
    bench, folder = tmp_path / "bench", tmp_path / "generated"
    for place in (bench, folder):
        place.mkdir()
    (bench / "compared.png").write_bytes(b"png")
    row = {
        "network": "resnet18", "layer": "layer2", "accuracy": 0.11, "decoder": "upsampled", "loss": "pixel",
        "ΔRec": 0.004, "ΔRec_low": 0.003, "ΔRec_high": 0.005, "rec_cladec": 0.0147, "agreement": 0.38,
        "structure": 0.678, "finest": 0.0007, "finest_original": 0.0014, "seconds": 155.2,
    }  # fmt: skip
    pd.DataFrame([row]).to_csv(bench / "pictures.csv", index=False)
    text = pages.choices(bench, folder)
    assert (folder / "compared.png").read_bytes() == b"png"
    assert "| 0.0147 | 0.0040 (0.0030 to 0.0050) | 38% | 0.678 | 0.50 | 155 |" in text
    assert "`resnet18` is right on 11%" in text
    assert "Large images" not in text  # nobody has measured it
    cost = {"seconds": 400, "peak_gb": 3.21, "notes": ["kept"]}
    facts = {"images": 1000, "side": 224, "budget": 300.0, "machine": "cpu", "layer3": cost}
    (bench / "large_images.json").write_text(json.dumps(facts))
    assert "1000 images of 224x224" in pages.choices(bench, folder)
    assert pages.choices(bench, folder).endswith("`layer3` took 7 minutes and 3.2 GB.")
    facts["layer4"] = cost | {"notes": ["Layer layer4: do not read the difference to the reference"]}
    (bench / "large_images.json").write_text(json.dumps(facts))
    assert pages.choices(bench, folder).endswith("must not be read for `layer4`.")


def test_the_committed_table_has_every_architecture_that_the_script_tries():
    committed = pd.read_csv(RECORDED / "bench" / "explainer" / "architectures.csv", dtype=str)
    wanted = {("torchvision", name) for name in architectures.TORCHVISION}
    wanted |= {("timm", name) for name in architectures.TIMM}
    assert set(zip(committed["source"], committed["model"], strict=True)) == wanted
    assert len(wanted) >= 45
