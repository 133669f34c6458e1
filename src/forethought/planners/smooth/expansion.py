r"""A problem, expanded to a linear-quadratic one along a trajectory.

Around a nominal trajectory $(\hat x_t, \hat u_t)$ any smooth problem looks linear and
quadratic in the deviation $z = [x - \hat x_t; u - \hat u_t]$:

$$x_{t+1} - \hat x_{t+1} \approx F_t z, \qquad
  c_t \approx \text{const} + z^\top c_t + \tfrac12 z^\top C_t z$$

which is what the recursions of the LQR family work on. What that leaves out of second
order is the bend of the dynamics, $\sum_i v_i \nabla^2 f_i$ with $v$ the slope of the
cost to go after the step: it is known only during the backward recursion, which asks
`bend` for it.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray, PyTree, Scalar

from forethought.core.linalg import dot, matvec, symmetrise
from forethought.core.tracing import calls_host
from forethought.core.types import ravel
from forethought.problem import Problem


class Expansion(eqx.Module):
    """Dynamics and cost (minus the reward) to the order that iLQR uses."""

    F: Float[Array, "horizon state both"]
    C: Float[Array, "horizon both both"]
    c: Float[Array, "horizon both"]
    V: Float[Array, "state state"]
    """Hessian of the terminal cost."""
    v: Float[Array, " state"]
    """Slope of the terminal cost."""

    @property
    def action_weight(self) -> Scalar:
        """The mean size of the diagonal of the cost's Hessian in the action."""
        n = self.F.shape[1]
        diagonals = jnp.diagonal(self.C, axis1=1, axis2=2)
        return jnp.mean(jnp.abs(diagonals[:, n:]))

    @property
    def finite(self) -> Bool[Array, ""]:
        """Whether every entry is a finite number."""
        arrays = (self.F, self.C, self.c, self.V, self.v)
        return jnp.all(jnp.stack([jnp.all(jnp.isfinite(array)) for array in arrays]))


def expand(
    problem: Problem,
    beliefs: PyTree,
    actions: Float[Array, "horizon action"],
    *,
    keys: Key[Array, " horizon"],
    landings: PyTree | None = None,
    second_order: bool = False,
) -> Expansion:
    r"""Linearise the model and expand the objective along a trajectory.

    With $o$ the readout of a belief, the reward is a function $r(o, u, o')$ of three
    arguments. It is expanded to second order in them, and they to first order in $z$:

    $$C_t = -\nabla_z^2 \; r(\hat o + G z_x,\; \hat u + z_u,\; \hat o' + Y z)$$

    Args:
        problem: Model and objective.
        beliefs: The trajectory, leaves of shape `[horizon + 1, ...]`.
        actions: Shape `[horizon, action]`.
        keys: The keys under which the trajectory was imagined, shape `[horizon]`.
        landings: Where each action leads, leaves of shape `[horizon, ...]`, if that
            is not the next belief.
        second_order: Whether $C_t$ has the second derivatives of $o$ and $o'$ too.

    Returns:
        Arrays over the coordinates of `ravel(belief)` and the action.

    Note:
        Unless `second_order`, models are differentiated once, never twice
        (Gauss–Newton), so that a simulator with finite-difference Jacobians will do.
        Discounts are held at their values along the trajectory.
    """
    model, objective = problem.model, problem.objective

    def stage(belief, action, next_belief, key):
        x, unravel = ravel(belief)
        n = x.shape[0]
        z = jnp.concatenate([x, action])

        def ahead(z):
            after = model.predict(unravel(z[:n]), z[n:], key=key)
            return ravel(after)[0], ravel(model.readout(after))[0]

        F, Y = jax.jacfwd(ahead)(z)
        look = _readout(problem, belief, second_order)
        o_next, restore_next = ravel(model.readout(next_belief))

        def cost(z_moved):
            linear = o_next + matvec(Y, z_moved - z)
            o_after = ahead(z_moved)[1] if second_order else linear
            before, after = look(z_moved[:n]), restore_next(o_after)
            return -objective.judge(before, z_moved[n:], after)[0]

        c, C = _gradient_and_hessian(cost, z)
        return F, C, c

    def terminal(belief):
        look = _readout(problem, belief, second_order)
        return _gradient_and_hessian(
            lambda x: -objective.beyond(look(x)), ravel(belief)[0]
        )

    before = jax.tree.map(lambda leaf: leaf[:-1], beliefs)
    if landings is None:
        landings = jax.tree.map(lambda leaf: leaf[1:], beliefs)
    F, C, c = jax.vmap(stage)(before, actions, landings, keys)
    v, V = terminal(jax.tree.map(lambda leaf: leaf[-1], beliefs))
    return Expansion(F, C, c, V, v)


def bend(
    problem: Problem,
    belief: PyTree,
    action: Float[Array, " action"],
    key: PRNGKeyArray,
    v: Float[Array, " state"],
) -> Float[Array, "both both"]:
    r"""The Hessian of $v^\top f(x, u)$: what DDP adds to iLQR."""
    x, unravel = ravel(belief)
    n = x.shape[0]

    def along(z):
        after = problem.model.predict(unravel(z[:n]), z[n:], key=key)
        return dot(v, ravel(after)[0])

    return symmetrise(jax.hessian(along)(jnp.concatenate([x, action])))


def require_second_order(planner: str, problem: Problem, belief: PyTree) -> None:
    """Refuse a model that is computed on the host: its slope has no derivative.

    Raises:
        TypeError: Naming the planner, the model, and what of it is missing.
    """
    x, unravel = ravel(belief)
    action = jnp.zeros(problem.action.shape, x.dtype)

    def step(x, key):
        return problem.model.predict(unravel(x), action, key=key)

    # JAX would not object: what a callback returns passes for a constant.
    if calls_host(step, x, jax.random.key(0)):
        raise TypeError(
            f"{planner} needs a model that can be differentiated twice, but "
            f"{type(problem.model).__name__} calls a simulator on the host, whose "
            "slope is a finite difference; use second_order=False."
        )


def _readout(problem: Problem, belief: PyTree, second_order: bool):
    """The readout as a function of the belief's coordinates, or linear around it."""
    model = problem.model
    x, unravel = ravel(belief)
    readout = model.readout(belief)
    kept = {id(leaf) for leaf in jax.tree.leaves(belief)}
    # What only picks from the belief is linear, and need not be differentiated.
    if second_order or all(id(leaf) in kept for leaf in jax.tree.leaves(readout)):
        return lambda moved: model.readout(unravel(moved))
    o, restore = ravel(readout)
    G = jax.jacfwd(lambda x: ravel(model.readout(unravel(x)))[0])(x)
    return lambda moved: restore(o + matvec(G, moved - x))


def _gradient_and_hessian(function, z: Array) -> tuple[Array, Array]:
    """Both, from one evaluation of the gradient."""

    def slope(z):
        gradient = jax.grad(function)(z)
        return gradient, gradient

    hessian, gradient = jax.jacfwd(slope, has_aux=True)(z)
    return gradient, hessian
