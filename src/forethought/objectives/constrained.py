r"""An objective with conditions: where one must not go, and where one must end.

$$\max_{u} J(u) \quad \text{subject to} \quad
  g(x_t, u_t) \le 0, \; h(x_t, u_t) = 0, \; g_T(x_T) \le 0, \; h_T(x_T) = 0$$

A planner that knows constraints (`planners.constrained`) holds them; any other pays a
price for each unit by which they are broken, and so does whoever judges a plan.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from forethought.core.given.settings import Nonnegative, check_ranges
from forethought.core.readout import AbstractJudge, Readout
from forethought.core.types import Action
from forethought.objectives.base import X, constant

Running = Callable[[X, Action], Array]
"""From what the model reads out and an action to the values of constraints."""
Final = Callable[[X], Array]
"""From what the model reads out at the end to the values of constraints."""


class Residuals(eqx.Module):
    """The values of constraints, or one number for each, such as a multiplier."""

    inequality: Float[Array, "... inequality"]
    """Met where it is at most zero."""
    equality: Float[Array, "... equality"]
    """Met where it is zero."""

    @property
    def broken(self) -> Float[Array, "... constraint"]:
        """By how much each constraint is broken; zero where it is met."""
        above = jnp.maximum(self.inequality, jnp.zeros_like(self.inequality))
        return jnp.concatenate([above, jnp.abs(self.equality)], axis=-1)

    def miss(self, multipliers: "Residuals") -> Float[Array, "... constraint"]:
        r"""How far from an optimum: broken, or pushed against with room to spare.

        $$|\min(\lambda, -g)| \quad \text{and} \quad |h|$$
        """
        slack = jnp.minimum(multipliers.inequality, -self.inequality)
        return jnp.abs(jnp.concatenate([slack, self.equality], axis=-1))


class Outside(eqx.Module):
    r"""Not inside any of some discs: $g_j = R_j^2 - \lVert p - o_j \rVert^2$.

    With $p$ the first two coordinates; serves as `inequality` and as
    `final_inequality`.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.objectives.constrained import Outside
    >>> Outside(((0.0, 0.0, 1.0),))(jnp.array([2.0, 0.0, 0.3])).tolist()
    [-3.0]

    ```

    Args:
        discs: As $(x, y, \text{radius})$, in m.
    """

    discs: tuple[tuple[float, float, float], ...]

    def __call__(
        self, x: Float[Array, " state"], action: Action | None = None
    ) -> Float[Array, " disc"]:
        """How deep within each disc, in m²; negative outside."""
        discs = jnp.asarray(self.discs, x.dtype)
        squares = jnp.sum((x[None, :2] - discs[:, :2]) ** 2, axis=1)
        return discs[:, 2] ** 2 - squares


class Reaches(eqx.Module):
    r"""In one state exactly: $h = x - x_{\text{goal}}$, a `final_equality`.

    Args:
        goal: $x_{\text{goal}}$, in the coordinates of the state.
    """

    goal: tuple[float, ...]

    def __call__(self, x: Float[Array, " state"]) -> Float[Array, " state"]:
        """How far beyond the goal."""
        return x - jnp.asarray(self.goal, x.dtype)


class Constrained(AbstractJudge):
    r"""An objective with constraints on states and actions.

    $$r = r_0 - p \Big( \sum_i \max(g_i(x, u), 0) + \sum_j |h_j(x, u)| \Big)$$

    and likewise for the value of the last state.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.core.readout import Readout
    >>> from forethought.objectives.constrained import Constrained
    >>> from forethought.objectives.quadratic import Quadratic
    >>> slow = Constrained(Quadratic(jnp.eye(3)), lambda x, u: jnp.abs(x[1:]) - 1.0)
    >>> x, u = jnp.array([0.0, 3.0]), jnp.zeros(1)
    >>> reward, _ = slow.judge(Readout(x), u, Readout(x))
    >>> float(reward), slow.running(x, u).inequality.tolist()
    (-204.5, [2.0])

    ```

    Args:
        objective: $r_0$: what is wanted where the constraints are met.
        inequality: $g$, from readout and action to an array of shape `[inequality]`.
        equality: $h$, likewise.
        final_inequality: $g_T$, from the last readout.
        final_equality: $h_T$, likewise.
        price: $p$, of one unit of violation. Above the largest multiplier no plan
            gains by breaking a constraint.

    Raises:
        ValueError: There is no constraint, or the price is negative.

    References:
        Nocedal and Wright, Numerical Optimization, 2nd ed., 2006, eq. 17.22 (the
        exact penalty) and theorem 17.3.
    """

    objective: AbstractJudge
    inequality: Running | None = None
    equality: Running | None = None
    final_inequality: Final | None = None
    final_equality: Final | None = None
    price: Nonnegative = eqx.field(static=True, default=100.0)

    def __check_init__(self):
        constraints = (
            self.inequality,
            self.equality,
            self.final_inequality,
            self.final_equality,
        )
        if all(constraint is None for constraint in constraints):
            raise ValueError("Constrained needs at least one constraint, got none.")
        check_ranges(self)

    def running(self, x: X, action: Action) -> Residuals:
        """The constraints on a state and what is done in it."""
        none = constant(x, 0)[None][:0]
        return Residuals(
            none if self.inequality is None else self.inequality(x, action),
            none if self.equality is None else self.equality(x, action),
        )

    def final(self, x: X) -> Residuals:
        """The constraints on the last state."""
        none = constant(x, 0)[None][:0]
        return Residuals(
            none if self.final_inequality is None else self.final_inequality(x),
            none if self.final_equality is None else self.final_equality(x),
        )

    def judge(
        self, before: Readout, action: Action, after: Readout
    ) -> tuple[Scalar, Scalar]:
        """The objective's reward, less the price of what is broken."""
        broken = jnp.sum(self.running(before.x, action).broken)
        reward, discount = self.objective.judge(before, action, after)
        return reward - self.price * broken, discount

    def beyond(self, seen: Readout) -> Scalar:
        """The objective's value, less the price of what is broken."""
        broken = jnp.sum(self.final(seen.x).broken)
        return self.objective.beyond(seen) - self.price * broken


class Priced(AbstractJudge):
    r"""The augmented Lagrangian of a constrained objective; readouts tell the time.

    $$r = r_0 - \frac1{2 \rho} \Big( \lVert \max(\lambda_t + \rho g, 0) \rVert^2
        + \lVert \nu_t + \rho h \rVert^2 - \lVert \lambda_t \rVert^2
        - \lVert \nu_t \rVert^2 \Big)$$

    Args:
        constrained: Objective and constraints.
        running: $\lambda_t, \nu_t$: arrays of shape `[horizon, constraint]`.
        final: The multipliers of the last state's constraints.
        penalty: $\rho$.

    References:
        Nocedal and Wright, Numerical Optimization, 2nd ed., 2006, eq. 17.36 (equality)
        and eq. 17.58 (inequality, with the opposite sign of $g$).
    """

    constrained: Constrained
    running: Residuals
    final: Residuals
    penalty: Scalar

    def judge(
        self, before: Readout, action: Action, after: Readout
    ) -> tuple[Scalar, Scalar]:
        """The objective's reward, less what its constraints cost at these prices."""
        multipliers = jax.tree.map(lambda leaf: leaf[before.time], self.running)
        cost = self._cost(self.constrained.running(before.x, action), multipliers)
        reward, discount = self.constrained.objective.judge(before, action, after)
        return reward - cost, discount

    def beyond(self, seen: Readout) -> Scalar:
        """The objective's value, less what the last constraints cost."""
        cost = self._cost(self.constrained.final(seen.x), self.final)
        return self.constrained.objective.beyond(seen) - cost

    def _cost(self, residuals: Residuals, multipliers: Residuals) -> Scalar:
        moved = jax.tree.leaves(raised(multipliers, residuals, self.penalty))
        pairs = zip(moved, jax.tree.leaves(multipliers), strict=True)
        squares = [jnp.sum(after**2) - jnp.sum(before**2) for after, before in pairs]
        return (squares[0] + squares[1]) / (2 * self.penalty)


def raised(multipliers: Residuals, residuals: Residuals, penalty: Scalar) -> Residuals:
    r"""The next multipliers, $\max(\lambda + \rho g, 0)$ and $\nu + \rho h$."""
    inequality = multipliers.inequality + penalty * residuals.inequality
    return Residuals(
        jnp.maximum(inequality, jnp.zeros_like(inequality)),
        multipliers.equality + penalty * residuals.equality,
    )
