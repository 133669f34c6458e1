"""Rewards of MuJoCo tasks that are not sums of residual norms."""

import math

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Scalar

from forethought.core.types import Action
from forethought.environments.mujoco.system import MuJoCoState
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


class TipUp(AbstractObjective):
    r"""Hold the tip of a cart's pole at a point above the middle of the rail.

    $$r = \exp\left(-\frac{\lVert p - (0, l) \rVert^2}{l^2}\right)
      - c\, \lVert u \rVert^2, \qquad p = (x - l \sin\theta, -l \cos\theta)$$

    on the state after the step, with $x$ the first position and $\theta$ the second,
    which is zero where the pole hangs.

    Args:
        length: $l$, of the pole, in m.
        effort: $c$.

    References:
        Chua et al., Deep reinforcement learning in a handful of trials using
        probabilistic dynamics models, 2018, arXiv:1805.12114, the cart-pole.

    Note:
        Length and effort are those of the authors' code.
    """

    length: float | Scalar = 0.6
    effort: float | Scalar = 0.01

    def reward(self, x: MuJoCoState, action: Action, next_x: MuJoCoState) -> Scalar:
        """How near the tip is, less effort."""
        position, angle = next_x.qpos[0], next_x.qpos[1]
        # Distances are in lengths of the pole.
        across = position / self.length - jnp.sin(angle)
        below = jnp.cos(angle) + 1
        effort = jnp.sum(action.astype(angle.dtype) ** 2)
        return jnp.exp(-(across**2) - below**2) - self.effort * effort

    def discount(self, x: MuJoCoState, action: Action, next_x: MuJoCoState) -> Scalar:
        """One: nothing ends early."""
        return constant(x, 1)

    def value(self, x: MuJoCoState) -> Scalar:
        """Nothing beyond the horizon."""
        return constant(x, 0)


class Balance(AbstractObjective):
    r"""Keep a cart's pole up, in the middle, slowly and gently.

    $$r = n \cdot \frac{1 + \cos\theta}2 \cdot \frac{1 + g(x / 2)}2
      \cdot \frac{1 + g(\dot\theta / 5)}2 \cdot \frac{4 + \max(0, 1 - u^2)}5,
      \qquad g(y) = 0.1^{\,y^2}$$

    on the state after the step, with $x$ the first position and $\theta$ the second,
    which is zero where the pole is upright. Each factor lies in [0, 1].

    Args:
        frames: $n$, how many steps the reward stands for.

    References:
        Tassa et al., DeepMind control suite, 2018, arXiv:1801.00690; the suite's
        cart-pole with a smooth reward, which it equals.
    """

    frames: float | Scalar = 1.0

    def reward(self, x: MuJoCoState, action: Action, next_x: MuJoCoState) -> Scalar:
        """The product of what is wanted."""
        upright = (1 + jnp.cos(next_x.qpos[1])) / 2
        centred = (1 + _near(next_x.qpos[0] / 2)) / 2
        slow = (1 + _near(next_x.qvel[1] / 5)) / 2
        push = action.astype(upright.dtype)[0]
        gentle = (4 + jnp.maximum(1 - push**2, 0)) / 5
        return self.frames * upright * centred * slow * gentle

    def discount(self, x: MuJoCoState, action: Action, next_x: MuJoCoState) -> Scalar:
        """One: nothing ends early."""
        return constant(x, 1)

    def value(self, x: MuJoCoState) -> Scalar:
        """Nothing beyond the horizon."""
        return constant(x, 0)


class Reaching(AbstractObjective):
    r"""Hold the tip of a two-link arm at a target, gently.

    $$r = -\sqrt{|p - g|^2 + \epsilon^2} - |u|^2, \qquad
      p = l_1 \binom{\cos \theta_1}{\sin \theta_1} +
          l_2 \binom{\cos(\theta_1 + \theta_2)}{\sin(\theta_1 + \theta_2)}$$

    on the state after the step, whose positions are $\theta_1, \theta_2$ and $g$.

    Args:
        links: $l_1$ and $l_2$, in m; the tip is a hundredth beyond the second link.
        rounding: $\epsilon$, within which the distance is smooth, in m: without it a
            tip that passes its target meets a cost of any curvature.

    References:
        Towers et al., Gymnasium: a standard interface for reinforcement learning
        environments, 2024, arXiv:2407.17032; `Reacher-v5`, whose distance has no
        rounding.
    """

    links: tuple[float, float] = eqx.field(static=True, default=(0.1, 0.11))
    rounding: float | Scalar = 0.03

    def reward(self, x: MuJoCoState, action: Action, next_x: MuJoCoState) -> Scalar:
        """Minus the distance, less effort."""
        first, second = next_x.qpos[0], next_x.qpos[0] + next_x.qpos[1]
        near, far = self.links
        across = near * jnp.cos(first) + far * jnp.cos(second) - next_x.qpos[2]
        along = near * jnp.sin(first) + far * jnp.sin(second) - next_x.qpos[3]
        effort = jnp.sum(action.astype(first.dtype) ** 2)
        return -jnp.sqrt(across**2 + along**2 + self.rounding**2) - effort

    def discount(self, x: MuJoCoState, action: Action, next_x: MuJoCoState) -> Scalar:
        """One: nothing ends early."""
        return constant(x, 1)

    def value(self, x: MuJoCoState) -> Scalar:
        """Nothing beyond the horizon."""
        return constant(x, 0)


def _near(distance: Scalar) -> Scalar:
    """One at no distance, a tenth at distance one."""
    return jnp.exp(math.log(0.1) * distance**2)
