"""Data: what was seen."""
