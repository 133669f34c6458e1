"""Training in Gymnasium environments: the same calls as `Training`, from the host.

All copies are stepped together. In each step the observations go to one compiled
function, the actions come back from it, and nothing else crosses the border: what
happened is gathered on the host and remembered at once when collecting ends.

The environments themselves cannot be saved, so that a `TrainState` holds where they
stand but not what they are. A state is therefore gone on from while the environments
still stand where it says, and begun anew otherwise, from the seed that its key gives:

| wanted | call |
|---|---|
| to go on, also in the middle of an episode | `collect(state, steps)` |
| fresh episodes first | `collect(state, steps, restart=True)` |

A run that restarts at each `collect` goes on in another process exactly as it would
have gone on in its own: nothing but the state decides what happens. It should collect
whole episodes, as a restart ends those that are under way, unrecorded.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Metrics, Mode
from forethought.core.spaces import Box, Discrete, Space
from forethought.core.types import Action
from forethought.data.replay import Replay, ReplayState
from forethought.data.transitions import Transition
from forethought.environments.base import EnvironmentSpec
from forethought.environments.gymnasium import GymnasiumEnvironment
from forethought.training.loop import Flow, Trace, TrainState, learn


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
    state can only be gone on from while they stand where it left them. Every state
    stays valid for `learn` and for a restart, also after a `collect` that raised.

    ```python
    training = HostTraining(agent, GymnasiumEnvironment("Pendulum-v1"), Replay(4096))
    state = training.begin(key=jax.random.key(0))
    state, trace = training.collect(state, 200, random=True)
    state, metrics = training.learn(state)
    state, trace = training.collect(state, 200, restart=True)
    ```

    Args:
        agent: Any agent.
        environment: On the host, in as many copies as are acted in side by side.
            Nothing else may step or reset it.
        replay: Where transitions go.
    """

    def __init__(
        self, agent: AbstractAgent, environment: GymnasiumEnvironment, replay: Replay
    ):
        self.agent, self.environment, self.replay = agent, environment, replay
        self.count = environment.count
        self._stands: PyTree = None

    def begin(self, *, key: PRNGKeyArray) -> TrainState:
        """Before the first step: environments reset, nothing learned, nothing kept.

        Raises:
            FloatingPointError: An observation is not finite.
        """
        agent_key, carry_key, key = jax.random.split(key, 3)
        learner = self.agent.init(self.environment.spec, key=agent_key)
        place, obs, key = self._reset(key)
        flow = Flow(
            self.replay.init(self._example(obs)),
            place,
            obs,
            _carries(self.agent, learner, self.count, carry_key),
            jnp.zeros(self.count),
            jnp.zeros((), jnp.int32),
            key,
        )
        return TrainState(learner, flow)

    def restart(
        self, state: TrainState, *, key: PRNGKeyArray | None = None
    ) -> TrainState:
        """Begin a fresh episode in every copy; those under way are not recorded.

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
        flow = state.flow
        nothing = jnp.zeros_like(flow.returns)
        flow = Flow(flow.replay, place, obs, flow.carries, nothing, flow.step, key)
        return TrainState(state.learner, flow)

    def collect(
        self,
        state: TrainState,
        steps: int,
        *,
        random: bool = False,
        restart: bool = False,
    ) -> tuple[TrainState, Trace]:
        """Act for a number of steps in each copy.

        Args:
            state: Where training stands. Whatever happens, it stays what it is.
            steps: Each copy is stepped so often.
            random: Whether actions are drawn from the action space instead.
            restart: Whether to `restart` before the first step.

        Returns:
            Where it stands now, and what happened.

        Raises:
            ValueError: There are no steps to take; or the environments do not stand
                where the state says, and no restart is asked for; or the agent gave
                an action that is not finite.
            FloatingPointError: A reward or an observation is not finite; the message
                names the step and the copy. None of these steps is remembered, and
                the state that was given can be restarted.
        """
        if steps < 1:
            raise ValueError(f"HostTraining.collect needs steps >= 1, got {steps}.")
        if restart:
            state = self.restart(state)
        learner, flow = state.learner, state.flow
        self._require_here(flow)
        # Until the last step is taken, the environments stand nowhere.
        self._stands = None
        obs, carries, key = flow.obs, flow.carries, flow.key
        returns, begun = np.asarray(flow.returns), np.asarray(flow.environments.begun)
        rows, happened = [], []
        for _ in range(steps):
            if random:
                actions, key = _sample(self.environment.spec.action, self.count, key)
            else:
                actions, carries, key = _act(
                    self.agent, learner, carries, obs, begun, key
                )
            actions = np.asarray(actions)
            after, onward = self.environment.step(actions)
            ended = np.asarray(after.terminated | after.truncated)
            reward = np.asarray(after.reward, returns.dtype)
            successor = _read(self.environment.spec, after.obs)
            ends = (after.terminated, after.truncated)
            rows.append((obs, actions, reward, successor, *ends))
            returns = returns + reward
            nothing = np.full_like(returns, np.nan)
            happened.append((reward, ended, np.where(ended, returns, nothing)))
            returns = np.where(ended, np.zeros_like(returns), returns)
            # Random steps renew no carry: it is left to the first step that acts.
            begun = ended | begun if random else ended
            obs = _read(self.environment.spec, onward)
        seeded = flow.environments
        place = Place(seeded.seed, seeded.steps + steps, jnp.asarray(begun))
        flow = Flow(
            self._remember(flow.replay, rows),
            place,
            jax.tree.map(jnp.asarray, obs),
            carries,
            jnp.asarray(returns),
            flow.step + steps * self.count,
            key,
        )
        self._stands = (place, flow.obs)
        return TrainState(learner, flow), Trace(*_stacked(happened))

    def learn(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """Let the agent learn from everything that is kept."""
        return learn(self.agent, self.replay, state)

    def _reset(self, key: PRNGKeyArray) -> tuple[Place, PyTree, PRNGKeyArray]:
        """Seed and reset the environments; where they stand, what is seen, a key."""
        seed_key, key = jax.random.split(key)
        seed = _seed(seed_key)
        self._stands = None
        seen = _read(self.environment.spec, self.environment.reset(seed=seed))
        place = Place(
            jnp.asarray(seed, jnp.int32),
            jnp.zeros((), jnp.int32),
            jnp.ones(self.count, bool),
        )
        obs = jax.tree.map(jnp.asarray, seen)
        self._stands = (place, obs)
        return place, obs, key

    def _require_here(self, flow: Flow) -> None:
        here = (flow.environments, flow.obs)
        if self._stands is None or not eqx.tree_equal(self._stands, here):
            raise ValueError(
                f"{self.environment.name} needs a state whose environments still stand "
                f"where it left them, got one of step {int(flow.step)} that they have "
                "left or never saw; collect with restart=True begins fresh episodes."
            )

    def _remember(self, memory: ReplayState, rows: list[tuple]) -> ReplayState:
        """Keep the rows, or the newest of them where the memory is smaller."""
        flat = jax.tree.map(
            lambda leaf: leaf.reshape(-1, *leaf.shape[2:])[-memory.capacity :],
            _stacked(rows),
        )
        return _add(self.replay, memory, flat)

    def _example(self, obs: PyTree) -> Transition:
        """One transition, for its shapes."""
        one = jax.tree.map(lambda leaf: leaf[0], obs)
        action = self.environment.spec.action.sample(key=jax.random.key(0))
        no = jnp.asarray(False)
        return Transition(one, action, jnp.zeros(()), one, no, no)


def evaluate_host(
    agent: AbstractAgent,
    environment: GymnasiumEnvironment,
    learner: PyTree,
    *,
    episodes: int,
    key: PRNGKeyArray,
) -> Float[Array, " episode"]:
    """Returns of episodes in which the agent does its best.

    Each copy plays a number of episodes that is fixed beforehand, as those that end
    first in a race between copies would be the short ones.

    Args:
        agent: Who acts, without exploring.
        environment: On the host, and not the one that is trained in: it is reset here
            and left in the middle of an episode. Its episodes must end.
        learner: What the agent has learned.
        episodes: How many, shared out among the copies.
        key: Consumed.

    Returns:
        The undiscounted return of each episode.

    Raises:
        ValueError: No episodes are asked for.
        FloatingPointError: A reward or an observation is not finite.
    """
    if episodes < 1:
        raise ValueError(f"evaluate_host needs episodes >= 1, got {episodes}.")
    spec, count = environment.spec, environment.count
    carry_key, seed_key, key = jax.random.split(key, 3)
    obs = _read(spec, environment.reset(seed=_seed(seed_key)))
    carries = _carries(agent, learner, count, carry_key)
    begun = np.ones(count, bool)
    totals = np.zeros(count)
    # Episode i is the (i // count)-th one of copy i % count.
    found = np.full(episodes, np.nan)
    following = np.arange(count)
    while np.any(following < episodes):
        actions, carries, key = _act(
            agent, learner, carries, obs, begun, key, "exploit"
        )
        after, onward = environment.step(np.asarray(actions))
        totals = totals + np.asarray(after.reward)
        begun = np.asarray(after.terminated | after.truncated)
        counted = begun & (following < episodes)
        found[following[counted]] = totals[counted]
        following = np.where(begun, following + count, following)
        totals = np.where(begun, 0.0, totals)
        obs = _read(spec, onward)
    return jnp.asarray(found)


@eqx.filter_jit
def _act(
    agent: AbstractAgent,
    learner: PyTree,
    carries: PyTree,
    obs: PyTree,
    begun: Bool[Array | np.ndarray, " env"],
    key: PRNGKeyArray,
    mode: Mode = "explore",
) -> tuple[Action, PyTree, PRNGKeyArray]:
    """Act in every copy; where an episode has just begun, with a fresh carry."""
    carry_key, act_key, key = jax.random.split(key, 3)

    def act(carry, fresh, obs, begun, key):
        carry = jax.tree.map(lambda new, old: jnp.where(begun, new, old), fresh, carry)
        return agent.act(learner, carry, obs, key=key, mode=mode)

    count = begun.shape[0]
    fresh = _carries(agent, learner, count, carry_key)
    keys = jax.random.split(act_key, count)
    actions, carries = jax.vmap(act)(carries, fresh, obs, begun, keys)
    return actions, carries, key


@eqx.filter_jit
def _carries(
    agent: AbstractAgent, learner: PyTree, count: int, key: PRNGKeyArray
) -> PyTree:
    """What each copy begins an episode with."""
    return jax.vmap(lambda key: agent.reset(learner, key=key))(
        jax.random.split(key, count)
    )


@eqx.filter_jit
def _sample(space: Space, count: int, key: PRNGKeyArray) -> tuple[Action, PRNGKeyArray]:
    """A random action for every copy."""
    sample_key, key = jax.random.split(key)
    return space.sample((count,), key=sample_key), key


@eqx.filter_jit
def _add(replay: Replay, memory: ReplayState, columns: tuple) -> ReplayState:
    return replay.add(memory, jax.vmap(Transition)(*columns))


def _stacked(rows: list[tuple]) -> tuple:
    """Rows of arrays `[env, ...]` as arrays `[time, env, ...]`."""
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *rows)


def _seed(key: PRNGKeyArray) -> int:
    """A seed for environments, small enough that no copy's runs over."""
    return int(jax.random.randint(key, (), 0, 2**30))


def _read(spec: EnvironmentSpec, obs: PyTree) -> PyTree:
    """Observations in the precision that JAX computes in."""
    real, whole = jnp.result_type(float), jnp.result_type(int)
    return jax.tree.map(
        lambda space, leaf: np.asarray(leaf, real if isinstance(space, Box) else whole),
        spec.observation,
        obs,
        is_leaf=lambda node: isinstance(node, Box | Discrete),
    )
