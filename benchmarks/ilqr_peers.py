"""iLQR side by side with mpc.pytorch, diffilqrax and do-mpc, on one core, in float64.

Every problem is the same for both sides, down to the discretisation, so that their
costs are the same number. mpc.pytorch and diffilqrax iterate as we do: each side is
timed up to the iteration at which it is within a stated share of the lowest cost, which
an untimed run finds.

- mpc.pytorch plans for its own pendulum (cosine, sine, speed; torque limited), by
  automatic derivatives, which is what its pendulum offers; one start, and eight.
- diffilqrax plans for a pendulum from the very function that we plan on, compiled
  under the same flags; its line search begins with the full step, which is faster here
  than its default. It sets float64 for the whole process, so all else does as well.
- do-mpc controls its double inverted pendulum (energies as cost, a price on changes of
  the force, force limited) and a pendulum, in a closed loop. At every state that its
  loop meets both are asked for the next plan, each warm-started in its own way, and
  both run until their own test of convergence; so plans are compared by cost. Its
  dynamics are discrete (a Runge-Kutta step), which is less work for it than its usual
  collocation. Beside the twenty steps of the goal stand the hundred of its own
  documentation, with which the pendulum is swung up.

    python benchmarks/ilqr_peers.py       needs benchmarks/peers.txt
"""

# ruff: noqa: E402
import common

common.pin()

import argparse
import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import casadi
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, Scalar

warnings.filterwarnings("ignore", module="do_mpc")
warnings.filterwarnings("ignore", category=FutureWarning)
import diffilqrax.ilqr
import diffilqrax.typs
import do_mpc
import mpc.env_dx.pendulum
import mpc.mpc
import torch

from forethought.core.linalg import matvec, solve_positive
from forethought.core.readout import Readout
from forethought.core.spaces import Box, free_box
from forethought.models.base import AbstractModel
from forethought.objectives.base import AbstractObjective, constant
from forethought.planners import ILQR
from forethought.planners.smooth.ilqr import ILQRState
from forethought.problem import Problem, rollout

jax.config.update("jax_enable_x64", True)
KEY = jax.random.key(0)


class Equations(AbstractModel[Array]):
    """A state vector and a function that steps it."""

    step: Callable = eqx.field(static=True)
    size: int = eqx.field(static=True)

    def init(self, *, key: PRNGKeyArray) -> Array:
        return jnp.zeros(self.size)

    def predict(self, belief: Array, action: Array, *, key: PRNGKeyArray) -> Array:
        return self.step(belief, action)

    def observe(self, belief: Array, obs: Array, *, key: PRNGKeyArray) -> Array:
        return obs

    def readout(self, belief: Array) -> Readout[Array]:
        return Readout(belief)


class Costs(AbstractObjective):
    """A cost of each step and one of the end, as functions."""

    stage: Callable = eqx.field(static=True)
    final: Callable = eqx.field(static=True)

    def reward(self, x: Array, action: Array, next_x: Array) -> Scalar:
        return -self.stage(x, action)

    def discount(self, x: Array, action: Array, next_x: Array) -> Scalar:
        return constant(x, 1.0)

    def value(self, x: Array) -> Scalar:
        return -self.final(x)


def limits(size: float) -> Box:
    return Box(np.array([-size]), np.array([size]))


def first_below(costs: Any, target: float) -> int:
    """How many iterations it takes to come below a cost."""
    below = np.flatnonzero(np.asarray(costs) <= target)
    if not below.size:
        raise SystemExit(f"{target} was not reached; the lowest was {np.min(costs)}.")
    return int(below[0]) + 1


def planner(horizon: int, iterations: int) -> ILQR:
    """One that stops at its last iteration only."""
    return ILQR(horizon, iterations, tolerance=0.0, gradient_tolerance=0.0)


def solver(problem: Problem, horizon: int, iterations: int) -> Callable:
    """From starts `[batch, state]` to actions, states, gains and costs of each."""

    def solve(x):
        state = ILQRState(jnp.zeros((horizon, 1)), jnp.zeros(()))
        plan, _ = planner(horizon, iterations).plan(problem, x, state, key=KEY)
        assert plan.feedback is not None
        return plan.actions, plan.feedback.states, plan.feedback.gains, -plan.value

    return jax.jit(lambda starts: jax.lax.map(solve, starts))


def lowest(problem: Problem, horizon: int, x: Array) -> tuple[float, np.ndarray]:
    """The cost that many iterations end with, and the cost of each."""
    state = ILQRState(jnp.zeros((horizon, 1)), jnp.zeros(()))
    plan, _ = jax.jit(lambda x: planner(horizon, 300).plan(problem, x, state, key=KEY))(
        x
    )
    return -float(plan.value), -np.asarray(plan.stats.best)


def result(
    times: dict[str, list[float]], iterations: tuple, costs: tuple, goal: float
) -> dict:
    """What is written of one comparison."""
    ours, theirs = common.spread(times["forethought"]), common.spread(times["peer"])
    return {
        "forethought": ours | {"iterations": iterations[0], "cost": costs[0]},
        "theirs": theirs | {"iterations": iterations[1], "cost": costs[1]},
        "ratio": round(theirs["microseconds"] / ours["microseconds"], 1),
        "goal": goal,
    }


def beside_mpc_pytorch(batch: int, repeats: int) -> dict:
    """The pendulum of mpc.pytorch, twenty states long."""
    length, share = 20, 1e-6
    world = mpc.env_dx.pendulum.PendulumDx()
    weights, linear = (each.numpy() for each in world.get_true_obj())

    def step(x, u):
        cos, sin, speed = x
        speed = speed + 0.05 * (15.0 * sin + 3.0 * jnp.clip(u[0], -2, 2))
        angle = jnp.arctan2(sin, cos) + 0.05 * speed
        return jnp.stack([jnp.cos(angle), jnp.sin(angle), speed])

    def stage(x, u):
        return final(x) + 0.5 * weights[3] * u[0] ** 2

    def final(x):
        return jnp.sum(0.5 * weights[:3] * x**2 + linear[:3] * x)

    # Its last action leads nowhere and is zero.
    horizon = length - 1
    problem = Problem(Equations(step, 3), Costs(stage, final), limits(2.0))
    angles = np.linspace(2.5, 1.0, batch)
    starts = jnp.asarray(np.stack([np.cos(angles), np.sin(angles), 0 * angles], 1))
    found = [lowest(problem, horizon, x) for x in starts]
    targets = np.array([cost + share * abs(cost) for cost, _ in found])
    count = max(
        first_below(costs, target)
        for (_, costs), target in zip(found, targets, strict=True)
    )

    def peer(iterations: int):
        return mpc.mpc.MPC(
            3,
            1,
            length,
            u_lower=-2.0,
            u_upper=2.0,
            lqr_iter=iterations,
            grad_method=mpc.mpc.GradMethods.AUTO_DIFF,
            exit_unconverged=False,
            detach_unconverged=False,
            eps=0.0,
            best_cost_eps=0.0,
            n_batch=batch,
            verbose=-1,
            linesearch_decay=world.linesearch_decay,
            max_linesearch_iter=world.max_linesearch_iter,
        )

    cost = mpc.mpc.QuadCost(
        torch.diag(torch.tensor(weights)).expand(length, batch, 4, 4).clone(),
        torch.tensor(linear).expand(length, batch, 4).clone(),
    )
    theirs_from = torch.tensor(np.asarray(starts))

    def run(iterations: int) -> np.ndarray:
        return peer(iterations)(theirs_from, cost, world)[2].detach().numpy()

    theirs = next((n for n in range(1, 40) if (run(n) <= targets).all()), None)
    if theirs is None:
        raise SystemExit(f"mpc.pytorch ended at {run(40)}, above {targets}.")
    solve = solver(problem, horizon, count)
    times = common.timings(
        {
            "forethought": lambda: jax.block_until_ready(solve(starts)),
            "peer": lambda: run(theirs),
        },
        repeats=repeats,
        warm=1,
    )
    costs = float(jnp.sum(solve(starts)[3])), float(run(theirs).sum())
    return {"batch": batch, "horizon": horizon, "share": share} | result(
        times, (count, theirs), costs, 50
    )


def swing(x: Array, u: Array) -> Array:
    """One step of a pendulum, 0.05 s, without limits."""
    speed = x[1] + 0.05 * (15.0 * jnp.sin(x[0]) + 3.0 * u[0])
    return jnp.stack([x[0] + 0.05 * speed, speed])


def beside_diffilqrax(repeats: int) -> dict:
    """A pendulum that swings up freely in fifty steps."""
    horizon, share = 50, 1e-9

    def stage(x, u):
        return 0.5 * (x[0] ** 2 + 0.1 * x[1] ** 2 + 0.1 * u[0] ** 2)

    def final(x):
        return 50 * jnp.sum(x**2)

    problem = Problem(Equations(swing, 2), Costs(stage, final), free_box(1))
    x = jnp.array([3.0, 0.0])
    best, costs = lowest(problem, horizon, x)
    target = best + share * abs(best)
    count = first_below(costs, target)
    system = diffilqrax.typs.System(
        lambda t, x, u, theta: stage(x, u),
        lambda x, theta: final(x),
        lambda t, x, u, theta: swing(x, u),
        diffilqrax.typs.ModelDims(n=2, m=1, horizon=horizon, dt=0.05),
    )

    def peer(iterations: int, scale: float):
        def solve(x):
            parameters = diffilqrax.typs.iLQRParams(x, None)
            return diffilqrax.ilqr.ilqr_solver(
                system,
                parameters,
                jnp.zeros((horizon, 1)),
                max_iter=iterations,
                alpha_init=scale,
            )

        return jax.jit(solve)

    # Costs begin with that of the first guess; a scale of 2 first tries a full step.
    theirs, default = (
        first_below(peer(200, scale)(x)[2], target) - 1 for scale in (2.0, 1.0)
    )
    solve, solve_theirs = solver(problem, horizon, count), peer(theirs, 2.0)
    solve_default = peer(default, 1.0)
    times = common.timings(
        {
            "forethought": lambda: jax.block_until_ready(solve(x[None])),
            "peer": lambda: jax.block_until_ready(solve_theirs(x)),
            "default": lambda: jax.block_until_ready(solve_default(x)),
        },
        repeats=repeats,
    )
    costs = float(solve(x[None])[3][0]), float(solve_theirs(x)[1])
    found = result(times, (count, theirs), costs, 10)
    found["their_default"] = common.spread(times["default"]) | {"iterations": default}
    return {"batch": 1, "horizon": horizon, "share": share} | found


CART, LINK, LENGTH, GRAVITY = 0.6, 0.2, 0.5, 9.80665
"""do-mpc's double inverted pendulum: masses in kg, a link's length in m, m/s²."""


def masses(cos_1: Any, cos_2: Any, cos_12: Any) -> list[list[Any]]:
    """Its mass matrix."""
    half, inertia = LENGTH / 2, LINK * (LENGTH / 2) ** 2 / 3
    a, b, c = LINK * half + LINK * LENGTH, LINK * half, LINK * half * LENGTH
    return [
        [CART + 2 * LINK, a * cos_1, b * cos_2],
        [a * cos_1, LINK * half**2 + LINK * LENGTH**2 + inertia, c * cos_12],
        [b * cos_2, c * cos_12, LINK * half**2 + inertia],
    ]


def pushes(sin_1: Any, sin_2: Any, sin_12: Any, p: Any, q: Any, force: Any) -> list:
    """What accelerates it: centrifugal forces, weight and the force on the cart."""
    half = LENGTH / 2
    a, b, c = LINK * half + LINK * LENGTH, LINK * half, LINK * half * LENGTH
    return [
        a * p * p * sin_1 + b * q * q * sin_2 + force,
        a * GRAVITY * sin_1 - c * q * q * sin_12,
        c * p * p * sin_12 + b * GRAVITY * sin_2,
    ]


def height(cos_1: Any, cos_2: Any) -> Any:
    """Its potential energy."""
    half = LENGTH / 2
    return GRAVITY * LINK * ((half + LENGTH) * cos_1 + half * cos_2)


def runge_kutta(rate: Callable, x: Any, h: float) -> Any:
    """One step, for JAX and for CasADi."""
    a = rate(x)
    b = rate(x + h / 2 * a)
    c = rate(x + h / 2 * b)
    d = rate(x + h * c)
    return x + h / 6 * (a + 2 * b + 2 * c + d)


def double_rate(x: Array, force: Array) -> Array:
    """The rate of `[position, angles, their rates]`, in JAX."""
    one, two, (p, q) = x[1], x[2], x[4:]
    M = masses(jnp.cos(one), jnp.cos(two), jnp.cos(one - two))
    F = pushes(jnp.sin(one), jnp.sin(two), jnp.sin(one - two), p, q, force)
    matrix = jnp.stack([jnp.stack([jnp.asarray(m) for m in row]) for row in M])
    faster = solve_positive(matrix, jnp.stack(F)[:, None])[0][:, 0]
    return jnp.concatenate([x[3:], faster])


def double_rate_theirs(x: Any, force: Any) -> Any:
    """The same in CasADi."""
    one, two, p, q = x[1], x[2], x[4], x[5]
    M = masses(casadi.cos(one), casadi.cos(two), casadi.cos(one - two))
    F = pushes(casadi.sin(one), casadi.sin(two), casadi.sin(one - two), p, q, force)
    matrix = casadi.vertcat(*(casadi.horzcat(*row) for row in M))
    return casadi.vertcat(x[3:], casadi.solve(matrix, casadi.vertcat(*F)))


def double_pendulum() -> tuple:
    """Problem, start, time step and do-mpc's model with its costs."""
    h, price, most = 0.04, 0.1, 4.0

    def step(x, u):
        after = runge_kutta(lambda x: double_rate(x, u[0]), x[:6], h)
        # What changes of the force are measured from is carried along.
        return jnp.concatenate([after, u])

    def final(x):
        M = masses(jnp.cos(x[1]), jnp.cos(x[2]), jnp.cos(x[1] - x[2]))
        matrix = jnp.stack([jnp.stack([jnp.asarray(m) for m in row]) for row in M])
        kinetic = 0.5 * jnp.sum(x[3:6] * matvec(matrix, x[3:6]))
        return kinetic - height(jnp.cos(x[1]), jnp.cos(x[2]))

    def stage(x, u):
        return final(x) + price * (u[0] - x[6]) ** 2

    model = do_mpc.model.Model("discrete", "SX")
    x, force = model.set_variable("_x", "x", (6, 1)), model.set_variable("_u", "u")
    model.set_rhs("x", runge_kutta(lambda x: double_rate_theirs(x, force), x, h))
    model.setup()
    x = model.x["x"]
    M = masses(casadi.cos(x[1]), casadi.cos(x[2]), casadi.cos(x[1] - x[2]))
    matrix = casadi.vertcat(*(casadi.horzcat(*row) for row in M))
    kinetic = 0.5 * casadi.dot(x[3:], matrix @ x[3:])
    cost = kinetic - height(casadi.cos(x[1]), casadi.cos(x[2]))
    problem = Problem(Equations(step, 7), Costs(stage, final), limits(most))
    start = np.array([0.0, 0.99 * math.pi, 0.99 * math.pi, 0.0, 0.0, 0.0])
    return problem, start, h, model, cost, price, most


def single_pendulum() -> tuple:
    """The same for a pendulum."""
    price, most = 0.001, 2.0

    def step(x, u):
        return jnp.concatenate([swing(x[:2], u), u])

    def final(x):
        return x[0] ** 2 + 0.1 * x[1] ** 2

    def stage(x, u):
        return final(x) + price * (u[0] - x[2]) ** 2

    model = do_mpc.model.Model("discrete", "SX")
    x, torque = model.set_variable("_x", "x", (2, 1)), model.set_variable("_u", "u")
    speed = x[1] + 0.05 * (15.0 * casadi.sin(x[0]) + 3.0 * torque)
    model.set_rhs("x", casadi.vertcat(x[0] + 0.05 * speed, speed))
    model.setup()
    cost = model.x["x", 0] ** 2 + 0.1 * model.x["x", 1] ** 2
    problem = Problem(Equations(step, 3), Costs(stage, final), limits(most))
    return problem, np.array([1.0, 0.0]), 0.05, model, cost, price, most


def beside_do_mpc(make: Callable, horizon: int, steps: int) -> dict:
    """Both plan at every state of do-mpc's closed loop."""
    problem, x, h, model, cost, price, most = make()
    peer = do_mpc.controller.MPC(model)
    peer.settings.n_horizon, peer.settings.t_step = horizon, h
    peer.settings.store_full_solution = False
    peer.settings.supress_ipopt_output()
    peer.set_objective(mterm=cost, lterm=cost)
    peer.set_rterm(u=price)
    peer.bounds["lower", "_u", "u"], peer.bounds["upper", "_u", "u"] = -most, most
    peer.setup()
    peer.x0 = x
    peer.set_initial_guess()

    ours = ILQR(horizon, 200, tolerance=1e-9, gradient_tolerance=1e-6)
    last = np.zeros(1)
    state = ours.init(problem, jnp.asarray(np.concatenate([x, last])), key=KEY)

    @jax.jit
    def command(x, state):
        plan, state = ours.plan(problem, x, state, key=KEY)
        return plan.actions[0], -plan.value, plan, ours.shift(problem, state)

    @jax.jit
    def act(x, state):
        action, value, _, state = command(x, state)
        return action, value, state

    def step(x, u):
        return problem.model.predict(jnp.concatenate([x, u]), u, key=KEY)

    def worth(belief, actions):
        return -rollout(problem, belief, actions, key=KEY).value

    step, worth = jax.jit(step), jax.jit(worth)
    jax.block_until_ready(act(jnp.asarray(np.concatenate([x, last])), state))
    times: dict[str, list[float]] = {"forethought": [], "peer": []}
    excess, iterations, theirs, size = [], [], [], 0.0
    for _ in range(steps):
        belief = jnp.asarray(np.concatenate([x, last]))
        began = time.perf_counter()
        action = peer.make_step(x[:, None])
        times["peer"].append(time.perf_counter() - began)
        plan = command(belief, state)[2]
        began = time.perf_counter()
        _, value, next_state = jax.block_until_ready(act(belief, state))
        times["forethought"].append(time.perf_counter() - began)
        state = next_state
        iterations.append(int(plan.stats.iterations))
        theirs.append(int(peer.solver_stats["iter_count"]))
        chosen = np.array([u.full()[:, 0] for u in peer.opt_x_num["_u", :, 0]])
        reached = float(worth(belief, jnp.asarray(chosen)))
        excess.append((float(value) - reached) / max(abs(reached), 1e-3))
        size = max(size, float(jnp.abs(plan.actions).max()))
        last = action[:, 0]
        x = np.asarray(step(x, last))[: len(x)]
    times = {name: sorted(each) for name, each in times.items()}
    found = result(
        times,
        (float(np.median(iterations)), float(np.median(theirs))),
        (None, None),
        20,
    )
    for side in ("forethought", "theirs"):
        del found[side]["cost"]
    excess = np.array(excess)
    return {
        "horizon": horizon,
        "steps": steps,
        **found,
        "excess_cost": {
            "median": float(np.median(excess)),
            "lowest": float(excess.min()),
            "highest": float(excess.max()),
            "within_1e-6": float(np.mean(excess <= 1e-6)),
        },
        "largest_action": size,
        "limit": most,
    }


def main() -> None:
    """Print one line a case and write `results/ilqr_peers.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=100)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    few = max(repeats // 10, 5)
    cases = {
        "mpc.pytorch, one pendulum": lambda: beside_mpc_pytorch(1, few),
        "mpc.pytorch, eight pendulums": lambda: beside_mpc_pytorch(8, few),
        "diffilqrax, pendulum": lambda: beside_diffilqrax(repeats),
        "do-mpc, pendulum": lambda: beside_do_mpc(single_pendulum, 20, repeats),
        "do-mpc, double inverted pendulum": lambda: beside_do_mpc(
            double_pendulum, 20, repeats
        ),
        "do-mpc, its swing-up": lambda: beside_do_mpc(double_pendulum, 100, 8),
    }
    rows = {}
    for name, case in cases.items():
        row = rows[name] = case()
        print(
            f"{name:34s} forethought {row['forethought']['microseconds']:9.1f} µs "
            f"({row['forethought']['iterations']} iterations)   theirs "
            f"{row['theirs']['microseconds']:11.1f} µs "
            f"({row['theirs']['iterations']})   ratio {row['ratio']:.1f} "
            f"(goal {row['goal']})"
        )
    packages = ("jax", "torch", "mpc", "diffilqrax", "do-mpc", "casadi", "numpy")
    results = {"versions": common.versions(*packages), "cases": rows}
    print(common.write_results("ilqr_peers", results))


if __name__ == "__main__":
    main()
