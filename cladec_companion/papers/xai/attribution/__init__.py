"""Attribution: one call for every method that says where in an image a network finds a class.

captum and zennit do the work where they have a method; PatternNet, meaningful perturbation and prediction difference
analysis are our own, since no maintained library for PyTorch has them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
