"""Somebody's model, and one that cheats: the explainer on a classifier with a known bias."""
