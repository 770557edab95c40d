"""Embedding Deep Networks into Visual Explanations (Qi, Khorram and Li): SRAE."""

from cladec_companion.papers.chapter import Paper
from cladec_companion.papers.srae import concepts

PAPER = Paper("SRAE (Qi, Khorram and Li)", __name__, (concepts.CHAPTER,))
