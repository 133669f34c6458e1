r"""Tables solved: the best that can be done, and the best with closed eyes.

Value iteration and policy iteration both look for the value function that equals its
own backup,

$$V(s) = \max_a Q(s, a), \qquad Q(s, a) = \sum_k p_k(s, a) \bigl[r_k
  + \gamma\, (1 - e_k)\, V(s'_k)\bigr],$$

the first by applying the backup again and again, the second by evaluating the greedy
policy in between. They touch only the outcomes that a table lists, so that a sweep over
$10^5$ states takes milliseconds.

For a handful of steps, `closed_loop_value` and `open_loop_value` say exactly what it is
worth to see: the first may look at the state before each action, the second chooses all
actions beforehand.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Scalar

from forethought.core.results import Result
from forethought.core.table import Table

DENSE = 1000
"""Up to so many states a policy is evaluated by solving a dense linear system."""
PLANS = 1 << 24
"""At most so many numbers `open_loop_value` holds at once."""


class Solution(eqx.Module):
    """What is best in each state of a table."""

    V: Float[Array, " state"]
    Q: Float[Array, "state action"]
    policy: Int[Array, " state"]
    """The first of the best actions."""
    residual: Scalar
    r"""$\max_s |\max_a Q(s, a) - V(s)|$; over $1 - \gamma$ it bounds the error of V."""
    iterations: Int[Array, ""]
    result: Result


def value_iteration(
    table: Table,
    gamma: float | Scalar = 1.0,
    *,
    tolerance: float | None = None,
    iterations: int = 100_000,
) -> Solution:
    r"""Solve a table by applying the backup until nothing changes.

    ```python
    >>> from forethought.environments.tables.grids import dyna_maze
    >>> from forethought.planners.tables.value_iteration import value_iteration
    >>> maze = dyna_maze()
    >>> solution = value_iteration(maze.table, gamma=0.5)
    >>> round(-13 * 1.0) == round(float(jax.numpy.log2(solution.V[18])))
    True

    ```

    Args:
        table: What follows from each state and action.
        gamma: Discount of one step, in [0, 1]; with 1 there must be an end that all
            good policies come to.
        tolerance: How large a residual may remain, as a share of the largest value;
            by default 64 roundings.
        iterations: Most backups.

    Raises:
        ValueError: A number is out of its range.

    References:
        Puterman, Markov decision processes, 1994, §6.3 (value iteration), theorem
        6.3.1 (the bound by the residual).
    """
    _require("value_iteration", gamma, iterations)
    return _solve(table, gamma, lambda V, Q: jnp.max(Q, axis=1), tolerance, iterations)


def policy_iteration(
    table: Table,
    gamma: float | Scalar = 1.0,
    *,
    tolerance: float | None = None,
    iterations: int = 10_000,
    sweeps: int | None = None,
) -> Solution:
    r"""Solve a table by evaluating the greedy policy again and again.

    $$(I - \gamma P_\pi) V_\pi = R_\pi$$

    A small system is solved exactly, by a dense factorisation. For a large one the
    backup of $\pi$ alone is applied a number of times, which costs a fraction of one
    over all actions (modified policy iteration).

    Args:
        table: What follows from each state and action.
        gamma: Discount of one step, in [0, 1]; below 1 where policies are evaluated
            exactly, unless every one of them comes to an end.
        tolerance: As for `value_iteration`.
        iterations: Most policies.
        sweeps: Backups of each policy; by default it is evaluated exactly up to 1000
            states, and by 10 sweeps beyond.

    Raises:
        ValueError: A number is out of its range.

    References:
        Howard, Dynamic programming and Markov processes, 1960. Puterman and Shin,
        Modified policy iteration algorithms for discounted Markov decision problems,
        1978, doi:10.1287/mnsc.24.11.1127. Puterman, 1994, §6.4 and §6.5.
    """
    _require("policy_iteration", gamma, iterations)
    if sweeps is not None and sweeps < 1:
        raise ValueError(f"policy_iteration needs sweeps >= 1, got {sweeps}.")
    exact = sweeps is None and table.states <= DENSE
    s = jnp.arange(table.states)

    def evaluate(V: Array, Q: Array) -> Array:
        policy = jnp.argmax(Q, axis=1)
        weight, to = _weights(table, gamma)[s, policy], table.next_state[s, policy]
        R = jnp.sum(table.probability * table.reward, -1)[s, policy]
        if exact:
            A = jnp.eye(table.states, dtype=V.dtype).at[s[:, None], to].add(-weight)
            return jnp.linalg.solve(A, R)
        return jax.lax.fori_loop(
            0,
            10 if sweeps is None else sweeps,
            lambda _, V: R + jnp.sum(weight * V[to], -1),
            jnp.max(Q, axis=1),
        )

    return _solve(table, gamma, evaluate, tolerance, iterations)


def _weights(table: Table, gamma: float | Scalar) -> Array:
    """What the value of each outcome's state counts in a backup."""
    gamma = jnp.asarray(gamma, table.probability.dtype)
    return gamma * jnp.where(table.terminated, 0, table.probability)


def _solve(
    table: Table,
    gamma: float | Scalar,
    improve: Callable[[Array, Array], Array],
    tolerance: float | None,
    iterations: int,
) -> Solution:
    """Improve on values until they equal their own backup."""
    weight = _weights(table, gamma)
    R = jnp.sum(table.probability * table.reward, -1)
    if tolerance is None:
        tolerance = 64 * float(jnp.finfo(R.dtype).eps)

    def backup(V: Array) -> Array:
        return R + jnp.sum(weight * V[table.next_state], -1)

    def left(V: Array, Q: Array) -> Array:
        return jnp.max(jnp.abs(jnp.max(Q, axis=1) - V))

    def allowed(Q: Array) -> Array:
        return jnp.asarray(tolerance, Q.dtype) * jnp.max(jnp.abs(Q))

    def go_on(loop):
        V, Q, count = loop
        return (left(V, Q) > allowed(Q)) & (count < iterations)

    def step(loop):
        V, Q, count = loop
        V = improve(V, Q)
        return V, backup(V), count + 1

    V = jnp.zeros_like(R[:, 0])
    V, Q, count = jax.lax.while_loop(go_on, step, (V, backup(V), jnp.asarray(0)))
    residual = left(V, Q)
    result = Result.where(
        residual <= allowed(Q), Result.successful, Result.iteration_limit
    )
    result = Result.where(jnp.isfinite(residual), result, Result.non_finite)
    return Solution(V, Q, jnp.argmax(Q, axis=1), residual, count, result)


def closed_loop_value(table: Table, horizon: int, gamma: float = 1.0) -> float:
    r"""The best expected return of so many steps, if each state is seen.

    $$V_t(s) = \max_a \sum_k p_k \bigl[r_k + \gamma (1 - e_k) V_{t+1}(s'_k)\bigr],
      \qquad V_H = 0, \qquad \mathbb E_{s \sim \text{start}}\, V_0(s)$$

    Computed on the host in double precision.

    Args:
        table: What follows from each state and action.
        horizon: $H$, how many actions.
        gamma: Discount of one step, in [0, 1].

    Raises:
        ValueError: A number is out of its range.
    """
    _require("closed_loop_value", gamma, horizon)
    R, weight, to, start = _host(table, gamma)
    V = np.zeros(table.states)
    for _ in range(horizon):
        V = (R + (weight * V[to]).sum(-1)).max(axis=1)
    return float(start @ V)


def open_loop_value(table: Table, horizon: int, gamma: float = 1.0) -> float:
    r"""The best expected return of so many actions that are all chosen beforehand.

    $$\max_{a_0, …, a_{H-1}} \mathbb E\Bigl[\sum_t \gamma^t r_t \Bigm| a_0, …,
      a_{H-1}\Bigr]$$

    Every sequence of actions is tried, on the host in double precision. What it lacks
    of `closed_loop_value` is the worth of seeing.

    ```python
    >>> from forethought.planners.tables.value_iteration import (
    ...     closed_loop_value, open_loop_value
    ... )
    >>> from forethought.tasks.grids import exam_table
    >>> exam = exam_table(easy=0.75)
    >>> open_loop_value(exam, 2), closed_loop_value(exam, 2)
    (0.5, 0.75)

    ```

    Args:
        table: What follows from each state and action.
        horizon: $H$, how many actions.
        gamma: Discount of one step, in [0, 1].

    Raises:
        ValueError: A number is out of its range, or there are too many sequences.
    """
    _require("open_loop_value", gamma, horizon)
    if table.states * float(table.actions) ** horizon > PLANS:
        raise ValueError(
            f"open_loop_value needs states · actions^horizon <= {PLANS}, got "
            f"{table.states} · {table.actions}^{horizon}."
        )
    R, weight, to, start = _host(table, gamma)
    # Values of all sequences of the last actions, one row for each of them.
    values = np.zeros((1, table.states))
    for _ in range(horizon):
        after = (weight * values[:, to]).sum(-1)
        values = (R + after).transpose(0, 2, 1).reshape(-1, table.states)
    return float((values @ start).max())


def _host(table: Table, gamma: float) -> tuple[np.ndarray, ...]:
    """Rewards, weights of successors, successors and start, in double precision."""
    p = np.asarray(table.probability, float)
    R = (p * np.asarray(table.reward, float)).sum(-1)
    weight = gamma * np.where(np.asarray(table.terminated), 0.0, p)
    return R, weight, np.asarray(table.next_state), np.asarray(table.start, float)


def _require(name: str, gamma: float | Scalar, count: int) -> None:
    """Refuse a discount or a number of steps that make no sense."""
    if isinstance(gamma, (int, float)) and not 0 <= gamma <= 1:
        raise ValueError(f"{name} needs gamma in [0, 1], got {gamma}.")
    if count < 1:
        what = "horizon" if name.endswith("loop_value") else "iterations"
        raise ValueError(f"{name} needs {what} >= 1, got {count}.")
