r"""From equations of motion to steps of time: three integrators of fixed step.

Each takes $\dot x = f(x, u)$ from $x_t$ to $x_{t+1}$ with the action held still for
$h$ seconds. They differ in accuracy and in what happens to energy:

| integrator | error after a fixed time | energy of an unforced pendulum |
|---|---|---|
| `euler` | $O(h)$ | grows |
| `semi_implicit_euler` | $O(h)$ | wavers around its true value, for ever |
| `rk4` | $O(h^4)$ | drifts very slowly |

Systems keep the one they use as a field, so any of them runs with any.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from forethought.core.types import Action

Derivative = Callable[[Float[Array, " state"], Action], Float[Array, " state"]]
"""The right-hand side $f(x, u)$ of equations of motion."""

Integrator = Callable[
    [Derivative, Float[Array, " state"], Action, float], Float[Array, " state"]
]
"""Derivative, state, action and seconds to the state so many seconds later."""


def euler(
    derivative: Derivative, state: Float[Array, " state"], action: Action, dt: float
) -> Float[Array, " state"]:
    r"""Explicit Euler.

    $$x_{t+1} = x_t + h f(x_t, u_t)$$

    Args:
        derivative: $f$.
        state: $x_t$, shape `[state]`.
        action: $u_t$, held for the whole step.
        dt: $h$, in seconds.

    Returns:
        $x_{t+1}$, shape `[state]`.
    """
    return state + dt * derivative(state, action)


def semi_implicit_euler(
    derivative: Derivative, state: Float[Array, " state"], action: Action, dt: float
) -> Float[Array, " state"]:
    r"""Semi-implicit Euler: velocities first, then positions with the new velocities.

    $$v_{t+1} = v_t + h f_v(x_t, u_t), \qquad q_{t+1} = q_t + h v_{t+1}$$

    Args:
        derivative: $f$, whose first half is the velocity, $\dot q = v$.
        state: $x_t = [q_t; v_t]$, shape `[state]`, positions before velocities.
        action: $u_t$, held for the whole step.
        dt: $h$, in seconds.

    Returns:
        $x_{t+1}$, shape `[state]`.

    References:
        Hairer, Lubich and Wanner, Geometric Numerical Integration, 2nd ed., 2006,
        §I.1.2, eq. 1.9 (the symplectic Euler method).
    """
    half = state.shape[0] // 2
    velocity = state[half:] + dt * derivative(state, action)[half:]
    return jnp.concatenate([state[:half] + dt * velocity, velocity])


def rk4(
    derivative: Derivative, state: Float[Array, " state"], action: Action, dt: float
) -> Float[Array, " state"]:
    r"""The classical Runge-Kutta method of order four.

    $$x_{t+1} = x_t + \tfrac h6 (k_1 + 2 k_2 + 2 k_3 + k_4)$$

    with $k_1 = f(x_t)$, $k_2 = f(x_t + \tfrac h2 k_1)$,
    $k_3 = f(x_t + \tfrac h2 k_2)$ and $k_4 = f(x_t + h k_3)$, all under $u_t$.

    Args:
        derivative: $f$.
        state: $x_t$, shape `[state]`.
        action: $u_t$, held for the whole step.
        dt: $h$, in seconds.

    Returns:
        $x_{t+1}$, shape `[state]`.

    References:
        Hairer, Nørsett and Wanner, Solving Ordinary Differential Equations I, 2nd
        ed., 1993, §II.1, table 1.2.
    """
    k_1 = derivative(state, action)
    k_2 = derivative(state + 0.5 * dt * k_1, action)
    k_3 = derivative(state + 0.5 * dt * k_2, action)
    k_4 = derivative(state + dt * k_3, action)
    return state + dt / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)
