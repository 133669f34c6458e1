"""Where episodes begin, as it is told or seen, and how many rows are looked at."""

import math
import warnings
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool

from forethought.core.gaussian import Gaussian
from forethought.data.memory import Memory
from forethought.models.learned.rows import Rows

BUCKET = 80
"""Rows are filled up to a multiple of this, so that few numbers of them are compiled.
Beyond what regression is exact for, to a power of two."""
WIDEST = math.pi / 4
r"""Of an angle at the start: beyond it, a twentieth of them lie more than a quarter
turn from the mean, where sine and cosine turn back and are no Gaussians any more."""


def first_seen(
    start: tuple[tuple[float, ...], tuple[float, ...]] | None,
    rows: Rows,
    begins: Bool[Array, " row"],
) -> Gaussian:
    """What is observed first: mean and deviations as told, or as seen in rows."""
    dtype = rows.obs.dtype
    if start is not None:
        mean, std = (jnp.asarray(each, dtype) for each in start)
        return Gaussian(mean, jnp.diag(std**2))
    weights = _shares(begins, dtype)
    mean = weights @ rows.obs
    gaps = rows.obs - mean[None, :]
    some = _shares(rows.valid, dtype)
    spread = some @ (rows.obs - (some @ rows.obs)[None, :]) ** 2
    cov = (weights[:, None] * gaps).T @ gaps
    return Gaussian(mean, cov + jnp.diag(0.01 * spread + 1e-8))


def beginnings(memory: Memory) -> Bool[Array, " row"]:
    """Which rows an episode begins with."""
    seen, valid = memory.everything()
    lanes = memory.replay.lanes
    ended = (seen.terminated | seen.truncated)[:-lanes]
    return valid & jnp.concatenate([jnp.ones(lanes, bool), ended])


def _shares(which: Array, dtype: Any) -> Array:
    """Equal weights of some rows, which add up to one; zeros if there are none."""
    found = which.astype(dtype)
    return found / jnp.maximum(jnp.sum(found), 1)


def warn_if_wide(std: tuple[float, ...], angles: tuple[int, ...]) -> None:
    """Warn of angles that moments cannot follow from where episodes begin."""
    for angle in angles:
        if std[angle] > WIDEST:
            warnings.warn(
                f"Angle {angle} has a standard deviation of {std[angle]:.3g} rad where "
                f"episodes begin, beyond {WIDEST:.3g} (a twentieth of them is more "
                "than a quarter turn away): its sine and cosine are no Gaussians any "
                "more, and what moments foresee may be far off.",
                stacklevel=3,
            )


def bucket(count: int, room: int, most: int) -> int:
    """How many rows are looked at, of so many that hold something."""
    size = BUCKET * -(-count // BUCKET)
    if size > room:
        size = 1 << (count - 1).bit_length()
    return min(size, most)
