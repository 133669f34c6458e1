"""Agents that learn from what their policy just did."""
