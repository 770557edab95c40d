"""What does each layer keep? Section 6.1, Tables 2 and 3."""

from cladec_companion.papers.chapter import Chapter, InModule
from cladec_companion.papers.cladec.layer_parameters import layer_cells
from cladec_companion.papers.cladec.layers.settings import LayersSettings

CHAPTER = Chapter(
    "layers", LayersSettings, question="what does each layer keep?",
    cells=layer_cells, run_cell=InModule("cladec_companion.papers.cladec.layers.experiment"),
    judged_by="cladec_companion.papers.cladec.layers.claims",
    further="cladec_companion.papers.cladec.claims_without_tables",
    captions_by="cladec_companion.papers.cladec.layers.captions",
    headings="HEADINGS", axis="layer", tables={"table2": "vgg11", "table3": "resnet10"},
    reason="The scale of Tables 2 and 3 is inferred (C-6), and so is the layer behind an index (C-3).",
    mark=(122, 18),
)  # fmt: skip
