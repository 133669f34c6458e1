"""Control: a planner that knows the dynamics acts on what is there.

An episode like any other, of the agent `Planning` in a plant, judged by an objective of
the system's states: rewards are discounted, and what lies beyond the last state counts.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray, PyTree, Scalar

from forethought.agents.planning.mpc import Planning
from forethought.core.readout import AbstractJudge, Readout
from forethought.core.results import Result, Stats
from forethought.environments.plant import AbstractPlant
from forethought.environments.simulated import Timed
from forethought.problem import Problem
from forethought.training.episode import Scene, step, two_keys


class Episode(eqx.Module):
    """What happened: states, actions, rewards, and what the planner thought.

    Every leaf has a leading time axis of the number of steps, `states` one more.
    """

    states: PyTree
    actions: Array
    rewards: Float[Array, " time"]
    """Discounted as the objective says; zero once the episode ended."""
    alive: Bool[Array, " time"]
    """Whether the step was still part of the episode."""
    planned: Float[Array, " time"]
    """Return that the plan in force expected, over its horizon, when it was made."""
    result: Result
    """How the plan in force ended."""
    stats: Stats
    """Those of the plan's statistics that are small."""
    final: Scalar
    """Discounted value of the last state: what lies beyond the episode."""

    @property
    def value(self) -> Scalar:
        """The realised return: all rewards and what lies beyond."""
        return jnp.sum(self.rewards) + self.final


class Loop(eqx.Module):
    """Where a closed loop stands, so that it can be run in pieces."""

    scene: Scene
    discount: Scalar

    @property
    def state(self) -> PyTree:
        """The state of the system."""
        return self.scene.environment.system


def first_look(
    problem: Problem,
    plant: AbstractPlant,
    state: PyTree,
    tell_key: PRNGKeyArray,
    prior_key: PRNGKeyArray,
    look_key: PRNGKeyArray,
) -> tuple[PyTree, PyTree, PyTree]:
    """What is told of a state, and what the model believes before and after it."""
    obs = plant.tell(state, key=tell_key)
    prior = problem.model.init(key=prior_key)
    return obs, prior, problem.model.observe(prior, obs, key=look_key)


def begin(
    agent: Planning, plant: AbstractPlant, state: PyTree, *, key: PRNGKeyArray
) -> Loop:
    """The closed loop before its first step, from a state of the system.

    The controller begins with what its model believes beforehand and one look.
    """
    *keys, plan_key = jax.random.split(key, 4)
    obs, prior, belief = first_look(agent.problem, plant, state, *keys)
    carry = agent.believing(agent.problem, belief, key=plan_key)
    # The first step looks by itself.
    carry = eqx.tree_at(lambda carry: carry.belief, carry, prior)
    world = Timed(state, jnp.asarray(0))
    one = jnp.ones_like(agent.problem.value(belief))
    return Loop(Scene(world, obs, carry, jnp.asarray(True)), one)


def closed_loop(
    agent: Planning,
    plant: AbstractPlant,
    loop: Loop,
    *,
    keys: Key[Array, " time"],
    wanted: AbstractJudge | None = None,
) -> tuple[Loop, Episode]:
    """Let a controller act, for as many steps as there are keys.

    What is acted in may differ from the model of the agent's problem. One compiled
    scan; pieces may be joined by passing the returned `Loop` on.

    Args:
        agent: What it knows and wants, and how it plans.
        plant: What is acted in, and what the agent is told of it.
        loop: Where to go on, from `begin` or an earlier call.
        keys: One key a step, shape `[time]`.
        wanted: Who judges the states of the system; by default the problem's objective.

    Returns:
        Where it stands now, and what happened.
    """

    def once(scene: Scene, key: PRNGKeyArray):
        after, seen, _ = step(agent, plant, agent.problem, scene, keys=two_keys(key))
        return after, (after.environment, seen.action, after.carry.thought)

    scene, (worlds, actions, thoughts) = jax.lax.scan(once, loop.scene, keys)
    worlds = jax.tree.map(
        lambda first, rest: jnp.concatenate([first[None], rest]),
        loop.scene.environment,
        worlds,
    )
    objective = agent.problem.objective if wanted is None else wanted

    def judge(before: Timed, action: Array, after: Timed) -> tuple[Scalar, Scalar]:
        return objective.judge(_seen(before), action, _seen(after))

    rewards, factors = jax.vmap(judge)(
        jax.tree.map(lambda leaf: leaf[:-1], worlds),
        actions,
        jax.tree.map(lambda leaf: leaf[1:], worlds),
    )
    discounts = loop.discount * jnp.concatenate(
        [jnp.ones_like(factors[:1]), jnp.cumprod(factors)]
    )
    final = discounts[-1] * objective.beyond(_seen(scene.environment))
    episode = Episode(
        states=worlds.system,
        actions=actions,
        rewards=discounts[:-1] * rewards,
        alive=discounts[:-1] > 0,
        planned=thoughts.value,
        result=thoughts.result,
        stats=thoughts.stats,
        final=final,
    )
    return Loop(scene, discounts[-1]), episode


def _seen(world: Timed) -> Readout:
    return Readout.of(world.system, world.time)
