"""What tests of Gaussian processes share: rows, and kernels that are given."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from forethought.models.gp.hyper import SearchSettings
from forethought.models.gp.kernels import Kernel
from forethought.models.gp.processes import Processes

LENGTHS, SIGNAL, NOISE = np.array([1.0, 1.5, 2.5]), 1.2, 0.1
AS_GIVEN = SearchSettings(restarts=0, evaluations=1)
"""A search that stays where it begins."""
KEY = jax.random.key(0)


def rows(count, seed=0):
    """Three inputs, and a smooth function of them under noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, 3))
    y = np.sin(x[:, 0]) + x[:, 1] * x[:, 2] + NOISE * rng.normal(size=count)
    return x, y


def kernel(kind="squared-exponential"):
    """One with `LENGTHS`, `SIGNAL` and `NOISE`."""
    logs = (jnp.asarray(np.log(each)) for each in (LENGTHS, SIGNAL, NOISE))
    return Kernel(*logs, kind)


def processes(kernels, points):
    """Processes of such kernels, which have seen nothing."""
    many = jax.tree.map(lambda *leaves: jnp.stack(leaves), *kernels)
    empty = Processes(3, len(kernels), points, kernels[0].kind)
    return eqx.tree_at(lambda each: each.kernel, empty, many)
