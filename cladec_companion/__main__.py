"""`python -m cladec_companion` is the command `cladec`."""

from cladec_companion.commands.main import main

main()
