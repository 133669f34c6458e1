"""Constrained problems of the gallery, written down again for CasADi's IPOPT.

Nothing is shared with `forethought` but the numbers of each problem: states and
actions are variables, dynamics are constraints, derivatives are CasADi's.

References:
    Wächter and Biegler, On the implementation of an interior-point filter line-search
    algorithm for large-scale nonlinear programming, 2006,
    doi:10.1007/s10107-004-0559-y. Andersson et al., CasADi, 2019,
    doi:10.1007/s12532-018-0139-4.
"""

import dataclasses
from collections.abc import Callable

import casadi as ca
import numpy as np

PRECISE = {
    "print_time": False,
    "ipopt.print_level": 0,
    "ipopt.sb": "yes",
    "ipopt.tol": 1e-13,
    "ipopt.constr_viol_tol": 1e-13,
    "ipopt.compl_inf_tol": 1e-13,
    "ipopt.dual_inf_tol": 1e-9,
    "ipopt.acceptable_iter": 0,
    "ipopt.bound_relax_factor": 0.0,
    "ipopt.mu_init": 1e-4,
    "ipopt.max_iter": 3000,
    "ipopt.nlp_scaling_method": "none",
}


@dataclasses.dataclass(frozen=True)
class Programme:
    """A problem for CasADi."""

    start: tuple[float, ...]
    steps: int
    low: tuple[float, ...]
    high: tuple[float, ...]
    dynamics: Callable
    stage: Callable
    final: Callable
    discs: tuple[tuple[float, float, float], ...] = ()
    goal: tuple[float, ...] | None = None


def acrobot(x, u):
    """One Euler step of 0.1 s."""
    lean, bend, rate, spin = x[0], x[1], x[2], x[3]
    d1 = 0.25 + (1.25 + ca.cos(bend)) + 2
    d2 = (0.25 + 0.5 * ca.cos(bend)) + 1
    phi2 = 0.5 * 9.8 * ca.cos(lean + bend - ca.pi / 2)
    phi1 = -0.5 * spin**2 * ca.sin(bend) - spin * rate * ca.sin(bend)
    phi1 += 1.5 * 9.8 * ca.cos(lean - ca.pi / 2) + phi2
    pull = u[0] + d2 / d1 * phi1 - 0.5 * rate**2 * ca.sin(bend) - phi2
    spun = pull / (1.25 - d2**2 / d1)
    return x + 0.1 * ca.vertcat(rate, spin, -(d2 * spun + phi1) / d1, spun)


def unicycle(x, u):
    """One Runge-Kutta step of 0.1 s."""

    def rate(x):
        return ca.vertcat(u[0] * ca.cos(x[2]), u[0] * ca.sin(x[2]), u[1])

    k1 = rate(x)
    k2 = rate(x + 0.05 * k1)
    k3 = rate(x + 0.05 * k2)
    k4 = rate(x + 0.1 * k3)
    return x + 0.1 / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def car(x, u):
    """Tassa's step of 0.03 s."""
    rolled = 0.03 * x[3]
    across = rolled * ca.sin(u[0])
    along = rolled * ca.cos(u[0]) + 2 - ca.sqrt(4 - across**2)
    return ca.vertcat(
        x[0] + along * ca.cos(x[2]),
        x[1] + along * ca.sin(x[2]),
        x[2] + ca.asin(across / 2),
        x[3] + 0.03 * u[1],
    )


def regulate(goal, state, action):
    """Half the weighted squares of what is wrong."""
    at = ca.DM(goal)
    return lambda x, u: 0.5 * (state * ca.sumsqr(x - at) + action * ca.sumsqr(u))


def smooth(y, weight, width):
    """Like an absolute value."""
    return weight * (ca.sqrt(y**2 + width**2) - width)


def near(x):
    """Tassa's price of the car's place."""
    return smooth(x[0], 1e-3, 0.1) + smooth(x[1], 1e-3, 0.1)


def parked(x):
    """Tassa's price of how the car ends."""
    ends = zip((0.1, 0.1, 1.0, 0.3), (0.01, 0.01, 0.01, 1.0), strict=True)
    return near(x) + sum(smooth(x[i], w, p) for i, (w, p) in enumerate(ends))


UP, AHEAD = (np.pi, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0)
PROGRAMMES = {
    "acrobot-goal": Programme(
        start=(0.0, 0.0, 0.0, 0.0),
        steps=50,
        low=(-5.0,),
        high=(5.0,),
        dynamics=acrobot,
        stage=regulate(UP, 0.1, 0.01),
        final=lambda x: 0,
        goal=UP,
    ),
    "obstacle-unicycle": Programme(
        start=(0.0, 0.0, 0.0),
        steps=25,
        low=(-1.0, -1.0),
        high=(1.0, 1.0),
        dynamics=unicycle,
        stage=regulate(AHEAD, 0.1, 1.0),
        final=lambda x: 0,
        discs=((0.5, 0.01, 0.25),),
        goal=AHEAD,
    ),
    "obstacle-car": Programme(
        start=(-4.0, 0.5, 0.0, 0.0),
        steps=200,
        low=(-0.5, -2.0),
        high=(0.5, 2.0),
        dynamics=car,
        stage=lambda x, u: 1e-2 * u[0] ** 2 + 1e-4 * u[1] ** 2 + near(x),
        final=parked,
        discs=((-2.0, 0.6, 0.6), (-1.0, -0.5, 0.5)),
    ),
}
"""Those of the gallery that have constraints, under their names there."""


def solve(name: str, near: np.ndarray) -> tuple[float, np.ndarray]:
    """Cost and actions that IPOPT finds from these actions, to all digits.

    Raises:
        RuntimeError: IPOPT did not succeed, or broke a constraint.
    """
    this = PROGRAMMES[name]
    problem = ca.Opti()
    X = problem.variable(len(this.start), this.steps + 1)
    U = problem.variable(len(this.low), this.steps)
    problem.subject_to(X[:, 0] == ca.DM(this.start))
    cost = this.final(X[:, -1])
    for t in range(this.steps):
        x, u = X[:, t], U[:, t]
        problem.subject_to(X[:, t + 1] == this.dynamics(x, u))
        problem.subject_to(problem.bounded(ca.DM(this.low), u, ca.DM(this.high)))
        for left, up, radius in this.discs:
            clear = (X[0, t + 1] - left) ** 2 + (X[1, t + 1] - up) ** 2
            problem.subject_to(clear >= radius**2)
        cost += this.stage(x, u)
    if this.goal is not None:
        problem.subject_to(X[:, -1] == ca.DM(this.goal))
    problem.minimize(cost)
    states = [np.array(this.start)]
    for u in near:
        states.append(np.array(this.dynamics(ca.DM(states[-1]), ca.DM(u))).ravel())
    problem.set_initial(X, np.stack(states, axis=1))
    problem.set_initial(U, near.T)
    problem.solver("ipopt", PRECISE)
    found = problem.solve()
    g = np.asarray(found.value(problem.g)).ravel()
    low = np.asarray(found.value(problem.lbg)).ravel()
    high = np.asarray(found.value(problem.ubg)).ravel()
    violation = float(max((low - g).max(), (g - high).max(), 0.0))
    actions = np.asarray(found.value(U)).reshape(len(this.low), this.steps).T
    if violation > 1e-12:
        raise RuntimeError(f"IPOPT broke a constraint of {name} by {violation:.1e}.")
    return float(found.value(cost)), actions
