"""Records: what a run was asked for and what it measured, kept so that it can be trusted, resumed and merged."""
