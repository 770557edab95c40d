"""Explainable AI: Interpreting, Explaining and Visualizing Deep Learning (Samek et al., LNAI 11700)."""

from cladec_companion.papers.chapter import Paper
from cladec_companion.papers.xai import heatmaps, shifts, units

PAPER = Paper("the XAI book (Samek et al.)", __name__, (heatmaps.CHAPTER, shifts.CHAPTER, units.CHAPTER))
