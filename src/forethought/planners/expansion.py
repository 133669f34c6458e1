r"""A problem, expanded to a linear-quadratic one along a trajectory.

Around a nominal trajectory $(\hat x_t, \hat u_t)$ any smooth problem looks linear and
quadratic in the deviation $z = [x - \hat x_t; u - \hat u_t]$:

$$x_{t+1} - \hat x_{t+1} \approx F_t z, \qquad
  c_t \approx \text{const} + z^\top c_t + \tfrac12 z^\top C_t z$$

which is what the recursions of the LQR family work on.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from forethought.core.linalg import matvec
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

    Returns:
        Arrays over the coordinates of `ravel(belief)` and the action.

    Note:
        Models are differentiated once, never twice (Gauss–Newton: the second-order
        terms of dynamics and readout are dropped, which is what tells iLQR from DDP),
        so that a simulator with finite-difference Jacobians will do. Discounts are held
        at their values along the trajectory.
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
        look = _readout(problem, belief)
        o_next, restore_next = ravel(model.readout(next_belief))

        def cost(z_moved):
            o_after = o_next + matvec(Y, z_moved - z)
            return -objective.reward(
                look(z_moved[:n]), z_moved[n:], restore_next(o_after)
            )

        c, C = _gradient_and_hessian(cost, z)
        return F, C, c

    def terminal(belief):
        look = _readout(problem, belief)
        return _gradient_and_hessian(
            lambda x: -objective.value(look(x)), ravel(belief)[0]
        )

    before = jax.tree.map(lambda leaf: leaf[:-1], beliefs)
    after = jax.tree.map(lambda leaf: leaf[1:], beliefs)
    F, C, c = jax.vmap(stage)(before, actions, after, keys)
    v, V = terminal(jax.tree.map(lambda leaf: leaf[-1], beliefs))
    return Expansion(F, C, c, V, v)


def _readout(problem: Problem, belief: PyTree):
    """The readout as a function of the belief's coordinates, linear around it."""
    model = problem.model
    x, unravel = ravel(belief)
    readout = model.readout(belief)
    if readout is belief:
        return unravel
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
