r"""The matrices of a linear-quadratic problem, read off its model and its objective.

**Notation.** With $z = [x; u]$: dynamics $x_{t+1} = F_t z_t + f_t + \epsilon_t$ with
$\epsilon_t \sim \mathcal N(0, W_t)$; cost $\tfrac12 z^\top C_t z + z^\top c_t$, and
$C_T, c_T$ of the end; what is seen, $y_t = H_t x_t + \eta_t$ with $\eta_t \sim
\mathcal N(0, N_t)$.
"""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from forethought.core.spaces import require_box
from forethought.models.linear.dynamics import Linear, at
from forethought.models.linear.kalman import LinearGaussian
from forethought.models.linear.local import Local
from forethought.objectives.quadratic import Quadratic
from forethought.problem import Problem


class LinearParts(eqx.Module):
    """All that an exact planner needs to know of a problem.

    Every array but those of the end may have a leading axis of time, each for itself.
    """

    F: Float[Array, "... state both"]
    f: Float[Array, "... state"]
    C: Float[Array, "... both both"]
    c: Float[Array, "... both"]
    C_final: Float[Array, "state state"] | None
    c_final: Float[Array, " state"] | None
    W: Float[Array, "... state state"] | None
    """None where nothing disturbs, and the belief is the state."""
    H: Float[Array, "... obs state"] | None
    """None, as `N`, where the state itself is seen."""
    N: Float[Array, "... obs obs"] | None
    gamma: float = eqx.field(static=True)

    @property
    def state_size(self) -> int:
        """How many coordinates the state has."""
        return self.F.shape[-2]

    def during(self, steps: Int[Array, " step"], dtype: jnp.dtype) -> "LinearParts":
        """The parts that hold at some steps, in one dtype; constant ones stay so.

        `H` and `N` are those of the look that ends each step.
        """

        def pick(array: Array, rank: int, steps: Array = steps) -> Array:
            return at(array, rank, steps).astype(dtype)

        def cast(array: Array | None) -> Array | None:
            return None if array is None else array.astype(dtype)

        return dataclasses.replace(
            self,
            F=pick(self.F, 2),
            f=pick(self.f, 1),
            C=pick(self.C, 2),
            c=pick(self.c, 1),
            C_final=cast(self.C_final),
            c_final=cast(self.c_final),
            W=None if self.W is None else pick(self.W, 2),
            H=None if self.H is None else pick(self.H, 2, steps + 1),
            N=None if self.N is None else pick(self.N, 2, steps + 1),
        )


def linear_parts(
    problem: Problem, *, endless: bool = False, definite: bool = False
) -> LinearParts:
    """The matrices of a problem that `LQR` can solve.

    Args:
        problem: A `Linear` or `LinearGaussian` model or a `Local` one, whose mean it
            takes; a `Quadratic`; free actions.
        endless: Whether it must be constant in time.
        definite: Whether the action's cost must be positive definite.

    Raises:
        TypeError: The problem is none of these, varies in time though it is `endless`,
            or its objective does while its model keeps no time.
        ValueError: Model, objective and action space disagree in size, or the action's
            cost is not positive definite though it must be.
    """
    box = require_box(problem.action, "LQR")
    model, objective = problem.model, problem.objective
    model = model.linear if isinstance(model, Local) else model
    noisy = isinstance(model, LinearGaussian)
    linear = model.dynamics if noisy else model
    if not isinstance(linear, Linear) or not isinstance(objective, Quadratic):
        raise TypeError(
            "LQR needs a Linear or LinearGaussian model and a Quadratic objective, "
            f"got {type(model).__name__} and {type(objective).__name__}; use ILQR, "
            "which expands any smooth problem to that form."
        )
    if box.bounded:
        raise TypeError(
            "LQR needs free actions, because its closed form knows no limits, got "
            f"{box}; use ILQR, which respects them."
        )
    if endless and (linear.time_varying or objective.time_varying):
        raise TypeError(
            "LQR needs dynamics and costs that are constant in time to plan for "
            "ever, but F, f, C or c has a time axis here."
        )
    timed = model.time_varying if noisy else linear.time_varying
    if objective.time_varying and not timed:
        raise TypeError(
            "LQR needs a model that keeps the time when the Quadratic varies in "
            "time, got a constant one; give its F a time axis."
        )
    state, action = linear.state_size, linear.action_size
    final = objective.C_final
    if (
        objective.C.shape[-1] != state + action
        or box.shape != (action,)
        or (final is not None and final.shape[0] != state)
    ):
        raise ValueError(
            f"LQR needs a Quadratic and a Box to go with {state} states and "
            f"{action} actions, got C of shape {list(objective.C.shape)}, C_final "
            f"of shape {None if final is None else list(final.shape)}, and actions "
            f"of shape {list(box.shape)}."
        )
    if definite:
        objective.require_action_cost(state)
    return LinearParts(
        F=linear.F,
        f=linear.f,
        C=objective.C,
        c=objective.c,
        C_final=final,
        c_final=objective.c_final,
        W=model.W if noisy else None,
        H=model.H if noisy else None,
        N=model.N if noisy else None,
        gamma=objective.gamma,
    )
