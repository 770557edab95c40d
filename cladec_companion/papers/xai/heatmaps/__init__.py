"""Where does a network see a class, and which method says so best? Chapters 8 to 14 of the XAI book."""

from cladec_companion.papers.chapter import Chapter, InModule
from cladec_companion.papers.xai.attribution.methods import METHODS
from cladec_companion.papers.xai.heatmaps.settings import HeatmapsSettings, cells

CHAPTER = Chapter(
    "heatmaps", HeatmapsSettings, question="where does each method point, and which criterion does it pass?",
    cells=cells, run_cell=InModule("cladec_companion.papers.xai.heatmaps.experiment"),
    judged_by="cladec_companion.papers.xai.heatmaps.claims",
    captions_by="cladec_companion.papers.xai.heatmaps.captions",
    needs={name: method.library for name, method in METHODS.items()}, spoken="heat maps",
)  # fmt: skip
