"""Training in pure environments: collect, learn, and again.

The loop knows no algorithm: it lets an agent act, keeps what was seen, and lets it
learn, from outside or, where it learns online, after every few steps. Everything
between two looks from outside is one compiled loop over environments that reset
themselves, and everything it carries is one pytree, so that a run can stop anywhere
and go on from there.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Metrics
from forethought.core.types import Action
from forethought.data.replay import Replay, ReplayState
from forethought.data.transitions import Transition
from forethought.environments.base import AbstractEnvironment


class Flow(eqx.Module):
    """What acting carries; leaves of episodes have an axis `[env]`."""

    replay: ReplayState
    environments: PyTree
    obs: PyTree
    carries: PyTree
    returns: Float[Array, " env"]
    """Rewards of the episodes that are under way."""
    step: Int[Array, ""]
    """Environment steps so far, over all environments."""
    key: PRNGKeyArray


class TrainState(eqx.Module):
    """All that a training run carries."""

    learner: PyTree
    flow: Flow


class Trace(eqx.Module):
    """What happened between two looks."""

    rewards: Float[Array, "time env"]
    ended: Bool[Array, "time env"]
    """Whether an episode ended with this step."""
    episode_returns: Float[Array, "time env"]
    """The return of the episode that ended; NaN where none did."""
    finite: Bool[Array, "time env"]
    """Whether reward and observation were numbers."""
    watched: Metrics
    """What the agent told of each action, leaves `[time, env, ...]`; empty where
    actions were random."""
    learned: Metrics
    """What it told of each update on the way, leaves `[time, ...]`: NaN and 0 where
    there was none, empty where it does not learn on the way."""
    steps: Int[Array, ""]
    """How many steps were taken; rows beyond them hold nothing."""

    def taken(self) -> "Trace":
        """Only the rows of steps that were taken; not for use in compiled code."""
        rows = (self.rewards, self.ended, self.episode_returns, self.finite)
        told, steps = (self.watched, self.learned), int(self.steps)
        cut = jax.tree.map(lambda leaf: leaf[:steps], (*rows, *told))
        return Trace(*cut, steps=self.steps)


def learn(
    agent: AbstractAgent, state: TrainState, new: int
) -> tuple[TrainState, Metrics]:
    """Let an agent learn from what it wants of its memory.

    Args:
        agent: Who learns.
        state: Where training stands.
        new: Transitions since it learned last, at least.
    """
    key, update_key = jax.random.split(state.flow.key)
    batch = agent.recall(state.flow.replay, new)
    learner, metrics = agent.update(state.learner, batch, key=update_key)
    flow = eqx.tree_at(lambda flow: flow.key, state.flow, key)
    return TrainState(learner, flow), metrics


def require_steps(name: str, steps: int) -> None:
    """Refuse to collect nothing.

    Raises:
        ValueError: There are no steps to take.
    """
    if steps < 1:
        raise ValueError(f"{name}.collect needs steps >= 1, got {steps}.")


def require_room(replay: Replay, count: int, learn_every: int | None) -> None:
    """Refuse a memory of other environments, and updates at no distance or too far.

    Raises:
        ValueError: Saying which.
    """
    if replay.lanes != count:
        raise ValueError(
            "Training needs a replay with a lane for each environment, got "
            f"{replay.lanes} lanes for {count}."
        )
    if learn_every is None:
        return
    if learn_every < 1:
        raise ValueError(f"Training needs learn_every >= 1, got {learn_every}.")
    if replay.capacity < learn_every:
        raise ValueError(
            f"Training needs a replay of at least {learn_every} steps, those between "
            f"two updates, got a capacity of {replay.capacity}."
        )


class Training(eqx.Module):
    """An agent, what it acts in, and what it remembers.

    Args:
        agent: Any agent.
        environment: In pure JAX.
        replay: Where transitions go; it has a lane for each environment.
        count: Environments that are acted in side by side.
        learn_every: Steps of each environment from one update to the next, for an agent
            that learns online; None for one that learns when `learn` is called.

    Raises:
        ValueError: There is no environment, the memory is of another number of them,
            there is no step between updates, or no room for what comes between them.
    """

    agent: AbstractAgent
    environment: AbstractEnvironment
    replay: Replay
    count: int = eqx.field(static=True, default=1)
    learn_every: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        if self.count < 1:
            raise ValueError(f"Training needs count >= 1, got {self.count}.")
        require_room(self.replay, self.count, self.learn_every)

    def begin(self, *, key: PRNGKeyArray) -> TrainState:
        """Before the first step: environments reset, nothing learned, nothing kept."""
        agent_key, reset_key, key = jax.random.split(key, 3)
        learner = self.agent.init(self.environment.spec, key=agent_key)
        states, obs, carries = self._fresh(learner, None, reset_key)
        example = self._example(jax.tree.map(lambda leaf: leaf[0], (states, obs)))
        flow = Flow(
            self.replay.init(example),
            states,
            obs,
            carries,
            jnp.zeros((self.count,), example.reward.dtype),
            jnp.zeros((), jnp.int32),
            key,
        )
        return TrainState(learner, flow)

    def collect(
        self,
        state: TrainState,
        steps: int,
        *,
        random: bool = False,
        limit: Int[Array, ""] | int | None = None,
        episodes: Int[Array, ""] | int | None = None,
    ) -> tuple[TrainState, Trace]:
        """Act for a number of steps in each environment, as one loop.

        Args:
            state: Where training stands.
            steps: Static; each environment is stepped at most so often.
            random: Static; whether actions are drawn from the action space instead.
            limit: Stop after so many steps, where these are fewer.
            episodes: Stop once so many episodes have ended, over all environments.

        Returns:
            Where it stands now, and what happened.

        Raises:
            ValueError: There are no steps to take.
        """
        require_steps("Training", steps)
        most = steps if limit is None else jnp.asarray(limit, jnp.int32)

        # An agent that does not learn on the way is no part of what the loop carries.
        online, fixed = eqx.partition(
            state.learner, eqx.is_array if self.learn_every else lambda leaf: False
        )

        def go_on(loop):
            _, _, taken, ended = loop
            more = (taken < steps) & (taken < most)
            if episodes is None:
                return more
            return more & (ended < jnp.asarray(episodes, jnp.int32))

        def advance(moving: tuple[PyTree, Flow]) -> tuple[tuple[PyTree, Flow], Any]:
            online, flow = moving
            learner = eqx.combine(online, fixed)
            flow, row = self._step(learner, flow, random)
            if self.learn_every is None:
                return (online, flow), (*row, {})
            after, learned = self._learn(TrainState(learner, flow))
            online, _ = eqx.partition(after.learner, eqx.is_array)
            return (online, after.flow), (*row, learned)

        def step(loop):
            moving, told, taken, ended = loop
            moving, row = advance(moving)
            told = jax.tree.map(lambda rows, row: rows.at[taken].set(row), told, row)
            return moving, told, taken + 1, ended + jnp.sum(row[1], dtype=ended.dtype)

        def empty(leaf):
            return jnp.broadcast_to(_nothing(leaf), (steps, *leaf.shape))

        start = (online, state.flow)
        _, row = jax.eval_shape(advance, start)
        none = jnp.zeros((), jnp.int32)
        (online, flow), told, taken, _ = jax.lax.while_loop(
            go_on, step, (start, jax.tree.map(empty, row), none, none)
        )
        learner = eqx.combine(online, fixed)
        return TrainState(learner, flow), Trace(*told, steps=taken)

    def learn(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """Let the agent learn from what it wants of its memory."""
        return learn(self.agent, state, self._new)

    def resume(self, state: TrainState) -> tuple[TrainState, tuple[str, ...]]:
        """Go on in another process: a state is all that there is to know.

        Returns:
            The state, and no sentences about what could not be brought back.
        """
        return state, ()

    @property
    def _new(self) -> int:
        """Transitions from one update to the next."""
        return self.count * (self.learn_every or 1)

    def _learn(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """Learn if it is time to."""
        if self.learn_every == 1:
            return self.learn(state)
        moving, fixed = eqx.partition(state, eqx.is_array)

        def update(moving):
            after, metrics = self.learn(eqx.combine(moving, fixed))
            return eqx.partition(after, eqx.is_array)[0], metrics

        _, told = jax.eval_shape(update, moving)
        due = state.flow.step % self._new == 0
        moving, metrics = jax.lax.cond(
            due, update, lambda moving: (moving, jax.tree.map(_nothing, told)), moving
        )
        return eqx.combine(moving, fixed), metrics

    def _step(self, learner: PyTree, flow: Flow, random: bool) -> tuple[Flow, tuple]:
        """One step in each environment, and a row of the trace."""
        key, act_key, env_key, reset_key = jax.random.split(flow.key, 4)
        actions, carries, watched = self._act(learner, flow, act_key, random)
        env_keys = jax.random.split(env_key, self.count)
        environments, after = jax.vmap(
            lambda state, action, key: self.environment.step(state, action, key=key)
        )(flow.environments, actions, env_keys)
        seen = Transition(
            obs=flow.obs,
            action=actions,
            reward=after.reward,
            next_obs=after.obs,
            terminated=after.terminated,
            truncated=after.truncated,
        )
        finite = jax.vmap(_finite)((after.reward, after.obs))
        returns = flow.returns + after.reward
        ended = after.terminated | after.truncated
        environments, obs, carries = jax.tree.map(
            lambda new, old: jnp.where(_like(ended, new), new, old),
            self._fresh(learner, environments, reset_key),
            (environments, after.obs, carries),
        )
        nothing = jnp.full_like(returns, jnp.nan)
        over = jnp.where(ended, returns, nothing)
        flow = Flow(
            self.replay.add(flow.replay, seen),
            environments,
            obs,
            carries,
            jnp.where(ended, jnp.zeros_like(returns), returns),
            flow.step + self.count,
            key,
        )
        return flow, (after.reward, ended, over, finite, watched)

    def _act(
        self, learner: PyTree, flow: Flow, key: PRNGKeyArray, random: bool
    ) -> tuple[Action, PyTree, Metrics]:
        if random:
            space = self.environment.spec.action
            return space.sample((self.count,), key=key), flow.carries, {}

        def act(carry, obs, key):
            action, carry = self.agent.act(learner, carry, obs, key=key)
            return action, carry, self.agent.watch(carry)

        keys = jax.random.split(key, self.count)
        return jax.vmap(act)(flow.carries, flow.obs, keys)

    def _fresh(
        self, learner: PyTree, before: PyTree | None, key: PRNGKeyArray
    ) -> tuple[PyTree, ...]:
        """What each environment would begin its next episode with.

        Args:
            learner: What was learned so far.
            before: Where the environments stand; None before the first episode.
            key: Consumed.
        """
        reset_key, carry_key = jax.random.split(key)
        keys = jax.random.split(reset_key, self.count)
        if before is None:
            states, steps = jax.vmap(lambda key: self.environment.reset(key=key))(keys)
        else:
            states, steps = jax.vmap(
                lambda state, key: self.environment.restart(state, key=key)
            )(before, keys)
        carries = jax.vmap(lambda key: self.agent.reset(learner, key=key))(
            jax.random.split(carry_key, self.count)
        )
        return states, steps.obs, carries

    def _example(self, first: tuple[PyTree, PyTree]) -> Transition:
        """One transition, for its shapes."""
        state, obs = first
        action = self.environment.spec.action.sample(key=jax.random.key(0))
        _, after = self.environment.step(state, action, key=jax.random.key(0))
        return Transition(
            obs=obs,
            action=action,
            reward=after.reward,
            next_obs=after.obs,
            terminated=after.terminated,
            truncated=after.truncated,
        )


def _nothing(leaf: jax.ShapeDtypeStruct) -> Array:
    """NaN, or 0 for whole numbers: what is told where nothing happened."""
    real = jnp.issubdtype(leaf.dtype, jnp.floating)
    return jnp.full(leaf.shape, jnp.nan if real else 0, leaf.dtype)


def _like(mask: Bool[Array, " env"], leaf: Array) -> Array:
    """A mask over environments, shaped to select along the first axis of a leaf."""
    return mask.reshape(mask.shape + (1,) * (leaf.ndim - 1))


def _finite(tree: PyTree) -> Bool[Array, ""]:
    """Whether every number in a pytree is finite."""
    fine = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(fine))
