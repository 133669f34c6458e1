r"""What is controlled: a simulated environment, and what a controller is told of it.

A planner that knows the dynamics is told the state itself. Behind noisy sensors it is
told less, and needs a model that filters.
"""

import abc

import equinox as eqx
import jax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.gaussian import Gaussian
from forethought.core.linalg import matvec
from forethought.core.spaces import free_box
from forethought.core.types import Action, ravel
from forethought.environments.base import (
    AbstractEnvironment,
    EnvironmentSpec,
    TimeStep,
)
from forethought.environments.simulated import Simulated, Timed


class AbstractPlant(AbstractEnvironment[Timed]):
    """An environment whose observations are replaced; one can begin in any state."""

    environment: eqx.AbstractVar[AbstractEnvironment[Timed]]

    @abc.abstractmethod
    def tell(self, state: PyTree, *, key: PRNGKeyArray) -> PyTree[Array]:
        """What is told of a state of the system."""

    @property
    def spec(self) -> EnvironmentSpec:
        """Actions and length of the environment; observations are free vectors."""
        key = jax.eval_shape(lambda: jax.random.key(0))
        told = jax.eval_shape(lambda key: self.reset(key=key)[1].obs, key)
        spec = self.environment.spec
        boxes = jax.tree.map(lambda leaf: free_box(leaf.size), told)
        return EnvironmentSpec(boxes, spec.action, spec.episode_length)

    def reset(self, *, key: PRNGKeyArray) -> tuple[Timed, TimeStep]:
        """A start state of the environment."""
        reset_key, tell_key = jax.random.split(key)
        state, first = self.environment.reset(key=reset_key)
        return state, self._told(state, first, tell_key)

    def restart(self, state: Timed, *, key: PRNGKeyArray) -> tuple[Timed, TimeStep]:
        """As the environment does."""
        reset_key, tell_key = jax.random.split(key)
        state, first = self.environment.restart(state, key=reset_key)
        return state, self._told(state, first, tell_key)

    def step(
        self, state: Timed, action: Action, *, key: PRNGKeyArray
    ) -> tuple[Timed, TimeStep]:
        """One step of the environment."""
        step_key, tell_key = jax.random.split(key)
        state, after = self.environment.step(state, action, key=step_key)
        return state, self._told(state, after, tell_key)

    def _told(self, state: Timed, step: TimeStep, key: PRNGKeyArray) -> TimeStep:
        obs = self.tell(state.system, key=key)
        return TimeStep(obs, step.reward, step.terminated, step.truncated)


class Told(AbstractPlant):
    """The state itself is told, exactly.

    Args:
        environment: What is acted in.
    """

    environment: AbstractEnvironment[Timed]

    def tell(self, state: PyTree, *, key: PRNGKeyArray) -> PyTree[Array]:
        """The state."""
        return state


class Shown(AbstractPlant):
    """What the system shows is told, as to one who learns.

    Args:
        environment: What is acted in.
    """

    # Modules are frozen, which pyright does not see of abstract variables.
    environment: Simulated  # pyright: ignore[reportIncompatibleVariableOverride]

    def tell(self, state: PyTree, *, key: PRNGKeyArray) -> PyTree[Array]:
        """The observation of the state."""
        return self.environment.system.observe(state)


class Noisy(AbstractPlant):
    r"""A linear sensor under noise.

    $$y = H x + \eta, \qquad \eta \sim \mathcal N(0, N)$$

    Args:
        environment: What is acted in; its state is $x$.
        H: Shape `[obs, state]`.
        N: Covariance of the noise, shape `[obs, obs]`, positive definite.
    """

    environment: AbstractEnvironment[Timed]
    H: Float[Array, "obs state"]
    N: Float[Array, "obs obs"]

    def tell(self, state: PyTree, *, key: PRNGKeyArray) -> Float[Array, " obs"]:
        """A reading of the sensor."""
        x = ravel(state)[0]
        mean = matvec(self.H.astype(x.dtype), x)
        return Gaussian(mean, self.N.astype(x.dtype)).sample(key=key)
