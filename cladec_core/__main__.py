"""`python -m cladec_core` is the command `cladec`."""

from cladec_core.cli import main

main()
