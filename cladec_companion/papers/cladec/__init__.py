"""Explaining Classifiers by Constructing Familiar Concepts (Schneider and Vlachos), and its conference version."""

from cladec_companion.papers.chapter import Paper
from cladec_companion.papers.cladec import (
    alpha,
    budget,
    controls,
    cost,
    encoder_training,
    layers,
    occlusion,
    prototypes,
    sanity,
    subsets,
    theory,
    user_study,
    your_own,
)

PAPER = Paper(
    "ClaDec (Schneider and Vlachos)",
    __name__,
    tuple(
        room.CHAPTER
        for room in (
            layers, alpha, encoder_training, subsets, prototypes, occlusion,
            theory, budget, controls, sanity, cost, your_own, user_study,
        )
    ),
    drawn_by="cladec_companion.papers.cladec.pictures",
    printed_by="cladec_companion.papers.cladec.printed_tables",
    limits_by="cladec_companion.papers.cladec.limits",
)  # fmt: skip
