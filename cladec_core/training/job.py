"""A training, as the loop is asked for it."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from pathlib import Path

from torch import Tensor, nn

from cladec_core.training.devices import Compute

BATCH_SIZE = 128


@dataclass(frozen=True)
class Recipe:
    """How one kind of model is optimised (section A.0; values the paper omits are the authors' program's)."""

    optimiser: str
    learning_rate: float
    weight_decay: float


SGD = Recipe("sgd", 0.1, 1e-4)


ADAM = Recipe("adam", 3e-4, 1e-5)


@dataclass(frozen=True, eq=False)
class Opponent:
    """A network that is trained in turn with the model of a job, such as the critic of a GAN.

    Attributes
    ----------
    model, recipe
        As of `Job`; the two networks have an optimiser each.
    loss
        `loss(output, *targets)` of a batch, as a scalar. The output is that of the job's model, to which no gradient
        goes back; the job's own loss may use the opponent, which does not learn from it.
    steps
        Of the opponent, before each step of the job's model. Each has a batch of its own, of which the model's step
        has the last one once more; an epoch shows the opponent every image once.
    """

    model: nn.Module
    loss: Callable[..., Tensor]
    recipe: Recipe
    steps: int = 1


@dataclass(frozen=True, eq=False)
class Job:
    """One training, as `fit` is asked for it.

    Attributes
    ----------
    model
        Any module; the parameters that require gradients are trained.
    inputs
        What the model is given, (n, ...), on the device. Where `on` is bf16, images and activations are rounded
        to it.
    targets
        Tensors of n rows that the loss compares the output with.
    loss
        `loss(output, *targets)` of a batch, as a scalar; the output arrives in float32.
    recipe
        `SGD` or `ADAM`, or a recipe of one's own: "sgd", or a name in `step.ADAM_BETAS`.
    epochs, batch_size
        Passes over the data and images per step. The last partial batch of an epoch is dropped; with a new
        order each epoch every image has the same chance to be in it.
    seed
        Decides the order of the batches and the dropout masks.
    on
        Device and precision.
    opponent
        What is trained in turn with the model. Both are then trained in float32, and rewound together by `fit_many`.
    label, progress
        Name of the progress bar, and whether to show it.
    stop
        Asked after each epoch with the mean losses so far; True ends the training early. Of a training that may be
        resumed it has to answer from these losses alone.
    interrupt
        Asked between steps; True keeps the state, if there is a file for it, and raises `Interrupted`.
    state
        A file for the state of the training. What is found in it is continued, bit for bit as if nothing had
        happened; the file is deleted when the training ends.
    save_every
        Seconds between two times that the state is written.
    keep_finished
        Leave the state of the finished training in its file, for the caller to delete: asked for the same training
        again, `fit` takes the weights and losses from there.
    """

    model: nn.Module
    inputs: Tensor
    targets: tuple[Tensor, ...]
    loss: Callable[..., Tensor]
    recipe: Recipe
    _: KW_ONLY
    epochs: int
    seed: int
    on: Compute
    batch_size: int = BATCH_SIZE
    opponent: Opponent | None = None
    label: str = "training"
    progress: bool = False
    stop: Callable[[list[float]], bool] | None = None
    interrupt: Callable[[], bool] | None = None
    state: Path | None = None
    save_every: float = 300.0
    keep_finished: bool = False

    @property
    def networks(self) -> nn.ModuleList:
        """The model and, if there is one, its opponent."""
        return nn.ModuleList([self.model, *([self.opponent.model] if self.opponent else [])])
