"""ClaDec: what does a layer of a classifier keep? A decoder on its frozen activations shows it."""
