"""Decoders and references of somebody else's classifier: how they are built, and how long they are trained on what."""

import copy
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from cladec_core import ClaDec, training
from cladec_core.errors import RunError, UsageError
from cladec_core.explainer import PAPER, PRACTICAL, building, fitting, intake, taps, task
from tests.foreign import (
    CLASSES,
    GOOD,
    fitted,
    small_net,
    vit,
)

pytestmark = pytest.mark.filterwarnings(
    "ignore:.* images are few", "ignore:Reference of", "ignore:.* do not read the difference"
)
ON = training.Compute(torch.device("cpu"), torch.float32)


def test_reinitialised_layers_are_fresh_and_the_others_are_named():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.arange(12.0).view(3, 4))
            self.norm = nn.BatchNorm2d(3)
            self.linear = nn.Linear(3, 4)

    model = Scaled()
    model.norm.running_mean.fill_(7)
    before = copy.deepcopy(model)
    assert taps.reinitialise(model) == [model]
    assert model.norm.running_mean.abs().max() == 0
    assert not torch.equal(model.linear.weight, before.linear.weight)
    assert not torch.equal(model.scale, before.scale)
    assert torch.equal(model.scale.flatten().sort().values, before.scale.flatten())


def test_reference_is_a_fresh_copy_without_dropout_or_what_was_asked_for():
    net = small_net()
    copied = fitted(net, "conv2")._built["conv2"].reference[0][1].model
    assert not torch.equal(copied.conv1[0].weight, net.conv1[0].weight)
    assert copied.conv2[2].p == 0
    assert net.conv2[2].p == 0.5
    random = fitted(net, "conv2", reference="random")
    assert "random" in random.references["conv2"]
    assert "instead of a RefAE" in random.notes[1]
    assert "the project's" in fitted(net, "conv2", reference="own").references["conv2"]
    with pytest.raises(UsageError, match="the model's own values, encoder cannot be re-initialised; add a reset"):
        fitted(vit(), "encoder.layers.encoder_layer_0", (3, 32, 32), reference="copy")


def test_an_encoder_too_large_for_the_images_is_replaced(monkeypatch):
    monkeypatch.setattr(building, "WEIGHTS_PER_VALUE", 1e-4)
    with pytest.warns(UserWarning, match="weights are too many for 32 images"):
        explainer = fitted(small_net())
    assert explainer.references == {"conv1": "RefAE (the project's encoder)"}


def test_few_images_are_warned_of():
    with pytest.warns(UserWarning, match="32 images are few: reference and reconstruction") as warned:
        fitted(small_net())
    assert {Path(one.filename).name for one in warned} == {"foreign.py"}  # whoever calls `fit`, not the core


def test_says_what_it_costs_before_it_trains(capsys, short_rounds):
    ClaDec(small_net(), "conv1", device="cpu").fit(GOOD, epochs=2)
    said = capsys.readouterr().out
    assert "Activations of conv1 (6 channels of 8x8, 0 MB) are kept" in said
    assert "On cpu: 2 epochs of 1 steps of 16 images, about" in said
    ClaDec(small_net(), "conv1", device="cpu").fit(GOOD)
    said = capsys.readouterr().out
    assert "On cpu: rounds of 3 epochs of 1 steps of 16 images, about" in said
    assert "at most cladec 4, reference 8, until the loss is flat or 300 s a layer are spent" in said


@pytest.fixture
def short_rounds(monkeypatch):
    """Rounds of three steps."""
    monkeypatch.setattr(fitting, "FEWEST_EPOCHS", 1)
    monkeypatch.setattr(fitting, "MOST_EPOCHS", 3)


def test_time_budget_ends_a_training_and_says_so():
    with pytest.warns(UserWarning, match=r"conv1 reference ended after 1 epochs, before its loss was flat: 4.5e-10 s"):
        explainer = ClaDec(small_net(), "conv1", device="cpu").fit(GOOD, time_budget=1e-9, progress=False)
    assert explainer.epochs == {"conv1": {"cladec": 1, "reference": 1}}


def test_the_number_of_epochs_follows_from_the_data_and_not_from_the_clock(monkeypatch):
    """Steps that look slow are no reason for fewer epochs, as long as the time is not spent."""
    monkeypatch.setattr(fitting.Training, "seconds_per_step", lambda self: 1e6)
    explainer = ClaDec(small_net(), "conv1", device="cpu").fit(GOOD, epochs=3, time_budget=1e-9, progress=False)
    assert explainer.epochs == {"conv1": {"cladec": 3, "reference": 3}}
    monkeypatch.setattr(fitting, "MOST_EPOCHS", 6)
    monkeypatch.setattr(fitting, "FLAT", 1.0)
    explainer = ClaDec(small_net(), "conv1", device="cpu", reference="own").fit(GOOD, progress=False)
    assert explainer.epochs == {"conv1": {"cladec": 12, "reference": 12}}


def test_trainings_go_on_in_rounds_until_the_loss_is_flat(monkeypatch, short_rounds):
    def epochs(flat, **how):
        monkeypatch.setattr(fitting, "FLAT", flat)
        return ClaDec(small_net(), "conv1", device="cpu", reference="own").fit(GOOD, progress=False, **how).epochs

    assert epochs(1.0) == {"conv1": {"cladec": 6, "reference": 6}}  # no progress is enough: flat after the second round
    monkeypatch.setattr(task, "MOST_ROUNDS", {"cladec": 2, "reference": 5})
    assert epochs(-1e9) == {"conv1": {"cladec": 6, "reference": 15}}  # any is
    assert epochs(1.0, epochs=40) == {"conv1": {"cladec": 40, "reference": 40}}  # nothing ends what was asked for


def test_a_round_that_makes_it_worse_is_taken_back(monkeypatch):
    training = fitting.Training(
        "made up", nn.Identity(), nn.Linear(3, 3), 1, nn.functional.mse_loss, (torch.rand(40, 3),), 0, PRACTICAL,
        ON, 40,
    )  # fmt: skip
    losses = iter([3.0, 2.0, 2.5])
    monkeypatch.setattr(fitting.Training, "loss_held_out", lambda self: next(losses))
    course = fitting.Course(training, False, epochs=1, most=9, budget=1e9)
    weights = []
    for jobs in iter_rounds(course):
        assert [job.epochs for job in jobs] == [1]
        with torch.no_grad():
            training.decoder.weight.add_(1)
        weights.append(training.decoder.weight.detach().clone())
    assert course.flat
    assert course.losses == [3.0, 2.0, 2.5]
    assert torch.equal(training.decoder.weight, weights[1])
    assert course.done == 3


def iter_rounds(course):
    """What a driver is asked for; each training is answered with the history of one epoch."""
    rounds = fitting.in_rounds([course])
    jobs = next(rounds)
    while True:
        yield jobs
        try:
            jobs = rounds.send([training.History([0.0])])
        except StopIteration:
            return


def test_activations_are_recomputed_where_they_do_not_fit(monkeypatch):
    kept = fitted(small_net(), reference="own", epochs=3)
    monkeypatch.setattr(intake, "free_memory", lambda device: 1000)
    torch.manual_seed(0)
    recomputed = fitted(copy.deepcopy(kept._logits.model), reference="own", epochs=3)
    assert any("recomputed for each batch" in note for note in recomputed.notes)
    assert any("are kept" in note for note in kept.notes)
    first, second = (explainer.explain(GOOD[:4]).reconstruction for explainer in (kept, recomputed))
    torch.testing.assert_close(first, second, atol=2e-2, rtol=0)  # bfloat16 where the CPU has it


def test_same_seed_repeats_and_another_does_not():
    net = small_net()
    first, second, other = (fitted(net, seed=seed).explain(GOOD[:4]).reconstruction for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_decoder_learns():
    blobs = torch.zeros(64, 1, 16, 16)
    for image, (row, column) in zip(blobs, torch.randint(0, 12, (64, 2)), strict=True):
        image[0, row : row + 4, column : column + 4] = 1
    explainer = ClaDec(small_net(1), "conv2", device="cpu").fit(blobs, epochs=60, progress=False)
    mean = (blobs - blobs.mean(0)).square().mean().item()
    assert explainer.explain(blobs).losses.cladec.mean() < 0.7 * mean


@pytest.mark.parametrize("labels_in", ["argument", "dataset", "loader"])
def test_alpha_needs_labels_and_changes_what_is_learnt(labels_in):
    net, labels = small_net(), torch.arange(32) % CLASSES
    plain = fitted(net, epochs=2).explain(GOOD[:4])
    source = TensorDataset(GOOD, labels)
    given = {"argument": (GOOD, labels.tolist()), "dataset": (source,), "loader": (DataLoader(source, 8),)}[labels_in]
    mixed = ClaDec(net, "conv1", alpha=0.999, device="cpu").fit(*given, epochs=2, progress=False).explain(GOOD[:4])
    assert not torch.equal(plain.reconstruction, mixed.reconstruction)
    assert torch.equal(plain.reference, mixed.reference)


def test_several_layers_and_a_single_neuron():
    explainer = ClaDec(small_net(), layers=["conv1", "head"], channels=2, device="cpu").fit(
        GOOD, epochs=1, progress=False
    )
    found = explainer.explain((GOOD[:3] * 255).byte())
    assert list(found) == ["conv1", "head"]
    assert [part.settings["code"] for part in explainer._built.values()] == [[1, 8, 8], [1]]
    assert len(found.show(images=1).axes) == 7
    assert torch.equal(found["head"].original, (GOOD[:3] * 255).byte().float() / 255)


def test_trainings_can_be_done_by_another_driver_side_by_side():
    whole = fitted(small_net(), "conv2", epochs=2)
    explainers = [ClaDec(whole._logits.model, "conv2", seed=seed, device="cpu") for seed in (0, 1)]
    asked = [one.trainings(GOOD, epochs=2, progress=False) for one in explainers]
    jobs = [next(trainings) for trainings in asked]
    assert [[job.label for job in pair] for pair in jobs] == [["conv2 ClaDec", "conv2 reference"]] * 2
    with pytest.raises(UsageError, match="not fitted"):
        explainers[0].explain(GOOD)
    histories = training.fit_many([job for pair in jobs for job in pair], branches=4)
    for trainings, found, one in zip(asked, (histories[:2], histories[2:]), explainers, strict=True):
        with pytest.raises(StopIteration):
            trainings.send(found)
        assert one.epochs == {"conv2": {"cladec": 2, "reference": 2}}
    first, second = (one.explain(GOOD[:4]).reconstruction for one in explainers)
    assert torch.equal(first, whole.explain(GOOD[:4]).reconstruction)
    assert not torch.equal(first, second)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def two_trainings(*behind: nn.Module, loss=training.reconstruction_loss):
    """Trainings of two small networks, each with weights of its own."""
    jobs = []
    for seed in (0, 1):
        with training.seeded(seed):
            model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), *behind, nn.Conv2d(8, 3, 1))
        how = {"epochs": 2, "seed": seed, "batch_size": 16, "on": ON, "label": f"number {seed}"}
        jobs.append(training.Job(model, GOOD, (GOOD,), loss, training.ADAM, **how))
    return jobs


def test_trainings_side_by_side_are_those_that_one_core_does_one_after_the_other(monkeypatch, two_threads):
    fit, seen = training.fit, []
    both = threading.Barrier(2, timeout=60)  # each waits for the other, so that neither can follow

    def watched(job):
        both.wait()
        seen.append((threading.current_thread(), torch.get_num_threads()))
        return fit(job)

    state = torch.get_rng_state()
    jobs, alone = two_trainings(), two_trainings()
    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", watched)
        histories = fitting.side_by_side(jobs)
    assert torch.get_num_threads() == 2
    assert torch.equal(torch.get_rng_state(), state)
    assert len({thread for thread, _ in seen}) == 2
    assert [count for _, count in seen] == [1, 1]
    torch.set_num_threads(1)
    assert [fit(job) for job in alone] == histories
    for job, other in zip(jobs, alone, strict=True):
        for name, value in job.model.state_dict().items():
            assert torch.equal(value, other.model.state_dict()[name])


def test_trainings_that_draw_random_numbers_follow_one_another(monkeypatch, two_threads):
    monkeypatch.setattr(training, "fit_many", lambda jobs: ["followed"] * len(jobs))
    assert fitting.side_by_side(two_trainings(nn.Dropout(0.5))) == ["followed"] * 2
    torch.set_num_threads(1)
    assert fitting.side_by_side(two_trainings()) == ["followed"] * 2  # a single core is not shared


def test_trainings_in_bf16_run_side_by_side_too(two_threads):
    """On a processor that has it, the activations are kept in bf16, and the weights in float32."""
    how = {"on": replace(ON, dtype=torch.bfloat16), "inputs": GOOD.bfloat16()}
    jobs, alone = ([replace(job, **how) for job in two_trainings()] for _ in range(2))
    histories = fitting.side_by_side(jobs)
    torch.set_num_threads(1)
    assert [training.fit(job) for job in alone] == histories


def test_a_training_that_diverges_stops_the_one_beside_it(two_threads):
    failing, endless = two_trainings(loss=lambda output, target: output.mean() / (GOOD * 0).sum())
    endless = replace(endless, loss=training.reconstruction_loss, epochs=10**6)
    with pytest.raises(RunError, match="number 0: the loss is"):
        fitting.side_by_side([failing, endless])
    assert torch.get_num_threads() == 2


def test_a_protocol_decides_how_long_and_on_which_images(monkeypatch):
    asked = []
    monkeypatch.setattr(
        fitting,
        "side_by_side",
        lambda jobs: asked.extend(jobs) or [training.History([0.0] * job.epochs) for job in jobs],
    )
    how = replace(PAPER, epochs=3, mean_loss=True, sigmoid=True)
    explainer = ClaDec(small_net(), "conv1", device="cpu", protocol=how).fit(GOOD, time_budget=1e-9, progress=False)
    assert explainer.epochs == {"conv1": {"cladec": 3, "reference": 3}}
    assert all(job.stop is None and torch.equal(job.targets[0], GOOD) for job in asked)  # nothing moved, or held out
    assert {job.recipe for job in asked} == {training.ADAM}
    assert [job.batch_size for job in asked] == [32, 32]  # the paper's 128, but there are no more images
    assert [job.loss(torch.ones(2, 3), torch.zeros(2, 3)) for job in asked] == [1, 1]
    decoder = explainer._built["conv1"].decoder
    assert [type(part).__name__ for part in decoder] == ["Sequential"]  # codes are not scaled
    assert isinstance(decoder[0][-1], nn.Sigmoid)
    asked.clear()
    fitted(small_net())
    assert all(len(job.targets[0]) == 16 for job in asked)
    assert {job.recipe for job in asked} == {PRACTICAL.recipe}


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"style": "table2"}, "Unknown decoder style 'table2'; valid: code"), ({"epochs": 0}, "epochs is 0; valid")],
)
def test_a_protocol_that_cannot_be_followed_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        replace(PAPER, **changes)


def test_the_width_of_a_decoder_follows_the_images_and_the_protocol():
    assert [fitting.decoder_width(count) for count in (4999, 5000)] == [32, 64]
    assert fitting.decoder_width(100, PAPER) == 64
    assert fitting.decoder_width(100, replace(PAPER, style="table1")) == 32
