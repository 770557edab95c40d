"""What does the training of the encoder change? Section 6.3, Table 6."""

from cladec_companion.papers.chapter import Chapter
from cladec_companion.papers.cladec.encoder_training.experiment import EncoderTrainingSettings, cells, run_cell

CHAPTER = Chapter(
    "encoder_training", EncoderTrainingSettings, cells=cells, run_cell=run_cell,
    judged_by="cladec_companion.papers.cladec.encoder_training.claims",
    headings="PRINTED", axis="encoder_epochs", tables={"table6": "vgg11"},
    reason="Table 6 is a set-up of its own (I15, I16).", mark=(74, 10),
)  # fmt: skip
