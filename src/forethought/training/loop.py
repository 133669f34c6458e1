"""Training in pure environments: collect, learn, and again.

The loop knows no algorithm: it lets an agent act, keeps what was seen, and hands it
back for learning. Everything between two looks from outside is one compiled scan over
environments that reset themselves, and everything it carries is one pytree, so that a
run can stop anywhere and go on from there.
"""

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


def learn(
    agent: AbstractAgent, replay: Replay, state: TrainState
) -> tuple[TrainState, Metrics]:
    """Let an agent learn from everything that is kept."""
    key, update_key = jax.random.split(state.flow.key)
    data = replay.ordered(state.flow.replay)
    learner, metrics = agent.update(state.learner, data, key=update_key)
    flow = eqx.tree_at(lambda flow: flow.key, state.flow, key)
    return TrainState(learner, flow), metrics


class Training(eqx.Module):
    """An agent, what it acts in, and what it remembers.

    Args:
        agent: Any agent.
        environment: In pure JAX.
        replay: Where transitions go.
        count: Environments that are acted in side by side.
    """

    agent: AbstractAgent
    environment: AbstractEnvironment
    replay: Replay
    count: int = eqx.field(static=True, default=1)

    def __check_init__(self):
        if self.count < 1:
            raise ValueError(f"Training needs count >= 1, got {self.count}.")

    def begin(self, *, key: PRNGKeyArray) -> TrainState:
        """Before the first step: environments reset, nothing learned, nothing kept."""
        agent_key, reset_key, key = jax.random.split(key, 3)
        learner = self.agent.init(self.environment.spec, key=agent_key)
        states, obs, carries = self._fresh(learner, reset_key)
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
        self, state: TrainState, steps: int, *, random: bool = False
    ) -> tuple[TrainState, Trace]:
        """Act for a number of steps in each environment, as one scan.

        Args:
            state: Where training stands.
            steps: Static; each environment is stepped so often.
            random: Whether actions are drawn from the action space instead.

        Returns:
            Where it stands now, and what happened.
        """
        learner = state.learner

        def step(flow: Flow, _):
            key, act_key, env_key, reset_key = jax.random.split(flow.key, 4)
            actions, carries = self._act(learner, flow, act_key, random)
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
            returns = flow.returns + after.reward
            ended = after.terminated | after.truncated
            environments, obs, carries = jax.tree.map(
                lambda new, old: jnp.where(_like(ended, new), new, old),
                self._fresh(learner, reset_key),
                (environments, after.obs, carries),
            )
            nothing = jnp.full_like(returns, jnp.nan)
            happened = (after.reward, ended, jnp.where(ended, returns, nothing))
            flow = Flow(
                self.replay.add(flow.replay, seen),
                environments,
                obs,
                carries,
                jnp.where(ended, jnp.zeros_like(returns), returns),
                flow.step + self.count,
                key,
            )
            return flow, happened

        flow, happened = jax.lax.scan(step, state.flow, None, length=steps)
        return TrainState(learner, flow), Trace(*happened)

    def learn(self, state: TrainState) -> tuple[TrainState, Metrics]:
        """Let the agent learn from everything that is kept."""
        return learn(self.agent, self.replay, state)

    def _act(
        self, learner: PyTree, flow: Flow, key: PRNGKeyArray, random: bool
    ) -> tuple[Action, PyTree]:
        if random:
            space = self.environment.spec.action
            return space.sample((self.count,), key=key), flow.carries
        return jax.vmap(
            lambda carry, obs, key: self.agent.act(learner, carry, obs, key=key)
        )(flow.carries, flow.obs, jax.random.split(key, self.count))

    def _fresh(self, learner: PyTree, key: PRNGKeyArray) -> tuple[PyTree, ...]:
        """What each environment would begin its next episode with."""
        reset_key, carry_key = jax.random.split(key)
        states, steps = jax.vmap(lambda key: self.environment.reset(key=key))(
            jax.random.split(reset_key, self.count)
        )
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


def _like(mask: Bool[Array, " env"], leaf: Array) -> Array:
    """A mask over environments, shaped to select along the first axis of a leaf."""
    return mask.reshape(mask.shape + (1,) * (leaf.ndim - 1))
