"""Planners: what should I do, given a model?"""
