"""Runs: what a run leaves behind, and what people look at: folder, plots, video."""
