"""Which explanations change although the function does not? Chapters 13 and 14 of the XAI book."""

from cladec_companion.papers.chapter import Chapter
from cladec_companion.papers.xai.shifts.experiment import ShiftsSettings, cells, run_cell

CHAPTER = Chapter(
    "shifts", ShiftsSettings, cells=cells, run_cell=run_cell, judged_by="cladec_companion.papers.xai.shifts.claims"
)
