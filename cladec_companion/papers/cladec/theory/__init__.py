"""Why? Linear models and principal components, section 4."""

from cladec_companion.papers.chapter import Chapter
from cladec_companion.papers.cladec.theory.settings import TheorySettings

CHAPTER = Chapter(
    "theory", TheorySettings, question="why? Linear models and PCA",
    mark=(194, 74),
)  # fmt: skip
