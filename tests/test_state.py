"""The state of a training: interrupted or killed at any moment, it ends bit for bit as if nothing had happened."""

import errno
import hashlib
import json
import multiprocessing
import os
import random
import signal
import warnings
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from cladec_core import networks, training
from cladec_core.errors import RunError
from cladec_core.training import ADAM, SGD, Compute, Interrupted, Recipe, graphs, loop, state
from tests.test_engine import Recorder, network

CPU = torch.device("cpu")
RECIPES = {"sgd": SGD, "adam": ADAM}


class Drawn(nn.Sequential):
    """Draws images from noise, one for each that it is shown."""

    def forward(self, images):
        return super().forward(torch.randn(len(images), 3))


def opposed():
    """A model and its opponent, which both draw random numbers; two steps of the opponent before each of the model."""
    model = Drawn(nn.Linear(3, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Linear(64, 1024), nn.Unflatten(1, (1, 32, 32)))
    critic = nn.Sequential(nn.Conv2d(1, 4, 4, 4), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3), nn.Linear(256, 1))
    against = training.Opponent(critic, partial(_gap, critic), Recipe("adam_without_momentum", 1e-3, 0.0), steps=2)
    return model, partial(_refused, critic), against


def _gap(critic, drawn, images):
    return (critic(drawn) - critic(images)).mean().square()


def _refused(critic, drawn, images):
    return critic(drawn).square().mean() + drawn.mean().square()


def job(folder, recipe, **changes):
    """VGG-11, narrow, with BatchNorm and dropout: 4 epochs of 12 steps, whose state is written after every one."""
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.randn(200, 1, 32, 32, generator=generator), torch.randint(10, (200,), generator=generator)
    with training.seeded(2):
        model = networks.classifier("vgg11", 1, 10, 0.125)
    usual = {"epochs": 4, "seed": 3, "batch_size": 16, "save_every": 0.0, "state": folder / "training.state"}
    if recipe == "opposed":
        with training.seeded(2):
            model, loss, opponent = opposed()
        usual |= {"batch_size": 8, "opponent": opponent, "on": Compute(CPU, torch.float32)}
        return training.Job(model, images, (images,), loss, ADAM, **(usual | changes))
    return training.Job(
        model, images, (labels,), training.classification_loss, RECIPES[recipe],
        **({"on": Compute(CPU, torch.float32)} | usual | changes),
    )  # fmt: skip


def digest(networks, history):
    """Of every bit of the weights and statistics, and of the losses of all steps."""
    found = hashlib.sha256(repr((list(history), history.steps)).encode())
    for tensor in networks.state_dict().values():
        found.update(tensor.contiguous().numpy().tobytes())
    return found.hexdigest()


@pytest.fixture
def whole(tmp_path):
    """Recipe -> what the training ends with that nothing interrupts."""
    found = {}

    def of(recipe, **changes):
        if (recipe, *changes) not in found:
            chosen = job(tmp_path, recipe, state=None, **changes)
            found[recipe, *changes] = digest(chosen.networks, training.fit(chosen))
        return found[recipe, *changes]

    return of


def after(steps):
    """An `interrupt` that lets so many steps pass."""
    asked = iter([False] * steps)
    return lambda: next(asked, True)


def ended(chosen):
    return digest(chosen.networks, training.fit(chosen))


@pytest.mark.parametrize("recipe", ["sgd", "adam", "opposed"])
@pytest.mark.parametrize("stops", [[1], [12], [5, 30], [13, 1, 11, 20], [47], [0]])
def test_a_resumed_training_is_the_uninterrupted_one(tmp_path, whole, recipe, stops):
    for steps in stops:
        with pytest.raises(Interrupted, match=r"^training: interrupted after \d+ of 48 steps$"):
            training.fit(job(tmp_path, recipe, interrupt=after(steps)))
    path = job(tmp_path, recipe).state
    assert training.progress_of(path) == {"label": "training", "done": sum(stops), "steps": 48}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert ended(job(tmp_path, recipe)) == whole(recipe)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("recipe", [SGD, ADAM], ids=lambda recipe: recipe.optimiser)
def test_a_captured_training_is_resumed_bit_for_bit(tmp_path, monkeypatch, recipe):
    monkeypatch.setattr(graphs, "record", Recorder())
    generator = torch.Generator().manual_seed(1)
    inputs, labels = torch.randn(45, 2, 4, 4, generator=generator), torch.randint(3, (45,), generator=generator)

    def chosen(**changes):
        return training.Job(
            network(3), inputs, (labels,), training.classification_loss, recipe, epochs=3, seed=3,
            on=Compute(CPU, torch.float32, graph=True), batch_size=3, **changes,
        )  # fmt: skip

    with pytest.raises(Interrupted):  # 15 steps an epoch, 5 of them in one graph
        training.fit(chosen(state=tmp_path / "state", interrupt=after(4)))
    assert training.progress_of(tmp_path / "state")["done"] == 20
    assert ended(chosen(state=tmp_path / "state")) == ended(chosen())


def train_and_tell(folder, recipe, answers):
    answers.put(None)
    answers.put(ended(job(folder, recipe)))


@pytest.mark.parametrize("recipe", ["sgd", "opposed"])
def test_no_kill_changes_a_training(tmp_path, whole, recipe):
    """20 kills at random moments: while it starts, in a step, while the state is written."""
    expected, longest = whole(recipe), 2.0
    moments, kills, reached = random.Random(0), 0, set()
    processes = multiprocessing.get_context("fork")
    while kills <= 20:
        answers = processes.SimpleQueue()
        process = processes.Process(target=train_and_tell, args=(tmp_path, recipe, answers))
        process.start()
        assert answers.get() is None
        if kills < 20:
            process.join(moments.uniform(0, longest))
            process.kill()
        process.join()
        assert process.exitcode in (-signal.SIGKILL, 0)
        if kills < 20 and process.exitcode == 0:  # it had ended before, and begins again
            longest /= 2
            continue
        kills += 1
        reached.add((training.progress_of(tmp_path / "training.state") or {}).get("done"))
    assert len(reached) > 3
    assert answers.get() == expected
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def half(tmp_path):
    """A training that was interrupted half-way."""
    chosen = job(tmp_path, "adam")
    with pytest.raises(Interrupted):
        training.fit(replace(chosen, interrupt=after(20)))
    return chosen.state


def edited(path, change):
    """Change the line of facts, and its digest with it."""
    line, _, payload = path.read_bytes().partition(b"\n")
    facts = json.loads(line) | change
    facts["digest"] = state._digest(facts, payload)
    path.write_bytes(json.dumps(facts).encode() + b"\n" + payload)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "it is damaged"),
        (lambda path: path.write_bytes(path.read_bytes()[:100]), "it cannot be read"),
        (lambda path: path.write_bytes(b""), "it cannot be read"),
        (lambda path: path.write_bytes(b"\x80\x04garbage\n" * 40), "it cannot be read"),
        (lambda path: path.write_bytes(b"[1, 2]\n"), "it is no state of this version"),
        (lambda path: path.write_bytes(path.read_bytes().replace(b'"done": 20', b'"done": 21')), "it is damaged"),
        (lambda path: edited(path, {"format": 2}), "it is no state of this version"),
        (lambda path: edited(path, {"key": "0" * 64}), "it belongs to another training"),
        (lambda path: (path.unlink(), path.mkdir()), "it cannot be read"),
    ],
)
def test_a_state_that_is_not_whole_costs_a_warning_and_the_time(tmp_path, whole, half, fault, words):
    fault(half)
    with pytest.warns(UserWarning, match=rf"^training: the state in .*training.state is not used, as {words}"):
        assert ended(job(tmp_path, "adam")) == whole("adam")


def flipped(path):
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)


def test_a_single_bit_is_noticed(tmp_path, whole, half):
    flipped(half)
    with pytest.warns(UserWarning, match="it is damaged"):
        assert ended(job(tmp_path, "adam")) == whole("adam")


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 4}, {"epochs": 5}, {"batch_size": 15}, {"recipe": SGD}, {"loss": nn.CrossEntropyLoss()},
        {"loss": training.ClaDecLoss(None, 0.0)}, {"loss": lambda output, labels: output.square().mean()},
        {"on": Compute(CPU, torch.float32, deterministic=False)}, {"stop": lambda history: False},
    ],
)  # fmt: skip
def test_whatever_decides_a_training_is_in_its_key(tmp_path, change):
    chosen = job(tmp_path, "adam")
    assert state.key_of(chosen) == state.key_of(job(tmp_path / "elsewhere", "adam", label="other", interrupt=after(3)))
    assert state.key_of(replace(chosen, **change)) != state.key_of(chosen)


def test_weights_images_labels_and_a_judge_are_in_the_key(tmp_path):
    chosen = job(tmp_path, "adam")
    keys = {state.key_of(chosen)}
    for tensor in (chosen.model.logits.weight.data, chosen.model.conv3[1].running_var, chosen.inputs):
        tensor.flatten()[0] += 1
        keys.add(state.key_of(chosen))
    chosen.targets[0][0] = 9 - chosen.targets[0][0]
    keys.add(state.key_of(chosen))
    judge = nn.Linear(3, 2)
    for _ in range(2):
        keys.add(state.key_of(replace(chosen, loss=training.ClaDecLoss(judge, 0.5))))
        judge.weight.data[0, 0] += 1
    for limit in (1, 2):  # what a function refers to
        keys.add(state.key_of(replace(chosen, stop=lambda history, limit=limit: len(history) == limit)))
        keys.add(state.key_of(replace(chosen, stop=lambda history: len(history) == limit)))  # noqa: B023
    chosen.model.logits.requires_grad_(False)
    keys.add(state.key_of(chosen))
    assert len(keys) == 12


def refusing(number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize("fault", ["full", "read-only"])
def test_a_state_that_cannot_be_written_costs_one_warning(tmp_path, whole, monkeypatch, fault):
    function, number = {"full": ("fsync", errno.ENOSPC), "read-only": ("replace", errno.EROFS)}[fault]
    monkeypatch.setattr(os, function, refusing(number))
    with pytest.warns(UserWarning, match="no state is kept") as seen:
        assert ended(job(tmp_path, "sgd")) == whole("sgd")
    assert [str(warning.message).partition(" (")[0] for warning in seen] == ["training: no state is kept"]
    assert list(tmp_path.iterdir()) == []


def test_a_write_that_fails_keeps_the_state_before_it(tmp_path, whole, half, monkeypatch):
    before = half.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refusing(errno.EIO))
        with pytest.raises(Interrupted), pytest.warns(UserWarning, match="no state is kept"):
            training.fit(job(tmp_path, "adam", interrupt=after(9)))
    assert half.read_bytes() == before
    assert ended(job(tmp_path, "adam")) == whole("adam")


def test_the_state_is_written_only_when_it_is_time(tmp_path, monkeypatch):
    written, clock = [], [0.0]
    monkeypatch.setattr(state.time, "monotonic", lambda: clock[0])

    def write(self, facts, tensors):
        written.append(facts["done"])
        self.last = clock[0]

    monkeypatch.setattr(state.State, "write", write)

    def tick():
        clock[0] += 40
        return False

    training.fit(job(tmp_path, "sgd", save_every=300.0, interrupt=tick))
    assert written == [8, 16, 24, 32, 40, 48]


def test_a_finished_training_can_be_asked_for_again(tmp_path, whole, monkeypatch):
    expected, first = whole("sgd"), job(tmp_path, "sgd", keep_finished=True)
    history = training.fit(first)
    assert training.progress_of(first.state) == {"label": "training", "done": 48, "steps": 48}
    monkeypatch.setattr(loop.Step, "run", None)  # not a step more
    again = job(tmp_path, "sgd", keep_finished=True)
    found = training.fit(again)
    assert digest(again.model, found) == digest(first.model, history) == expected
    assert not again.model.training
    assert found.cost.wall == pytest.approx(history.cost.wall, rel=0.5)


def test_a_training_that_ended_early_is_not_taken_up_again(tmp_path):
    changes = {"keep_finished": True, "stop": lambda history: len(history) == 2}
    history = training.fit(job(tmp_path, "sgd", **changes))
    assert training.fit(job(tmp_path, "sgd", **changes)) == history
    assert len(history) == 2


def test_without_a_file_an_interruption_is_only_the_end(tmp_path):
    with pytest.raises(Interrupted):
        training.fit(job(tmp_path, "sgd", state=None, interrupt=after(3)))
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_not_finite_leaves_no_state(tmp_path):
    chosen = job(tmp_path, "sgd", batch_size=200)
    with pytest.raises(RunError):
        training.fit(replace(chosen, recipe=training.Recipe("sgd", float("nan"), 0.0)))
    assert list(tmp_path.iterdir()) == []


def test_every_training_of_several_keeps_its_state(tmp_path, whole):
    several = [job(tmp_path / name, name, interrupt=after(steps)) for name, steps in (("sgd", 30), ("adam", 17))]
    with pytest.raises(Interrupted):
        training.fit_many([*several, job(tmp_path / "third", "sgd")], branches=2)
    assert [training.progress_of(each.state)["done"] for each in several] == [30, 17]
    assert not (tmp_path / "third").exists()
    again = [job(tmp_path / name, name) for name in ("sgd", "adam")]
    histories = training.fit_many(again, branches=2)
    for name, each, history in zip(("sgd", "adam"), again, histories, strict=True):
        assert digest(each.model, history) == whole(name)


@pytest.mark.parametrize("content", [None, b"", b"nonsense\n", b'{"label": "x"}\n', b"[]\n"])
def test_progress_of_nothing_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "state").write_bytes(content)
    assert training.progress_of(tmp_path / "state") is None


def test_the_cost_of_a_resumed_training_is_that_of_both_parts(tmp_path):
    with pytest.raises(Interrupted):
        training.fit(job(tmp_path, "sgd", interrupt=after(40)))
    path = job(tmp_path, "sgd").state
    edited(path, {"wall": 1000.0, "cpu": 500.0})
    cost = training.fit(job(tmp_path, "sgd")).cost
    assert cost.wall > 1000
    assert 500 < cost.cpu < 1000
