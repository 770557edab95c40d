"""What do a few neurons say? Section 6.4."""

from cladec_companion.papers.chapter import Chapter
from cladec_companion.papers.cladec.subsets.experiment import SubsetsSettings, cells, run_cell

CHAPTER = Chapter(
    "subsets", SubsetsSettings, cells=cells, run_cell=run_cell,
    judged_by="cladec_companion.papers.cladec.subsets.claims",
    mark=(122, 68),
)  # fmt: skip
