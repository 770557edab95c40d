"""Attribution: one call for every method that says where in an image a network finds a class.

captum and zennit do the work where they have a method; PatternNet, meaningful perturbation and prediction difference
analysis are our own, since no maintained library for PyTorch has them.
"""

from cladec_companion.papers.xai.attribution.around import FILLS, Around
from cladec_companion.papers.xai.attribution.call import METHODS, Method, attribute

__all__ = ["FILLS", "METHODS", "Around", "Method", "attribute"]
