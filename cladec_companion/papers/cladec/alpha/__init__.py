"""Comprehensible or faithful? The weight of the classification loss, section 6.2, Tables 4 and 5."""

from cladec_companion.papers.chapter import Chapter, InModule
from cladec_companion.papers.cladec.alpha.settings import AlphaSettings, cells

CHAPTER = Chapter(
    "alpha", AlphaSettings, question="comprehensible or faithful?",
    cells=cells, run_cell=InModule("cladec_companion.papers.cladec.alpha.experiment"),
    judged_by="cladec_companion.papers.cladec.alpha.claims",
    captions_by="cladec_companion.papers.cladec.alpha.captions",
    headings="PRINTED", axis="alpha",
    tables={"table4": "vgg11", "table5": "resnet10"},
    reason=r"Tables 4 and 5 come from an older set-up (I2, I3, I16), and their $\alpha$ weighs grey values (C-8).",
    mark=(256, 54), spoken="weight α",
)  # fmt: skip
