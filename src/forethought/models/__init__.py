"""Models: what would happen?"""
