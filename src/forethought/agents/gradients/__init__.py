"""Agents whose policy is improved by gradients through a model."""
