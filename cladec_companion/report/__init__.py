"""`cladec explain`: a report about a reader's own classifier. It uses the core only."""

SIDES = (8, 1024)  # rows and columns of an image: for more, a decoder would train for days on a CPU
