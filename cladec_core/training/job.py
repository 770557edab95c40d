"""A training, as the loop is asked for it."""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass

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
        `SGD` or `ADAM`.
    epochs, batch_size
        Passes over the data and images per step. The last partial batch of an epoch is dropped; with a new
        order each epoch every image has the same chance to be in it.
    seed
        Decides the order of the batches and the dropout masks.
    on
        Device and precision.
    label, progress
        Name of the progress bar, and whether to show it.
    stop
        Asked after each epoch with the mean losses so far; True ends the training early.
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
    label: str = "training"
    progress: bool = False
    stop: Callable[[list[float]], bool] | None = None
