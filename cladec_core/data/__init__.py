"""Data sets as tensors; each name is imported when it is asked for, so that names of things wait for no torch."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
