"""ClaDec as a tool: explain any layer of any image classifier.

`cladec` has the class that users meet. It reads images (`intake`), takes activations from a model (`taps`), builds and
trains decoders of them (`fitting`), shows what these make (`explanation`) and measures it (`evaluation`).
"""

from cladec_core.explainer.cladec import ClaDec
from cladec_core.explainer.explanation import Comparison, Explanation, Explanations

__all__ = ["ClaDec", "Comparison", "Explanation", "Explanations"]
