"""ClaDec as a tool: explain any layer of any image classifier.

`cladec` has the class that users meet. It reads images (`intake`), takes activations from a model (`taps`), builds
decoders of them (`building`, `upsampling`) and trains these (`task`, `fitting`, as a `protocol` says, with pixels or
`perceptual`), shows what they make (`explanation`), measures it (`evaluation`), sets plain inversion beside it
(`inversion`) and keeps it (`saving`).
"""

from cladec_core.explainer.cladec import ClaDec
from cladec_core.explainer.explanation import Comparison, Explanation, Explanations
from cladec_core.explainer.inversion import Inversion, invert
from cladec_core.explainer.protocol import PAPER, PRACTICAL, Protocol

__all__ = [
    "PAPER", "PRACTICAL", "ClaDec", "Comparison", "Explanation", "Explanations", "Inversion", "Protocol", "invert",
]  # fmt: skip
