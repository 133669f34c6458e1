"""Foundations that every layer may use and that use nothing of ours."""
