"""Planners that follow derivatives."""
