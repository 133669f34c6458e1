"""Drawings of planar machines from a handful of capsules."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Scalar

from forethought.environments.base import Capsules

MOVING, STILL, GOAL = 0, 1, 2
"""The kinds of `Capsules`."""

Point = tuple[Scalar | float, Scalar | float]


class Stroke(NamedTuple):
    """One capsule: two points in metres, a radius in metres, and its kind."""

    start: Point
    end: Point
    radius: float
    kind: int = MOVING


def disc(centre: Point, radius: float, kind: int = MOVING) -> Stroke:
    """A filled circle."""
    return Stroke(centre, centre, radius, kind)


def draw(*strokes: Stroke) -> Capsules:
    """Put strokes together, the first at the bottom.

    Args:
        strokes: At least one; coordinates may be numbers or traced scalars.

    Returns:
        The drawing; the leading axis has one entry for each stroke.
    """
    dtype = jnp.result_type(float, *[x for s in strokes for x in (*s.start, *s.end)])

    def points(ends: list[Point]):
        return jnp.stack([jnp.stack([jnp.asarray(x, dtype) for x in e]) for e in ends])

    return Capsules(
        points([s.start for s in strokes]),
        points([s.end for s in strokes]),
        jnp.asarray([s.radius for s in strokes], dtype),
        jnp.asarray([s.kind for s in strokes]),
    )
