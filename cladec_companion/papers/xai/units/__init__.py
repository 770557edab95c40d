"""What does a neuron want, and what does it know? Chapters 4 and 12 of the XAI book."""

from cladec_companion.papers.chapter import Chapter, InModule
from cladec_companion.papers.xai.units.settings import UnitsSettings, cells

CHAPTER = Chapter(
    "units", UnitsSettings, question="what does a neuron want, and what does it know?",
    cells=cells, run_cell=InModule("cladec_companion.papers.xai.units.experiment"),
    judged_by="cladec_companion.papers.xai.units.claims",
    captions_by="cladec_companion.papers.xai.units.captions",
)  # fmt: skip
