"""ClaDec: what does a layer of a classifier keep? A decoder on its frozen activations shows it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cladec_core.explainer import ClaDec, Comparison, Explanation, Explanations

__all__ = ["ClaDec", "Comparison", "Explanation", "Explanations"]


def __getattr__(name: str) -> Any:
    """Import the explainer when it is asked for: `import cladec_core` itself stays light."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("cladec_core.explainer"), name)
