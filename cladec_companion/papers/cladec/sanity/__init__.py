"""Would the explanations notice if the classifier were broken? What a referee asks of any explanation."""

from cladec_companion.papers.chapter import Chapter, InModule
from cladec_companion.papers.cladec.sanity.settings import SanitySettings, cells

CHAPTER = Chapter(
    "sanity", SanitySettings, question="would explanations notice a broken classifier?",
    cells=cells, run_cell=InModule("cladec_companion.papers.cladec.sanity.experiment"),
    judged_by="cladec_companion.papers.cladec.sanity.claims",
    captions_by="cladec_companion.papers.cladec.sanity.captions", mark=(98, 12),
)  # fmt: skip
