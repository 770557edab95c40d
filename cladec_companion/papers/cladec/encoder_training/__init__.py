"""What does the training of the encoder change? Section 6.3, Table 6."""

from cladec_companion.papers.chapter import Chapter, InModule
from cladec_companion.papers.cladec.encoder_training.settings import EncoderTrainingSettings, cells

CHAPTER = Chapter(
    "encoder_training", EncoderTrainingSettings, question="what does training change?",
    cells=cells,
    run_cell=InModule("cladec_companion.papers.cladec.encoder_training.experiment"),
    judged_by="cladec_companion.papers.cladec.encoder_training.claims",
    captions_by="cladec_companion.papers.cladec.encoder_training.captions",
    headings="PRINTED", axis="encoder_epochs", tables={"table6": "vgg11"},
    reason="Table 6 is a set-up of its own (I15, I16).", mark=(74, 10),
)  # fmt: skip
