"""Explainable AI: Interpreting, Explaining and Visualizing Deep Learning (Samek et al., LNAI 11700)."""
