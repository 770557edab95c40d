"""Which squares of an image matter? Section 6.6, Tables 7 and 8."""
