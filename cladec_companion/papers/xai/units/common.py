"""What the questions of the chapter share: which classes they look at, and which of their numbers are answers."""

import torch
from torch import Tensor

# Metrics that are yes/no answers.
ANSWERS = frozenset({"accuracy", "highest", "judged", "neighbour", "right", "right_brg", "right_rgb", "selected"})


def evenly(classes: int, count: int) -> Tensor:
    """So many classes, or all, at even distances: (count,)."""
    return torch.linspace(0, classes - 1, min(count, classes)).round().long()
