"""MPPI and CEM side by side with pytorch-mppi and tau-ctrl, in one process on one core.

A *command* is what a controller is asked for at every step: the state goes in, the
warm-started plan is improved and moved on by a step, an action comes out. All plan for
Pendulum-v1 with the same horizon, samples, noise, temperature and iterations.

- pytorch-mppi's pendulum is written for a batch in PyTorch, in float32; as it pays for
  the state *after* each action, so does ours beside it.
- tau-ctrl steps Gymnasium's own environment, as it does with any.

What plans of both are worth is the mean return of the actions that one command leads
to, from the same state and the same first plan.

    python benchmarks/mppi.py        needs benchmarks/peers.txt
"""

# ruff: noqa: E402
import common

common.pin()

import argparse
from collections.abc import Callable
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytorch_mppi
import tau_ctrl
import torch
from jaxtyping import Array, Scalar

from forethought import tasks
from forethought.objectives.base import AbstractObjective, constant
from forethought.objectives.task import wrap
from forethought.planners import CEM, MPPI
from forethought.planners.base import AbstractPlanner
from forethought.problem import Problem, rollout

START = (3.0, 0.0)
TEMPERATURE, STD, LIMIT = 1.0, 1.0, 2.0
GOAL = 3
SIZES = ((15, 100), (15, 1000), (30, 1000), (50, 4000))


class Afterwards(AbstractObjective):
    """The pendulum's cost of the state after each action, as pytorch-mppi counts."""

    def reward(self, x: Array, action: Array, next_x: Array) -> Scalar:
        return -(wrap(next_x[0]) ** 2 + 0.1 * next_x[1] ** 2 + 0.001 * action[0] ** 2)

    def discount(self, x: Array, action: Array, next_x: Array) -> Scalar:
        return constant(x, 1.0)

    def value(self, x: Array) -> Scalar:
        return constant(x, 0.0)


class Ours:
    """One of our planners as a command, and the plan that it hands over whole."""

    def __init__(self, problem: Problem, planner: AbstractPlanner, dtype: Any):
        self.problem, self.x = problem, jnp.asarray(START, dtype)
        key = jax.random.key(0)
        self.first = self.state = planner.init(problem, self.x, key=key)
        self.keys = iter(jax.random.split(jax.random.key(1), 20_000))

        def plan(x, state, key):
            plan, state = planner.plan(problem, x, state, key=key)
            return plan, planner.shift(problem, state)

        def command(x, state, key):
            plan_found, state = plan(x, state, key)
            return plan_found.actions[0], state

        def earn(actions):
            return rollout(problem, self.x, actions, key=key).value

        self.plan, self.command, self.earn_all = (
            jax.jit(plan),
            jax.jit(command),
            jax.jit(lambda each: jnp.mean(jax.vmap(earn)(each))),
        )

    def act(self) -> None:
        action, self.state = self.command(self.x, self.state, next(self.keys))
        jax.block_until_ready((action, self.state))

    def whole(self) -> None:
        jax.block_until_ready(self.plan(self.x, self.first, next(self.keys)))

    def worth(self, repeats: int) -> float:
        """What the actions of one command from the first plan earn, on average."""
        return self.earn(
            [
                self.plan(self.x, self.first, next(self.keys))[0].actions
                for _ in range(repeats)
            ]
        )

    def earn(self, plans: list[Any]) -> float:
        """The mean return of sequences of actions, each `[horizon, action]`."""
        each = np.stack([np.asarray(actions) for actions in plans])
        return float(self.earn_all(jnp.asarray(each, self.x.dtype)))


def step(state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Pendulum-v1 for a batch of states."""
    angle, speed, torque = state[:, 0], state[:, 1], action[:, 0]
    speed = speed + (15.0 * torch.sin(angle) + 3.0 * torque.clamp(-LIMIT, LIMIT)) * 0.05
    speed = speed.clamp(-8.0, 8.0)
    return torch.stack([angle + speed * 0.05, speed], dim=1)


def cost(state: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
    """Pendulum-v1's cost for a batch of states."""
    angle = torch.remainder(state[:, 0] + torch.pi, 2 * torch.pi) - torch.pi
    return angle**2 + 0.1 * state[:, 1] ** 2 + 0.001 * action[:, 0] ** 2


def beside_pytorch_mppi(horizon: int, samples: int, repeats: int) -> dict:
    """MPPI beside pytorch-mppi's."""
    planner = MPPI(horizon, samples, temperature=TEMPERATURE, std=STD / LIMIT)
    task = tasks.load("pendulum")
    ours = Ours(
        Problem(task.problem.model, Afterwards(), task.problem.action),
        planner,
        jnp.float32,
    )
    first = torch.zeros(horizon, 1)
    peer = pytorch_mppi.MPPI(
        step,
        cost,
        2,
        torch.tensor([[STD**2]]),
        num_samples=samples,
        horizon=horizon,
        lambda_=TEMPERATURE,
        u_min=torch.tensor(-LIMIT),
        u_max=torch.tensor(LIMIT),
        U_init=first,
    )
    x = torch.tensor(START)

    def worth() -> float:
        plans = []
        for _ in range(repeats):
            peer.U = first
            peer.command(x, shift_nominal_trajectory=False)
            plans.append(peer.U)
        return ours.earn(plans)

    return row(
        "mppi", "pytorch-mppi", planner, ours, lambda: peer.command(x), worth, repeats
    )


def beside_tau(kind: str, horizon: int, samples: int, repeats: int) -> dict:
    """MPPI or CEM beside tau-ctrl's."""
    elites, iterations = samples // 10, 3
    planner = (
        MPPI(horizon, samples, temperature=TEMPERATURE, std=STD / LIMIT)
        if kind == "mppi"
        else CEM.plain(
            horizon,
            population=samples,
            elites=elites,
            iterations=iterations,
            initial_std=STD / LIMIT,
            warm_start="centre",
        )
    )
    ours = Ours(tasks.load("pendulum").problem, planner, jnp.float32)
    world = gymnasium.make("Pendulum-v1")
    world.reset(seed=0)
    world.unwrapped.state = np.array(START)
    settings = {"temperature": TEMPERATURE} if kind == "mppi" else {}
    if kind == "cem":
        settings = {"elite_frac": elites / samples, "iterations": iterations}
    peer = tau_ctrl.make(
        kind,
        world,
        horizon=horizon,
        n_samples=samples,
        noise_sigma=STD,
        seed=0,
        **settings,
    )
    obs = np.zeros(3)

    def worth() -> float:
        plans = []
        for _ in range(max(repeats // 10, 5)):
            peer.reset()
            action, _ = peer.predict(obs)
            # It has moved its plan on by a step already.
            actions = np.concatenate([np.atleast_2d(action), peer._nominal[:-1]])
            plans.append(actions)
        return ours.earn(plans)

    return row(
        kind, "tau-ctrl", planner, ours, lambda: peer.predict(obs), worth, repeats
    )


def row(
    kind: str,
    name: str,
    planner: Any,
    ours: Ours,
    theirs: Callable[[], Any],
    worth: Callable[[], float],
    repeats: int,
) -> dict:
    """Time both in turns, and print a line."""
    slow = name == "tau-ctrl"
    times = common.timings(
        {"command": ours.act, "plan": ours.whole, "peer": theirs},
        repeats=max(repeats // 10, 5) if slow else repeats,
        warm=1 if slow else 5,
    )
    found = {
        "planner": kind,
        "peer": name,
        "horizon": planner.horizon,
        "samples": planner.population,
        "iterations": planner.iterations,
        "forethought": common.spread(times["command"]),
        "forethought_whole_plan": common.spread(times["plan"]),
        "theirs": common.spread(times["peer"]),
        "forethought_return": round(ours.worth(repeats), 3),
        "their_return": round(worth(), 3),
        "goal": GOAL,
    }
    ratio = found["theirs"]["microseconds"] / found["forethought"]["microseconds"]
    found["ratio"] = round(ratio, 2)
    print(
        f"{kind:4s} {name:12s} horizon {planner.horizon:3d} samples "
        f"{planner.population:5d}   forethought "
        f"{found['forethought']['microseconds']:9.1f} µs   theirs "
        f"{found['theirs']['microseconds']:10.1f} µs   ratio {ratio:6.1f}   returns "
        f"{found['forethought_return']} and {found['their_return']}"
    )
    return found


def main() -> None:
    """Print one line a case and write `results/mppi.json`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=200)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows = [beside_pytorch_mppi(*size, repeats) for size in SIZES]
    rows += [beside_tau("mppi", 15, 100, repeats), beside_tau("cem", 15, 100, repeats)]
    packages = ("jax", "torch", "pytorch_mppi", "tau-ctrl", "gymnasium", "numpy")
    results = {"seed": 0, "versions": common.versions(*packages), "rows": rows}
    print(common.write_results("mppi", results))


if __name__ == "__main__":
    main()
