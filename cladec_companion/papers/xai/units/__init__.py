"""What does a neuron want, and what does it know? Chapters 4 and 12 of the XAI book."""

from cladec_companion.papers.chapter import Chapter
from cladec_companion.papers.xai.units.experiment import UnitsSettings, cells, run_cell

CHAPTER = Chapter(
    "units", UnitsSettings, cells=cells, run_cell=run_cell, judged_by="cladec_companion.papers.xai.units.claims"
)
