"""`python -m cladec_core` is the command `cladec`."""

from cladec_companion.commands.main import main

main()
