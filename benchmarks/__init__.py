"""What training costs: the project's loop against the one a reader would write, and how cost grows.

Run it with `make bench`, or `python -m benchmarks --help`.
"""
