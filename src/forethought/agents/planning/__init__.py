"""Agents that plan in what they know or learn."""
