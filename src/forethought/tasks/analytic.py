"""The tasks on systems whose equations of motion are written down."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from forethought.core.gaussian import Gaussian
from forethought.environments.analytic import (
    Acrobot,
    Car,
    CartPole,
    DoubleIntegrator,
    LinearSystem,
    Pendulum,
    PointMass,
    Quadrotor,
    RodCartPole,
    RodPendulum,
)
from forethought.environments.analytic.integrate import euler
from forethought.environments.plant import Noisy
from forethought.environments.simulated import Simulated
from forethought.models.known import Known
from forethought.models.linear.dynamics import Linear
from forethought.models.linear.kalman import LinearGaussian
from forethought.objectives.quadratic import Quadratic
from forethought.objectives.saturating import Saturating
from forethought.objectives.task import Avoid, Parking, PendulumReward, Regulate
from forethought.planners.smooth.gradient import Optimiser
from forethought.problem import Problem
from forethought.tasks.base import Task, whole, whole_episode
from forethought.tasks.optima import best_return

RICCATI = [
    [17.83493132218895, 10.012492197250385],
    [10.012492197250385, 17.85658646032883],
]
"""The cost to go of the double integrator, doubled: it solves the Riccati equation."""


def double_integrator() -> Task:
    r"""Bring a mass to rest at the origin: linear-quadratic, with a known optimum.

    The cost is $\tfrac12 (\lVert x \rVert^2 + u^2)$ a step, and the cost to go beyond
    the horizon is $\tfrac12 x^\top P x$ with $P$ the solution of the discrete algebraic
    Riccati equation, so every horizon has the same optimal actions and the optimal
    return from $[1, 0]$ is $-\tfrac12 P_{11}$, whatever the length of the episode.
    """
    system = DoubleIntegrator()
    h = system.dt
    model = Linear([[1.0, h, 0.5 * h**2], [0.0, 1.0, h]])
    identity = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    objective = Quadratic(identity, C_final=RICCATI)
    return Task(
        name="double-integrator",
        summary="bring a mass to rest (linear-quadratic)",
        system=system,
        problem=Problem(model, objective, system.action),
        steps=60,
        restore=whole,
        settings={
            "random-shooting": {"horizon": 15, "hold": 3},
            "cem": {"horizon": 20, "initial_std": 1.0, "iterations": 6},
            "ilqr": {"horizon": 20},
            "lqr": {"horizon": 20},
        },
        optimum=best_return("double-integrator"),
    )


def lqg() -> Task:
    r"""The double integrator, pushed about by noise and seen through noise.

    The position alone is measured, with a standard deviation of 0.2 m; an acceleration
    of white noise acts besides ours. The start is drawn from what a filter in its
    steady state believes before it looks, $\Sigma$, so that over $T$ steps the optimal
    regulator is expected to cost exactly

    $$\tfrac12 \Big( \operatorname{tr}(P \Sigma) + T \operatorname{tr}(P W)
      + T \operatorname{tr}\big(K^\top (R + B^\top P B) K\, \Sigma_+ \big) \Big)$$

    with $P$ of the regulator's Riccati equation, $\Sigma$ of the filter's, and
    $\Sigma_+$ what it believes once it looked. For 200 steps that is 45.68.
    """
    h, drift = 0.1, 0.1
    F = [[1.0, h, 0.5 * h**2], [0.0, 1.0, h]]
    W = [[drift * h**3 / 3, drift * h**2 / 2], [drift * h**2 / 2, drift * h]]
    H, N = jnp.array([[1.0, 0.0]]), jnp.array([[0.04]])
    believed = [
        [0.01487769283605472, 0.02342598831128677],
        [0.02342598831128677, 0.06850934969469999],
    ]
    system = LinearSystem(F, [0.0, 0.0], dt=h, W=W, spread=believed)
    start = Gaussian(jnp.zeros(2), jnp.asarray(believed))
    model = LinearGaussian(Linear(F), W, H, N, start=start)
    return Task(
        name="lqg",
        summary="bring a mass to rest, seen through noise (LQG)",
        system=system,
        problem=Problem(model, Quadratic(jnp.eye(3), C_final=RICCATI), system.action),
        steps=200,
        sensor=functools.partial(Noisy, H=H, N=N),
        settings={
            "random-shooting": {"horizon": 15, "hold": 3},
            "cem": {"horizon": 20, "initial_std": 1.0, "iterations": 6},
            "ilqr": {"horizon": 20},
            "lqr": {"horizon": 20},
        },
    )


def angle_and_speed(obs: Array) -> Array:
    """The pendulum's state from the cosine and sine of its angle, and its speed."""
    return jnp.stack([jnp.arctan2(obs[1], obs[0]), obs[2]])


def pendulum() -> Task:
    """Swing Gymnasium's Pendulum-v1 up and keep it there, from any angle."""
    system = Pendulum()
    return Task(
        name="pendulum",
        summary="swing up a rod (Pendulum-v1)",
        system=system,
        problem=Problem(Known(system), PendulumReward(), system.action),
        steps=200,
        restore=angle_and_speed,
        circles=((0, 1),),
        settings={
            "random-shooting": {"horizon": 30, "hold": 5},
            "cem": {"horizon": 30},
            "ilqr": {"horizon": 40},
            "ppo": {"gamma": 0.95, "decay": 60_000},
            **{agent: {"reward_scale": 0.1} for agent in ("sac", "ddpg", "naf")},
        },
    )


def acrobot() -> Task:
    """Swing an acrobot up in fifty Euler steps: the test problem of trajax.

    From actions of zero, whose own cost is 4959.476212, trajax, iLQR and DDP go to a
    local optimum of 44.5132851412. The optimum given is the lowest that is known,
    40.42401: one random start in twenty leads there.

    References:
        google/trajax, `tests/optimizers_test.py`, the acrobot.
    """
    system = Acrobot(dt=0.1, integrate=euler)
    objective = Regulate([math.pi, 0, 0, 0], [0.1] * 4, [0.01], [1000.0] * 4)
    return Task(
        name="acrobot",
        summary="swing up two links by the elbow",
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=50,
        restore=whole,
        settings=whole_episode(50, 3.0, hold=5, scale=40.0, noise=0.3),
        replan_every=50,
        optimum=best_return("acrobot"),
    )


def cartpole() -> Task:
    r"""Swing a cart-pole up in five seconds, with a free force on the cart.

    The cost is $\tfrac12 h (0.01 \lVert e \rVert^2 + 0.1 u^2)$ a step and
    $\tfrac12 100 \lVert e \rVert^2$ at the end, with $e$ the distance to the pole
    standing still at the origin and $h$ the time step.

    The optimum is the one that iLQR and DDP find from actions of 0.01 N: DDP in
    float64 to a gradient of 2e-15. It fixes gravity, which statements of this problem
    leave open: 9.81 m/s² gives 1.4114933481, 9.8 would give 1.4102623405.
    """
    system = CartPole()
    h = system.dt
    objective = Regulate([0, math.pi, 0, 0], [0.01 * h] * 4, [0.1 * h], [100.0] * 4)
    return Task(
        name="cartpole",
        summary="swing up a pole on a cart in five seconds",
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=100,
        restore=whole,
        settings=whole_episode(100, 3.0, hold=10, scale=1.4, noise=0.3),
        replan_every=100,
        optimum=best_return("cartpole"),
    )


def car_parking() -> Task:
    """Park a car, in fifteen seconds, with limits on the wheels and the engine.

    References:
        Tassa, Mansard and Todorov, Control-limited differential dynamic programming,
        2014, doi:10.1109/ICRA.2014.6907001, §IV-B.
    """
    system = Car()
    return Task(
        name="car-parking",
        summary="park a car (Tassa et al., 2014)",
        system=system,
        problem=Problem(Known(system), Parking(), system.action),
        steps=500,
        restore=whole,
        settings=whole_episode(
            500,
            0.3,
            hold=50,
            noise_beta=2.0,
            scale=1.4,
            noise=0.1,
            climb=Optimiser("adam", 0.5, 0.995),
        ),
        replan_every=500,
        optimum=best_return("car-parking"),
    )


def quadrotor() -> Task:
    """Fly a planar quadrotor to the origin and hover there.

    The optimum is the best known of all hundred steps planned at once, not proven.
    """
    system = Quadrotor()
    hover = float(system.hover)
    objective = Regulate(
        goal=[0.0] * 6,
        state_weights=[1.0, 1.0, 0.1, 0.1, 0.1, 0.1],
        action_weights=[0.02, 0.02],
        final_weights=[20.0, 20.0, 2.0, 6.0, 6.0, 0.2],
        rest=[hover, hover],
    )
    return Task(
        name="quadrotor",
        summary="fly a planar quadrotor to a goal and hover",
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=100,
        restore=whole,
        settings={
            "random-shooting": {"horizon": 15, "hold": 3},
            "cem": {
                "horizon": 15,
                "initial_std": 0.3,
                "noise_beta": 1.0,
                "iterations": 6,
            },
            "ilqr": {"horizon": 30},
        },
        optimum=best_return("quadrotor"),
    )


def point_mass() -> Task:
    """Bring a mass to a goal, around three discs."""
    obstacles = ((-0.6, -0.5, 0.6), (0.8, 0.9, 0.5), (0.6, -0.8, 0.4))
    goal = (2.0, 2.0)
    system = PointMass(obstacles=obstacles, goal=goal)
    reach = Regulate(
        goal=[*goal, 0.0, 0.0],
        state_weights=[1.0, 1.0, 0.1, 0.1],
        action_weights=[0.05, 0.05],
        final_weights=[20.0, 20.0, 10.0, 10.0],
    )
    return Task(
        name="point-mass",
        summary="reach a goal among discs to keep out of",
        system=system,
        problem=Problem(Known(system), Avoid(reach, obstacles, 50.0), system.action),
        steps=100,
        restore=whole,
        settings={
            "random-shooting": {"horizon": 40, "hold": 10},
            "cem": {"horizon": 30, "noise_beta": 1.0, "iterations": 6},
            "ilqr": {"horizon": 40},
        },
        optimum=best_return("point-mass"),
    )


def told_through_noise(
    name: str,
    summary: str,
    system: RodPendulum | RodCartPole,
    objective: Saturating,
    reach: float,
    settings: Mapping[str, Mapping[str, Any]],
) -> Task:
    """Swing a rod up in four seconds from near hanging, as PILCO was asked to.

    Every number that is observed is off by a standard deviation of 0.01. An episode is
    a success whose tip stays within `reach` metres of its goal for the last second.
    """
    size = len(system.state_names)
    one = jnp.eye(size)

    def success(states: Array) -> Array:
        return jnp.all(jax.vmap(system.off)(states[-10:]) < reach)

    return Task(
        name=name,
        summary=summary,
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=40,
        restore=whole,
        angles=objective.angles,
        world=Noisy(Simulated(system, objective, 40), one, 1e-4 * one),
        settings={"cem": {"horizon": 20}, "ilqr": {"horizon": 40}, **settings},
        start=((0.0,) * size, (0.1,) * size),
        success=success,
    )


def pilco_pendulum() -> Task:
    """Swing up a rod whose motor is too weak to lift it at once.

    References:
        Deisenroth and Rasmussen, PILCO: a model-based and data-efficient approach to
        policy search, 2011; `pendulum` in the authors' code.
    """
    return told_through_noise(
        "pilco-pendulum",
        "swing up a rod, as PILCO did",
        RodPendulum(),
        Saturating(
            goal=[math.pi, 0.0, 0.0, -1.0],
            C=jnp.diag(jnp.array([0.0, 0.0, 1.0, 1.0])),
            width=0.5,
            angles=(0,),
        ),
        0.2,
        {"pilco": {"basis": 20}},
    )


def pilco_cartpole() -> Task:
    """Swing up a rod on a cart, which is where PILCO became known for few trials.

    References:
        Deisenroth and Rasmussen, PILCO: a model-based and data-efficient approach to
        policy search, 2011, section 3.2; `cartPole` in the authors' code.
    """
    l = 0.5
    away = jnp.array([[1.0, 0.0, 0.0, 0.0, l, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0, l]])
    return told_through_noise(
        "pilco-cartpole",
        "swing up a rod on a cart, as PILCO did",
        RodCartPole(),
        Saturating(
            goal=[0.0, math.pi, 0.0, 0.0, 0.0, -1.0],
            C=away.T @ away,
            width=0.25,
            angles=(1,),
        ),
        0.1,
        {"pilco": {"basis": 30, "short": 40, "iterations": 150}},
    )


TASKS: Mapping[str, Callable[[], Task]] = {
    "double-integrator": double_integrator,
    "lqg": lqg,
    "pendulum": pendulum,
    "cartpole": cartpole,
    "acrobot": acrobot,
    "car-parking": car_parking,
    "quadrotor": quadrotor,
    "point-mass": point_mass,
    "pilco-pendulum": pilco_pendulum,
    "pilco-cartpole": pilco_cartpole,
}
"""A task's name to the function that builds it."""
