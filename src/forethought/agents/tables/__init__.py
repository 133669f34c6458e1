"""Agents that keep a table."""
