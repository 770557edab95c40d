"""A cell by itself: trained and measured without a record."""

from cladec_companion.engine.models import Models, side_by_side
from cladec_companion.engine.runner import cell_jobs


def measured(run_cell, setup, part, keep_samples=False, models=None):
    """Rows and images of one cell; its networks are trained, or taken from `models`."""
    (found,) = side_by_side([cell_jobs(run_cell(setup, part, keep_samples), models or Models())])
    return found


def tensors(model):
    """The weights and statistics of a network as they are now."""
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}
