"""Would the explanations notice if the classifier were broken? What a referee asks of any explanation."""

from cladec_companion.papers.chapter import Chapter
from cladec_companion.papers.cladec.sanity.experiment import SanitySettings, cells, run_cell

CHAPTER = Chapter(
    "sanity", SanitySettings, cells=cells, run_cell=run_cell,
    judged_by="cladec_companion.papers.cladec.sanity.claims",
    mark=(98, 68),
)  # fmt: skip
