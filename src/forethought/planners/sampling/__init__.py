"""Planners that draw sequences of actions and keep the best."""
