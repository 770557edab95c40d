"""The engine: from the cells of a chapter to trained networks and rows in a record."""
