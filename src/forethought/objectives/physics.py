"""Rewards of MuJoCo tasks that are not sums of residual norms."""

import jax.numpy as jnp
from jaxtyping import Scalar

from forethought.core.types import Action
from forethought.environments.mujoco import MuJoCoState
from forethought.objectives.base import AbstractObjective, constant


class Run(AbstractObjective):
    r"""Go forward, without much effort: the reward of Gymnasium's HalfCheetah-v5.

    $$r = w_f \frac{x_{t+1} - x_t}{h} - w_u \lVert u \rVert^2$$

    with $x$ the first position, which is where the machine is along its track. There
    is no speed to reach: faster is better.

    Args:
        dt: $h$, seconds from one step to the next.
        forward: $w_f$.
        effort: $w_u$.

    References:
        Towers et al., Gymnasium: a standard interface for reinforcement learning
        environments, 2024, arXiv:2407.17032; `HalfCheetah-v5`, which it equals.
    """

    dt: float
    forward: float | Scalar = 1.0
    effort: float | Scalar = 0.1

    def reward(self, x: MuJoCoState, action: Action, next_x: MuJoCoState) -> Scalar:
        """Speed over the step, less effort."""
        speed = (next_x.qpos[0] - x.qpos[0]) / self.dt
        effort = jnp.sum(action.astype(speed.dtype) ** 2)
        return self.forward * speed - self.effort * effort

    def discount(self, x: MuJoCoState, action: Action, next_x: MuJoCoState) -> Scalar:
        """One: the half-cheetah never ends its run."""
        return constant(x, 1)

    def value(self, x: MuJoCoState) -> Scalar:
        """Nothing beyond the horizon."""
        return constant(x, 0)
