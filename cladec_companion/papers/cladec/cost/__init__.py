"""What does it cost to train?"""

from cladec_companion.papers.chapter import Chapter
from cladec_companion.papers.cladec.cost.settings import CostSettings

CHAPTER = Chapter(
    "cost", CostSettings, question="what does it cost to train?",
    measures_time=True, decided_elsewhere=("B50",),
)  # fmt: skip
