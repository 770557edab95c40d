"""One step of a training, on tensors that keep their place in memory."""

from typing import Any

import torch
from torch import Tensor

from cladec_core.training.devices import precision
from cladec_core.training.job import Job, Opponent, Recipe

# The second is for GANs (Gulrajani et al., 2017): momentum would carry on what the opponent has answered since.
ADAM_BETAS = {"adam": (0.9, 0.999), "adam_without_momentum": (0.0, 0.9)}


class Learner:
    """One network of a training, with its loss and its optimiser."""

    def __init__(self, of: Job | Opponent, rate: Tensor) -> None:
        self.loss = of.loss
        self.trained = [parameter for parameter in of.model.parameters() if parameter.requires_grad]
        # The optimiser sees each weight, and below each gradient, in the order of memory: the CPU's fused kernels copy
        # anything else in every step.
        self.weights = [_in_memory_order(parameter.detach()) for parameter in self.trained]
        self.optimiser = _optimiser(self.weights, of.recipe, rate)

    def learn(self, value: Tensor, alone: bool) -> None:
        """Descend one step on a loss; `alone` says that it depends on no other network that learns."""
        value.backward(inputs=None if alone else self.trained)
        for parameter, weight in zip(self.trained, self.weights, strict=True):
            weight.grad = None if parameter.grad is None else _in_memory_order(parameter.grad)
            parameter.grad = None
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)


class Step:
    """One step of a training: gather a batch by index, forward, loss, backward, optimiser, learning rate.

    Whatever changes from step to step is read from tensors that keep their place in memory. So a CUDA graph can
    replay the same step, and nothing has to come from the host within an epoch. An opponent's steps come before the
    model's, in the same step of the training.
    """

    def __init__(self, job: Job, shape: tuple[int, int, int]) -> None:
        self.model, self.targets, self.on, self.networks = job.model, job.targets, job.on, job.networks
        on, inputs = job.on, job.inputs
        inputs = inputs.to(on.dtype) if inputs.is_floating_point() else inputs  # once, not in each step
        self.maps = inputs.ndim == 4
        # A batch that is gathered from rows in channels-last order has the layout that convolutions want.
        self.inputs = _in_memory_order(inputs).contiguous()
        # The kernels take a double on the CPU, and a float32 on the device elsewhere.
        precision = torch.float64 if on.device.type == "cpu" else torch.float32
        self.order = torch.zeros(shape, dtype=torch.int64, device=on.device)
        self.rates = torch.zeros(shape[0], len(self.networks), dtype=precision, device=on.device)
        self.rate = torch.zeros(len(self.networks), dtype=precision, device=on.device)
        self.position = torch.zeros(1, dtype=torch.int64, device=on.device)
        self.losses = torch.zeros(shape[0], device=on.device)  # of each step of the epoch
        self.learner = Learner(job, self.rate[0])
        self.opponent = Learner(job.opponent, self.rate[1]) if job.opponent else None

    @property
    def optimised(self) -> list[tuple[torch.optim.Optimizer, Tensor]]:
        """Each weight that is trained, with its optimiser."""
        learners = [self.learner, *([self.opponent] if self.opponent else [])]
        return [(learner.optimiser, weight) for learner in learners for weight in learner.weights]

    def begin_epoch(self, order: Tensor, rates: Tensor, place: int = 0) -> None:
        """Take the rows (steps, batches, size) and learning rates (steps, networks) of an epoch after `place` steps."""
        self.order.copy_(order)
        self.rates.copy_(rates)
        self.position.fill_(place)

    def run(self, steps: int) -> None:
        """Do some steps; puts their losses into `losses` without waiting for the device."""
        for _ in range(steps):
            rows = self.order.index_select(0, self.position)[0]
            self.rate.copy_(self.rates.index_select(0, self.position)[0])
            if self.opponent:
                for part in rows:
                    self._learn(self.opponent, part)
            value = self._learn(self.learner, rows[-1])
            self.losses.index_copy_(0, self.position, value.detach().float().view(1))
            self.position += 1

    def _learn(self, learner: Learner, rows: Tensor) -> Tensor:
        """Let one of the networks learn from a batch; returns the loss."""
        batch = self.inputs.index_select(0, rows)
        with precision(self.on):
            with torch.set_grad_enabled(learner is self.learner):
                output = self.model(batch.permute(0, 3, 1, 2) if self.maps else batch).float()
            value: Tensor = learner.loss(output, *(target.index_select(0, rows) for target in self.targets))
        learner.learn(value, self.opponent is None)
        return value


def _optimiser(weights: list[Tensor], recipe: Recipe, rate: Tensor) -> torch.optim.Optimizer:
    common: dict[str, Any] = {"lr": rate, "weight_decay": recipe.weight_decay, "fused": True}
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(weights, momentum=0.9, **common)
    betas = ADAM_BETAS[recipe.optimiser]
    return torch.optim.Adam(weights, betas=betas, capturable=rate.device.type == "cuda", **common)


def _in_memory_order(maps: Tensor) -> Tensor:
    """View (n, channels, height, width) as (n, height, width, channels); anything else stays as it is."""
    return maps.permute(0, 2, 3, 1) if maps.ndim == 4 else maps
