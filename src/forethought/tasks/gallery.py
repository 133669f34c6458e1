r"""A gallery of control problems whose optimal cost is known.

Each entry is a problem of optimal control in discrete time,

$$\min_{u_0, \dots, u_{T-1}} \; \sum_{t < T} c(x_t, u_t) + c_T(x_T), \qquad
  x_{t+1} = f(x_t, u_t), \quad u_t \in [\text{low}, \text{high}],$$

with its start, its horizon, and the best cost that is known, which two solvers that
share only the problem found to `digits` digits. Where the problem is convex that is
the optimum; elsewhere it is the lowest of many local ones, and `proven` says which.

```python
>>> import jax.numpy as jnp
>>> from forethought.problem import rollout
>>> from forethought.tasks import gallery
>>> entry = gallery.load("acrobot")
>>> entry.horizon, round(entry.optimum.cost, 6), entry.optimum.proven
(50, 40.42401, False)
>>> actions = jnp.asarray(entry.optimum.actions)
>>> came = rollout(entry.problem, entry.start, actions, key=jax.random.key(0))
>>> bool(abs(came.value + entry.optimum.cost) < 0.05)
True

```
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Array

from forethought.core.given.settings import Count, require, small_seed
from forethought.core.readout import AbstractJudge
from forethought.core.spaces import Box
from forethought.core.words import unknown
from forethought.environments.analytic import (
    Acrobot,
    Car,
    LinearSystem,
    Pendulum,
    Unicycle,
)
from forethought.environments.analytic.integrate import euler
from forethought.environments.base import AbstractSystem
from forethought.models.known import Known
from forethought.models.linear.dynamics import Linear
from forethought.objectives.constrained import Constrained, Outside, Reaches
from forethought.objectives.quadratic import Quadratic
from forethought.objectives.task import Parking, Regulate
from forethought.planners.smooth.gradient import Optimiser
from forethought.problem import Problem
from forethought.tasks import analytic
from forethought.tasks.base import QUASI_NEWTON, Task, whole, whole_episode
from forethought.tasks.optima import Optimum, optimum


@dataclasses.dataclass(frozen=True)
class Entry:
    """A problem, planned once from its start to its end, and its optimum.

    Args:
        task: The problem with its system, and settings of planners that suit it.
        optimum: The lowest cost that is known, who found it, and the actions.
    """

    task: Task
    optimum: Optimum

    @property
    def problem(self) -> Problem:
        """Model, objective and limits of the action."""
        return self.task.problem

    @property
    def start(self) -> Array:
        """Where it begins, always the same, shape `[state]`."""
        return self.task.system.start(key=jax.random.key(0))

    @property
    def horizon(self) -> int:
        """Steps from start to end."""
        return self.task.steps


def load(name: str) -> Entry:
    """An entry by name.

    Raises:
        ValueError: There is none; the message names the nearest.
    """
    if name not in GALLERY:
        raise unknown("entry of the gallery", name, GALLERY)
    known = optimum(name)
    return Entry(dataclasses.replace(GALLERY[name](), optimum=-known.cost), known)


def random_lq(state: int, action: int, steps: int = 50, seed: int = 0) -> Task:
    r"""A random linear-quadratic problem of any size, with its optimum.

    $A$ has spectral radius one, the costs are positive definite with a cross term, and
    the optimum is that of the Riccati recursion, in NumPy's float64.

    ```python
    >>> from forethought.tasks import gallery
    >>> task = gallery.random_lq(state=3, action=2, steps=20, seed=7)
    >>> task.name, task.problem.action.shape, task.optimum < 0
    ('lq-3-2', (2,), True)

    ```

    Args:
        state: Dimensions of the state.
        action: Dimensions of the action.
        steps: Horizon.
        seed: The same seed gives the same problem.

    Raises:
        ValueError: A number is below one.
    """
    require("A random LQ problem", Count, state=state, action=action, steps=steps)
    random = np.random.default_rng(small_seed(seed))
    A = random.normal(size=(state, state))
    A /= np.abs(np.linalg.eigvals(A)).max()
    F = np.concatenate([A, random.normal(size=(state, action)) / state**0.5], axis=1)
    both = state + action
    C, C_final = (_positive(random, size) for size in (both, state))
    initial = random.normal(size=state)
    return _whole(
        LinearSystem(F, initial),
        Quadratic(C, C_final=10 * C_final),
        name=f"lq-{state}-{action}",
        summary=f"random linear-quadratic problem, {state} states, {action} actions",
        steps=steps,
        model=Linear(F),
        optimum=-riccati_cost(F, C, 10 * C_final, initial, steps),
        std=0.5,
        scale=10.0,
        noise=0.03,
        knots=1,
    )


def _positive(random: np.random.Generator, size: int) -> np.ndarray:
    """A random symmetric matrix whose eigenvalues are 0.1 or more."""
    G = random.normal(size=(size, size)) / size**0.5
    return 0.1 * np.eye(size) + 0.5 * (G.T @ G + (G.T @ G).T)


def riccati_cost(
    F: np.ndarray, C: np.ndarray, V: np.ndarray, x: np.ndarray, steps: int
) -> float:
    r"""The optimal cost $\tfrac12 x^\top V_0 x$, by the recursion backwards in time."""
    n = F.shape[0]
    for _ in range(steps):
        Q = C + F.T @ V @ F
        V = Q[:n, :n] - Q[:n, n:] @ np.linalg.solve(Q[n:, n:], Q[n:, :n])
        V = 0.5 * (V + V.T)
    return float(0.5 * x @ V @ x)


def acrobot_limited() -> Task:
    """The acrobot of trajax with a motor of 5 N·m, a third too weak for its optimum."""
    box = Box(np.array([-5.0]), np.array([5.0]))
    return _whole(
        Acrobot(dt=0.1, integrate=euler, action=box),
        Regulate([math.pi, 0, 0, 0], [0.1] * 4, [0.01], [1000.0] * 4),
        name="acrobot-limited",
        summary="swing up two links by a weak elbow",
        steps=50,
        std=0.6,
        scale=40.0,
        noise=0.3,
        climb=Optimiser("adam", 0.2, 0.997),
        hold=5,
    )


def pendulum_swing_up() -> Task:
    """Swing Gymnasium's pendulum up from where it hangs, in five seconds.

    The cost is quadratic and does not wrap the angle, and the speed has no limit, so
    that there are no kinks.
    """
    return _whole(
        Pendulum(initial=(math.pi, 0.0), max_speed=math.inf),
        Regulate([0.0, 0.0], [1.0, 0.1], [0.01], [10.0, 1.0]),
        name="pendulum-swing-up",
        summary="swing up a rod from where it hangs",
        steps=100,
        std=0.75,
        scale=200.0,
        noise=0.3,
        climb=Optimiser("adam", 0.5),
        hold=10,
    )


def acrobot_goal() -> Task:
    """Swing the acrobot up to its goal exactly, with a motor of 5 N·m.

    References:
        google/trajax, `tests/optimizers_test.py`, the constrained acrobot.
    """
    goal = (math.pi, 0.0, 0.0, 0.0)
    box = Box(np.array([-5.0]), np.array([5.0]))
    swing = Regulate(goal, [0.1] * 4, [0.01], [0.0] * 4)
    return _whole(
        Acrobot(dt=0.1, integrate=euler, action=box),
        Constrained(swing, final_equality=Reaches(goal), price=50.0),
        name="acrobot-goal",
        summary="swing up two links, to be met exactly",
        steps=50,
        std=0.6,
        scale=40.0,
        noise=0.3,
        climb=Optimiser("adam", 0.2, 0.995),
        hold=5,
    )


def obstacle_unicycle() -> Task:
    """Roll around a disc to a goal that is to be met exactly.

    References:
        google/trajax, `tests/optimizers_test.py`, the constrained car.
    """
    goal, discs = (1.0, 0.0, 0.0), ((0.5, 0.01, 0.25),)
    roll = Regulate(goal, [0.1] * 3, [1.0] * 2, [0.0] * 3)
    return _whole(
        Unicycle(obstacles=discs, goal=goal),
        Constrained(roll, Outside(discs), final_equality=Reaches(goal), price=200.0),
        name="obstacle-unicycle",
        summary="roll around a disc to a goal",
        steps=25,
        std=0.5,
        scale=15.0,
        noise=0.03,
        knots=1,
        climb=Optimiser("adam", 0.2),
        hold=5,
    )


def obstacle_car() -> Task:
    """Drive Tassa's car between two discs into its place, in six seconds."""
    discs = ((-2.0, 0.6, 0.6), (-1.0, -0.5, 0.5))
    held = Outside(discs)
    around = Constrained(Parking(), held, final_inequality=held, price=10.0)
    return _whole(
        Car(initial=(-4.0, 0.5, 0.0, 0.0)),
        around,
        name="obstacle-car",
        summary="park a car behind two discs to keep out of",
        steps=200,
        std=0.5,
        scale=0.5,
        noise=0.1,
        climb=Optimiser("adam", 0.2, 0.997),
        hold=20,
    )


def _whole(
    system: AbstractSystem,
    objective: AbstractJudge,
    *,
    name: str,
    summary: str,
    steps: int,
    std: float,
    scale: float,
    noise: float,
    hold: int = 1,
    knots: int = 5,
    climb: Optimiser = QUASI_NEWTON,
    model: Any = None,
    optimum: float | None = None,
) -> Task:
    """A task that is planned once."""
    model = Known(system) if model is None else model
    return Task(
        name=name,
        summary=summary,
        system=system,
        problem=Problem(model, objective, system.action),
        steps=steps,
        restore=whole,
        settings=whole_episode(
            steps, std, hold, scale=scale, noise=noise, knots=knots, climb=climb
        ),
        replan_every=steps,
        optimum=optimum,
    )


def _from(
    build: Callable[[], Task], std: float, hold: int = 1, **settings: Any
) -> Callable[[], Task]:
    """A task that is otherwise planned again and again, planned once."""

    def built() -> Task:
        task = build()
        return dataclasses.replace(
            task,
            settings=whole_episode(task.steps, std, hold, **settings),
            replan_every=task.steps,
        )

    return built


GALLERY: dict[str, Callable[[], Task]] = {
    "double-integrator": _from(analytic.double_integrator, 1.0, scale=9.0, noise=0.1),
    "lq-2-1": lambda: random_lq(2, 1),
    "lq-6-2": lambda: random_lq(6, 2),
    "lq-12-4": lambda: random_lq(12, 4),
    "lq-40-10": lambda: random_lq(40, 10),
    "pendulum-swing-up": pendulum_swing_up,
    "cartpole": analytic.cartpole,
    "acrobot": analytic.acrobot,
    "acrobot-limited": acrobot_limited,
    "acrobot-goal": acrobot_goal,
    "quadrotor": _from(analytic.quadrotor, 0.3, 50, scale=35.0, noise=0.01),
    "point-mass": _from(
        analytic.point_mass,
        0.5,
        10,
        scale=350.0,
        noise=0.1,
        climb=Optimiser("adam", 0.5),
    ),
    "car-parking": analytic.car_parking,
    "obstacle-unicycle": obstacle_unicycle,
    "obstacle-car": obstacle_car,
}
"""An entry's name to the function that builds its task; `load` adds the optimum."""
