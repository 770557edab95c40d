"""What do a few neurons say? Section 6.4."""

from cladec_companion.papers.chapter import Chapter, InModule
from cladec_companion.papers.cladec.subsets.settings import SubsetsSettings, cells

CHAPTER = Chapter(
    "subsets", SubsetsSettings, question="what do a few neurons say?",
    cells=cells, run_cell=InModule("cladec_companion.papers.cladec.subsets.experiment"),
    judged_by="cladec_companion.papers.cladec.subsets.claims",
    captions_by="cladec_companion.papers.cladec.subsets.captions", mark=(122, 68),
)  # fmt: skip
