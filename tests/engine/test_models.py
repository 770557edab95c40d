"""Networks are trained once: the cache, what is told of it, and trainings side by side."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cladec_companion.engine import models as cache
from cladec_companion.engine.models import Models, side_by_side
from cladec_companion.engine.setup import Setup
from cladec_companion.papers import settings_for
from cladec_core import training
from cladec_core.errors import RunError
from tests.cells import tensors


@pytest.fixture
def setup(digits, smoke, on):
    return Setup(digits, "vgg11", 0, smoke, on)


def wanted_of(setup):
    return [setup.classifier, setup.decoder("conv4a"), setup.reference("conv4a")]


def same_bits(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def no_training(job):
    raise AssertionError("trained again")


# ---- the cache


def test_a_cached_model_is_bitwise_the_trained_one(setup, tmp_path, monkeypatch):
    def trained(models):
        found = [models.train(wanted) for wanted in wanted_of(setup)]
        return found, [tensors(network) for network in found]

    first, again = Models(tmp_path), Models(tmp_path)
    histories = [network.history for network in trained(first)[0]]
    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", no_training)
        loaded, weights = trained(again)
    assert all(map(same_bits, weights, trained(Models())[1]))  # of trainings without a cache
    assert {path.name for path in tmp_path.iterdir()} == {f"{wanted.key}.pt" for wanted in wanted_of(setup)}
    assert [network.history for network in loaded] == histories
    assert all(len(history) == 1 for history in histories)
    assert not any(module.training for module in loaded[0].modules())
    assert not any(parameter.requires_grad for parameter in loaded[0].parameters())
    assert first.seconds.keys() == {wanted.label for wanted in wanted_of(setup)}
    assert not again.seconds
    other = setup.decoder("penultimate")
    assert same_bits(tensors(again.train(other)), tensors(first.train(other)))


def test_what_is_kept_is_told_and_trained_once(setup, monkeypatch, tmp_path):
    done, told = [], []
    fit = training.fit
    monkeypatch.setattr(training, "fit", lambda job: (done.append(job.label), fit(job))[1])
    models = Models(tmp_path, told=lambda label, seed: told.append(label))
    judge = setup.judge(setup.decoder("conv4a"), "ClaDec conv4a")
    for wanted in [*wanted_of(setup), *wanted_of(setup), judge]:
        models.train(wanted)
    assert told == [wanted.label for wanted in wanted_of(setup)]
    assert len(done) == len(set(done)) == 4
    again = Models(tmp_path, told=lambda label, seed: told.append(label))
    again.train(setup.decoder("conv4a"))
    assert told[3:] == ["classifier", "decoder conv4a"]
    assert len(done) == 4


def test_initial_weights_need_no_cache(setup, tmp_path, monkeypatch):
    monkeypatch.setattr(training, "fit", no_training)
    for calibrated in (True, False):
        initial = setup.changed(encoder_epochs=0, calibrated=calibrated).classifier
        assert Models(tmp_path).train(initial).history == []
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("left", [0, 100, -1], ids=["empty", "its head", "all but a byte"])
def test_a_cached_model_that_was_cut_off_is_trained_again(setup, tmp_path, left, monkeypatch):
    trained = tensors(Models(tmp_path).train(setup.classifier))
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    path.write_bytes(whole[:left])
    with pytest.warns(UserWarning, match=f"classifier is trained again: .*{path.name} cannot be read"):
        assert same_bits(trained, tensors(Models(tmp_path).train(setup.classifier)))
    monkeypatch.setattr(training, "fit", no_training)
    assert same_bits(trained, tensors(Models(tmp_path).train(setup.classifier)))  # from a whole file


@pytest.mark.parametrize("content", [{"weights": {}, "history": []}, {"history": []}, [1]], ids=["no", "none", "list"])
def test_a_file_that_holds_something_else_is_trained_again(setup, tmp_path, content):
    torch.save(content, tmp_path / f"{setup.classifier.key}.pt")
    with pytest.warns(UserWarning, match="classifier is trained again"):
        found = tensors(Models(tmp_path).train(setup.classifier))
    assert same_bits(found, tensors(Models(tmp_path).train(setup.classifier)))


def test_no_flipped_byte_of_a_cached_model_reaches_a_result(setup, tmp_path, monkeypatch):
    trained = tensors(Models(tmp_path).train(setup.classifier))
    (path,) = tmp_path.iterdir()
    whole, numbers = path.read_bytes(), np.random.default_rng(0)
    again = []
    monkeypatch.setattr(training, "fit", lambda job: again.append(1) or training.History([1.0]))
    for place in numbers.integers(len(whole), size=60):
        content = bytearray(whole)
        content[place] ^= 1 << int(numbers.integers(8))
        path.write_bytes(content)
        before = len(again)
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            found = tensors(Models(tmp_path).train(setup.classifier))
        if len(again) == before:  # a byte that means nothing, such as of padding
            assert same_bits(found, trained)
        else:
            assert "classifier is trained again" in str(told[0].message)
    assert len(again) > 30


def test_another_network_under_that_name_leaves_no_weight_behind(setup, tmp_path):
    """A state dict of which a part fits must not be the start of the training."""
    trained = tensors(Models(tmp_path).train(setup.classifier))
    (path,) = tmp_path.iterdir()
    kept = torch.load(path, weights_only=True)
    for change in ({"weights": dict(list(kept["weights"].items())[:3])}, {"steps": [0.0]}, {"digest": "0" * 32}):
        torch.save(kept | change, path)
        with pytest.warns(UserWarning, match=r"trained again: .* \(ValueError: it does not fit its digest\)"):
            assert same_bits(trained, tensors(Models(tmp_path).train(setup.classifier)))
    other = {name: part + 1 for name, part in list(kept["weights"].items())[:3]}
    history = training.History(kept["history"])
    history.steps = kept["steps"]
    torch.save(kept | {"weights": other, "digest": cache._digest(other, history)}, path)
    with pytest.warns(UserWarning, match=r"trained again: .* \(ValueError: it holds another network\)"):
        assert same_bits(trained, tensors(Models(tmp_path).train(setup.classifier)))


def test_an_interrupted_save_is_not_taken_for_a_model(setup, tmp_path, monkeypatch):
    def cut_off(state, path):
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", cut_off)
        with pytest.raises(KeyboardInterrupt):
            Models(tmp_path).train(setup.classifier)
    found = tensors(Models(tmp_path).train(setup.classifier))
    assert same_bits(found, tensors(Models().train(setup.classifier)))


def test_a_full_disk_costs_only_time(setup, monkeypatch, tmp_path):
    def full(state, path):
        path.write_bytes(b"half")
        raise RuntimeError("PytorchStreamWriter failed writing file")

    monkeypatch.setattr(torch, "save", full)
    with pytest.warns(UserWarning, match="classifier is trained, but not kept"):
        assert not Models(tmp_path / "models").train(setup.classifier).training
    assert not list((tmp_path / "models").iterdir())


def test_a_training_that_fails_is_named_and_not_cached(digits, smoke, on, tmp_path):
    broken = replace(digits, train_images=torch.full_like(digits.train_images, torch.inf))
    with pytest.raises(RunError, match="digits vgg11 classifier, seed 3: the loss is nan after epoch 1 of 1"):
        Models(tmp_path).train(Setup(broken, "vgg11", 3, smoke, on).classifier)
    assert not list(tmp_path.iterdir())


def test_a_network_can_take_the_place_of_a_training(setup, monkeypatch):
    models, given = Models(), nn.Identity()
    monkeypatch.setattr(training, "fit", no_training)
    models.have(setup.classifier, given)
    assert models.train(setup.changed(data=setup.data).classifier) is given


# ---- side by side


def small_task(seed, log):
    """Train twice with random numbers in between, as a cell does."""
    numbers = []
    for part in range(2):
        with training.seeded(seed):
            model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 2))
            inputs, labels = torch.randn(40, 4), torch.randint(2, (40,))
        log.append((seed, part))
        numbers += yield training.Job(
            model, inputs, (labels,), training.classification_loss, training.SGD, epochs=2, seed=seed,
            batch_size=8, on=training.Compute(torch.device("cpu"), torch.float32),
        )  # fmt: skip
        numbers += [model[0].weight.sum().item()]
    return numbers


def test_tasks_side_by_side_give_what_each_gives_alone(monkeypatch):
    alone, log, at_once = [side_by_side([small_task(seed, [])])[0] for seed in range(3)], [], []
    fit_many = training.fit_many

    def watched(jobs, **options):
        at_once.append(len(jobs))
        return fit_many(jobs, **options)

    monkeypatch.setattr(training, "fit_many", watched)
    assert side_by_side([small_task(seed, log) for seed in range(3)]) == alone
    assert at_once == [3, 3]
    assert log == [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1), (2, 1)]
    assert len({tuple(numbers) for numbers in alone}) == 3


@pytest.mark.parametrize("when", ["at once", "in its training"])
def test_a_task_that_fails_ends_the_others(when):
    ended = []

    def waits():
        try:
            return (yield from small_task(0, []))
        except BaseException as error:
            ended.append(type(error).__name__)
            raise

    def fails():
        if when == "at once":
            raise RunError("no good")
        job = next(small_task(1, []))
        yield replace(job, inputs=torch.full_like(job.inputs, torch.nan), label="no good")

    with pytest.raises(RunError, match="no good"):
        side_by_side([waits(), fails()])
    assert ended == ["GeneratorExit"]


def test_runs_side_by_side_give_the_networks_of_each_alone(setup, on, digits, tmp_path):
    setups = [setup, Setup(digits, "vgg11", 1, settings_for("layers", "smoke"), on)]
    wanted = [one.decoder("conv4") for one in setups]
    several = [Models(tmp_path), Models(tmp_path)]
    together = side_by_side([models.jobs(one) for models, one in zip(several, wanted, strict=True)])
    for one, network, models in zip(wanted, together, several, strict=True):
        assert same_bits(tensors(network), tensors(Models().train(one)))
        assert models.seconds.keys() == {"classifier", "decoder conv4"}
