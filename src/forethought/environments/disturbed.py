r"""A system that is pushed about: what its equations say, and noise besides.

$$x_{t+1} = f(x_t, u_t) + \sigma \odot \varepsilon_t, \qquad
  \varepsilon_t \sim \mathcal N(0, I)$$
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray, PyTree, Scalar

from forethought.core.spaces import Space
from forethought.core.types import Action, ravel
from forethought.environments.base import AbstractAround, AbstractSystem, Capsules


class Disturbed(AbstractAround[PyTree]):
    """A system whose states are moved by noise after each step.

    Args:
        system: What is pushed about; its own noise, if any, stays.
        std: Standard deviation of the noise in each coordinate of `ravel(state)`, a
            step.
    """

    system: AbstractSystem
    std: tuple[float | Scalar, ...]

    action: Space
    dt: float

    def __init__(self, system: AbstractSystem, std: tuple[float | Scalar, ...]):
        self.system, self.std = system, std
        self.action, self.dt = system.action, system.dt

    def start(self, *, key: PRNGKeyArray) -> PyTree:
        """Where the system starts."""
        return self.system.start(key=key)

    def step(self, state: PyTree, action: Action, *, key: PRNGKeyArray) -> PyTree:
        """The system's next state, pushed."""
        step_key, push_key = jax.random.split(key)
        after, back = ravel(self.system.step(state, action, key=step_key))
        noise = jax.random.normal(push_key, after.shape, after.dtype)
        return back(after + jnp.asarray(self.std, after.dtype) * noise)

    def observe(self, state: PyTree) -> PyTree[Array]:
        """As the system does."""
        return self.system.observe(state)

    def sketch(self, state: PyTree) -> Capsules:
        """As the system does."""
        return self.system.sketch(state)
