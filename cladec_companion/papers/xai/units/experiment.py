"""Units of one classifier: what they want, which concepts they detect, and whether their colours show a bug."""

from cladec_companion.engine.runner import CellRun
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.xai.units import knowing, seeing, wanting
from cladec_companion.papers.xai.units.settings import COLOURS, DISSECTION, MAXIMISATION

ANSWERS = {MAXIMISATION: wanting.run_cell, DISSECTION: knowing.run_cell, COLOURS: seeing.run_cell}


def run_cell(setup: Setup, part: str, keep_samples: bool) -> CellRun:
    """Answer one question (see the modules `wanting`, `knowing` and `seeing`)."""
    return (yield from ANSWERS[part](setup, keep_samples))
