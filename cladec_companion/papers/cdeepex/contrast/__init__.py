"""Why this class and not that one? The experiments of CDeepEx, and ClaDec's decoder as its generator."""

from cladec_companion.papers.cdeepex.contrast.experiment import cells, run_cell
from cladec_companion.papers.cdeepex.settings import EXPERIMENTS, ContrastSettings
from cladec_companion.papers.chapter import Chapter

CHAPTER = Chapter(
    "contrast", ContrastSettings, cells=cells, run_cell=run_cell,
    needs={name: "zennit" for name in EXPERIMENTS if name in ("general", "square")},
    judged_by="cladec_companion.papers.cdeepex.contrast.claims",
)  # fmt: skip
