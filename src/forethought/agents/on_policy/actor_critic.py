r"""What agents with a policy and a value of it have learned, and how it is improved.

Rows are those that the policy itself drew since it was improved last, `[time, lane]`.
One improvement is one compiled loop: passes over all rows in minibatches that are
drawn anew for each pass.

**Notation.** $\pi_\theta$ policy, $\rho_t$ ratio of its probability of an action to
that of the policy which drew it, $\hat A_t$ advantage, $V_\phi$ value.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray, PyTree, Scalar

from forethought.agents.base import Metrics
from forethought.agents.on_policy.advantages import advantages
from forethought.core.optimise import take_step
from forethought.core.readout import Readout
from forethought.data.memory import Memory
from forethought.data.transitions import Transition
from forethought.models.learned.mlp import MLP
from forethought.policies.base import AbstractStochastic

P = TypeVar("P", bound=AbstractStochastic)
SLOW = 0.1
"""What the newest rows count in the scale of returns."""


class Kept(eqx.Module):
    """What of an action is kept until the policy is improved."""

    draw: Array
    """What was drawn, before limits."""
    log_prob: Scalar
    own: Bool[Array, ""]
    """Whether the policy drew it; not so for random actions."""


class ActorCritic(eqx.Module, Generic[P]):
    """A policy, its value, and what their optimiser remembers."""

    policy: P
    critic: MLP
    """Of returns in units of their scale."""
    square: Scalar
    """The mean square of returns, an average in which older rows fade; 0 at first."""
    memory: PyTree
    seen: Int[Array, ""]
    """Steps of each lane that were learned from, or are not to be."""

    def value(self, obs: Float[Array, " obs"]) -> Scalar:
        """The return to expect, in the units of rewards."""
        return self.critic(obs)[0][0] * scale_of(self.square)


class Batch(eqx.Module):
    """What is learned from rows; leaves `[row, ...]`."""

    obs: Array
    draw: Array
    log_prob: Array
    advantage: Array
    target: Array
    """Of the value, in units of the scale."""


class Tally(eqx.Module):
    """What was met in the steps of an improvement."""

    sums: Metrics
    steps: Int[Array, ""]
    skipped: Int[Array, ""]
    """Steps whose gradient was not finite, and that were not taken."""
    stop: Bool[Array, ""]
    """Whether the policy has gone far enough."""


def scale_of(square: Scalar) -> Scalar:
    """Units of returns, by their mean square."""
    return jnp.where(square > 0, jnp.sqrt(square), 1)


def drawn(policy: AbstractStochastic, obs: Array, *, key: PRNGKeyArray) -> Kept:
    """A draw of a policy, as it is kept."""
    found = policy.distribution(Readout(obs))
    draw = found.sample(key=key)
    return Kept(draw, found.log_prob(draw), jnp.asarray(True))


def since(
    memory: Memory, seen: Int[Array, ""]
) -> tuple[Transition, Bool[Array, "time lane"]]:
    """Rows of the newest steps, and which of them a policy drew since some step.

    Rows that were learned from before are among them where lanes do not share out the
    steps between two updates evenly, and where an update comes early.

    Args:
        memory: What is remembered; its rows hold `Kept`.
        seen: Steps of each lane that are not to be learned from.

    Returns:
        Leaves `[time, lane, ...]`.
    """
    replay, state = memory.replay, memory.state
    count = min(memory.new, replay.capacity)
    rows = jax.tree.map(
        lambda leaf: leaf.reshape(-1, replay.lanes, *leaf.shape[1:]),
        replay.newest(state, count),
    )
    step = state.steps - count + jnp.arange(count, dtype=jnp.int32)
    new = step >= jnp.maximum(seen, state.oldest)
    return rows, new[:, None] & rows.kept.own


def judged(
    learner: ActorCritic,
    rows: Transition,
    valid: Bool[Array, "time lane"],
    *,
    gamma: ArrayLike,
    lam: ArrayLike,
    scaled: bool,
) -> tuple[ActorCritic, Batch, Scalar]:
    """Rows with their advantages, and the learner in the new scale of returns.

    Args:
        learner: Its values judge.
        rows: Leaves `[time, lane, ...]`, with `Kept`; those of a lane follow one
            another, and where one does not go on from the one before it, an episode is
            taken to have been cut off between them.
        valid: Which of them count.
        gamma: What a reward one step later is worth.
        lam: How far errors of later steps count.
        scaled: Whether the critic's units move with the returns.

    Returns:
        The learner, whose values are the same; the rows, flat; and the share of the
        variance of returns that the values explained.
    """
    values = jax.vmap(jax.vmap(learner.value))
    value, after = values(rows.obs), values(rows.next_obs)
    # A lane that was cut off without an end goes on elsewhere.
    gap = jnp.any(rows.next_obs[:-1] != rows.obs[1:], axis=-1)
    gap = jnp.concatenate([gap, jnp.ones_like(gap[:1])])
    ended = rows.terminated | rows.truncated | gap
    found = jax.vmap(
        lambda *lane: advantages(*lane, gamma=gamma, lam=lam), in_axes=1, out_axes=1
    )(rows.reward.astype(value.dtype), value, after, rows.terminated, ended)
    target = found + value
    weight = valid.astype(value.dtype)
    explained = 1 - variance(found, weight) / variance(target, weight)
    if scaled:
        newest = mean(target**2, weight)
        old = jnp.where(learner.square > 0, learner.square, newest)
        square = jnp.where(
            jnp.isfinite(newest) & (newest > 0),
            (1 - SLOW) * old + SLOW * newest,
            learner.square,
        )
        shrunk = scale_of(learner.square) / scale_of(square)
        one = jnp.ones_like(learner.critic.weights[0][:, 0])
        critic = learner.critic.rescaled(one, 0 * one, shrunk[None], 0 * shrunk[None])
        learner = eqx.tree_at(
            lambda learner: (learner.critic, learner.square), learner, (critic, square)
        )
    scale = scale_of(learner.square)
    batch = Batch(
        rows.obs, rows.kept.draw, rows.kept.log_prob, found / scale, target / scale
    )
    batch = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), batch)
    return learner, batch, explained


def mean(values: Array, weight: Array) -> Scalar:
    """The mean of what counts; zero where nothing does."""
    return jnp.sum(jnp.where(weight > 0, values, 0)) / jnp.maximum(jnp.sum(weight), 1)


def variance(values: Array, weight: Array) -> Scalar:
    """The variance of what counts, a little more than zero at least."""
    spread = mean((values - mean(values, weight)) ** 2, weight)
    return jnp.maximum(spread, jnp.finfo(spread.dtype).tiny)


def normalised(values: Array, weight: Array) -> Array:
    """Values less their mean, in units of their spread."""
    centred = values - mean(values, weight)
    return centred / (jnp.sqrt(variance(centred, weight)) + 1e-8)


def clipped_surrogate(
    log_ratio: Float[Array, " row"], advantage: Float[Array, " row"], clip: ArrayLike
) -> Float[Array, " row"]:
    r"""$\min(\rho \hat A, \mathrm{clip}(\rho, 1 - \epsilon, 1 + \epsilon) \hat A)$.

    References:
        Schulman et al., Proximal policy optimization algorithms, 2017,
        arXiv:1707.06347, equation 7.
    """
    ratio = jnp.exp(log_ratio)
    inside = jnp.clip(ratio, 1 - clip, 1 + clip)
    return jnp.minimum(ratio * advantage, inside * advantage)


def minibatches(
    loss: Callable[[PyTree, Batch], tuple[Scalar, Metrics]],
    params: PyTree,
    memory: PyTree,
    rows: Batch,
    valid: Bool[Array, " row"],
    optimiser: optax.GradientTransformation,
    *,
    epochs: int,
    size: int,
    most: ArrayLike | None,
    key: PRNGKeyArray,
) -> tuple[PyTree, PyTree, Tally]:
    """Go down a loss in minibatches of rows, in passes of another order each.

    Nothing is learned from fewer valid rows than one minibatch has. A step whose loss
    or gradient is not finite is not taken.

    Args:
        loss: Of parameters and a minibatch; it tells numbers, the `kl` of the policy
            to that which drew the rows among them.
        params: Where to begin.
        memory: What the optimiser carries.
        rows: Leaves `[row, ...]`.
        valid: Which rows count.
        optimiser: It minimises.
        epochs: How many passes.
        size: Rows of a minibatch.
        most: The `kl` beyond which no further step is taken; None for any.
        key: Draws the orders.

    Returns:
        Parameters, what the optimiser carries, and what was met.
    """
    size = min(size, valid.shape[0])
    number = jnp.sum(valid, dtype=jnp.int32)
    batches = jnp.where(number < size, 0, (number + size - 1) // size)
    fixed, moving = eqx.partition(params, lambda leaf: not eqx.is_inexact_array(leaf))

    def told(moving: PyTree, batch: Batch) -> tuple[Scalar, Metrics]:
        return loss(eqx.combine(moving, fixed), batch)

    first = jax.tree.map(lambda leaf: leaf[:size], rows)
    shapes = jax.eval_shape(told, moving, first)[1]
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    none = jnp.zeros((), jnp.int32)

    def step(order: Array, carry: tuple) -> tuple:
        moving, memory, tally, i = carry
        chosen = order[(i * size + jnp.arange(size, dtype=jnp.int32)) % number]
        batch = jax.tree.map(lambda leaf: leaf[chosen], rows)
        (value, met), grads = jax.value_and_grad(told, has_aux=True)(moving, batch)
        leaves = [value, *jax.tree.leaves(grads)]
        fine = jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in leaves]))
        far = jnp.asarray(False) if most is None else met["kl"] > most
        after = take_step(optimiser, moving, memory, grads)
        moving, memory = jax.tree.map(
            lambda new, old: jnp.where(fine & ~far, new, old), after, (moving, memory)
        )
        sums = jax.tree.map(
            lambda total, new: total + jnp.where(fine, new, 0), tally.sums, met
        )
        one = fine.astype(jnp.int32)
        tally = Tally(sums, tally.steps + one, tally.skipped + 1 - one, far & fine)
        return moving, memory, tally, i + 1

    def epoch(carry: tuple) -> tuple:
        moving, memory, tally, e = carry
        lots = jax.random.uniform(jax.random.fold_in(key, e), valid.shape)
        # Rows that count come first.
        order = jnp.argsort(jnp.where(valid, lots, 2)).astype(jnp.int32)
        moving, memory, tally, _ = jax.lax.while_loop(
            lambda carry: (carry[3] < batches) & ~carry[2].stop,
            lambda carry: step(order, carry),
            (moving, memory, tally, none),
        )
        return moving, memory, tally, e + 1

    start = Tally(zeros, none, none, jnp.asarray(False))
    moving, memory, tally, _ = jax.lax.while_loop(
        lambda carry: (carry[3] < epochs) & ~carry[2].stop & (batches > 0),
        epoch,
        (moving, memory, start, none),
    )
    return eqx.combine(moving, fixed), memory, tally
