"""Planners around another planner hand on all that the problem says."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
import toys

import forethought.planners.around
from forethought.core.results import Result, Stats
from forethought.models.base import Independent
from forethought.objectives.constrained import Constrained
from forethought.planners import MPC, AugmentedLagrangian, Implicit, Polished
from forethought.planners.base import AbstractPlanner
from forethought.problem import Plan, Problem, rollout

KEY = jax.random.key(0)


class Crowd(Independent):
    """Particles of which there are never enough."""

    def enough(self, model, particles):
        return particles + 40


class Spy(AbstractPlanner[Any]):
    """Does nothing, and tells what it was allowed to do, and how many particles."""

    horizon: int = eqx.field(static=True, default=3)

    def init(self, problem, belief, actions=None, *, key):
        return None

    def shift(self, problem, state):
        return None

    def plan(self, problem, belief, state, *, key):
        actions = jnp.zeros((self.horizon, *problem.action.shape))
        future = rollout(problem, belief, actions, key=key)
        legal = jnp.zeros(2, int) - 1
        if problem.legal is not None:
            legal = problem.legal(belief).astype(int)
        numbers = {
            "legal": legal,
            "particles": jnp.asarray(problem.cloud.enough(problem.model, 2)),
        }
        stats = Stats(numbers=numbers)
        result = Result.successful
        return Plan(actions, future.beliefs, future.value, None, result, stats), None


class Forgetful(AbstractPlanner[Any]):
    """Makes the problem anew, of some of its parts."""

    inner: AbstractPlanner
    horizon: int = eqx.field(static=True, default=3)

    def init(self, problem, belief, actions=None, *, key):
        return self.inner.init(problem, belief, actions, key=key)

    def shift(self, problem, state):
        return self.inner.shift(problem, state)

    def plan(self, problem, belief, state, *, key):
        again = Problem(problem.model, problem.objective, problem.action)
        return self.inner.plan(again, belief, state, key=key)


AROUND = {
    AugmentedLagrangian: AugmentedLagrangian(Spy(), rounds=1),
    Polished: Polished(Spy(), Spy()),
    Implicit: Implicit(Spy()),
    MPC: MPC(Spy()),
}


def told(planner):
    """What the planner inside was told."""
    problem, belief = toys.walk()
    problem = dataclasses.replace(
        problem,
        objective=Constrained(problem.objective, lambda x, u: -x - 0.5),
        cloud=Crowd(),
        legal=lambda belief: jnp.stack([belief[0] > 1, belief[0] > 5]),
    )
    state = planner.init(problem, belief, key=KEY)
    if isinstance(planner, MPC):
        plan = planner.act(problem, belief, state, key=KEY)[1]
    else:
        plan = planner.plan(problem, belief, state, key=KEY)[0]
    stats = plan.stats if "legal" in plan.stats.numbers else plan.stats.inside
    return stats.numbers["legal"].tolist(), int(stats.numbers["particles"])


@pytest.mark.parametrize(
    "planner", AROUND.values(), ids=lambda each: type(each).__name__
)
def test_what_is_legal_and_the_cloud_reach_the_planner_inside(planner):
    assert told(planner) == ([1, 0], 42)


def test_who_makes_the_problem_anew_is_caught():
    assert told(Forgetful(Spy())) == ([-1, -1], 2)


def test_every_planner_around_another_has_a_row():
    rooms = forethought.planners.around.__name__, "forethought.planners"
    classes = [AbstractPlanner]
    for each in classes:
        classes += each.__subclasses__()
    found = {
        each
        for each in classes
        if each.__module__.startswith(rooms)
        and any(field.type is AbstractPlanner for field in dataclasses.fields(each))
    }
    assert found | {MPC} == set(AROUND)
