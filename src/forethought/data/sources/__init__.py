"""Sources: where logged transitions are read from."""
