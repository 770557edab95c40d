"""Would another choice change the answer? What a referee would ask."""

from cladec_companion.papers.chapter import Chapter, InModule
from cladec_companion.papers.cladec.controls.settings import ControlsSettings, cells

CHAPTER = Chapter(
    "controls", ControlsSettings, question="would another choice change the answer?",
    cells=cells, run_cell=InModule("cladec_companion.papers.cladec.controls.experiment"),
    findings_by="cladec_companion.papers.cladec.controls.claims",
    captions_by="cladec_companion.papers.cladec.controls.captions", mark=(158, 80),
)  # fmt: skip
