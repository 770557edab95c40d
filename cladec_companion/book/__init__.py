"""The book: execute notebooks, write the generated pages, render."""
