"""What heat maps are judged by: what deleting pixels does, axioms, and where a map points."""
