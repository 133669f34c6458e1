"""Agents that see."""
