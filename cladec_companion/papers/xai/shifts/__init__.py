"""Which explanations change although the function does not? Chapters 13 and 14 of the XAI book."""

from cladec_companion.papers.chapter import Chapter, InModule
from cladec_companion.papers.xai.shifts.settings import INPUT, SHIFTS, SPLIT, ShiftsSettings, cells

CHAPTER = Chapter(
    "shifts",
    ShiftsSettings,
    question="which explanations change when nothing does?",
    cells=cells,
    run_cell=InModule("cladec_companion.papers.xai.shifts.experiment"),
    judged_by="cladec_companion.papers.xai.shifts.claims",
    captions_by="cladec_companion.papers.xai.shifts.captions",
    classifier="a perceptron",
    needs=dict.fromkeys((*SHIFTS, SPLIT, INPUT), "captum"),
)
