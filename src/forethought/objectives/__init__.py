"""Objectives: how good would it be?"""
