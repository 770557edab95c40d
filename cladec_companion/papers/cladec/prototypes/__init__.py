"""Does a network that learns prototypes agree? Section 6.5."""
