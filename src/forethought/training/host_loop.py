"""Training in Gymnasium environments: the same calls as `Training`, from the host.

All copies are stepped together. In each step the observations go to one compiled
function, the actions come back from it, and nothing else crosses the border: what
happened is gathered on the host and remembered at once when collecting ends. An agent
that has duties inside is handed each step as it happens, by a second compiled function.

The environments themselves cannot be saved, so that a `TrainState` holds where they
stand but not what they are: what they were seeded with, and in its replay everything
that was done to them since. In another process `resume` seeds them alike and does all
of it again, and so brings them where they stood, in the middle of an episode too. It
believes what it sees, not that it worked: every observation is compared.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Duty, Metrics
from forethought.core.types import blank
from forethought.data.parts import newest
from forethought.data.replay import Replay
from forethought.data.rings import ReplayState
from forethought.data.transitions import Transition
from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.training import stop
from forethought.training.duties import require_room
from forethought.training.host import act, fresh_carries, read, sample, seed_of, stacked
from forethought.training.host_online import Online
from forethought.training.loop import (
    Flow,
    Trace,
    TrainState,
    perform_in,
    require_steps,
)


class Place(eqx.Module):
    """Where environments on the host stand: all that a state can say of them."""

    seed: Int[Array, ""]
    """What they were last seeded with."""
    steps: Int[Array, ""]
    """Steps that each copy was stepped since."""
    begun: Bool[Array, " env"]
    """Copies in an episode for which the agent has not acted yet."""


class HostTraining:
    """An agent, the Gymnasium environments it acts in, and what it remembers.

    It differs from `Training` in one way: there is one set of environments, and a
    state can only be gone on from while they stand where it left them, or once
    `resume` brought them there. For `perform` any state will do, whatever happened.

    ```python
    training = HostTraining(agent, GymnasiumEnvironment("Pendulum-v1"), Replay(4096))
    state = training.begin(key=jax.random.key(0))
    state, trace = training.collect(state, 200, random=True)
    for duty in training.duties:
        state, metrics = training.perform(state, duty)
    state, trace = training.collect(state, 200)
    ```

    Args:
        agent: Any agent.
        environment: On the host, in as many copies as are acted in side by side.
            Nothing else may step or reset it.
        replay: Where transitions go; it has a lane for each copy.
        duties: As for `Training`.

    Raises:
        ValueError: The memory is of another number of copies, or there is no room for
            what comes between two updates.
    """

    def __init__(
        self,
        agent: AbstractAgent,
        environment: GymnasiumEnvironment,
        replay: Replay,
        duties: tuple[Duty, ...] | None = None,
    ):
        self.agent, self.environment, self.replay = agent, environment, replay
        self.count = environment.count
        self.duties = agent.duties if duties is None else duties
        if replay.lanes != environment.count:
            raise ValueError(
                "Training needs a replay with a lane for each environment, got "
                f"{replay.lanes} lanes for {environment.count}."
            )
        require_room(replay, self.duties)
        self._stands: PyTree = None

    def begin(self, *, key: PRNGKeyArray) -> TrainState:
        """Before the first step: environments reset, nothing learned, nothing kept.

        Raises:
            FloatingPointError: An observation is not finite.
        """
        agent_key, carry_key, key = jax.random.split(key, 3)
        learner = self.agent.init(self.environment.spec, key=agent_key)
        place, obs, key = self._reset(key)
        carries = fresh_carries(self.agent, learner, self.count, carry_key)
        none = jnp.zeros((), jnp.int32)
        flow = Flow(
            self.replay.init(self._example(learner, carries, obs)),
            place,
            obs,
            carries,
            jnp.zeros(self.count),
            none,
            none,
            key,
        )
        return TrainState(learner, flow)

    def restart(
        self, state: TrainState, *, key: PRNGKeyArray | None = None
    ) -> TrainState:
        """Begin a fresh episode in every copy; those under way stay without an end.

        Args:
            state: Where training stands; its environments may be long gone.
            key: What the environments are seeded from: the state's own, unless given.
                Another one leads around an episode that raised.

        Returns:
            The state to go on from: the same one for the same state, in any process.

        Raises:
            FloatingPointError: An observation is not finite.
        """
        place, obs, key = self._reset(state.flow.key if key is None else key)
        flow = dataclasses.replace(
            state.flow,
            replay=self.replay.cut(state.flow.replay),
            environments=place,
            obs=obs,
            returns=jnp.zeros_like(state.flow.returns),
            key=key,
        )
        return TrainState(state.learner, flow)

    def resume(self, state: TrainState) -> tuple[TrainState, tuple[str, ...]]:
        """Bring the environments to where a state left them, in another process.

        They are seeded as they were then, and every action since is done again.

        Args:
            state: Where training stands.

        Returns:
            The same state; or, where its environments cannot be brought back, one
            with fresh episodes, and a sentence that says why.

        Raises:
            FloatingPointError: An observation of a fresh episode is not finite.
        """
        fault = self._replay(state.flow)
        if fault is None:
            return state, ()
        notice = f"{self.environment.name} goes on with fresh episodes, as {fault}."
        return self.restart(state), (notice,)

    def collect(
        self,
        state: TrainState,
        steps: int,
        *,
        random: bool = False,
        limit: Int[Array, ""] | int | None = None,
        episodes: Int[Array, ""] | int | None = None,
    ) -> tuple[TrainState, Trace]:
        """Act for a number of steps in each copy.

        Args:
            state: Where training stands. Whatever happens, it stays what it is.
            steps: Each copy is stepped at most so often.
            random: Whether actions are drawn from the action space instead.
            limit: Stop after so many steps, where these are fewer.
            episodes: Stop once so many episodes have ended, over all copies.

        Returns:
            Where it stands now, and what happened.

        Raises:
            ValueError: There are no steps to take; or the environments do not stand
                where the state says; or the agent gave an action that is not finite.
            FloatingPointError: A reward or an observation is not finite; the message
                names the step and the copy. None of these steps is remembered, and
                the state that was given can be resumed or restarted.
        """
        most = steps if limit is None else min(steps, int(limit))
        require_steps("HostTraining", most)
        learner, flow = state.learner, state.flow
        self._require_here(flow)
        # Until the last step is taken, the environments stand nowhere.
        self._stands = None
        obs, carries, key = flow.obs, flow.carries, flow.key
        returns, begun = np.asarray(flow.returns), np.asarray(flow.environments.begun)
        rows, happened, watched, over = [], [], {}, 0
        inside = tuple(duty for duty in self.duties if duty.inside)
        online = None
        if inside:
            online = Online(self.agent, self.replay, state, inside)
        kept = _row(flow.replay.rows.kept, 0)
        while len(rows) < most and (episodes is None or over < int(episodes)):
            stop.look()
            if random:
                actions, key = sample(self.environment.spec.action, self.count, key)
            else:
                actions, carries, kept, watched, key = act(
                    self.agent, learner, carries, obs, begun, key
                )
            actions = np.asarray(actions)
            after, onward = self.environment.step(actions)
            ended = np.asarray(after.terminated | after.truncated)
            reward = np.asarray(after.reward, returns.dtype)
            successor = read(self.environment.spec, after.obs)
            ends = (after.terminated, after.truncated)
            rows.append((obs, actions, reward, successor, *ends, kept))
            if online is not None:
                learner, key = online.learn(rows[-1], int(ended.sum()), key)
            returns = returns + reward
            totals = np.where(ended, returns, np.full_like(returns, np.nan))
            # What is not finite has already raised.
            finite = np.ones_like(ended)
            happened.append((reward, ended, totals, finite, watched))
            returns = np.where(ended, np.zeros_like(returns), returns)
            # Random steps renew no carry: it is left to the first step that acts.
            begun = ended | begun if random else ended
            obs = read(self.environment.spec, onward)
            over += int(ended.sum())
        seeded, taken = flow.environments, len(rows)
        place = Place(seeded.seed, seeded.steps + taken, jnp.asarray(begun))
        flow = Flow(
            self._remember(flow.replay, rows) if online is None else online.memory,
            place,
            jax.tree.map(jnp.asarray, obs),
            carries,
            jnp.asarray(returns),
            flow.step + taken * self.count,
            flow.episodes + over,
            key,
        )
        self._stands = (place, flow.obs)
        told = jax.tree.map(jnp.asarray, stacked(happened))
        learned = {} if online is None else online.told()
        trace = Trace(*told, learned=learned, steps=jnp.asarray(taken, jnp.int32))
        return TrainState(learner, flow), trace

    def perform(self, state: TrainState, duty: Duty) -> tuple[TrainState, Metrics]:
        """Have the agent do a duty once."""
        return perform_in(self.agent, self.replay, state, duty)

    def _reset(self, key: PRNGKeyArray) -> tuple[Place, PyTree, PRNGKeyArray]:
        """Seed and reset the environments; where they stand, what is seen, a key."""
        seed_key, key = jax.random.split(key)
        seed = seed_of(seed_key)
        self._stands = None
        seen = read(self.environment.spec, self.environment.reset(seed=seed))
        place = Place(
            jnp.asarray(seed, jnp.int32),
            jnp.zeros((), jnp.int32),
            jnp.ones(self.count, bool),
        )
        obs = jax.tree.map(jnp.asarray, seen)
        self._stands = (place, obs)
        return place, obs, key

    def _replay(self, flow: Flow) -> str | None:
        """Do again what was done since the environments were seeded.

        Returns:
            Why they are not where the flow says, or None if they are.
        """
        place, self._stands = flow.environments, None
        steps = int(place.steps)
        rows = newest(flow.replay, steps)
        if rows is None:
            kept = int(flow.replay.size)
            return (
                f"the {steps * self.count} steps since they were seeded would have to "
                f"be done again, but only the newest {kept} are kept"
            )
        spec, step = self.environment.spec, 0
        try:
            obs = read(spec, self.environment.reset(seed=int(place.seed)))
            for step in range(steps):
                stop.look()
                if not _same(obs, _row(rows.obs, step)):
                    break
                _, onward = self.environment.step(rows.action[step])
                obs = read(spec, onward)
            else:
                step = steps
                if _same(obs, flow.obs):
                    self._stands = (place, flow.obs)
                    return None
        except FloatingPointError:
            pass
        return (
            "the same seed and the same actions led elsewhere than before, at step "
            f"{step} since they were seeded"
        )

    def _require_here(self, flow: Flow) -> None:
        here = (flow.environments, flow.obs)
        if self._stands is None or not eqx.tree_equal(self._stands, here):
            raise ValueError(
                f"{self.environment.name} needs a state whose environments still stand "
                f"where it left them, got one of step {int(flow.step)} that they have "
                "left or never saw; resume(state) brings them there."
            )

    def _remember(self, memory: ReplayState, rows: list[tuple]) -> ReplayState:
        """Keep the rows.

        They are added in pieces whose lengths are powers of two, so that episodes of
        any length compile only a handful of programs.
        """
        columns = stacked(rows)
        left = columns[2].shape[0]
        start = 0
        while left:
            length = 1 << (min(left, memory.capacity).bit_length() - 1)
            piece = jax.tree.map(
                lambda leaf, start=start, length=length: leaf[start : start + length],
                columns,
            )
            memory = _add(self.replay, memory, piece)
            start, left = start + length, left - length
        return memory

    def _example(self, learner: PyTree, carries: PyTree, obs: PyTree) -> Transition:
        """One transition, for its shapes."""
        carry, one = _row(carries, 0), _row(obs, 0)
        action = self.environment.spec.action.sample(key=jax.random.key(0))
        kept = eqx.filter_eval_shape(
            lambda key: self.agent.act(learner, carry, one, key=key)[2],
            jax.random.key(0),
        )
        no = jnp.asarray(False)
        return Transition(one, action, jnp.zeros(()), one, no, no, blank(kept))


@eqx.filter_jit
def _add(replay: Replay, memory: ReplayState, columns: tuple) -> ReplayState:
    return replay.extend(memory, Transition(*columns))


def _row(tree: PyTree, index: int) -> PyTree:
    return jax.tree.map(lambda leaf: leaf[index], tree)


def _same(one: PyTree, other: PyTree) -> bool:
    """Whether two pytrees of arrays hold the same numbers."""
    return all(
        np.array_equal(a, b)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)
    )
