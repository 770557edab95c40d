"""Why? Linear models and principal components, section 4."""
