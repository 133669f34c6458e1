"""Tasks made of other tasks: believed, seen, or told in plain functions."""
