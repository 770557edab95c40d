"""Training and inference: devices and precision, losses, the one loop and its state, CUDA graphs."""

from cladec_core.training.devices import Compute, compute, derive_seed, exact_float32, moved, seeded
from cladec_core.training.graphs import UNROLLED
from cladec_core.training.history import Cost, History, still_falling
from cladec_core.training.inference import apply, calibrate
from cladec_core.training.job import ADAM, BATCH_SIZE, SGD, Job, Opponent, Recipe
from cladec_core.training.loop import BRANCHES, DECAY_FRACTIONS, fit, fit_many, progress_bar
from cladec_core.training.losses import ClaDecLoss, classification_loss, reconstruction_loss
from cladec_core.training.state import Interrupted, progress_of

__all__ = [
    "ADAM", "BATCH_SIZE", "BRANCHES", "DECAY_FRACTIONS", "SGD", "UNROLLED", "ClaDecLoss", "Compute", "Cost", "History",
    "Interrupted", "Job", "Opponent", "Recipe", "apply", "calibrate", "classification_loss", "compute", "derive_seed",
    "exact_float32", "fit", "fit_many", "moved", "progress_bar", "progress_of", "reconstruction_loss", "seeded",
    "still_falling",
]  # fmt: skip
