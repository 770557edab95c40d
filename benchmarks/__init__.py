"""What training costs: the project's loop against the one a reader would write, and how cost grows.

Run it with `make bench`, or `python -m benchmarks --help`.
"""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # PyTorch's profiler prints when it starts; read when torch is imported
