r"""A value that is learned for what lies beyond the horizon of imagined futures.

$$V(x_t) \leftarrow \sum_{s=t}^{H-1} \gamma^{s-t} r_s + \gamma^{H-t} V(x_H)$$

for all steps of the futures that the policy is improved by, with a step of an
optimiser for each of the policy's.

**Notation.** $H$ horizon, $\gamma$ discount, $s$ scale.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree, Scalar

from forethought.core.optimise import take_step
from forethought.models.learned.mlp import MLP
from forethought.objectives.bootstrapped import Bootstrapped
from forethought.policies.looking import held
from forethought.problem import Problem, Rollout


class Value(eqx.Module):
    r"""A learned value, $V(x) = s \cdot \text{network}(x)$.

    Args:
        network: Of what a view makes of a readout, to one number.
        view: What the network is shown.
        scale: $s$, about the size of a return; 0 before anything was imagined.
    """

    network: MLP
    view: Callable[[PyTree], Array]
    scale: Scalar

    def __call__(self, x: PyTree) -> Scalar:
        """The value of what is read out."""
        return jax.lax.stop_gradient(self.scale) * self.alone(x)

    def alone(self, x: PyTree) -> Scalar:
        """The value in units of its scale."""
        return self.network(held(self.view)(x))[0][0]


def judged(problem: Problem, value: Value, gamma: float) -> Problem:
    """A problem whose returns end with a learned value."""
    beyond = Bootstrapped(problem.objective, value, gamma)
    return eqx.tree_at(lambda problem: problem.objective, problem, beyond)


def fit(
    problem: Problem,
    value: Value,
    futures: Rollout,
    gamma: float,
    optimiser: optax.GradientTransformation,
    memory: PyTree,
) -> tuple[Value, PyTree, Scalar]:
    """One step towards what imagined futures earned.

    Args:
        problem: As `judged` gave it.
        value: What it ends with.
        futures: Leaves `[batch, ...]`.
        gamma: The discount that their rewards have.
        optimiser: Of the network.
        memory: The optimiser's.

    Returns:
        The value, the memory, and the root mean square error in units of the scale.

    Note:
        A future that ends before its horizon counts as often as one that does not, with
        rewards of zero after its end, which no policy is paid for.
    """
    rewards, final = futures.rewards, futures.final
    horizon = rewards.shape[1]
    onward = jnp.cumsum(rewards[:, ::-1], axis=1)[:, ::-1] + final[:, None]
    factors = gamma ** jnp.arange(horizon, dtype=rewards.dtype)
    earned = onward / factors[None]
    size = jnp.mean(jnp.abs(earned[:, 0])) / (1 - gamma**horizon)
    scale = jnp.where(value.scale > 0, value.scale, size)
    value = eqx.tree_at(lambda value: value.scale, value, scale)
    target = earned / jnp.maximum(scale, jnp.finfo(scale.dtype).tiny)
    before = jax.tree.map(lambda leaf: leaf[:, :-1], futures.beliefs)
    seen = jax.vmap(jax.vmap(lambda belief: problem.model.readout(belief).x))(before)

    def error(network: MLP) -> Scalar:
        alone = eqx.tree_at(lambda value: value.network, value, network).alone
        return jnp.mean((jax.vmap(jax.vmap(alone))(seen) - target) ** 2)

    weights, rest = eqx.partition(value.network, eqx.is_inexact_array)
    squared, slope = jax.value_and_grad(
        lambda weights: error(eqx.combine(weights, rest))
    )(weights)
    weights, memory = take_step(optimiser, weights, memory, slope)
    network = eqx.combine(weights, rest)
    value = eqx.tree_at(lambda value: value.network, value, network)
    return value, memory, jnp.sqrt(squared)


def memory_of(value: Value, optimiser: optax.GradientTransformation) -> PyTree:
    """What an optimiser of the network begins with."""
    return optimiser.init(eqx.filter(value.network, eqx.is_inexact_array))
