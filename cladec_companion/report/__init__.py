"""`cladec explain`: a report about a reader's own classifier. It uses the core only."""
