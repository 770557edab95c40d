"""`python -m cladec_core` is the command `cladec`."""

from companion.cli import main

main()
