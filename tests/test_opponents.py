"""Two networks that are trained in turn by the one loop: order, batches, gradients, rates; graphs and shared memory."""

import copy
import itertools
from dataclasses import dataclass, replace

import pytest
import torch
from torch import nn

from cladec_companion.engine import estimate
from cladec_core import training
from cladec_core.training import ADAM, Compute, Recipe, graphs, state
from tests.test_engine import CPU, Recorder, needs_cuda

EXACT = Compute(CPU, torch.float32)
QUICK, SLOW = Recipe("adam_without_momentum", 1e-2, 0.0), Recipe("adam", 1e-3, 1e-3)


class Noisy(nn.Sequential):
    """A chain of modules that is given its inputs with noise."""

    def forward(self, inputs):
        return super().forward(inputs + torch.randn_like(inputs))


@dataclass(frozen=True)
class Gap:
    """What a critic learns, to tell outputs from targets; with the other sign, what the model learns."""

    critic: nn.Module
    sign: float

    def __call__(self, output, targets):
        return self.sign * (self.critic(output).tanh() - self.critic(targets).tanh()).mean()


def duel(on=EXACT, chain=nn.Sequential, **changes):
    """A model of 3 values to 2, with BatchNorm, against a critic; 45 rows, batches of 5, two steps of the critic."""
    generator = torch.Generator().manual_seed(1)
    inputs, targets = (torch.randn(45, width, generator=generator).to(on.device) for width in (3, 2))
    with training.seeded(2):
        model = chain(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        critic = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    opponent = training.Opponent(critic, Gap(critic, 1.0), QUICK, steps=2)
    usual = {"epochs": 13, "seed": 3, "batch_size": 5, "opponent": opponent, "on": on}
    return training.Job(model, inputs, (targets,), Gap(critic, -1.0), SLOW, **(usual | changes))


def plain(job):
    """What a reader would write: two optimisers by hand; 52 steps, with decays before steps 24 and 47."""
    model, critic = (network.train() for network in job.networks)
    adam = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-3, foreach=False)
    without = torch.optim.Adam(critic.parameters(), lr=1e-2, betas=(0.0, 0.9), foreach=False)
    order = torch.Generator().manual_seed(job.seed)
    losses = []
    for _ in range(job.epochs):
        for batches in torch.randperm(45, generator=order)[:40].view(4, 2, 5):
            if len(losses) in {24, 47}:
                for optimiser in (adam, without):
                    optimiser.param_groups[0]["lr"] *= 0.1
            for rows in batches:
                drawn = model(job.inputs[rows]).detach()
                without.zero_grad()
                job.opponent.loss(drawn, job.targets[0][rows]).backward()
                without.step()
            loss = job.loss(model(job.inputs[rows]), job.targets[0][rows])
            adam.zero_grad()
            loss.backward()
            adam.step()
            losses.append(loss.item())
    return losses


def ended(job):
    history = training.fit(job)
    return history.steps, job.networks.state_dict()


def same(first, second):
    (losses, tensors), (others, twins) = first, second
    return losses == others and all(torch.equal(tensor, twins[name]) for name, tensor in tensors.items())


def test_two_networks_are_trained_in_turn_as_in_a_plain_loop():
    ours, theirs = duel(), duel()
    found = training.fit(ours)
    assert found.steps == pytest.approx(plain(theirs), rel=1e-4, abs=1e-5)
    for tensor, twin in zip(ours.networks.parameters(), theirs.networks.parameters(), strict=True):
        torch.testing.assert_close(tensor, twin, rtol=1e-3, atol=1e-4)
    assert not any(network.training for network in ours.networks)
    assert all(parameter.grad is None for parameter in ours.networks.parameters())


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_the_opponent_has_its_steps_before_each_of_the_model(steps):
    job, turns = duel(epochs=2), []

    def told(name, loss):
        def value(output, targets):
            before = {key: copy.deepcopy(part.state_dict()) for key, part in zip("mc", job.networks, strict=True)}
            turns.append((name, output.requires_grad, before, targets))
            return loss(output, targets)

        return value

    opponent = replace(job.opponent, loss=told("critic", job.opponent.loss), steps=steps)
    training.fit(replace(job, opponent=opponent, loss=told("model", job.loss)))
    count = 45 // (5 * steps)
    assert [name for name, *_ in turns] == (["critic"] * steps + ["model"]) * count * 2
    assert all(requires == (name == "model") for name, requires, *_ in turns)
    for (name, _, before, _), (_, _, after, _) in itertools.pairwise(turns):
        learnt = [key for key in "mc" if not torch.equal(*(weights(part[key]) for part in (before, after)))]
        assert learnt == (["m"] if name == "model" else ["c"])
    shown = torch.cat([targets for name, *_, targets in turns[: len(turns) // 2] if name == "critic"])
    assert len(shown.unique(dim=0)) == count * steps * 5  # no image twice in an epoch
    assert torch.equal(turns[steps - 1][3], turns[steps][3])


def weights(tensors):
    return torch.cat([tensor.flatten() for name, tensor in tensors.items() if name.endswith(("weight", "bias"))])


def test_a_captured_duel_is_the_plain_one_bit_for_bit(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(graphs, "record", recorder)
    captured = ended(duel(Compute(CPU, torch.float32, graph=True), Noisy))
    assert (recorder.captures, recorder.replays, len(recorder.places)) == (1, 13, 1)
    assert same(captured, ended(duel(chain=Noisy)))
    assert not same(captured, ended(duel(chain=Noisy, seed=4)))


def test_both_networks_begin_again_where_memory_ran_out():
    calls = []

    class Scarce(Gap):
        def __call__(self, output, targets):
            calls.append(1)
            if len(calls) == 20:
                raise torch.OutOfMemoryError("out of memory")
            return super().__call__(output, targets)

    jobs = [duel(chain=Noisy, seed=seed) for seed in range(2)]
    jobs = [replace(job, loss=Scarce(job.opponent.model, -1.0)) for job in jobs]
    with pytest.warns(UserWarning, match="out of memory; at most 1 trainings at once"):
        histories = training.fit_many(jobs, branches=2)
    for seed, (job, history) in enumerate(zip(jobs, histories, strict=True)):
        assert same((history.steps, job.networks.state_dict()), ended(duel(chain=Noisy, seed=seed)))


def test_the_opponent_is_in_the_key_of_a_state():
    job = duel()
    changes = [{"steps": 3}, {"recipe": ADAM}, {"loss": Gap(job.opponent.model, 2.0)}]
    keys = {state.key_of(replace(job, opponent=replace(job.opponent, **change))) for change in [{}, *changes]}
    job.opponent.model[0].bias.requires_grad_(False)
    keys.add(state.key_of(job))
    job.opponent.model[0].bias.data += 1
    keys.add(state.key_of(job))
    keys.add(state.key_of(replace(job, opponent=None)))
    assert len(keys) == 7


def test_a_duel_is_computed_in_float32():
    assert same(ended(duel(Compute(CPU, torch.bfloat16))), ended(duel()))


def test_a_plan_counts_the_steps_of_both_networks():
    """Multiplications of one image: Linear(3, 4) 12, Linear(4, 2) 8; of the critic, Linear(2, 8) 16, Linear(8, 1) 8."""
    model, critic = 2 * 20, 2 * 24
    on_targets = 2 * critic + 2 * 8  # forward, weights; the gradient of what is given, but for the data themselves
    of_model = 2 * model + 2 * 8 + 3 * critic + on_targets
    of_critic = model + 2 * on_targets
    job = duel()
    job.networks.to("meta")
    assert estimate.operations(job) == of_model / 2 + of_critic
    assert estimate.operations(replace(job, opponent=None)) == of_model


@needs_cuda
def test_cuda_graphs_give_what_single_steps_of_a_duel_give():
    on = training.compute("cuda")
    assert same(ended(duel(on, Noisy)), ended(duel(replace(on, graph=False), Noisy)))
