"""Runs: what is done, and what it leaves on the disk."""
