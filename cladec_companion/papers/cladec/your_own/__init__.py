"""Somebody's model, and one that cheats: the explainer on a classifier with a known bias."""

from cladec_companion.engine.plan import CLASSIFIER
from cladec_companion.papers.chapter import Chapter, InModule
from cladec_companion.papers.cladec.your_own.settings import YourOwnSettings, cells

CHAPTER = Chapter(
    "your_own", YourOwnSettings, question="somebody's model, and one that cheats",
    cells=cells, run_cell=InModule("cladec_companion.papers.cladec.your_own.experiment"),
    needs={CLASSIFIER: "captum"}, findings_by="cladec_companion.papers.cladec.your_own.claims",
    captions_by="cladec_companion.papers.cladec.your_own.captions", mark=(146, 24),
    spoken="your own classifier",
)  # fmt: skip
