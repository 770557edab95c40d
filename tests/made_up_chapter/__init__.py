"""A chapter that the book does not have: what a dimmed training set does to explanations. Nothing knows it by name."""

from cladec_companion.papers.chapter import Chapter
from tests.made_up_chapter.experiment import DimmedSettings, cells, run_cell

CHAPTER = Chapter(
    "dimmed", DimmedSettings, cells=cells, run_cell=run_cell,
    judged_by="tests.made_up_chapter.claims", headings="PRINTED", axis="dimming", tables={"table99": "vgg5"},
    reason="The print is made up.", mark=(200, 100),
)  # fmt: skip
