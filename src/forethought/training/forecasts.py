r"""The report card of an interval: did the model foresee what it had not yet seen?

Before a model is refitted to what was just collected, that is news to it, and news is
a fair examination. From many rows of the interval the model is let run open-loop, with
a cloud of particles by its own rule, under the actions that were really taken:

| question | answer |
|---|---|
| how far off after $k$ steps? | `errors`, beside those of predicting no change |
| does it know how far? | `coverage`: how often central bands held what happened |
| what did that look like? | `fan`: bands over one stretch, and what happened |
| are plans made where it knows least? | `doubts`: its epistemic doubt |

The last compares three places: data that the model was fitted to, states that were
visited since, and the imagined states of plans that are made with this model from
visited states. Planning seeks what looks good, an error that looks good included; so
plans that lead where the model doubts more than where the agent then really comes are
a sign that it is being exploited.

Any model that learns can be examined: it says what it would see in a belief (`expect`),
how little it knows (`doubt`), and how its particles belong together.

Everything is one compiled call of one shape for a whole run. Cards are written, read
and named in `forethought.runs.train.cards`.
"""

from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Scalar

from forethought.data.replay import Replay, ReplayState
from forethought.data.transitions import Transition
from forethought.models.base import AbstractCloud, AbstractLearned
from forethought.planners.base import AbstractPlanner
from forethought.problem import Problem

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
LEVELS = {0.5: (1, 3), 0.9: (0, 4)}
"""Central bands, and the quantiles that bound them."""
STEPS, STARTS = 50, 64
"""How far ahead the model is let run, and from how many rows."""
FAR = 25
"""The steps after which an error is told in a line of metrics, beside those after 1."""
PARTICLES = 40
"""At least so many; as many more as the cloud needs."""
PLANS, ROWS = 4, 256
"""How many plans are made, and on how many rows doubt is asked for."""


class Card(eqx.Module):
    """What one examination found; observed dimensions are the last axis.

    NaN where no stretch of an episode was so long.
    """

    errors: Float[Array, "step observation"]
    """Root mean square of the median particle's error after 1, 2, … steps, in standard
    deviations of all observations so far."""
    persistence: Float[Array, "step observation"]
    """The same for predicting that nothing changes."""
    coverage: Float[Array, "level step observation"]
    """Share of what happened within the central bands of `LEVELS`."""
    fan: Float[Array, "quantile time observation"]
    """`QUANTILES` of the particles from the first episode that began in the interval
    (from its first row if none did), at times 0, 1, …"""
    truth: Float[Array, "time observation"]
    """What happened meanwhile."""
    doubts: Float[Array, " place"]
    """Epistemic doubt on fitted, visited and planned states, in this order: the root
    of its mean over outputs, in standard deviations. Members disagree by so much."""

    def scalars(self) -> dict[str, float | None]:
        """The card in a few numbers, for a line of metrics."""
        errors, still = (
            jnp.sqrt(jnp.mean(part**2, axis=1))
            for part in (self.errors, self.persistence)
        )
        inside = jnp.nanmean(self.coverage[:, :FAR], axis=(1, 2))
        found = {}
        for k in (1, FAR):
            found[f"error_{k}"] = errors[k - 1]
            found[f"persistence_{k}"] = still[k - 1]
        for level, share in zip(LEVELS, inside, strict=True):
            found[f"coverage_{100 * level:.0f}"] = share
        for place, doubt in zip(PLACES, self.doubts, strict=True):
            found[f"disagreement_{place}"] = doubt
        return {
            name: float(value) if jnp.isfinite(value) else None
            for name, value in found.items()
        }


PLACES = ("fitted", "visited", "planned")


def examine(
    learner: Problem,
    planner: AbstractPlanner,
    memory: ReplayState,
    new: int,
    *,
    count: int = 1,
    key: PRNGKeyArray,
) -> Card:
    """Compare a model's forecasts with the newest transitions.

    Args:
        learner: Its model is `AbstractLearned`, and fitted to none of them.
        planner: Who plans in it.
        memory: All transitions, the newest last.
        new: How many of them are news.
        count: Environments that were acted in side by side; their rows take turns.
        key: Draws particles and plans.
    """
    counts = (jnp.asarray(new), jnp.asarray(count))
    return _examine(learner, planner, memory, *counts, key)


@eqx.filter_jit
def _examine(
    learner: Problem,
    planner: AbstractPlanner,
    memory: ReplayState,
    new: Int[Array, ""],
    count: Int[Array, ""],
    key: PRNGKeyArray,
) -> Card:
    model = cast(AbstractLearned, learner.model)
    plans_key, key = jax.random.split(key)
    rows, valid = Replay(memory.capacity, memory.lanes).ordered(memory)
    first = jnp.maximum(memory.size - new, 0)
    fresh = memory.size - first
    scale = jnp.std(rows.obs, axis=0, where=valid[:, None])
    scale = jnp.where(scale > 0, scale, jnp.ones_like(scale))[None, None, :]

    starts = first + jnp.arange(STARTS) * fresh // STARTS
    begin = _first_of_an_episode(rows, first, memory.size, count)
    seen = jax.vmap(lambda start: _stretch(rows, valid, start, count))(
        jnp.concatenate([starts, begin[None]])
    )
    from_here = first + (2 * jnp.arange(PLANS) + 1) * fresh // (2 * PLANS)
    plans = jax.lax.map(
        lambda each: _plan(learner, planner, *each),
        (rows.obs[from_here], jax.random.split(plans_key, PLANS)),
    )
    # What is forecast together is compiled once.
    clouds = jax.vmap(
        lambda obs, actions, key: forecast(
            model, obs, actions, cloud=learner.cloud, key=key
        )
    )(
        jnp.concatenate([seen.obs[:, 0], rows.obs[from_here]]),
        jnp.concatenate([seen.actions, jax.vmap(_as_long)(plans)]),
        jax.random.split(key, STARTS + 1 + PLANS),
    )
    bands = jax.vmap(quantiles)(clouds[: STARTS + 1])

    fore, truth = bands[:-1, :, 1:], seen.obs[:-1, 1:]
    known = seen.known[:-1, 1:, None]
    inside = jnp.stack(
        [
            (fore[:, low] <= truth) & (truth <= fore[:, high])
            for low, high in LEVELS.values()
        ]
    ).astype(scale.dtype)
    gone = ~seen.known[-1][:, None]

    init_key, see_key = jax.random.split(jax.random.fold_in(key, STARTS))
    prior = model.init(key=init_key)

    def doubt(obs: Array, action: Array) -> Scalar:
        belief = model.observe(prior, obs, key=see_key)
        return jnp.sqrt(jnp.mean(model.doubt(belief, action)[1]))

    def chosen(low: Array, high: Array) -> tuple[Array, Array]:
        some = low + jnp.arange(ROWS) * (high - low) // ROWS
        return rows.obs[some], rows.action[some]

    ahead = min(plans.shape[1], STEPS)
    imagined = clouds[STARTS + 1 :, :ahead]
    each = imagined.shape[2]
    acted = jnp.repeat(plans[:, :ahead, None], each, axis=2).astype(rows.action.dtype)
    places = (
        chosen(jnp.zeros_like(first), first),
        chosen(first, memory.size),
        tuple(part.reshape(-1, *part.shape[3:]) for part in (imagined, acted)),
    )
    sizes = [part[0].shape[0] for part in places]
    doubts = jax.vmap(doubt)(
        *(jnp.concatenate(parts) for parts in zip(*places, strict=True))
    )
    doubts = jnp.split(doubts, [sizes[0], sizes[0] + sizes[1]])
    return Card(
        errors=_root_mean_square((fore[:, 2] - truth) / scale, known),
        persistence=_root_mean_square((seen.obs[:-1, :1] - truth) / scale, known),
        coverage=jax.vmap(lambda share: _mean(share, known))(inside),
        fan=jnp.where(gone[None], jnp.nan, bands[-1]),
        truth=jnp.where(gone, jnp.nan, seen.obs[-1]),
        doubts=jnp.stack([jnp.mean(part) for part in doubts]),
    )


def _plan(
    learner: Problem, planner: AbstractPlanner, obs: Array, key: PRNGKeyArray
) -> Array:
    """The actions that a planner would begin with in a model that it has never seen."""
    belief_key, see_key, memory_key, key = jax.random.split(key, 4)
    belief = learner.model.init(key=belief_key)
    belief = learner.model.observe(belief, obs, key=see_key)
    state = planner.init(learner, belief, key=memory_key)
    return planner.plan(learner, belief, state, key=key)[0].actions


def _as_long(actions: Array) -> Array:
    """A plan of `STEPS` steps: cut, or with its last action repeated."""
    return actions[jnp.minimum(jnp.arange(STEPS), actions.shape[0] - 1)]


class _Stretch(eqx.Module):
    """Consecutive steps of one episode."""

    obs: Float[Array, "time observation"]
    actions: Array
    known: Bool[Array, " time"]
    """Whether the episode, and the memory, went so far."""


def _stretch(
    rows: Transition,
    valid: Bool[Array, " row"],
    start: Int[Array, ""],
    count: Int[Array, ""],
) -> _Stretch:
    """What followed a row in its episode."""
    index = start + count * jnp.arange(STEPS)
    there = index < jnp.sum(valid)
    index = jnp.minimum(index, valid.shape[0] - 1)
    # The step that ends an episode still leads to an observation of its own.
    ended = (rows.terminated | rows.truncated)[index]
    ended_before = jnp.concatenate([jnp.zeros(1, bool), ended[:-1]])
    known = there & (jnp.cumsum(ended_before) == 0)
    obs = jnp.concatenate([rows.obs[index[:1]], rows.next_obs[index]])
    return _Stretch(obs, rows.action[index], jnp.concatenate([there[:1], known]))


def _first_of_an_episode(
    rows: Transition, first: Array, size: Array, count: Array
) -> Int[Array, ""]:
    """The first new row with which an episode begins; the first one if none does."""
    index = jnp.arange(rows.reward.shape[0])
    ended = rows.terminated | rows.truncated
    begins = (index < count) | ended[jnp.maximum(index - count, 0)]
    fits = begins & (index >= first) & (index < size)
    return jnp.where(jnp.any(fits), jnp.argmax(fits), first)


def forecast(
    model: AbstractLearned,
    obs: Array,
    actions: Array,
    *,
    cloud: AbstractCloud,
    particles: int = PARTICLES,
    draws: int = 1,
    key: PRNGKeyArray,
) -> Float[Array, "time particle observation"]:
    """Where particles are led by a sequence of actions, beginning with where they are.

    Args:
        model: What would happen.
        obs: Where all of them start.
        actions: One a step.
        cloud: How particles are carried.
        particles: How many, or as many more as the cloud needs.
        draws: How often is drawn what would be seen of each.
        key: Draws what is random.
    """
    init_key, see_key, spread_key, key = jax.random.split(key, 4)
    particles = cloud.enough(model, particles)
    belief = model.observe(model.init(key=init_key), obs, key=see_key)
    begun = cloud.spread(model, belief, particles, key=spread_key)

    def step(beliefs, inputs):
        action, key = inputs
        keys = jax.random.split(key, particles)
        beliefs = cloud.predict(model, beliefs, action, keys=keys)
        return beliefs, jax.vmap(see)(beliefs, keys)

    def see(belief, key):
        """Draws of what would be seen, apart from what the step draws."""
        mean, variance = model.expect(belief)
        key = jax.random.fold_in(key, particles)
        noise = jax.random.normal(key, (draws, *mean.shape), mean.dtype)
        return mean[None] + jnp.sqrt(variance)[None] * noise

    keys = jax.random.split(key, actions.shape[0])
    _, after = jax.lax.scan(step, begun, (actions, keys))
    after = after.reshape(after.shape[0], -1, after.shape[-1])
    first = jnp.broadcast_to(obs, after.shape[1:])
    return jnp.concatenate([first[None], after])


def quantiles(
    cloud: Float[Array, "time particle observation"],
    levels: tuple[float, ...] = QUANTILES,
) -> Float[Array, "quantile time observation"]:
    r"""Quantiles of particles, per time and dimension.

    A quantile of level $p$ is the $p (P + 1)$-th smallest of $P$ particles, between
    whole numbers interpolated: a band between two of them then holds one more draw
    of the same distribution as often as it says, however few particles there are.

    References:
        Hyndman and Fan, Sample quantiles in statistical packages, 1996, definition 6.
    """
    particles = cloud.shape[1]
    ordered = jnp.sort(cloud, axis=1)
    found = []
    for level in levels:
        place = min(max(level * (particles + 1) - 1, 0.0), particles - 1.0)
        low = int(place)
        high, share = min(low + 1, particles - 1), place - low
        found.append((1 - share) * ordered[:, low] + share * ordered[:, high])
    return jnp.stack(found)


def _mean(
    values: Float[Array, "start step observation"], known: Bool[Array, "start step one"]
) -> Float[Array, "step observation"]:
    """The mean over starts that are known; NaN where there is none."""
    total = jnp.sum(jnp.where(known, values, jnp.zeros_like(values)), axis=0)
    return total / jnp.sum(known, axis=0).astype(values.dtype)


def _root_mean_square(values: Array, known: Array) -> Array:
    return jnp.sqrt(_mean(values**2, known))
