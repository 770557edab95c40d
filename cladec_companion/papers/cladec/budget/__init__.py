"""Does the verdict depend on how long, and on how many images, everything was trained?"""

from cladec_companion.papers.chapter import Chapter, InModule
from cladec_companion.papers.cladec.budget.settings import BudgetSettings, cells

CHAPTER = Chapter(
    "budget", BudgetSettings, question="does the verdict depend on the length of training?",
    cells=cells, run_cell=InModule("cladec_companion.papers.cladec.budget.experiment"),
    judged_by="cladec_companion.papers.cladec.budget.claims",
    captions_by="cladec_companion.papers.cladec.budget.captions", mark=(134, 92),
)  # fmt: skip
