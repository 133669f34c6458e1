"""Who may teach: several agents as one, and agents that are told the state.

A teacher is any agent with what it knows. A planner that knows the dynamics is told
states and not observations; local controllers know what to do near their own starts
alone, so that there are several of them.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, AbstractFixed
from forethought.core.types import Action, Mode
from forethought.environments.base import EnvironmentSpec


class Informed(AbstractFixed[PyTree, PyTree]):
    """An agent that is told what a function makes of each observation.

    Args:
        agent: Who acts.
        view: From an observation to what the agent is told, such as the state.
    """

    agent: AbstractAgent
    view: Callable[[Any], PyTree] = eqx.field(static=True)

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> PyTree:
        """What the agent knows."""
        return self.agent.init(spec, key=key)

    def reset(self, learner: PyTree, *, key: PRNGKeyArray) -> PyTree:
        """What the agent carries."""
        return self.agent.reset(learner, key=key)

    def act(
        self,
        learner: PyTree,
        carry: PyTree,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, PyTree, PyTree]:
        """What the agent does, once it was told."""
        return self.agent.act(learner, carry, self.view(obs), key=key, mode=mode)


class Turn(eqx.Module):
    """Whose episode it is, and what each teacher carries through it."""

    whose: Int[Array, ""]
    """Below zero before anything was seen."""
    carries: tuple[PyTree, ...]


class Several(AbstractFixed[tuple[PyTree, ...], Turn]):
    """Several agents as one: each episode is one's own.

    It is that of the one whose start lies nearest to what is first seen, in units of
    how far starts lie apart; of any one where they know of no starts.

    Args:
        agents: Who they are.
        starts: What each of them saw first when it learned, shape `[agent, obs]`; None
            where all of them may begin anywhere.
    """

    agents: tuple[AbstractAgent, ...]
    starts: Float[Array, "agent obs"] | None = None

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> tuple[PyTree, ...]:
        """What each of them knows."""
        keys = jax.random.split(key, len(self.agents))
        return tuple(
            agent.init(spec, key=key)
            for agent, key in zip(self.agents, keys, strict=True)
        )

    def reset(self, learner: tuple[PyTree, ...], *, key: PRNGKeyArray) -> Turn:
        """What each of them carries; whose turn it is, if starts do not tell."""
        whose_key, key = jax.random.split(key)
        keys = jax.random.split(key, len(self.agents))
        carries = tuple(
            agent.reset(known, key=key)
            for agent, known, key in zip(self.agents, learner, keys, strict=True)
        )
        if self.starts is not None:
            return Turn(jnp.asarray(-1, jnp.int32), carries)
        drawn = jax.random.randint(whose_key, (), 0, len(self.agents), jnp.int32)
        return Turn(drawn, carries)

    def act(
        self,
        learner: tuple[PyTree, ...],
        carry: Turn,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, Turn, None]:
        """What the one does whose episode it is; the others wait."""
        whose = jnp.where(carry.whose < 0, self._nearest(obs), carry.whose)

        def ask(i: int) -> Callable[[], tuple[Action, tuple[PyTree, ...]]]:
            def answer() -> tuple[Action, tuple[PyTree, ...]]:
                action, after, _ = self.agents[i].act(
                    learner[i], carry.carries[i], obs, key=key, mode=mode
                )
                real = jnp.issubdtype(action.dtype, jnp.inexact)
                action = action.astype(float if real else int)
                return action, (*carry.carries[:i], after, *carry.carries[i + 1 :])

            return answer

        action, carries = jax.lax.switch(whose, [*map(ask, range(len(self.agents)))])
        return action, Turn(whose, carries), None

    def _nearest(self, obs: PyTree[Array]) -> Int[Array, ""]:
        """Whose start lies nearest."""
        if self.starts is None:
            return jnp.zeros((), jnp.int32)
        spread = jnp.std(self.starts, axis=0)
        scale = jnp.where(spread > 0, spread, jnp.ones_like(spread))
        gaps = (self.starts - obs[None].astype(scale.dtype)) / scale[None]
        return jnp.argmin(jnp.sum(gaps**2, axis=1)).astype(jnp.int32)
