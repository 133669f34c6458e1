"""Agents: how do I get better?"""
