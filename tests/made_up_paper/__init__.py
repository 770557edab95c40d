"""A paper that the book does not have, with one chapter, in the shape of all others. Nothing knows it by name."""

from cladec_companion.papers.chapter import Paper
from tests.made_up_paper import dimmed

PAPER = Paper("In the Dark (Nobody)", __name__, (dimmed.CHAPTER,))
