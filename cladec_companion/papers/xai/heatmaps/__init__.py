"""Where does a network see a class, and which method says so best? Chapters 8 to 14 of the XAI book."""

from cladec_companion.papers.chapter import Chapter
from cladec_companion.papers.xai.heatmaps.experiment import HeatmapsSettings, cells, run_cell

CHAPTER = Chapter(
    "heatmaps", HeatmapsSettings, cells=cells, run_cell=run_cell,
    judged_by="cladec_companion.papers.xai.heatmaps.claims",
    needs=dict.fromkeys(("lrp_0",), "zennit"),
)  # fmt: skip
