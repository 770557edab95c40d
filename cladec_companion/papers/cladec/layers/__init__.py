"""What does each layer keep? Section 6.1, Tables 2 and 3."""
