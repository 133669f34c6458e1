"""Agents that learn from replayed steps whom to follow and what it is worth."""
