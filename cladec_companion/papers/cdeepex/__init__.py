"""CDeepEx: Contrastive Deep Explanations (Feghahati, Shelton, Pazzani and Tang): why this class and not that one."""

from cladec_companion.papers.cdeepex import contrast
from cladec_companion.papers.chapter import Paper

PAPER = Paper("CDeepEx (Feghahati et al.)", __name__, (contrast.CHAPTER,))
