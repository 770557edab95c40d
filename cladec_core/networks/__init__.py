"""Networks: classifiers with named layers, decoders, and the convolutions that they are made of.

A name is imported when it is asked for: whoever wants only the names of things waits for no torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
