"""The study with participants: what is handed out, and what becomes of the answers."""

from cladec_companion.papers.cladec.user_study.analysis import analyse
from cladec_companion.papers.cladec.user_study.kit import export

__all__ = ["analyse", "export"]
