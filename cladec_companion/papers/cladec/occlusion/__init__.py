"""Which squares of an image matter? Section 6.6, Tables 7 and 8."""

from cladec_companion.engine.plan import CLASSIFIER
from cladec_companion.papers.chapter import Chapter, InModule
from cladec_companion.papers.cladec.occlusion.settings import OcclusionSettings, cells

CHAPTER = Chapter(
    "occlusion", OcclusionSettings, question="what happens when parts are hidden?",
    cells=cells,
    run_cell=InModule("cladec_companion.papers.cladec.occlusion.experiment"),
    needs={CLASSIFIER: "zennit"},
    judged_by="cladec_companion.papers.cladec.occlusion.claims",
    captions_by="cladec_companion.papers.cladec.occlusion.captions",
    headings="COLUMNS", axis="layer",
    tables={"table7": "vgg11", "table8": "resnet10"},
    reason="The printed draws among equal squares look shared (C-15).", mark=(42, 20),
)  # fmt: skip
