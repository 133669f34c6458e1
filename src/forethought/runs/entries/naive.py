"""The naive approach to model-based RL, version by version, and its own argument.

v0 fits a model to random data and improves a policy in it, once: what that policy then
visits is not what the model was fitted to. v1 appends what is visited, and fits again.
v2 plans at every step from what it sees, so that a model's errors have no time to grow.
"""

import functools
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from forethought.core.given.settings import key_of
from forethought.data.replay import Replay
from forethought.environments.disturbed import Disturbed
from forethought.environments.simulated import Simulated
from forethought.runs.claims.outcomes import last_evaluation
from forethought.runs.claims.reproductions import Check, Panel, Reproduction, Than
from forethought.runs.store.folder import RunFolder
from forethought.runs.train.intervals import compiled_evaluate
from forethought.runs.train.lines import lines
from forethought.runs.train.saving import Saving
from forethought.runs.train.settings import Learning

V0, V1, V2 = "v0", "v1", "v2"
ARMS = {
    V0: ("--agent", "mbrl-v0"),
    V1: ("--agent", "mbrl-v1"),
    V2: ("--agent", "mbrl-v2"),
}
DOTS = 250
"""Of each cloud so many are drawn."""
EPISODES = 10
"""In each strength of the wind."""
Runs = Mapping[str, Sequence[tuple[Learning, RunFolder]]]
Plane = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""From two clouds of observations to the same in two dimensions."""


def visited(run: Learning, folder: RunFolder) -> tuple[np.ndarray, np.ndarray]:
    """What a run saw, in the order of time: the random rows, and all others."""
    like = run.training.begin(key=key_of(run.seed))
    found = Saving(folder.path, run.training.replay).load(like)
    memory = found.state.flow.replay
    rows, valid = Replay(memory.capacity, memory.lanes).ordered(memory)
    seen = np.asarray(rows.obs)[np.asarray(valid)]
    return seen[: run.first_steps], seen[run.first_steps :]


def thinned(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Some of the points `[row, 2]`, evenly over time, as two columns."""
    picked = points[np.linspace(0, len(points) - 1, min(DOTS, len(points))).astype(int)]
    return picked[:, 0], picked[:, 1]


def angle_and_speed(seen: np.ndarray) -> np.ndarray:
    """The pendulum's phase plane: angle from upright, and angular velocity."""
    return np.stack([np.arctan2(seen[:, 1], seen[:, 0]), seen[:, 2]], axis=1)


def principal(seen: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two clouds `[row, dimension]` in the plane in which they spread most."""
    both = np.concatenate([seen, others])
    scale = np.maximum(both.std(axis=0), 1e-6)
    _, _, axes = np.linalg.svd((both - both.mean(axis=0)) / scale, full_matrices=False)
    first, second = ((part - both.mean(axis=0)) / scale for part in (seen, others))
    return first @ axes[:2].T, second @ axes[:2].T


def errors(runs: Runs, name: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A number of the report cards, by arm: its median over seeds, at each interval."""
    found = {}
    for arm, seeds in runs.items():
        kept = [[row for row in lines(own) if row.get(name)] for _, own in seeds]
        count = min(map(len, kept))
        if count:
            values = [[row[name] for row in rows[:count]] for rows in kept]
            steps = [row["step"] for row in kept[0][:count]]
            found[arm] = (np.array(steps), np.median(values, axis=0))
    return found


def in_wind(
    runs: Runs, gusts: Sequence[float], pushed: Sequence[float]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What each arm's last agents earn where the state is pushed about.

    Args:
        runs: By arm.
        gusts: Strengths, along the axis.
        pushed: What a strength of one adds to each coordinate of the state.
    """
    found = {}
    for arm, seeds in runs.items():
        returns = []
        for run, own in seeds:
            learner = _learner(run, own)
            earned = functools.partial(_earned, run, learner)
            returns.append([earned([gust * each for each in pushed]) for gust in gusts])
        found[arm] = (np.array(gusts), np.median(returns, axis=0))
    return found


def _learner(run: Learning, folder: RunFolder):
    like = run.training.begin(key=key_of(run.seed))
    return Saving(folder.path, run.training.replay).load(like).state.learner


def _earned(run: Learning, learner, std: Sequence[float]) -> float:
    """The mean return of an agent in a disturbed world."""
    task = run.task
    assert task is not None
    pushes: tuple[Array, ...] = tuple(jnp.asarray(each) for each in std)
    world = Simulated(Disturbed(task.system, pushes), task.objective, task.steps)
    returns = compiled_evaluate(
        run.training.agent, world, learner, episodes=EPISODES, key=jax.random.key(0)
    )
    return float(np.mean(returns))


def _clouds(runs: Runs, axes: tuple[str, str], plane: Plane) -> list[Panel]:
    """Of the first seed: what v0 and v1 were fitted to, and where they then went."""
    v0_data, v0_went = visited(*runs[V0][0])
    v1_data, v1_went = visited(*runs[V1][0])
    run = runs[V1][0][0]
    last = run.length or len(v1_went)  # its model knows all episodes before that one
    known = np.concatenate([v1_data, v1_went[:-last]])
    found = []
    for title, data, went in (
        ("v0: its data, and what its policy visits", v0_data, v0_went),
        ("v1: its data at last, and what its policy visits", known, v1_went[-last:]),
    ):
        clouds = zip(("data", "policy"), plane(data, went), strict=True)
        series = {name: thinned(cloud) for name, cloud in clouds}
        found.append(Panel(title, *axes, series))
    return found


def _foreseen(runs: Runs) -> Panel:
    title = "The model's error over 25 steps, where the agent went"
    words = ("environment steps", "error (std)")
    return Panel(title, *words, errors(runs, "error_25"), "line")


def _pendulum(runs: Runs) -> list[Panel]:
    """Phase planes, errors of the model where the agent went, and wind."""
    axes = ("angle from upright (rad)", "angular velocity (rad/s)")
    wind = Panel(
        "Last agents in wind that they never felt",
        "noise on the speed (rad/s a step)",
        "return",
        in_wind(runs, (0.0, 0.2, 0.4), (0.0, 1.0)),
        "line",
    )
    clouds = _clouds(
        runs, axes, lambda *both: (angle_and_speed(both[0]), angle_and_speed(both[1]))
    )
    return [*clouds, _foreseen(runs), wind]


def _cartpole(runs: Runs) -> list[Panel]:
    """The plane of most spread, and errors of the model where the agent went."""
    axes = ("first principal direction", "second")
    return [*_clouds(runs, axes, principal), _foreseen(runs)]


PENDULUM = Reproduction(
    claim="v2 > v1 > v0 on the pendulum: replanning beats more data beats one fit",
    variant=(
        "Pendulum-v1, eight episodes, the first random. v0 and v1 back-propagate into "
        "an MLP policy through a network fitted to all that was seen, v0 once; v2 "
        "plans in it by random shooting. At its end each is evaluated on 20 others."
    ),
    train=(
        *("pendulum", "--steps", "1600", "--evaluate.every", "1600"),
        *("--evaluate.unit", "steps", "--evaluate-episodes", "20"),
    ),
    arms=ARMS,
    measured=0.3,
    checks=(
        Check(
            "the last v2 earns more than the last v1",
            last_evaluation(),
            ">",
            Than(V1),
            "evaluation",
            arm=V2,
        ),
        Check(
            "the last v1 earns at least 300 more than the last v0",
            last_evaluation(),
            "≥",
            Than(V0, plus=300.0),
            "evaluation",
            arm=V1,
        ),
        Check(
            "v1 beats v0 on every seed",
            last_evaluation(),
            ">",
            Than(V0),
            "evaluation",
            arm=V1,
            share=1.0,
        ),
        Check(
            "v0 falls short: its last evaluation earns less than −700",
            last_evaluation(),
            "<",
            -700.0,
            "evaluation",
            (1600, -700.0),
            arm=V0,
        ),
    ),
    evidence=_pendulum,
)

CARTPOLE = Reproduction(
    claim="v2 > v1 > v0 on the cart-pole of PETS",
    variant=(
        "The cart-pole of Chua et al. (2018), ten episodes, the first random, with "
        "the arms of v0-v1-v2-pendulum. At its end each is evaluated on 20 others."
    ),
    train=(
        *("pets-cartpole", "--steps", "2000", "--evaluate.every", "2000"),
        *("--evaluate.unit", "steps", "--evaluate-episodes", "20"),
    ),
    arms=ARMS,
    checks=(
        Check(
            "the last v2 earns more than the last v1",
            last_evaluation(),
            ">",
            Than(V1),
            "evaluation",
            arm=V2,
        ),
        Check(
            "the last v1 earns at least 30 more than the last v0",
            last_evaluation(),
            "≥",
            Than(V0, plus=30.0),
            "evaluation",
            arm=V1,
        ),
    ),
    evidence=_cartpole,
)

NAIVE: dict[str, Reproduction] = {
    "v0-v1-v2-pendulum": PENDULUM,
    "v0-v1-v2-cartpole": CARTPOLE,
}
