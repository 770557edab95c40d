"""Somebody's model, and one that cheats: the explainer on a classifier with a known bias."""

from cladec_companion.engine.trainings import CLASSIFIER
from cladec_companion.papers.chapter import Chapter
from cladec_companion.papers.cladec.your_own.experiment import YourOwnSettings, cells, run_cell

CHAPTER = Chapter(
    "your_own", YourOwnSettings, cells=cells, run_cell=run_cell,
    needs={CLASSIFIER: "captum"}, mark=(146, 24),
)  # fmt: skip
