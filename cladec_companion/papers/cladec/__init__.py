"""Explaining Classifiers by Constructing Familiar Concepts (Schneider and Vlachos), and its conference version."""
