"""Policies: what do I do without thinking?"""
