"""Why this class and not that one? The experiments of CDeepEx, and ClaDec's decoder as its generator."""

from cladec_companion.papers.cdeepex.contrast.settings import EXPERIMENTS, ContrastSettings, cells
from cladec_companion.papers.chapter import Chapter, InModule

CHAPTER = Chapter(
    "contrast", ContrastSettings, question="why this class and not that one?",
    cells=cells, run_cell=InModule("cladec_companion.papers.cdeepex.contrast.experiment"),
    classifier="the classifier of the paper",
    needs={name: "zennit" for name in EXPERIMENTS if name in ("general", "square")},
    judged_by="cladec_companion.papers.cdeepex.contrast.claims",
    captions_by="cladec_companion.papers.cdeepex.contrast.captions",
)  # fmt: skip
