"""Can a few numbers, with a place in the image each, say why? The SRAE paper's experiments."""

from cladec_companion.papers.chapter import Chapter, InModule
from cladec_companion.papers.srae.concepts.settings import Part, SraeSettings, cells
from cladec_companion.papers.srae.domain import DIGITS

CHAPTER = Chapter(
    "srae", SraeSettings, question="can a few numbers stand for a decision?",
    cells=cells, run_cell=InModule("cladec_companion.papers.srae.concepts.experiment"),
    needs={str(Part(target)): "zennit" for target in range(DIGITS)},
    judged_by="cladec_companion.papers.srae.concepts.claims",
    captions_by="cladec_companion.papers.srae.concepts.captions",
    mark=(194, 26), spoken="SRAE",
)  # fmt: skip
