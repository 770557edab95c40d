"""Can a few numbers, with a place in the image each, say why? The SRAE paper's experiments."""

from cladec_companion.papers.chapter import Chapter
from cladec_companion.papers.srae.concepts.experiment import Part, SraeSettings, cells, run_cell
from cladec_companion.papers.srae.mosaic import DIGITS

CHAPTER = Chapter(
    "srae", SraeSettings, cells=cells, run_cell=run_cell,
    needs={str(Part(target)): "zennit" for target in range(DIGITS)},
    judged_by="cladec_companion.papers.srae.concepts.claims",
    mark=(194, 26),
)  # fmt: skip
