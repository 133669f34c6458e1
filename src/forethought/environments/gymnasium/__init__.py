"""Gymnasium, both ways: theirs acted in, ours registered there."""
