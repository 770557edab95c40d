"""Does a network that learns prototypes agree? Section 6.5."""

from cladec_companion.papers.chapter import Chapter, InModule
from cladec_companion.papers.cladec.prototypes.settings import PrototypesSettings, cells

CHAPTER = Chapter(
    "prototypes", PrototypesSettings, question="does a network with prototypes agree?",
    cells=cells,
    run_cell=InModule("cladec_companion.papers.cladec.prototypes.experiment"),
    judged_by="cladec_companion.papers.cladec.prototypes.claims",
    captions_by="cladec_companion.papers.cladec.prototypes.captions",
    mark=(286, 80),
)  # fmt: skip
