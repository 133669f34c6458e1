"""Training in pure environments: collect, learn, and again.

The loop knows no algorithm: it lets an agent act, keeps what was seen, and has it do
its duties, those inside after each step that makes them due, the others when it is
told. Everything between two looks from outside is one compiled loop over environments
that reset themselves, and everything it carries is one pytree, so that a run can stop
anywhere and go on from there.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Duty, Metrics
from forethought.core.given.settings import Count, require
from forethought.data.memory import Memory
from forethought.data.replay import Replay
from forethought.data.rings import ReplayState
from forethought.data.transitions import Transition
from forethought.environments.base import AbstractEnvironment
from forethought.training.duties import (
    Tally,
    each_step,
    perform,
    require_room,
    steps_between,
    times_due,
)
from forethought.training.episode import Scene, advance, step


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
    episodes: Int[Array, ""]
    """Episodes that have ended so far, in all of them."""
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
    """What it told of updates on the way: means over all that were finite, NaN where
    there was none; empty where it has no duty inside."""
    steps: Int[Array, ""]
    """How many steps were taken; rows beyond them hold nothing."""

    def taken(self) -> "Trace":
        """Only the rows of steps that were taken; not for use in compiled code."""
        rows = (self.rewards, self.ended, self.episode_returns, self.finite)
        steps = int(self.steps)
        cut = jax.tree.map(lambda leaf: leaf[:steps], (*rows, self.watched))
        return Trace(*cut, learned=self.learned, steps=self.steps)


class Training(eqx.Module):
    """An agent, what it acts in, and what it remembers.

    Args:
        agent: Any agent.
        environment: In pure JAX.
        replay: Where transitions go; as many environments are acted in side by side as
            it has lanes.
        duties: What the agent learns, and when; its own duties if not given.

    Raises:
        ValueError: There is no room for what comes between two updates.
    """

    agent: AbstractAgent
    environment: AbstractEnvironment
    replay: Replay
    duties: tuple[Duty, ...] = eqx.field(static=True)

    def __init__(
        self,
        agent: AbstractAgent,
        environment: AbstractEnvironment,
        replay: Replay,
        duties: tuple[Duty, ...] | None = None,
    ):
        self.agent, self.environment, self.replay = agent, environment, replay
        self.duties = agent.duties if duties is None else duties
        require_room(replay, self.duties)

    @property
    def count(self) -> int:
        """How many environments are acted in side by side."""
        return self.replay.lanes

    def begin(self, *, key: PRNGKeyArray) -> TrainState:
        """Before the first step: environments reset, nothing learned, nothing kept."""
        agent_key, reset_key, key = jax.random.split(key, 3)
        learner = self.agent.init(self.environment.spec, key=agent_key)
        scenes = self._fresh(learner, None, reset_key)
        one = jax.tree.map(lambda leaf: leaf[0], scenes)
        example = eqx.filter_eval_shape(
            lambda scene, key: self._step_one(learner, scene, key, key)[1], one, key
        )
        none = jnp.zeros((), jnp.int32)
        flow = Flow(
            self.replay.init(example),
            scenes.environment,
            scenes.obs,
            scenes.carry,
            jnp.zeros((self.count,), example.reward.dtype),
            none,
            none,
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
        inside = [duty for duty in self.duties if duty.inside]
        # An agent that does not learn on the way is no part of what the loop carries.
        moves = eqx.is_array if inside else lambda leaf: False
        online, fixed = eqx.partition(state.learner, moves)

        def go_on(loop):
            _, _, taken, ended = loop
            more = (taken < steps) & (taken < most)
            if episodes is None:
                return more
            return more & (ended < jnp.asarray(episodes, jnp.int32))

        def advance(moving):
            online, flow, tallies = moving
            before, learner = flow, eqx.combine(online, fixed)
            flow, row = self._step(learner, flow, random)
            for duty in inside:
                learner, flow, tally = self._perform(
                    duty, learner, before, flow, tallies[duty.name]
                )
                tallies = tallies | {duty.name: tally}
            return (eqx.partition(learner, moves)[0], flow, tallies), row

        def once(loop):
            moving, told, taken, ended = loop
            before = moving[1].episodes
            moving, row = advance(moving)
            told = jax.tree.map(lambda rows, row: rows.at[taken].set(row), told, row)
            return moving, told, taken + 1, ended + moving[1].episodes - before

        def empty(leaf):
            return jnp.broadcast_to(_nothing(leaf), (steps, *leaf.shape))

        tallies = {
            duty.name: Tally.empty(
                eqx.filter_eval_shape(
                    perform,
                    self.agent,
                    state.learner,
                    self._memory(duty, state.flow),
                    duty,
                    state.flow.key,
                )[1]
            )
            for duty in inside
        }
        start = (online, state.flow, tallies)
        _, row = jax.eval_shape(advance, start)
        none = jnp.zeros((), jnp.int32)
        (online, flow, tallies), told, taken, _ = jax.lax.while_loop(
            go_on, once, (start, jax.tree.map(empty, row), none, none)
        )
        learned = {}
        for tally in tallies.values():
            learned |= tally.means
        trace = Trace(*told, learned=learned, steps=taken)
        return TrainState(eqx.combine(online, fixed), flow), trace

    def perform(self, state: TrainState, duty: Duty) -> tuple[TrainState, Metrics]:
        """Have the agent do a duty once."""
        return perform_in(self.agent, self.replay, state, duty)

    def resume(self, state: TrainState) -> tuple[TrainState, tuple[str, ...]]:
        """Go on in another process: a state is all that there is to know.

        Returns:
            The state, and no sentences about what could not be brought back.
        """
        return state, ()

    def _memory(self, duty: Duty, flow: Flow) -> Memory:
        return memory_of(self.replay, flow.replay, duty)

    def _perform(
        self, duty: Duty, learner: PyTree, before: Flow, flow: Flow, tally: Tally
    ) -> tuple[PyTree, Flow, Tally]:
        """Do a duty as often as the last step made it due."""
        moving, fixed = eqx.partition(learner, eqx.is_array)

        def once(_, carry):
            moving, key, tally = carry
            learner, metrics, key = perform(
                self.agent,
                eqx.combine(moving, fixed),
                self._memory(duty, flow),
                duty,
                key,
            )
            return eqx.partition(learner, eqx.is_array)[0], key, tally.add(metrics)

        start, each = (moving, flow.key, tally), each_step(duty, self.count)
        if each == 1:
            moving, key, tally = once(0, start)
        else:
            number = each
            if number is None:
                marks = [(it.step, it.episodes) for it in (before, flow)]
                number = times_due(duty, *marks)
            moving, key, tally = jax.lax.fori_loop(0, number, once, start)
        flow = eqx.tree_at(lambda flow: flow.key, flow, key)
        return eqx.combine(moving, fixed), flow, tally

    def _step(self, learner: PyTree, flow: Flow, random: bool) -> tuple[Flow, tuple]:
        """One step in each environment, and a row of the trace."""
        key, act_key, env_key, reset_key = jax.random.split(flow.key, 4)
        alive = jnp.ones((self.count,), bool)
        scenes = Scene(flow.environments, flow.obs, flow.carries, alive)
        env_keys, watched = jax.random.split(env_key, self.count), {}
        if random:
            actions = self.environment.spec.action.sample((self.count,), key=act_key)
            kept = jax.tree.map(
                lambda leaf: jnp.zeros_like(leaf[0]), flow.replay.rows.kept
            )
            scenes, seen = jax.vmap(
                lambda scene, action, kept, key: advance(
                    self.environment, scene, action, kept, key=key
                )
            )(scenes, actions, kept, env_keys)
        else:
            act_keys = jax.random.split(act_key, self.count)
            scenes, seen, watched = jax.vmap(
                lambda scene, *keys: self._step_one(learner, scene, *keys)
            )(scenes, act_keys, env_keys)
        finite = jax.vmap(_finite)((seen.reward, seen.next_obs))
        returns, ended = flow.returns + seen.reward, ~scenes.alive
        scenes = jax.tree.map(
            lambda new, old: jnp.where(_like(ended, new), new, old),
            self._fresh(learner, scenes.environment, reset_key),
            scenes,
        )
        flow = Flow(
            self.replay.add(flow.replay, seen),
            scenes.environment,
            scenes.obs,
            scenes.carry,
            jnp.where(ended, jnp.zeros_like(returns), returns),
            flow.step + self.count,
            flow.episodes + jnp.sum(ended, dtype=flow.episodes.dtype),
            key,
        )
        over = jnp.where(ended, returns, jnp.full_like(returns, jnp.nan))
        return flow, (seen.reward, ended, over, finite, watched)

    def _step_one(
        self, learner: PyTree, scene: Scene, *keys: PRNGKeyArray
    ) -> tuple[Scene, Transition, Metrics]:
        """One step in one environment; keys of the agent and of the environment."""
        act_key, env_key = keys
        return step(
            self.agent,
            self.environment,
            learner,
            scene,
            mode="explore",
            keys=(act_key, env_key),
        )

    def _fresh(
        self, learner: PyTree, before: PyTree | None, key: PRNGKeyArray
    ) -> Scene:
        """What each environment would begin its next episode with.

        Args:
            learner: What was learned so far.
            before: Where the environments stand; None before the first episode.
            key: Consumed.
        """
        reset_key, carry_key = jax.random.split(key)
        keys = jax.random.split(reset_key, self.count)
        if before is None:
            states, first = jax.vmap(lambda key: self.environment.reset(key=key))(keys)
        else:
            states, first = jax.vmap(
                lambda state, key: self.environment.restart(state, key=key)
            )(before, keys)
        carries = jax.vmap(lambda key: self.agent.reset(learner, key=key))(
            jax.random.split(carry_key, self.count)
        )
        return Scene(states, first.obs, carries, jnp.ones((self.count,), bool))


def memory_of(replay: Replay, state: ReplayState, duty: Duty) -> Memory:
    """What an agent may learn from when it does a duty."""
    return Memory(replay, state, steps_between(duty, replay.lanes))


def perform_in(
    agent: AbstractAgent, replay: Replay, state: TrainState, duty: Duty
) -> tuple[TrainState, Metrics]:
    """Have an agent do a duty once, outside of acting."""
    memory = memory_of(replay, state.flow.replay, duty)
    learner, metrics, key = perform(agent, state.learner, memory, duty, state.flow.key)
    return TrainState(learner, dataclasses.replace(state.flow, key=key)), metrics


def require_steps(name: str, steps: int) -> None:
    """Refuse to collect nothing.

    Raises:
        ValueError: There are no steps to take.
    """
    require(f"{name}.collect", Count, steps=steps)


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
