"""Finite worlds: mazes, grids, any table."""
