"""Planners around another planner."""
