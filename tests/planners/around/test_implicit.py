"""Derivatives of plans: against finite differences, dense algebra, and LQR itself."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought import tasks
from forethought.agents.planning.mpc import Planning
from forethought.core.readout import Readout
from forethought.core.spaces import Box, Discrete, free_box
from forethought.core.types import Stamped
from forethought.environments.analytic import DoubleIntegrator
from forethought.environments.plant import Told
from forethought.environments.simulated import Simulated
from forethought.models.base import AbstractModel
from forethought.models.linear.dynamics import Linear
from forethought.objectives.base import AbstractObjective
from forethought.objectives.quadratic import Quadratic
from forethought.planners import (
    ILQR,
    LQR,
    MPC,
    GradientAscent,
    Implicit,
    RandomShooting,
)
from forethought.planners.around.implicit import _expand
from forethought.planners.linear.riccati import lqr
from forethought.planners.smooth.gradient import Optimiser
from forethought.problem import Problem, rollout
from forethought.training.control import begin, closed_loop

KEY = jax.random.key(0)
HORIZON = 12
F = np.array([[1.0, 0.1, 0.005], [0.0, 1.0, 0.1]])
FREE = free_box(1)


class Pendulum(AbstractModel[Stamped]):
    """A pendulum that knows the time and loses strength with it."""

    gravity: jax.Array

    def init(self, *, key):
        return self.at(jnp.zeros(2))

    def at(self, x):
        return Stamped(x, jnp.asarray(0))

    def predict(self, belief, action, *, key):
        x, strength = belief.value, 0.99 ** belief.time.astype(action.dtype)
        push = strength * action[0] * jnp.cos(0.3 * x[0])
        rate = x[1] + 0.2 * (push - self.gravity * jnp.sin(x[0]) - 0.1 * x[1])
        return Stamped(jnp.stack([x[0] + 0.2 * rate, rate]), belief.time + 1)

    def observe(self, belief, obs, *, key):
        return obs

    def readout(self, belief):
        x = belief.value
        return Readout(jnp.stack([jnp.sin(x[0]), jnp.cos(x[0]), x[1]]))


class Lift(AbstractObjective):
    """A reward on the next readout, and a discount that may depend on it."""

    weight: jax.Array
    ends: float = 0.0

    def reward(self, x, action, next_x):
        distance = (next_x[1] + 1) ** 2 + next_x[0] ** 2 + 0.1 * x[2] ** 2
        return -self.weight * distance - 0.05 * jnp.sum(action**2)

    def discount(self, x, action, next_x):
        return 0.97 - self.ends * next_x[0] ** 2

    def value(self, x):
        return -5 * (x[1] + 1) ** 2


def swing(low, high, ends=0.0):
    """A problem whose every part has a continuous parameter, and a start."""
    model = Pendulum(jnp.asarray(2.0))
    problem = Problem(model, Lift(jnp.asarray(1.0), ends), Box([low], [high]))
    return problem, model.at(jnp.array([2.5, -2.0]))


def settle(planner, problem, belief):
    """One plan, from the planner's own start."""
    state = planner.init(problem, belief, key=KEY)
    return planner.plan(problem, belief, state, key=KEY)[0]


def slopes(planner):
    """Value and gradient of a number that every output of a plan has a part in."""

    def outcome(both):
        plan = settle(Implicit(planner), *both)
        weights = jnp.cos(jnp.arange(planner.horizon, dtype=float))
        ends = plan.beliefs.value[-1]
        mixed = ends[0] * ends[1] + 0.3 * plan.value
        return jnp.sum(weights * plan.actions[:, 0]) + mixed, plan

    return eqx.filter_jit(eqx.filter_value_and_grad(outcome, has_aux=True))


PRECISE = slopes(ILQR(HORIZON, 200, tolerance=1e-16, gradient_tolerance=1e-11))
PARTS = {
    "the state": lambda both: both[1].value,
    "a dynamics parameter": lambda both: both[0].model.gravity,
    "a cost weight": lambda both: both[0].objective.weight,
    "an upper limit": lambda both: both[0].action.high,
    "a lower limit": lambda both: both[0].action.low,
}


def check(solve, both, part, step=5e-4, rtol=1e-5):
    """Compare one part of the gradient with central differences."""
    point, (_, found) = PARTS[part](both), solve(both)
    expected = np.zeros(point.shape)
    for i in np.ndindex(point.shape):
        ahead, behind = (
            solve(eqx.tree_at(PARTS[part], both, point.at[i].add(way)))[0][0]
            for way in (step, -step)
        )
        expected[i] = (ahead - behind) / (2 * step)
    np.testing.assert_allclose(PARTS[part](found), expected, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize(
    ("limits", "part"),
    [((-50.0, 50.0), part) for part in PARTS if "limit" not in part]
    + [((-1.0, 1.2), part) for part in PARTS],
)
def test_the_gradient_of_a_plan_equals_finite_differences(x64, limits, part):
    both = swing(*limits)
    actions = PRECISE(both)[0][1].actions
    at_limit = np.any(actions == limits[0]) and np.any(actions == limits[1])
    assert at_limit == (limits == (-1.0, 1.2)), actions
    assert np.any((actions > limits[0]) & (actions < limits[1]))
    check(PRECISE, both, part)


def test_discounts_that_depend_on_the_state_are_differentiated(x64):
    optimiser = Optimiser("adam", 0.2, 0.97)
    both = swing(-1.0, 1.2, ends=0.2)
    solve = slopes(GradientAscent(5, 500, optimiser, tolerance=1e-9))
    check(solve, both, "a dynamics parameter", 1e-3, 1e-4)
    check(solve, both, "the state", 1e-3, 1e-4)


def test_the_sweep_solves_with_the_dense_hessian_of_the_return(x64):
    problem, belief = swing(-1.0, 1.0, ends=0.2)
    belief = Stamped(jnp.array([3.0, 0.1]), belief.time)
    actions = 0.3 * jnp.sin(jnp.arange(5.0))
    free = np.array([True, True, False, True, False])
    mask = jnp.asarray(free)[:, None]

    @jax.jit
    def both():
        def value(actions):
            return rollout(problem, belief, actions[:, None], key=KEY).value

        lqp = _expand(problem, belief, actions[:, None], mask, KEY)
        b = mask.astype(actions.dtype)
        return jax.hessian(value)(actions), *lqp.solve(b)

    H, w, positive = both()
    expected = np.linalg.solve(-H[np.ix_(free, free)], np.ones(free.sum()))
    assert positive
    np.testing.assert_allclose(w[free, 0], expected, rtol=1e-10)
    np.testing.assert_array_equal(w[~free], 0)


def closed_form(F, C, x):
    """Of a linear-quadratic plan: the first action, and a share of the value."""
    solution = lqr(F, jnp.zeros(2), C, jnp.zeros(3), horizon=HORIZON)
    return (solution.K[0] @ x)[0] - 0.1 * x @ solution.V[0] @ x


def planned(F, C, x):
    """The same by a plan."""
    problem = Problem(Linear(F), Quadratic(0.5 * (C + C.T)), FREE)
    plan = settle(Implicit(LQR(HORIZON)), problem, x)
    return plan.actions[0, 0] + 0.2 * plan.value


def test_derivatives_of_a_linear_quadratic_plan_equal_those_of_lqr_itself(x64):
    C, x = jnp.diag(jnp.array([1.0, 0.3, 0.5])), jnp.array([1.0, -0.4])
    way = jnp.array([[0.0, 0.1, 0.3], [-0.2, 0.1, 0.5]])

    @jax.jit
    def everything(F):
        found = []
        for function in (closed_form, planned):

            def bend(F, x, function=function):
                slope = jax.grad(function, 2)
                return jax.jvp(lambda F: slope(F, C, x), (F,), (way,))[1]

            slopes = jax.grad(function, (0, 1, 2))(F, C, x)
            forward = jax.jvp(lambda F: function(F, C, x), (F,), (way,))[1]  # noqa: B023
            found.append((*slopes, forward, bend(F, x)))
        return found

    expected, found = everything(jnp.asarray(F))
    for name, wanted, got in zip(
        ("F", "C", "x", "forward", "second"), expected, found, strict=True
    ):
        pair = (got, wanted)
        if name == "C":  # only its symmetric part is meant
            pair = (got + got.T, wanted + wanted.T)
        np.testing.assert_allclose(*pair, rtol=1e-8, atol=1e-10, err_msg=name)


def test_a_closed_loop_can_be_differentiated(x64):
    controller = MPC(Implicit(LQR(HORIZON)))
    system, keys = DoubleIntegrator(), jax.random.split(KEY, 5)

    @jax.jit
    @jax.value_and_grad
    def earned(price):
        cost = Quadratic(jnp.diag(jnp.stack([jnp.ones(()), jnp.ones(()), price])))
        agent = Planning(Problem(Linear(F), cost, FREE), controller)
        plant = Told(Simulated(system, cost, 5))
        loop = begin(agent, plant, jnp.array([0.3, 0.2]), key=KEY)
        _, episode = closed_loop(agent, plant, loop, keys=keys)
        return jnp.sum(episode.rewards)

    expected = (earned(1 + 1e-4)[0] - earned(1 - 1e-4)[0]) / 2e-4
    np.testing.assert_allclose(earned(1.0)[1], expected, rtol=1e-6)


def test_a_plan_that_has_not_converged_has_nan_for_a_derivative(x64):
    problem, belief = swing(-50.0, 50.0)
    (value, plan), (moved, start) = slopes(RandomShooting(4, 2))((problem, belief))
    assert np.isfinite(value) and np.all(np.isfinite(plan.actions))
    assert np.all(np.isnan(start.value)) and np.isnan(moved.model.gravity)


def test_what_cannot_be_differentiated_is_refused_with_the_reason(precision):
    task = tasks.load("mujoco-cartpole")
    start = task.system.start(key=KEY)
    with pytest.raises(TypeError, match=r"step of Known is computed on the host"):
        Implicit(ILQR(4)).init(task.problem, start, key=KEY)
    problem, belief = swing(-1.0, 1.0)
    discrete = Problem(problem.model, problem.objective, Discrete(3))
    with pytest.raises(TypeError, match="Implicit plans over continuous actions"):
        Implicit(ILQR(4)).init(discrete, belief, key=KEY)
    with pytest.raises(ValueError, match=r"Implicit needs tolerance > 0, got 0\.0"):
        Implicit(ILQR(4), tolerance=0.0)

    def own_setting(rate):
        planner = GradientAscent(4, 2)
        planner = eqx.tree_at(lambda p: p.optimiser.learning_rate, planner, rate)
        return settle(Implicit(planner), problem, belief).value

    with pytest.raises(ValueError, match="keyword tangent"):
        jax.grad(own_setting)(1e-4)


def test_what_has_no_derivative_is_not_in_the_plan(x64):
    plan = PRECISE(swing(-1.0, 1.2))[0][1]
    assert plan.feedback is None
    stats = jax.tree.leaves(plan.stats)
    assert stats and all(jnp.issubdtype(stat.dtype, jnp.integer) for stat in stats)
