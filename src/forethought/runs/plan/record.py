"""A finished run as plain arrays: all that plots, video and report need.

`record` looks at an episode and at its first plan through the task's own model and
turns them into NumPy arrays; afterwards neither task nor planner is needed, so that a
report can be made again from the disk alone, years later and without running code
that a folder brings along.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.gaussian import moments
from forethought.core.given.settings import key_of
from forethought.core.readout import AbstractJudge, Readout
from forethought.core.results import Either, Stats, names
from forethought.core.spaces import Discrete
from forethought.environments.base import AbstractSystem, Capsules
from forethought.environments.tables.tabular import TabularSystem
from forethought.planners.registry import name_of
from forethought.planners.tables.value_iteration import value_iteration
from forethought.problem import Plan, Problem, rollout
from forethought.runs.plan.control import Run
from forethought.runs.plan.kept import FORM, agree
from forethought.runs.plan.told import told
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.plain import flatten
from forethought.training.control import Episode

FILE = "episode.npz"
Restore = Callable[[Array], PyTree]
"""From what is believed, as a vector, to a state of the system."""
SHADES, LINES = 8, 24
"""At most so many iterations of a search are kept, and lines of each."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One episode and its first plan, on the host.

    The horizon is that of the planner; `time` is the number of steps that were taken.
    States are vectors, in the order of `state_names`. Where a planner has nothing of
    the kind, arrays are empty.
    """

    task: str
    summary: str
    planner: str
    execution: str
    """How the plans were executed, in words: open or closed loop."""
    state_names: list[str]
    action_names: list[str]
    dt: float
    horizon: int
    replan_every: int
    optimum: float
    """NaN where it is not known."""
    final: float
    """Discounted value of the last state."""
    low: np.ndarray
    high: np.ndarray
    states: np.ndarray
    """`[time + 1, state]`"""
    actions: np.ndarray
    """`[time, action]`"""
    rewards: np.ndarray
    """`[time]`, discounted, so that they add up."""
    alive: np.ndarray
    planned: np.ndarray
    """`[time]`, the return that the plan in force expected when it was made."""
    seconds: np.ndarray
    """`[time]`, wall time of each step."""
    results: np.ndarray
    """`[time]`, names of result codes."""
    discounts: np.ndarray
    """`[time + 1]`, the product of all discounts before each step."""
    values: np.ndarray
    """`[time + 1]`, what the objective says lies beyond each state."""
    plan_states: np.ndarray
    """`[horizon + 1, state]`: what the first plan expected."""
    plan_actions: np.ndarray
    plan_rewards: np.ndarray
    plan_final: float
    gains: np.ndarray
    """`[horizon, action, state]` of the first plan."""
    plan_stats: Stats
    """Statistics of the first plan, but for its candidates."""
    stats: dict[str, np.ndarray]
    """Small statistics of all plans by the names of `Stats`, such as `best` and
    `numbers/spread`: a leading axis of `time`."""
    fan_iterations: np.ndarray
    """`[shade]`: which iterations of the first plan's search are kept."""
    fan_states: np.ndarray
    """`[shade, line, horizon + 1, state]`: where its candidates would have led."""
    fan_actions: np.ndarray
    fan_returns: np.ndarray
    """`[shade, line]`, best first."""
    sketch: dict[str, np.ndarray]
    """`start`, `end`, `radius`, `kind` of capsules, each with `time + 1` in front."""
    table: dict[str, np.ndarray]
    """For a table: `choices`, the names of its actions; its map as `letters`, and the
    `place` of each state on it; `arrows` of the actions; values `V` and `Q` of the best
    policy. Else empty."""

    @property
    def tick(self) -> float:
        """What a step takes, as `clock` counts: steps of a table, else seconds."""
        return 1.0 if self.table else self.dt

    @property
    def clock(self) -> str:
        """What time is counted in, for axes."""
        return "step" if self.table else "time [s]"

    def times(self, count: int) -> np.ndarray:
        """The first `count` multiples of the time step, as `clock` counts them."""
        return np.arange(count) * self.tick

    @property
    def ahead(self) -> str:
        """What time from now on is counted in, for axes."""
        return "steps ahead" if self.table else "time ahead [s]"

    @property
    def value(self) -> float:
        """The realised return."""
        return float(np.sum(self.rewards) + self.final)

    @property
    def made(self) -> np.ndarray:
        """The steps at which a plan was made."""
        return np.arange(0, len(self.rewards), self.replan_every)

    @property
    def plan_rate(self) -> float:
        """Plans per second of wall time."""
        return len(self.made) / max(float(np.sum(self.seconds)), 1e-9)

    def save(self, folder: RunFolder) -> None:
        """Write `episode.npz`."""
        arrays: dict[str, np.ndarray] = {}
        for field in dataclasses.fields(self):
            arrays |= flatten_field(field.name, getattr(self, field.name))
        folder.save_arrays(FILE, arrays)

    @classmethod
    def load(cls, folder: RunFolder) -> "Record":
        """Read `episode.npz`.

        Raises:
            ValueError: It is missing, broken, or not a record.
        """
        arrays = folder.arrays(FILE, FORM)
        agree(arrays, str(folder.path / FILE))
        values: dict[str, Any] = {}
        for field in dataclasses.fields(cls):
            if field.type in (dict[str, np.ndarray], Stats):
                prefix = f"{field.name}/"
                found = {
                    name.removeprefix(prefix): array
                    for name, array in arrays.items()
                    if name.startswith(prefix)
                }
                values[field.name] = told(found) if field.type == Stats else found
                continue
            array = arrays[field.name]
            values[field.name] = (
                array.tolist() if field.type in (str, float, int, list[str]) else array
            )
        return cls(**values)


def flatten_field(name: str, value: Any) -> dict[str, np.ndarray]:
    """A record's field as arrays; a list of names stays one array of strings."""
    if isinstance(value, dict | Stats):
        return flatten(value, name)
    return {name: np.asarray(value)}


def record(run: Run) -> Record:
    """Everything there is to show of a finished run."""
    task, episode, plan = run.task, run.episode, run.first
    key = key_of(run.seed)
    fan = plan.stats.candidates
    if fan is None:
        fan = jnp.zeros((0, 0, *plan.actions.shape), plan.actions.dtype)
    # A search narrows fastest at first, so its early iterations are kept densest.
    shades = np.geomspace(1, max(len(fan), 1), SHADES).round().astype(int) - 1
    shades = np.unique(shades)[: len(fan)]
    fan = fan[shades][:, :LINES]
    restore = _same if task.wanted is None or task.restore is None else task.restore
    seen = host(
        _look(task.problem, task.objective, restore, task.system, episode, plan)
    )
    imagined = host(_imagine(task.problem, restore, plan.beliefs, fan, key=key))
    space = task.system.action
    if isinstance(space, Discrete):
        low, high = np.zeros(1), np.full(1, space.n - 1.0)
    else:
        low, high = np.asarray(space.low), np.asarray(space.high)
    steps, horizon = episode.rewards.shape[0], plan.actions.shape[0]
    chosen = np.asarray(plan.actions).reshape(horizon, -1)
    state_names = list(task.system.state_names)
    gains = None if plan.feedback is None else np.asarray(plan.feedback.gains)
    return Record(
        task=task.name,
        summary=task.summary,
        planner=name_of(run.planner),
        execution=execution(run),
        state_names=state_names,
        action_names=list(task.system.action_names),
        dt=float(task.system.dt),
        horizon=horizon,
        replan_every=run.replan_every,
        optimum=float("nan") if run.optimum is None else float(run.optimum),
        final=float(episode.final),
        low=low,
        high=high,
        actions=np.asarray(episode.actions).reshape(steps, -1),
        rewards=np.asarray(episode.rewards),
        alive=np.asarray(episode.alive),
        planned=np.asarray(episode.planned),
        seconds=np.asarray(run.seconds),
        results=names(episode.result),
        plan_actions=chosen,
        # Of a distribution the mean alone is acted on, and it comes first.
        gains=np.zeros((0, 0, 0)) if gains is None else gains[:, :, : len(state_names)],
        plan_stats=jax.tree.map(
            np.asarray, dataclasses.replace(plan.stats, candidates=None)
        ),
        stats={
            name.removeprefix("stats/"): stat
            for name, stat in flatten(episode.stats, "stats").items()
        },
        fan_iterations=shades,
        fan_actions=np.asarray(fan).reshape(*fan.shape[:3], chosen.shape[1]),
        table=_table(task.problem, task.system),
        **seen,
        **imagined,
    )


def host(arrays: PyTree) -> PyTree:
    """Device arrays as NumPy arrays, and single numbers as numbers."""
    arrays = jax.tree.map(np.asarray, arrays)
    return {
        name: value.item()
        if isinstance(value, np.ndarray) and not value.ndim
        else value
        for name, value in arrays.items()
    }


def coordinates(seen: Readout) -> Float[Array, " state"]:
    """What was read out as numbers: a state, the mean of one, or a state's number."""
    vector, _ = moments(seen.x)
    return vector if vector.size else ravel_pytree(seen.x)[0].astype(float)


def _table(problem: Problem, system: AbstractSystem) -> dict[str, np.ndarray]:
    """What there is to show of a table; nothing of other systems."""
    if not isinstance(system, TabularSystem):
        return {}
    there = system.at(0)
    gamma = float(problem.objective.judge(there, jnp.asarray(0), there)[1])
    solution = eqx.filter_jit(value_iteration)(system.table, gamma, iterations=10_000)
    return {
        "choices": np.array(system.names),
        "letters": system.map.letters,
        "place": np.asarray(system.map.place),
        "arrows": np.asarray(system.map.arrows),
        "V": np.asarray(solution.V),
        "Q": np.asarray(solution.Q),
    }


@eqx.filter_jit
def _look(
    problem: Problem,
    objective: AbstractJudge,
    restore: Restore,
    system: AbstractSystem,
    episode: Episode,
    plan: Plan,
):
    """What the episode's states are worth, look like, and were expected to be."""
    states = episode.states
    seen = jax.vmap(Readout.of)(states, jnp.arange(episode.rewards.shape[0] + 1))

    def discount(before, action, after):
        return objective.judge(before, action, after)[1]

    discounts = jnp.cumprod(jax.vmap(discount)(*_steps(seen, episode.actions)))
    sketch: Capsules = jax.vmap(system.sketch)(states)
    return {
        "states": jax.vmap(coordinates)(seen),
        "discounts": jnp.concatenate([jnp.ones_like(discounts[:1]), discounts]),
        "values": jax.vmap(objective.beyond)(seen),
        "plan_states": _path(problem, restore, plan.beliefs),
        **_expected(problem, plan),
        "sketch": {
            "start": sketch.start,
            "end": sketch.end,
            "radius": sketch.radius,
            "kind": sketch.kind,
        },
    }


def _path(
    problem: Problem, restore: Restore, beliefs: PyTree
) -> Float[Array, "time state"]:
    """The states that beliefs are about, or their means."""

    def state(belief: PyTree) -> Array:
        vector = coordinates(problem.model.readout(belief))
        return coordinates(Readout.of(restore(vector)))

    return jax.vmap(state)(beliefs)


def _same(vector: Array) -> Array:
    return vector


def _expected(problem: Problem, plan: Plan) -> dict[str, Array]:
    """What a plan expects to earn at each of its steps, and beyond them."""
    rewards, factors = jax.vmap(problem.judge)(*_steps(plan.beliefs, plan.actions))
    discounts = jnp.cumprod(factors)
    last = jax.tree.map(lambda leaf: leaf[-1], plan.beliefs)
    return {
        "plan_rewards": rewards.at[1:].multiply(discounts[:-1]),
        "plan_final": discounts[-1] * problem.value(last),
    }


def _steps(trail: PyTree, actions: Array) -> tuple[PyTree, Array, PyTree]:
    """Before, action and after of each step along a trail."""
    before = jax.tree.map(lambda leaf: leaf[:-1], trail)
    return before, actions, jax.tree.map(lambda leaf: leaf[1:], trail)


@eqx.filter_jit
def _imagine(
    problem: Problem,
    restore: Restore,
    beliefs: PyTree,
    fan: Either,
    *,
    key: PRNGKeyArray,
):
    """Where the candidates of the first plan would have led from its first belief."""
    start = jax.tree.map(lambda leaf: leaf[0], beliefs)
    size = _path(problem, restore, beliefs).shape[1]
    if fan.shape[0] == 0:
        shape = (*fan.shape[:2], fan.shape[2] + 1, size)
        return {"fan_states": jnp.zeros(shape), "fan_returns": jnp.zeros(shape[:2])}

    def imagine(actions):
        future = rollout(problem, start, actions, key=key)
        return _path(problem, restore, future.beliefs), future.value

    fan_states, fan_returns = jax.vmap(jax.vmap(imagine))(fan)
    return {"fan_states": fan_states, "fan_returns": fan_returns}


def execution(run: Run) -> str:
    """How plans were executed, in words: open or closed loop, and how often made."""
    if run.execution == "open loop":
        return "open loop: planned once, executed with closed eyes"
    if run.execution == "closed loop by feedback":
        return "closed loop: planned once, followed by its feedback gains"
    often = run.replan_every
    every = "every step" if often == 1 else f"every {often} steps"
    return f"closed loop: replanned {every}"
