"""Does the verdict depend on how long, and on how many images, everything was trained?"""

from cladec_companion.papers.chapter import Chapter
from cladec_companion.papers.cladec.budget.experiment import BudgetSettings, cells, run_cell

CHAPTER = Chapter(
    "budget", BudgetSettings, cells=cells, run_cell=run_cell,
    judged_by="cladec_companion.papers.cladec.budget.claims",
    mark=(134, 92),
)  # fmt: skip
