"""Agents that learn from what another one does."""
