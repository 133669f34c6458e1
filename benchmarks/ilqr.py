"""iLQR side by side with crocoddyl's DDP, in one process, on one core and one thread.

- The unicycle is crocoddyl's own, dynamics and derivatives in C++; ours is in Python.
- Acrobot and cart-pole are written in Python on both sides, as a user would: for
  crocoddyl as an action model of scalar arithmetic, its dynamics differentiated by
  central differences in one NumPy batch, its cost by hand; for us as the library has
  them.

Both run in float64 from the same actions. Each is timed up to the iteration at which it
is within a stated share of the best known cost, which an untimed run finds; so neither
pays for its test of convergence, and both have reached the same. Unicycles are solved
singly and 64 at a time, which for a CPU is one after another. Ours hands over what
the peer's solver then holds: actions, states, gains and cost; a whole `Plan`, with its
value expansion and statistics, is timed beside it.

    python benchmarks/ilqr.py       needs benchmarks/peers.txt
"""

# ruff: noqa: E402
import common

common.pin()

import argparse
import math
from collections.abc import Callable

import crocoddyl
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from forethought import tasks
from forethought.core.readout import Readout
from forethought.core.spaces import Box, free_box
from forethought.models.base import AbstractModel
from forethought.objectives.base import AbstractObjective, constant
from forethought.objectives.constrained import Constrained
from forethought.planners import ILQR, AugmentedLagrangian
from forethought.planners.smooth.descent import begin
from forethought.planners.smooth.ilqr import ILQRState
from forethought.planners.smooth.recursions import imagine
from forethought.problem import Plan, Problem

jax.config.update("jax_enable_x64", True)
KEY = jax.random.key(0)
ONES = np.ones(2)


class Unicycle(AbstractModel[Array]):
    """Crocoddyl's unicycle: velocity and turning rate for 0.1 s."""

    def init(self, *, key: PRNGKeyArray) -> Array:
        return jnp.zeros(3)

    def predict(self, belief: Array, action: Array, *, key: PRNGKeyArray) -> Array:
        angle, (speed, turn) = belief[2], action
        rate = jnp.stack([jnp.cos(angle) * speed, jnp.sin(angle) * speed, turn])
        return belief + 0.1 * rate

    def observe(self, belief: Array, obs: Array, *, key: PRNGKeyArray) -> Array:
        return obs

    def readout(self, belief: Array) -> Readout[Array]:
        return Readout(belief)


class UnicycleCost(AbstractObjective):
    """Crocoddyl's cost of the unicycle, with its default weights 10 and 1, squared."""

    def reward(self, x: Array, action: Array, next_x: Array) -> Array:
        return -0.5 * (100 * jnp.sum(x**2) + jnp.sum(action**2))

    def discount(self, x: Array, action: Array, next_x: Array) -> Array:
        return constant(x, 1.0)

    def value(self, x: Array) -> Array:
        return -50 * jnp.sum(x**2)


class PythonModel(crocoddyl.ActionModelAbstract):
    """A discrete system in Python with a diagonal quadratic cost."""

    def __init__(self, step, batch_step, goal, state_weights, action_weight):
        state = crocoddyl.StateVector(len(goal))
        crocoddyl.ActionModelAbstract.__init__(self, state, 1, 0)
        self.step, self.batch_step = step, batch_step
        self.goal, self.w, self.r = (
            np.array(goal),
            np.array(state_weights),
            action_weight,
        )

    def calc(self, data, x, u=None):
        error = x - self.goal
        data.cost = 0.5 * float(error @ (self.w * error))
        if u is not None:
            data.cost += 0.5 * self.r * float(u[0]) ** 2
            data.xnext = np.array(self.step(*x.tolist(), float(u[0])))
        else:
            data.xnext = x

    def calcDiff(self, data, x, u=None):
        data.Lx, data.Lxx = self.w * (x - self.goal), np.diag(self.w)
        if u is None:
            return
        data.Lu, data.Luu = np.array([self.r * u[0]]), np.array([[self.r]])
        n, size = len(x), 1e-6
        points = np.concatenate([x, u])[:, None] + size * np.concatenate(
            [np.eye(n + 1), -np.eye(n + 1)], axis=1
        )
        after = np.stack(self.batch_step(*points))
        J = (after[:, : n + 1] - after[:, n + 1 :]) / (2 * size)
        data.Fx, data.Fu = J[:, :n], J[:, n:]


def acrobot_step(sin: Callable, cos: Callable) -> Callable:
    """One Euler step of 0.1 s, for scalars or arrays."""
    m = l = 1.0
    lc, I, g, h = 0.5, 1.0, 9.8, 0.1

    def step(a, b, p, q, u):
        sin_b, cos_b = sin(b), cos(b)
        d_1 = m * lc**2 + m * (l**2 + lc**2 + 2 * l * lc * cos_b) + 2 * I
        d_2 = m * (lc**2 + l * lc * cos_b) + I
        phi_2 = m * lc * g * sin(a + b)
        phi_1 = -m * l * lc * (q * q + 2 * q * p) * sin_b
        phi_1 = phi_1 + (m * lc + m * l) * g * sin(a) + phi_2
        torque = u + d_2 / d_1 * phi_1 - m * l * lc * p * p * sin_b - phi_2
        spin = torque / (m * lc**2 + I - d_2**2 / d_1)
        return a + h * p, b + h * q, p - h * (d_2 * spin + phi_1) / d_1, q + h * spin

    return step


def cartpole_step(sin: Callable, cos: Callable) -> Callable:
    """One RK4 step of 0.05 s, for scalars or arrays."""
    m, M, l, g, h = 0.2, 1.0, 0.5, 9.81, 0.05

    def rate(y, a, p, q, u):
        s, c = sin(a), cos(a)
        mass = M + m * s * s
        push = (u + m * s * (l * q * q + g * c)) / mass
        spin = -(u * c + m * l * q * q * c * s + (M + m) * g * s) / (l * mass)
        return p, q, push, spin

    def moved(x, k, size):
        return [each + size * slope for each, slope in zip(x, k, strict=True)]

    def step(y, a, p, q, u):
        x = (y, a, p, q)
        k1 = rate(*x, u)
        k2 = rate(*moved(x, k1, h / 2), u)
        k3 = rate(*moved(x, k2, h / 2), u)
        k4 = rate(*moved(x, k3, h), u)
        return tuple(
            each + h / 6 * (a + 2 * b + 2 * c + d)
            for each, a, b, c, d in zip(x, k1, k2, k3, k4, strict=True)
        )

    return step


def peer(name: str) -> tuple[crocoddyl.SolverDDP, list[np.ndarray]]:
    """Crocoddyl's solver for a problem, and the actions to start from."""
    if name == "unicycle":
        model, start, steps = crocoddyl.ActionModelUnicycle(), [-1.0, -1.0, 1.0], 200
        terminal, first = crocoddyl.ActionModelUnicycle(), np.zeros(2)
    elif name == "acrobot":
        step = acrobot_step(math.sin, math.cos), acrobot_step(np.sin, np.cos)
        goal, start, steps = [math.pi, 0, 0, 0], [0.0] * 4, 50
        model = PythonModel(*step, goal, [0.1] * 4, 0.01)
        terminal, first = PythonModel(*step, goal, [1000.0] * 4, 0.0), np.zeros(1)
    else:
        step = cartpole_step(math.sin, math.cos), cartpole_step(np.sin, np.cos)
        goal, start, steps, h = [0, math.pi, 0, 0], [0.0] * 4, 100, 0.05
        model = PythonModel(*step, goal, [0.01 * h] * 4, 0.1 * h)
        terminal, first = PythonModel(*step, goal, [100.0] * 4, 0.0), np.array([0.01])
    shooting = crocoddyl.ShootingProblem(np.array(start), [model] * steps, terminal)
    solver = crocoddyl.SolverDDP(shooting)
    solver.th_stop = 1e-16
    return solver, [first] * steps


def ours(name: str) -> tuple[Problem, Array, Array]:
    """Our problem, start state and the actions to start from."""
    if name == "unicycle":
        problem = Problem(Unicycle(), UnicycleCost(), free_box(2))
        return problem, jnp.array([-1.0, -1.0, 1.0]), jnp.zeros((200, 2))
    task = tasks.load(name)
    x = task.system.start(key=KEY)
    return task.problem, x, jnp.full((task.steps, 1), 0.01 * (name == "cartpole"))


def first_below(costs: np.ndarray, target: float) -> int:
    """How many iterations it takes to come below a cost."""
    below = np.flatnonzero(np.asarray(costs) <= target)
    if not below.size:
        raise SystemExit(f"{target} was not reached; the lowest was {min(costs)}.")
    return int(below[0]) + 1


def solution(plan: Plan) -> tuple[Array, ...]:
    """What crocoddyl's solver holds as well."""
    assert plan.feedback is not None
    return plan.actions, plan.feedback.states, plan.feedback.gains, plan.value


def compare(name: str, best: float, share: float, repeats: int) -> dict:
    """Time both to the same cost."""
    target = best + share * abs(best)

    solver, actions = peer(name)
    states = list(solver.problem.rollout(actions))
    logger = crocoddyl.CallbackLogger()
    solver.setCallbacks([logger])
    solver.solve(states, actions, 3000, True)
    theirs = first_below(np.array(logger.costs), target)
    solver.setCallbacks([])

    def solve_theirs() -> float:
        solver.solve(states, actions, theirs, True)
        return solver.cost

    problem, x, start = ours(name)
    state = ILQRState(start, jnp.zeros(()))

    def compiled(iterations: int, pick: Callable) -> Callable:
        planner = ILQR(
            start.shape[0], iterations, tolerance=0.0, gradient_tolerance=0.0
        )
        return jax.jit(
            lambda x, state: pick(planner.plan(problem, x, state, key=KEY)[0])
        )

    count = first_below(compiled(1000, lambda plan: -plan.stats.best)(x, state), target)
    solve, whole = compiled(count, solution), compiled(count, lambda plan: plan)
    times = common.timings(
        {
            "forethought": lambda: jax.block_until_ready(solve(x, state)),
            "whole plan": lambda: jax.block_until_ready(whole(x, state)),
            "crocoddyl": solve_theirs,
        },
        repeats=repeats,
        warm=2,
    )
    found = {name: common.spread(each) for name, each in times.items()}
    mine, whole_plan = found["forethought"], found["whole plan"]
    return {
        "target": target,
        "forethought": mine
        | {
            "whole_plan_microseconds": whole_plan["microseconds"],
            "iterations": count,
            "cost": float(-whole(x, state).value),
        },
        "crocoddyl": found["crocoddyl"]
        | {"iterations": theirs, "cost": solve_theirs()},
        "steps_per_microsecond": round(
            start.shape[0] * count / mine["microseconds"], 2
        ),
        "ratio": round(found["crocoddyl"]["microseconds"] / mine["microseconds"], 2),
    }


def batch(count: int, share: float, repeats: int) -> dict:
    """Unicycles from many places: ours in one call, crocoddyl's one after another.

    Some need four iterations and some ninety, so each stops at the iteration at which
    it has reached its own target, on both sides.
    """
    problem, _, first = ours("unicycle")
    box, keys = free_box(2), jax.random.split(KEY, 200)
    places = np.random.default_rng(0).uniform(-1.5, 1.5, size=(count, 3))
    starts = jnp.asarray(places)
    planner = ILQR(200, 150, tolerance=0.0, gradient_tolerance=0.0)

    def solve_one(x, target):
        start = imagine(problem, x, first, keys)
        found = jax.lax.while_loop(
            lambda descent: ~descent.finished & (descent.nominal.cost > target),
            lambda descent: planner._iterate(problem, box, keys, descent),
            begin(start, jnp.zeros(()), 150),
        )
        nominal = found.nominal
        return (
            nominal.actions,
            nominal.states,
            found.sweep.K,
            nominal.cost,
            found.record.count,
        )

    solve = jax.jit(lambda *each: jax.lax.map(lambda one: solve_one(*one), each))
    lowest = np.asarray(solve(starts, jnp.zeros(count))[3])
    targets = lowest * (1 + share)
    model, actions = crocoddyl.ActionModelUnicycle(), [np.zeros(2)] * 200
    jobs = []
    for place, target in zip(places, targets, strict=True):
        shooting = crocoddyl.ShootingProblem(place, [model] * 200, model)
        solver = crocoddyl.SolverDDP(shooting)
        solver.th_stop = 1e-16
        states, logger = list(shooting.rollout(actions)), crocoddyl.CallbackLogger()
        solver.setCallbacks([logger])
        solver.solve(states, actions, 150, True)
        jobs.append((solver, states, first_below(np.array(logger.costs), target)))
        solver.setCallbacks([])

    def solve_theirs() -> float:
        for solver, states, most in jobs:
            solver.solve(states, actions, most, True)
        return sum(solver.cost for solver, _, _ in jobs)

    given = starts, jnp.asarray(targets)
    times = common.timings(
        {
            "forethought": lambda: jax.block_until_ready(solve(*given)),
            "crocoddyl": solve_theirs,
        },
        repeats=repeats,
        warm=2,
    )
    found = {name: common.spread(each) for name, each in times.items()}
    cost, iterations = (float(each.sum()) for each in solve(*given)[3:])
    found["forethought"] |= {"iterations": iterations, "cost": cost}
    found["crocoddyl"] |= {
        "iterations": sum(job[2] for job in jobs),
        "cost": solve_theirs(),
    }
    both = found["crocoddyl"]["microseconds"], found["forethought"]["microseconds"]
    return {
        "batch": count,
        "share": share,
        **found,
        "ratio": round(both[0] / both[1], 2),
    }


def compiled_whole(repeats: int) -> dict[str, float]:
    """Steps a microsecond of nine iterations on the unicycle, for each kind of iLQR.

    A loop that is compiled whole does several; one that is not, less than one.
    """
    free, x, first = ours("unicycle")
    limited = Problem(free.model, free.objective, Box(-0.5 * ONES, 0.5 * ONES))
    held = Constrained(free.objective, lambda x, u: x[:2] - 0.5)
    settings = {"tolerance": 0.0, "gradient_tolerance": 0.0}
    plain = ILQR(200, 9, **settings)
    kinds = {
        "plain": (plain, free),
        "limits": (plain, limited),
        "second_order": (ILQR(200, 9, second_order=True, **settings), free),
        "constraints": (
            AugmentedLagrangian(plain, rounds=1),
            Problem(free.model, held, free.action),
        ),
    }
    rates = {}
    for name, (planner, problem) in kinds.items():
        state = planner.init(problem, x, first, key=KEY)
        plan = jax.jit(
            lambda x, state, planner=planner, problem=problem: planner.plan(
                problem, x, state, key=KEY
            )[0]
        )
        times = common.medians(
            {"": lambda plan=plan, s=state: jax.block_until_ready(plan(x, s))},
            repeats=repeats,
        )
        stats = plan(x, state).stats
        count = int(stats.iterations) if name != "constraints" else 9
        rates[name] = round(200 * count / (times[""] * 1e6), 2)
    return rates


def main() -> None:
    """Print one line a problem and write `results/ilqr.json`."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=300)
    repeats = parser.parse_args().repeats
    cases = {
        "unicycle": (250.10460834712, 1e-12, repeats, 3),
        "acrobot": (44.5132851412, 1e-6, max(repeats // 60, 3), 30),
        "cartpole": (1.4114933481, 1e-4, max(repeats // 100, 3), 30),
    }
    results = {}
    for name, (best, share, count, goal) in cases.items():
        results[name] = compare(name, best, share, count) | {"goal": goal}
    results["64 unicycles"] = batch(64, 1e-6, max(repeats // 10, 5)) | {"goal": 3}
    for name, each in results.items():
        print(
            f"{name:12s} forethought {each['forethought']['microseconds']:10.1f} µs "
            f"({each['forethought']['iterations']} iterations)   crocoddyl "
            f"{each['crocoddyl']['microseconds']:12.1f} µs "
            f"({each['crocoddyl']['iterations']})   ratio {each['ratio']:.1f}"
        )
    if results["unicycle"]["steps_per_microsecond"] < 2:
        raise SystemExit(
            "The loop is no longer compiled whole: "
            f"{results['unicycle']['steps_per_microsecond']} steps a microsecond."
        )
    rates = compiled_whole(max(repeats // 3, 20))
    print("steps a microsecond:", rates)
    packages = common.versions("jax", "jaxlib", "crocoddyl", "numpy")
    common.write_results(
        "ilqr",
        {"versions": packages, "problems": results, "steps_per_microsecond": rates},
    )


if __name__ == "__main__":
    main()
