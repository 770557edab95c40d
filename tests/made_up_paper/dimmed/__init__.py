"""What does a dimmed training set do to explanations?"""

from cladec_companion.papers.chapter import Chapter, InModule
from tests.made_up_paper.dimmed.settings import DimmedSettings, cells

CHAPTER = Chapter(
    "dimmed", DimmedSettings, question="who sees in the dark?",
    cells=cells, run_cell=InModule("tests.made_up_paper.dimmed.experiment"),
    judged_by="tests.made_up_paper.dimmed.claims", captions_by="tests.made_up_paper.dimmed.captions",
    headings="PRINTED", axis="dimming", tables={"table99": "vgg5"},
    reason="The print is made up.", mark=(200, 100), spoken="dimmed images",
)  # fmt: skip
