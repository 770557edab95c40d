"""The training engine: a step over fixed tensors, graphs, branches; on a CPU as far as a CPU can tell."""

import copy
import math
import warnings
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cladec_core import training
from cladec_core.networks import convolutions
from cladec_core.training import ADAM, SGD, Compute, Recipe, graphs, loop

CPU = torch.device("cpu")
HALF = Compute(CPU, torch.bfloat16)
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def network(seed=0):
    """Everything that has a state: convolutions of several layouts, BatchNorm, dropout."""
    with training.seeded(seed):
        return nn.Sequential(
            nn.Conv2d(2, 4, 3, 2, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
            convolutions.Conv2d(4, 6, 3, 2, padding=1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(6, 3),
        )  # fmt: skip


@pytest.fixture(scope="module")
def task():
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(45, 2, 4, 4, generator=generator)
    return SimpleNamespace(inputs=inputs, labels=torch.randint(3, (45,), generator=generator))


def job(task, on, seed=3, **changes):
    usual = training.Job(
        network(seed), task.inputs, (task.labels,), training.classification_loss, SGD, epochs=3, seed=seed, on=on,
        batch_size=10,
    )  # fmt: skip
    return replace(usual, **changes)


def same(first, second):
    (history, model), (again, other) = first, second
    tensors = zip(model.state_dict().values(), other.state_dict().values(), strict=True)
    return history == again and all(torch.equal(tensor, twin) for tensor, twin in tensors)


def trained(job):
    return training.fit(job), job.model


def plain_loop(model, inputs, labels, recipe, epochs, seed, size, decays):
    """What a reader would write: float32, NCHW, an unfused optimiser, a schedule by hand."""
    kind = {"sgd": lambda *a, **k: torch.optim.SGD(*a, momentum=0.9, **k), "adam": torch.optim.Adam}[recipe.optimiser]
    optimiser = kind(model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=False)
    order = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    model.train()
    losses = []
    for _ in range(epochs):
        for rows in torch.randperm(len(inputs), generator=order)[: len(inputs) // size * size].split(size):
            if len(losses) in decays:
                optimiser.param_groups[0]["lr"] *= 0.1
            loss = F.cross_entropy(model(inputs[rows]), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    return [sum(losses[at : at + len(losses) // epochs]) / (len(losses) // epochs) for at in range(0, len(losses), 4)]


@pytest.mark.parametrize("recipe", [Recipe("sgd", 0.02, 1e-4), ADAM], ids=lambda recipe: recipe.optimiser)
@pytest.mark.parametrize(("precision", "tolerance"), [(torch.float32, 1e-4), (torch.bfloat16, 0.03)])
def test_convolutions_train_as_in_the_plain_loop(task, recipe, precision, tolerance):
    # 52 steps, with decays before steps 24 and 47.
    found, _ = trained(job(task, Compute(CPU, precision), recipe=recipe, epochs=13))
    expected = plain_loop(network(3), task.inputs, task.labels, recipe, 13, 3, 10, {24, 47})
    assert found == pytest.approx(expected, rel=tolerance)
    assert found[-1] < found[0]


def test_a_single_step_has_the_whole_learning_rate(task, on):
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    job = training.Job(
        model, torch.ones(4, 1), (), lambda output: output.mean(), Recipe("sgd", 0.5, 0.0), epochs=1, seed=0, on=on
    )
    training.fit(job)
    assert model.weight.item() == 0.5


@pytest.mark.parametrize("steps", [1, 2, 7, 64, 100])
def test_learning_rates_fall_twice_by_ten(steps):
    marks = {round(29 / 64 * steps), round(58 / 64 * steps)}
    rates = loop.learning_rates(0.1, steps).tolist()
    for step, rate in enumerate(rates):
        assert rate == pytest.approx(0.1 ** (1 + sum(0 < mark <= step for mark in marks)))


def test_weights_and_gradients_share_one_order_in_memory(task, on):
    """The CPU's fused kernels pair weights and gradients by their place in memory, whatever the strides say."""
    seen = []

    class Spy(loop.Step):
        def __init__(self, *args):
            super().__init__(*args)
            self.learner.optimiser.register_step_pre_hook(self.look)

        def look(self, *_):
            seen.extend(weight.stride() == weight.grad.stride() for weight in self.learner.weights)
            seen.extend(
                weight.data_ptr() == parameter.data_ptr()
                for weight, parameter in zip(self.learner.weights, self.learner.trained, strict=True)
            )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "Step", Spy)
        training.fit(job(task, on, epochs=1))
    assert len(seen) == 4 * 2 * 7
    assert all(seen)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_batch_arrives_in_the_layout_and_precision_of_the_arithmetic(task, precision):
    seen = []
    model = network()
    model[0].register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    training.fit(job(task, Compute(CPU, precision), model=model, epochs=1))
    order = torch.randperm(45, generator=torch.Generator().manual_seed(3))[:40].split(10)
    for batch, rows in zip(seen[-4:], order, strict=True):  # before them, bf16 may be tried, once in a process
        assert torch.equal(batch, task.inputs[rows].to(precision))
        assert batch.is_contiguous(memory_format=torch.channels_last)


class Counter(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.calls = {}

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.calls[function] = self.calls.get(function, 0) + 1
        return function(*args, **(kwargs or {}))


def test_the_host_waits_once_per_epoch(task, monkeypatch):
    waits, lists = [], []
    tolist = torch.Tensor.tolist
    monkeypatch.setattr(torch.Tensor, "tolist", lambda tensor: lists.append(1) or tolist(tensor))
    for epochs in (1, 2, 5):
        lists.clear()
        with Counter() as counter:
            training.fit(job(task, HALF, epochs=epochs))  # of which the first is compared with float32
        waits.append((len(lists), counter.calls.get(torch.ops.aten._local_scalar_dense.default, 0)))
    assert waits[1:] == [(2, 1), (5, 1)]  # one for the whole training


def test_stop_ends_after_the_epoch_that_it_is_told(task, on):
    seen = []

    def enough(history):
        seen.append(list(history))
        return len(history) == 2

    history, model = trained(job(task, on, epochs=5, stop=enough))
    assert seen == [history[:1], history]
    assert len(history) == 2
    assert not model.training
    assert all(parameter.grad is None for parameter in model.parameters())


class Recorder:
    """Stands in for a CUDA graph: does nothing when it captures, and the same again at each replay."""

    def __init__(self):
        self.captures, self.replays, self.places = 0, 0, set()

    def __call__(self, work):
        self.captures += 1

        def replay():
            self.replays += 1
            step = work.__closure__[1].cell_contents
            weights = [weight for _, weight in step.optimised]
            buffers = (step.inputs, step.order, step.rates, step.rate, step.position, step.losses, *weights)
            self.places.add(tuple(buffer.data_ptr() for buffer in buffers))
            work()

        return replay


@pytest.mark.parametrize("recipe", [SGD, ADAM], ids=lambda recipe: recipe.optimiser)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_captured_training_is_the_plain_one_bit_for_bit(task, monkeypatch, recipe, dtype):
    """Above all: the steps that warm up leave no trace in weights, statistics, momenta or random numbers."""
    recorder = Recorder()
    monkeypatch.setattr(graphs, "record", recorder)
    before = torch.get_rng_state()
    captured = trained(job(task, Compute(CPU, dtype, graph=True), recipe=recipe))
    assert torch.equal(torch.get_rng_state(), before)
    assert same(captured, trained(job(task, Compute(CPU, dtype), recipe=recipe)))
    # 4 steps an epoch fit into one graph; everything that it reads or writes stays where it is.
    assert (recorder.captures, recorder.replays, len(recorder.places)) == (1, 3, 1)


def test_a_graph_holds_a_divisor_of_the_steps(task, monkeypatch):
    for size, (at_once, replays) in {3: (5, 9), 2: (11, 6), 1: (9, 15)}.items():
        lengths = []
        run = loop.Step.run

        def counted(step, steps, lengths=lengths, run=run):
            lengths.append(steps)
            run(step, steps)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop.Step, "run", counted)
            patch.setattr(graphs, "record", lambda work: work)
            targets = (task.labels.float(),)
            job = training.Job(
                nn.Linear(32, 1), task.inputs.flatten(1), targets, lambda output, label: (output[:, 0] - label).mean(),
                SGD, epochs=3, seed=0, on=Compute(CPU, torch.float32, graph=True), batch_size=size,
            )  # fmt: skip
            training.fit(job)
        assert lengths == [1] * 3 + [at_once] * replays


def test_without_a_graph_the_training_goes_on_and_says_so(task, on, monkeypatch):
    def refuse(work):
        raise RuntimeError("operation not permitted when stream is capturing\nand much more")

    monkeypatch.setattr(graphs, "record", refuse)
    with pytest.warns(UserWarning, match=r"^decoder conv3: no CUDA graph \(operation .* capturing\); it is trained"):
        captured = trained(job(task, Compute(CPU, torch.float32, graph=True), label="decoder conv3"))
    assert same(captured, trained(job(task, on)))


def test_memory_that_runs_out_in_a_capture_is_no_reason_to_go_on(task, monkeypatch):
    def refuse(work):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(graphs, "record", refuse)
    with pytest.raises(torch.OutOfMemoryError):
        training.fit(job(task, Compute(CPU, torch.float32, graph=True)))


def jobs(task, on):
    kinds = [{}, {"recipe": ADAM, "epochs": 5}, {"batch_size": 16}, {"stop": lambda history: len(history) == 2}]
    return [job(task, on, seed, **changes) for seed, changes in enumerate(kinds)]


@pytest.mark.parametrize("branches", [None, 1, 2, 4])
def test_a_branch_is_bit_for_bit_what_the_training_is_alone(task, on, branches):
    before = torch.get_rng_state()
    several = jobs(task, on)
    histories = training.fit_many(several, branches=branches)
    assert torch.equal(torch.get_rng_state(), before)
    for history, branch, alone in zip(histories, several, jobs(task, on), strict=True):
        assert same((history, branch.model), trained(alone))


def test_branches_take_turns_epoch_by_epoch(task, on):
    turns = []

    def note(name):
        return lambda history: turns.append((name, len(history)))

    several = [job(task, on, epochs=2, stop=note(name)) for name in "abc"]
    training.fit_many(several, branches=2)
    assert turns == [("a", 1), ("b", 1), ("a", 2), ("b", 2), ("c", 1), ("c", 2)]
    assert training.fit_many([]) == []


def test_where_memory_runs_out_fewer_train_at_once(task, on):
    calls = []

    def scarce(output, labels):
        calls.append(len(calls))
        if len(calls) == 6:  # in the second branch, before the third has done anything
            raise torch.OutOfMemoryError("out of memory")
        return F.cross_entropy(output, labels)

    several = [job(task, on, seed, loss=scarce) for seed in range(3)]
    with pytest.warns(UserWarning, match="out of memory; at most 1 trainings at once"):
        histories = training.fit_many(several, branches=3)
    for seed, history in enumerate(histories):
        assert same((history, several[seed].model), trained(job(task, on, seed)))
    calls.clear()
    with pytest.raises(torch.OutOfMemoryError):
        training.fit_many([job(task, on, loss=scarce)])


def test_a_manifest_tells_a_run_that_may_not_repeat(monkeypatch):
    assert "deterministic" not in HALF.description
    assert Compute(CPU, torch.float32, deterministic=False).description.endswith(", not deterministic")
    assert training.compute("cpu").deterministic
    assert not training.compute("cpu").graph
    monkeypatch.setenv("CLADEC_DETERMINISTIC", "0")
    assert not training.compute("cpu").deterministic


@needs_cuda
@pytest.mark.parametrize("recipe", [SGD, ADAM], ids=lambda recipe: recipe.optimiser)
def test_cuda_graphs_give_what_single_steps_give(task, recipe):
    on = training.compute("cuda")
    here = SimpleNamespace(inputs=task.inputs.to(on.device), labels=task.labels.to(on.device))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        captured = trained(job(here, on, recipe=recipe))
    plain = trained(job(here, Compute(on.device, on.dtype), recipe=recipe))
    assert same(captured, plain)
    assert all(math.isfinite(value) for value in captured[0])


@needs_cuda
def test_cuda_branches_give_what_a_training_gives_alone(task):
    on = training.compute("cuda")
    here = SimpleNamespace(inputs=task.inputs.to(on.device), labels=task.labels.to(on.device))
    several = jobs(here, on)
    outside = torch.cuda.get_rng_state()
    histories = training.fit_many(several)
    assert torch.equal(torch.cuda.get_rng_state(), outside)
    for history, branch, alone in zip(histories, several, jobs(here, on), strict=True):
        assert same((history, branch.model), trained(copy.copy(alone)))
