"""What do a few neurons say? Section 6.4."""
