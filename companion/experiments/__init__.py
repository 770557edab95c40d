"""The experiments, one module each: parameters -> cells, and a cell -> rows and images."""

from companion.experiments.runner import EXPERIMENTS, Cell, Experiment, plan, run

__all__ = ["EXPERIMENTS", "Cell", "Experiment", "plan", "run"]
