"""The papers, one folder each, and in each one folder per chapter."""
