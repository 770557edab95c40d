"""Units of one classifier: what they want, which concepts they detect, and whether their colours show a bug."""

from cladec_companion.engine.runner import CellRun
from cladec_companion.engine.setup import Setup
from cladec_companion.papers.xai.units import activation_maximisation, colour_channels, network_dissection
from cladec_companion.papers.xai.units.settings import COLOURS, DISSECTION, MAXIMISATION

ANSWERS = {
    MAXIMISATION: activation_maximisation.run_cell,
    DISSECTION: network_dissection.run_cell,
    COLOURS: colour_channels.run_cell,
}


def run_cell(setup: Setup, part: str, keep_samples: bool) -> CellRun:
    """Answer one question (see the modules `activation_maximisation`, `network_dissection` and `colour_channels`)."""
    return (yield from ANSWERS[part](setup, keep_samples))
