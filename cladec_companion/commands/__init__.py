"""The command line `cladec`."""
