"""The optimal costs of the gallery, each by two solvers that share only the problem.

Where the problem is linear-quadratic: our LQR, and SciPy on the quadratic programme in
all actions at once, its matrices built from the free response and unit actions.
Elsewhere: our iLQR from many random actions, of which the best is kept; and SciPy's
L-BFGS-B from that plan, disturbed, finished by Newton steps on the dense Hessian, each
a bounded least-squares problem for SciPy. Where states are constrained: our augmented
Lagrangian around iLQR, likewise, and IPOPT from the disturbed plan, on the problem
written down again for CasADi (`ipopt.py`). The lowest of many local optima is not
proven to be the lowest of all, and is stored as not proven.

    python benchmarks/optima.py [NAME ...] [--write]

recomputes all or some; `--write` replaces `assets/optima.json` and `optima.npz`. Those
with constraints need CasADi, which is in `peers.txt`.
"""

# ruff: noqa: E402
import common

common.pin()

import argparse
import json
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
import scipy.optimize

from forethought.models.linear.dynamics import Linear
from forethought.objectives.constrained import Constrained
from forethought.planners import ILQR, LQR, AugmentedLagrangian
from forethought.planners.smooth.ilqr import ILQRState
from forethought.problem import rollout
from forethought.tasks.base import Task
from forethought.tasks.gallery import GALLERY

jax.config.update("jax_enable_x64", True)
KEY = jax.random.key(0)
ASSETS = common.ROOT / "src" / "forethought" / "assets"

GUESSES: dict[str, tuple[tuple[float, int, int], ...]] = {
    "pendulum-swing-up": ((1.5, 10, 500), (2.0, 5, 500), (2.0, 20, 500)),
    "cartpole": ((3.0, 10, 50), (10.0, 10, 50)),
    "acrobot": ((4.0, 3, 1000), (8.0, 5, 500), (2.0, 10, 500)),
    "acrobot-goal": ((3.0, 5, 400), (6.0, 5, 400), (5.0, 10, 300), (2.0, 3, 300)),
    "acrobot-limited": ((3.0, 5, 500), (6.0, 5, 500), (5.0, 10, 500)),
    "quadrotor": ((0.5, 10, 100), (5.0, 10, 100)),
    "point-mass": ((2.0, 20, 300), (4.0, 10, 500), (4.0, 50, 500)),
    "car-parking": ((0.6, 50, 80), (1.0, 25, 60), (1.0, 100, 60)),
    "obstacle-unicycle": ((0.5, 5, 200), (1.0, 10, 100), (1.0, 25, 100)),
    "obstacle-car": ((1.0, 25, 300), (0.5, 10, 300), (1.0, 100, 300), (1.0, 50, 300)),
}
"""Random first actions: their standard deviation, steps held, and how many."""

Cost = Callable[[np.ndarray], float]


def guesses(task: Task, name: str) -> np.ndarray:
    """The middle of the limits and random actions, shape `[guess, time, action]`."""
    box, shape = task.problem.action, (task.steps, *task.problem.action.shape)
    made = [np.broadcast_to(np.asarray(box.centre_and_scale(float)[0]), shape)[None]]
    for seed, (std, hold, count) in enumerate(GUESSES[name]):
        knots = -(-task.steps // hold)
        draws = np.random.default_rng(seed).normal(size=(count, knots, shape[1]))
        made.append(np.repeat(std * draws, hold, axis=1)[:, : task.steps])
    return np.asarray(box.clip(jnp.asarray(np.concatenate(made))))


def ours(task: Task, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Costs from each first guess, ascending, and the actions of the lowest."""
    planner = ILQR(task.steps, 2000, tolerance=1e-14, gradient_tolerance=1e-10)
    x = task.system.start(key=KEY)

    def solve(actions):
        state = ILQRState(actions, jnp.zeros(()))
        plan, _ = planner.plan(task.problem, x, state, key=KEY)
        return plan.value, plan.actions

    values, actions = jax.jit(lambda each: jax.lax.map(solve, each))(starts)
    costs = np.where(np.isfinite(values), -np.asarray(values), np.inf)
    lowest = int(costs.argmin())
    best, again = actions[lowest], jax.jit(solve)
    for _ in range(3):  # each begins without the regularisation of the last
        value, best = again(best)
        costs[lowest] = -float(value)
    return np.sort(costs), np.asarray(best)


def ours_constrained(task: Task, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `ours`, by rounds of it; starts that end in broken constraints cost inf."""
    x = task.system.start(key=KEY)
    rough = ILQR(task.steps, 300, tolerance=1e-10, gradient_tolerance=1e-7)
    exact = ILQR(
        task.steps,
        500,
        tolerance=1e-15,
        gradient_tolerance=1e-11,
        second_order=True,
    )

    def solve(planner, actions):
        state = planner.init(task.problem, x, actions, key=KEY)
        plan, _ = planner.plan(task.problem, x, state, key=KEY)
        return plan.value, plan.actions, plan.stats.violation[-1], plan.stats.kkt

    first = AugmentedLagrangian(rough)
    values, actions, violations, _ = jax.jit(
        lambda each: jax.lax.map(lambda start: solve(first, start), each)
    )(starts)
    held = np.isfinite(values) & (np.asarray(violations) < 1e-5)
    costs = np.where(held, -np.asarray(values), np.inf)
    lowest = int(costs.argmin())
    last = AugmentedLagrangian(exact, rounds=30, tolerance=1e-11)
    value, best, violation, kkt = jax.jit(lambda start: solve(last, start))(
        actions[lowest]
    )
    print(f"  violation {float(violation):.1e}, KKT residual {float(kkt):.1e}")
    costs[lowest] = -float(value)
    return np.sort(costs), np.asarray(best)


def scipys(task: Task, near: np.ndarray) -> tuple[float, np.ndarray]:
    """L-BFGS-B from disturbed actions, then Newton within the limits."""
    x, shape = task.system.start(key=KEY), near.shape
    low, high = (
        np.broadcast_to(np.asarray(bound), shape).ravel()
        for bound in (task.problem.action.low, task.problem.action.high)
    )

    def cost(flat):
        return -rollout(task.problem, x, flat.reshape(shape), key=KEY).value

    value, slope = jax.jit(cost), jax.jit(jax.value_and_grad(cost))
    curvature = jax.jit(jax.hessian(cost))

    def both(flat):
        found, gradient = slope(flat)
        return float(found), np.asarray(gradient)

    disturbed = near.ravel() + 1e-3 * np.random.default_rng(9).normal(size=near.size)
    found = scipy.optimize.minimize(
        both,
        np.clip(disturbed, low, high),
        jac=True,
        method="L-BFGS-B",
        bounds=scipy.optimize.Bounds(low, high),
        options={"maxiter": 20_000, "maxfun": 40_000, "ftol": 0, "gtol": 1e-9},
    ).x
    shift = 0.0
    for _ in range(100):
        best, gradient = both(found)
        held = (found <= low) & (gradient > 0) | (found >= high) & (gradient < 0)
        free = np.flatnonzero(~held)
        hessian = np.asarray(curvature(found))[np.ix_(free, free)]
        try:
            root = np.linalg.cholesky(hessian + shift * np.eye(len(free)))
        except np.linalg.LinAlgError:
            shift = max(10 * shift, 1e-6)
            continue
        # The quadratic model is |L' d + L^-1 g|^2 / 2, to be least within the limits.
        step = np.zeros_like(found)
        step[free] = scipy.optimize.lsq_linear(
            root.T,
            -scipy.linalg.solve_triangular(root, gradient[free], lower=True),
            ((low - found)[free] - 1e-300, (high - found)[free] + 1e-300),
            method="bvls",
            tol=1e-15,
        ).x
        trials = [np.clip(found + 0.3**i * step, low, high) for i in range(8)]
        costs = [float(value(trial)) for trial in trials]
        if not min(costs) < best:
            if shift > 1e6 or np.abs(step).max() < 1e-12:
                break
            shift = max(10 * shift, 1e-6)
            continue
        found, shift = trials[int(np.argmin(costs))], shift / 10
    return float(value(found)), found.reshape(shape)


def linear_quadratic(task: Task) -> tuple[float, float, np.ndarray]:
    """Our LQR, SciPy on all actions at once, and the actions of the first."""
    planner, x = LQR(task.steps), task.system.start(key=KEY)
    plan, _ = jax.jit(lambda x: planner.plan(task.problem, x, None, key=KEY))(x)
    F, objective = np.asarray(task.problem.model.F), task.problem.objective
    n, m, T = F.shape[0], F.shape[1] - F.shape[0], task.steps
    A, B = F[:, :n], F[:, n:]
    # x_t = free_t + reach_t u, for all t and all actions u.
    free, reach = np.asarray(x), np.zeros((n, T * m))
    H, h, constant = np.zeros((T * m, T * m)), np.zeros(T * m), 0.0
    for t in range(T + 1):
        pick = np.zeros((m, T * m))
        if t < T:
            pick[:, t * m : (t + 1) * m] = np.eye(m)
        z = np.concatenate([reach, pick])
        rest = np.concatenate([free, np.zeros(m)])
        W = np.zeros((n + m, n + m))
        if t < T:
            W = np.asarray(objective.C)
        else:
            W[:n, :n] = np.asarray(objective.C_final)
        H, h = H + z.T @ W @ z, h + z.T @ W @ rest
        constant += 0.5 * rest @ W @ rest
        free, reach = A @ free, A @ reach + B @ pick
    u = scipy.linalg.solve(H, -h, assume_a="pos")
    return -float(plan.value), float(constant + 0.5 * h @ u), np.asarray(plan.actions)


def solve(name: str) -> tuple[dict, np.ndarray]:
    """What is stored of one entry."""
    task = GALLERY[name]()
    if isinstance(task.problem.model, Linear) and not task.problem.action.bounded:
        first, second, actions = linear_quadratic(task)
        solvers = {"LQR": first, "SciPy, one quadratic programme": second}
        starts = 1
    else:
        constrained = isinstance(task.problem.objective, Constrained)
        solver = ours_constrained if constrained else ours
        costs, actions = solver(task, guesses(task, name))
        first, starts = float(costs[0]), len(costs)
        if constrained:
            import ipopt

            noise = 1e-3 * np.random.default_rng(9).normal(size=actions.shape)
            second, polished = ipopt.solve(name, actions + noise)
            solvers = {"iLQR, augmented Lagrangian": first, "IPOPT, CasADi": second}
        else:
            second, polished = scipys(task, actions)
            solvers = {"iLQR": first, "SciPy, L-BFGS-B and Newton": second}
        near = costs <= first * (1 + 1e-6) + 1e-9
        print(f"  {near.sum()} of {starts} starts led there; others to ", end="")
        print(", ".join(f"{cost:.6g}" for cost in np.unique(np.round(costs, 6))[1:5]))
        if second < first:
            actions = polished
    cost = min(first, second)
    agree = abs(first - second) / abs(cost)
    digits = int(min(15, np.floor(-np.log10(max(agree, 1e-15)))))
    values = {
        "cost": cost,
        "digits": digits,
        "solvers": solvers,
        "starts": starts,
        "proven": starts == 1,
    }
    return values, actions


def main() -> None:
    """Recompute, compare with what is stored, and replace it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=[], metavar="NAME")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    names = options.names or GALLERY
    path = ASSETS / "optima.json"
    stored = json.loads(path.read_text()) if path.exists() else {}
    archive = ASSETS / "optima.npz"
    actions = dict(np.load(archive)) if archive.exists() else {}
    for name in names:
        values, found = solve(name)
        old = stored.get(name, {}).get("cost", float("nan"))
        print(
            f"{name:18s} {values['cost']:.13g}  {values['digits']} digits  "
            f"{values['starts']} starts  (stored: {old:.13g})",
            flush=True,
        )
        stored[name], actions[name] = values, found
    if options.write:
        kept = {name: stored[name] for name in GALLERY if name in actions}
        path.write_text(json.dumps(kept, indent=2) + "\n")
        np.savez_compressed(archive, **{name: actions[name] for name in kept})


if __name__ == "__main__":
    main()
