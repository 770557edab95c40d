"""Does a network that learns prototypes agree? Section 6.5."""

from cladec_companion.papers.chapter import Chapter
from cladec_companion.papers.cladec.prototypes.experiment import PrototypesSettings, cells, run_cell

CHAPTER = Chapter(
    "prototypes", PrototypesSettings, cells=cells, run_cell=run_cell,
    judged_by="cladec_companion.papers.cladec.prototypes.claims",
    mark=(286, 80),
)  # fmt: skip
