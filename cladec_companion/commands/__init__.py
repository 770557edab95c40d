"""The command line `cladec`: a module for each group of commands, assembled in `main`."""
