r"""Tables solved: the best that can be done, and the best with closed eyes.

Value iteration and policy iteration both look for the value function that equals its
own backup,

$$V(s) = \max_a Q(s, a), \qquad Q(s, a) = \sum_k p_k(s, a) \bigl[r_k
  + \gamma\, (1 - e_k)\, V(s'_k)\bigr],$$

the first by applying the backup again and again, the second by evaluating the greedy
policy in between. They touch only the outcomes that a table lists, so that a sweep over
$10^5$ states takes milliseconds.

Without discount a value may be infinite: where one is paid for ever. Such values are
infinite here too, and their result is no success.

For a handful of steps, `closed_loop_value` and `open_loop_value` say exactly what it is
worth to see: the first may look at the state before each action, the second chooses all
actions beforehand.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Scalar

from forethought.core.given.settings import Count, Nonnegative, Share, require
from forethought.core.results import Result
from forethought.core.table import Table

DENSE = 1000
"""Up to so many states a policy is evaluated by solving a dense linear system."""
SWEEPS = 10
"""Backups of a policy that is not evaluated exactly."""
RATE = 2520
"""Backups over which values are seen to grow for ever. What comes and goes in turns,
of up to ten steps, is no growth over so many."""
PLANS = 1 << 24
"""At most so many numbers `open_loop_value` holds at once."""


class Solution(eqx.Module):
    """What is best in each state of a table."""

    V: Float[Array, " state"]
    """Infinite where somebody who acts for the best is paid for ever, NaN where what he
    is paid for ever adds up to nothing."""
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
        gamma: Discount of one step, in [0, 1]; with 1 there must be an end, or a rest
            without reward, that a best policy comes to.
        tolerance: How large a residual may remain, as a share of the largest value;
            by default 64 roundings.
        iterations: Most backups.

    Raises:
        ValueError: A number is out of its range.

    References:
        Puterman, Markov decision processes, 1994, §6.3 (value iteration), theorem
        6.3.1 (the bound by the residual).
    """
    require("value_iteration", Share, gamma=gamma)
    require("value_iteration", Nonnegative | None, tolerance=tolerance)
    require("value_iteration", Count, iterations=iterations)
    return _solve(
        table, gamma, lambda V, Q, _: jnp.max(Q, axis=1), 1, tolerance, iterations
    )


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

    A small system is solved exactly, by a dense factorisation. For a large one, and
    where some policy never ends, so that its system is singular, the backup of $\pi$
    alone is applied a number of times, which costs a fraction of one over all actions
    (modified policy iteration).

    Args:
        table: What follows from each state and action.
        gamma: As for `value_iteration`.
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
    require("policy_iteration", Share, gamma=gamma)
    require("policy_iteration", Nonnegative | None, tolerance=tolerance)
    require("policy_iteration", Count, iterations=iterations)
    require("policy_iteration", Count | None, sweeps=sweeps)
    exact, few = sweeps is None and table.states <= DENSE, sweeps or SWEEPS
    s = jnp.arange(table.states)

    def evaluate(V: Array, Q: Array, endless: Array | None) -> Array:
        policy = jnp.argmax(Q, axis=1)
        weight, to = _weights(table, gamma)[s, policy], table.next_state[s, policy]
        R = jnp.sum(table.probability * table.reward, -1)[s, policy]

        def solve() -> Array:
            A = jnp.eye(table.states, dtype=V.dtype).at[s[:, None], to].add(-weight)
            return jnp.linalg.solve(A, R)

        def sweep() -> Array:
            return jax.lax.fori_loop(
                0, few, lambda _, V: R + _ahead(weight, V[to]), jnp.max(Q, axis=1)
            )

        return _when(endless, sweep, solve) if exact else sweep()

    return _solve(table, gamma, evaluate, few + 1, tolerance, iterations)


def _weights(table: Table, gamma: float | Scalar) -> Array:
    """What the value of each outcome's state counts in a backup."""
    gamma = jnp.asarray(gamma, table.probability.dtype)
    return gamma * jnp.where(table.terminated, 0, table.probability)


def _ahead(weight: Array, values: Array) -> Array:
    """What is expected of what follows; values may be infinite."""
    return jnp.sum(jnp.where(weight > 0, weight * values, 0), -1)


def _solve(
    table: Table,
    gamma: float | Scalar,
    improve: Callable[[Array, Array, Array | None], Array],
    sweeps: int,
    tolerance: float | None,
    iterations: int,
) -> Solution:
    """Improve on values until they equal their own backup.

    Args:
        table: To be solved.
        gamma: The discount.
        improve: From values, their backup, and whether some policy never ends, to
            better values.
        sweeps: As how many backups an improvement counts.
        tolerance: Of the residual.
        iterations: Most improvements.
    """
    weight = _weights(table, gamma)
    R = jnp.sum(table.probability * table.reward, -1)
    if tolerance is None:
        tolerance = 64 * float(jnp.finfo(R.dtype).eps)

    def backup(V: Array) -> Array:
        return R + _ahead(weight, V[table.next_state])

    def left(V: Array, Q: Array) -> Array:
        best = jnp.max(Q, axis=1)
        return jnp.max(jnp.where(best == V, 0, jnp.abs(best - V)))

    def allowed(Q: Array) -> Array:
        largest = jnp.max(jnp.where(jnp.isfinite(Q), jnp.abs(Q), 0))
        return jnp.asarray(tolerance, Q.dtype) * largest

    def go_on(loop):
        V, Q, count = loop
        return (left(V, Q) > allowed(Q)) & (count < iterations)

    def step(loop):
        V, Q, count = loop
        V = improve(V, Q, endless)
        return V, backup(V), count + 1

    def later(V: Array, count: ArrayLike) -> Array:
        """After so many more backups."""
        return jax.lax.fori_loop(0, count, lambda _, V: jnp.max(backup(V), axis=1), V)

    def paid_for_ever() -> Array:
        V = later(none, RATE)
        growth = jnp.sign(later(V, RATE) - V)
        return jnp.where(jnp.asarray(never), growth * jnp.inf, none)

    def grown() -> Array:
        """With infinite ones for those that are at rest beside their size alone."""
        growth = later(V, jnp.maximum(sweeps * count, RATE)) - V
        grows = jnp.abs(growth) > jnp.maximum(jnp.abs(V) / 4, allowed(Q))
        return jnp.where(grows, jnp.sign(growth) * jnp.inf, V)

    none = jnp.zeros_like(R[:, 0])
    endless, never = _for_ever(table, gamma)
    V = _when(None if never is None else jnp.any(never), paid_for_ever, lambda: none)
    V, Q, count = jax.lax.while_loop(go_on, step, (V, backup(V), jnp.asarray(0)))
    residual = left(V, Q)
    settled = residual <= allowed(Q)
    V = _when(None if endless is None else endless & settled, grown, lambda: V)
    Q = backup(V)
    result = Result.where(settled, Result.successful, Result.iteration_limit)
    finite = jnp.isfinite(residual) & jnp.all(jnp.isfinite(V))
    result = Result.where(finite, result, Result.non_finite)
    return Solution(V, Q, jnp.argmax(Q, axis=1), residual, count, result)


def _when(
    condition: Array | None, yes: Callable[[], Array], no: Callable[[], Array]
) -> Array:
    """One of two, the second where it is known to be beforehand."""
    return no() if condition is None else jax.lax.cond(condition, yes, no)


def _for_ever(
    table: Table, gamma: float | Scalar
) -> tuple[Bool[Array, ""], Bool[Array, " state"]] | tuple[None, None]:
    """Whether some policy never ends, and from where none ends or rests unpaid.

    Neither is asked where the discount is known to end everything.
    """
    if isinstance(gamma, (int, float)) and gamma < 1:
        return None, None
    there, to = table.probability > 0, table.next_state
    stays = ~jnp.any(there & table.terminated, -1) & (jnp.asarray(gamma) == 1)
    unpaid = stays & ~jnp.any(there & (table.reward != 0), -1)

    def kept(allowed: Array) -> Array:
        """Where one can stay for ever, by actions that are allowed."""

        def within(inside: Array) -> Array:
            return jnp.any(allowed & jnp.all(~there | inside[to], -1), -1)

        return _fixed(within, jnp.any(allowed, -1))

    goal = kept(unpaid) | jnp.any(~stays, -1)
    reaches = _fixed(lambda at: goal | jnp.any(there & at[to], (-2, -1)), goal)
    return jnp.any(kept(stays)), ~reaches


def _fixed(step: Callable[[Array], Array], start: Array) -> Array:
    """What a step that only adds, or only takes away, leaves as it is."""
    return jax.lax.while_loop(
        lambda pair: jnp.any(pair[0] != pair[1]),
        lambda pair: (pair[1], step(pair[1])),
        (start, step(start)),
    )[1]


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
    require("closed_loop_value", Share, gamma=gamma)
    require("closed_loop_value", Count, horizon=horizon)
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
    require("open_loop_value", Share, gamma=gamma)
    require("open_loop_value", Count, horizon=horizon)
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
