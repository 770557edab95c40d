"""Would another choice change the answer? What a referee would ask."""

from cladec_companion.papers.chapter import Chapter
from cladec_companion.papers.cladec.controls.experiment import ControlsSettings, cells, run_cell

CHAPTER = Chapter(
    "controls", ControlsSettings, cells=cells, run_cell=run_cell,
    mark=(158, 80),
)  # fmt: skip
