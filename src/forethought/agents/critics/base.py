r"""Actor–critics as exchangeable parts: who acts, who judges, how both improve.

What SAC, DDPG and NAF have in common is little, and all that anybody else asks of them:

| asked of an actor–critic | answer |
|---|---|
| `policy` | who acts |
| `follower` | who acts in the futures that targets are made of |
| `bootstrap` | what each critic expects from an observation on |
| `pool` | one number for all critics |
| `judge`, `bonus` | what critics expect of an action, and what beside rewards |
| `improve` | a step of critics towards `Aims`, and of the actor up the critics |

Targets (`targets.py`) turn steps into `Aims` by `bootstrap` alone, so that every target
goes with every actor–critic; `OffPolicy` puts both to work.

**Notation.** $o, u, r$ observation, action, reward; $Q_i$ critics, $Q_i'$ the slow
copies of them that targets look at; $\tau$ the share by which these follow; actions are
judged in half widths of their limits, $a \in [-1, 1]$.
"""

import abc
import math
from collections.abc import Callable
from typing import Annotated, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, Scalar

from forethought.agents.base import Metrics
from forethought.core.given.settings import (
    AbstractSettings,
    Count,
    Part,
    Positive,
    Range,
    Share,
    Whole,
)
from forethought.core.optimise import take_step
from forethought.core.readout import Readout
from forethought.core.spaces import Box
from forethought.core.types import Action, Mode
from forethought.environments.base import EnvironmentSpec
from forethought.models.learned.mlp import MLP
from forethought.policies.base import AbstractPolicy

Known = TypeVar("Known")
Params = TypeVar("Params")
Obs = Float[Array, " obs"]
Unit = Float[Array, " action"]
"""An action in half widths of its limits, from the middle."""
Critics = tuple[MLP, ...]
"""A tuple, because a CPU runs two networks faster one by one than as a batch."""


class Aims(eqx.Module):
    """What critics are to answer, and where the actor is to improve."""

    obs: Float[Array, "row obs"]
    action: Float[Array, "row action"]
    value: Float[Array, " row"]
    """What should be expected of each pair."""
    starts: Float[Array, "start obs"]
    """Observations that were met, at which the actor improves."""
    weight: Float[Array, " row"] | None = None
    """How much each row counts; all alike if None."""


class Limits(eqx.Module):
    """The middle and half widths of an action's limits, as numbers."""

    centre: tuple[float, ...] = eqx.field(static=True)
    scale: tuple[float, ...] = eqx.field(static=True)

    @staticmethod
    def of(who: str, space: PyTree) -> "Limits":
        """Those of a space.

        Raises:
            TypeError: Actions are discrete, or a side of them has no limit.
        """
        if not isinstance(space, Box):
            raise TypeError(
                f"{who} needs actions that are a Box, as it follows slopes of values "
                f"in them, but they are {space} here."
            )
        low, high = np.asarray(space.low, float), np.asarray(space.high, float)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise TypeError(
                f"{who} needs actions between two limits on every side, but they lie "
                f"between {low.tolist()} and {high.tolist()} here."
            )
        scale = np.maximum((high - low) / 2, float(np.finfo(np.float32).tiny))
        return Limits(tuple(((low + high) / 2).tolist()), tuple(scale.tolist()))

    def unit(self, action: Action) -> Unit:
        """An action in half widths."""
        centre, scale = (
            jnp.asarray(each, action.dtype) for each in (self.centre, self.scale)
        )
        return (action - centre) / scale

    def action(self, unit: Unit) -> Action:
        """The action of so many half widths."""
        centre, scale = (
            jnp.asarray(each, unit.dtype) for each in (self.centre, self.scale)
        )
        return centre + scale * unit

    def sample(self, *, key: PRNGKeyArray) -> Action:
        """Any action."""
        return self.action(
            jax.random.uniform(key, (len(self.centre),), minval=-1, maxval=1)
        )


class Noisy(AbstractPolicy[Obs]):
    r"""A deterministic actor that explores by normal noise, held within the limits.

    Args:
        actor: The action in half widths.
        limits: What an action is measured in.
        noise: Standard deviation of the noise, in half widths.
    """

    actor: Callable[[Obs], Unit]
    limits: Limits
    noise: float = eqx.field(static=True)

    def act(
        self, seen: Readout[Obs], *, key: PRNGKeyArray, mode: Mode
    ) -> tuple[Action, PyTree]:
        """What the actor does, with noise on it where it explores."""
        unit = self.actor(seen.x)
        if mode == "explore":
            noise = jax.random.normal(key, unit.shape, unit.dtype)
            unit = jnp.clip(unit + self.noise * noise, -1, 1)
        return self.limits.action(unit), None


class AbstractActorCritic(AbstractSettings, Generic[Known]):
    """Settings of an actor and its critics, and the rules by which they learn.

    Args:
        width: Units of each hidden layer, of all networks.
        depth: How many hidden layers.
        critics: How many critics.
        learning_rate: Of Adam, for all networks.
        clip: The largest norm of a gradient; infinity for none.
        tau: The share of the way to the critics that their slow copies go at a time.
        copy_every: Updates from one such time to the next; with `tau` of one they are
            copies as they were, up to so many updates ago.
        batch: Replayed steps of an update.
        every: Environment steps from one round of updates to the next.
        updates: How many updates a round has.
        start: Environment steps before the first round; until then, actions are drawn
            at random.
        gamma: What a reward one step later is worth.
        reward_scale: What rewards are multiplied by before critics see them.
        standardise: Environment steps after which mean and spread of what was observed
            are taken, and again after as many; between these times they are frozen.
            Zero leaves observations as they are.
        standardise_until: The last step at which they are taken.
    """

    width: Count = eqx.field(static=True, default=64)
    depth: Count = eqx.field(static=True, default=2)
    critics: Count = eqx.field(static=True, default=2)
    learning_rate: Positive = 1e-3
    clip: Annotated[float, Range(above=0, endless=True)] = math.inf
    tau: Part = 0.01
    copy_every: Count = eqx.field(static=True, default=1)
    batch: Count = eqx.field(static=True, default=128)
    every: Count = eqx.field(static=True, default=1)
    updates: Count = eqx.field(static=True, default=1)
    start: Whole = eqx.field(static=True, default=400)
    gamma: Share = 0.99
    reward_scale: Positive = 1.0
    standardise: Whole = eqx.field(static=True, default=0)
    standardise_until: Whole | None = eqx.field(static=True, default=None)

    @abc.abstractmethod
    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Known:
        """What is known before anything was seen.

        Raises:
            TypeError: It cannot act there.
        """

    @abc.abstractmethod
    def policy(self, known: Known) -> AbstractPolicy[Obs]:
        """Who acts."""

    @abc.abstractmethod
    def follower(self, known: Known) -> tuple[AbstractPolicy[Obs], Mode]:
        """Who acts in the futures that targets are made of, and how."""

    @abc.abstractmethod
    def bootstrap(
        self, known: Known, obs: Obs, *, key: PRNGKeyArray
    ) -> Float[Array, " critic"]:
        """What each critic's slow copy expects from an observation on."""

    @abc.abstractmethod
    def pool(self, values: Float[Array, " critic"]) -> Scalar:
        """What is taken for the value, of what critics say."""

    @abc.abstractmethod
    def judge(self, known: Known, obs: Obs, action: Action) -> Float[Array, " critic"]:
        """What each critic expects of an action."""

    @abc.abstractmethod
    def bonus(self, known: Known, obs: Obs, *, key: PRNGKeyArray) -> Scalar:
        """What values count besides rewards whenever an action is chosen there."""

    @abc.abstractmethod
    def improve(
        self, known: Known, aims: Aims, *, key: PRNGKeyArray
    ) -> tuple[Known, Metrics]:
        """One step of the critics towards their aims, and one of the actor.

        Metrics are real numbers; one that is not finite says that learning broke down.
        """


def sizes(who: str, spec: EnvironmentSpec) -> tuple[int, Limits]:
    """The number of observed dimensions, and the limits of an action.

    Raises:
        TypeError: Observations are no vectors, or actions know no limits.
    """
    seen = spec.observation
    if not isinstance(seen, Box) or len(seen.shape) != 1:
        raise TypeError(
            f"{who} learns from observations that are vectors of numbers, but they are "
            f"{seen} here."
        )
    return seen.shape[0], Limits.of(who, spec.action)


def network(
    settings: AbstractActorCritic,
    inputs: int,
    outputs: int,
    *,
    draws: bool = False,
    key: PRNGKeyArray,
) -> MLP:
    """A network of the sizes that settings ask for; one that draws has a variance."""
    made = MLP(
        inputs,
        outputs,
        settings.width,
        settings.depth,
        probabilistic=draws,
        units="relu",
        key=key,
    )
    return spread_out(made, key=key)


def spread_out(network: MLP, last: float = 1.0, *, key: PRNGKeyArray) -> MLP:
    r"""A network with weights and biases drawn uniformly from $\pm 1/\sqrt n$.

    So PyTorch's layers begin, and with them the reference implementations; half as
    wide, as models begin, actors learn later and some never.

    Args:
        network: Its sizes are kept.
        last: What the last layer is multiplied by.
        key: Draws it.
    """
    count, most = len(network.weights), max(W.size for W in network.weights)
    widths = [W.shape[0] ** -0.5 for W in network.weights]
    widths[-1] *= last
    dtype = network.weights[0].dtype

    def draw(key: PRNGKeyArray, width: Array) -> Array:
        return jax.random.uniform(key, (most,), dtype, -width, width)

    # All layers at once: a draw of each shape takes long to compile.
    drawn = jax.vmap(jax.vmap(draw, (0, None)))(
        jax.random.split(key, (count, 2)), jnp.asarray(widths, dtype)
    )
    weights = [
        row[: W.size].reshape(W.shape)
        for row, W in zip(drawn[:, 0], network.weights, strict=True)
    ]
    biases = [row[: b.size] for row, b in zip(drawn[:, 1], network.biases, strict=True)]
    return eqx.tree_at(
        lambda network: (network.weights, network.biases),
        network,
        (tuple(weights), tuple(biases)),
    )


def pair_critics(
    settings: AbstractActorCritic, obs: int, action: int, *, key: PRNGKeyArray
) -> Critics:
    """Critics of an observation and an action."""
    keys = jax.random.split(key, settings.critics)
    return tuple(network(settings, obs + action, 1, key=each) for each in keys)


def judged(critics: Critics, obs: Obs, unit: Unit) -> Float[Array, " critic"]:
    """What each critic says of an observation and an action in half widths."""
    x = jnp.concatenate([obs, unit.astype(obs.dtype)])
    return jnp.stack([critic(x)[0][0] for critic in critics])


def optimiser(settings: AbstractActorCritic) -> optax.GradientTransformation:
    """Adam, on gradients that are clipped as settings ask for."""
    rule = optax.adam(settings.learning_rate)
    if math.isfinite(settings.clip):
        rule = optax.chain(optax.clip_by_global_norm(settings.clip), rule)
    return optax.flatten(rule)  # one long vector is faster than many small arrays


def fresh_memory(settings: AbstractActorCritic, params: PyTree) -> PyTree:
    """What the optimiser of some parameters carries at first."""
    return optimiser(settings).init(params)


def descend(
    settings: AbstractActorCritic,
    name: str,
    loss: Callable[[Params], tuple[Scalar, Metrics]],
    params: Params,
    memory: optax.OptState,
) -> tuple[Params, optax.OptState, Metrics]:
    """One step down a loss, and what was told of it; the norm of its gradient, too.

    As long as that is finite, so are the parameters.
    """
    grads, told = jax.grad(loss, has_aux=True)(params)
    norm = jnp.sqrt(jnp.sum(ravel_pytree(grads)[0] ** 2))
    step = take_step(optimiser(settings), params, memory, grads)
    return *step, told | {f"{name}_gradient": norm}


def misfit(
    value: Callable[[Obs, Action], Float[Array, " critic"]], aims: Aims
) -> tuple[Scalar, Metrics]:
    """How far critics are from their aims: the mean square, summed over critics.

    Args:
        value: What each critic says of a pair.
        aims: What it should say.
    """
    error = jax.vmap(value)(aims.obs, aims.action) - aims.value[:, None]
    square = jnp.sum(error**2, axis=1)
    weight = jnp.ones_like(square) if aims.weight is None else aims.weight
    loss = jnp.mean(weight * square)
    told = {
        "td_error": jnp.mean(jnp.abs(error)),
        "value": jnp.mean(aims.value),
        "largest_value": jnp.max(jnp.abs(aims.value)),
    }
    return loss, told


def followed(
    settings: AbstractActorCritic,
    slow: Params,
    fast: Params,
    updates: Int[Array, ""],
) -> Params:
    r"""Slow copies one update later: $Q' \leftarrow Q' + \tau (Q - Q')$."""

    def follow(slow: Array, fast: Array) -> Array:
        share = jnp.asarray(settings.tau, slow.dtype)
        if settings.copy_every > 1:
            due = updates % settings.copy_every == 0
            share = jnp.where(due, share, jnp.zeros_like(share))
        return slow + share * (fast - slow)

    return jax.tree.map(follow, slow, fast)


def saturated(units: Float[Array, "row action"]) -> Scalar:
    """The share of actions that lie at a limit."""
    return jnp.mean((jnp.abs(units) > 0.97).astype(units.dtype))
