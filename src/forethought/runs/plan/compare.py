"""Several planners on one task: what each earned, how long it thought, what it asked.

A task that is planned once is followed from its start to its end under that plan, so
that the gap to a known optimum is the planner's own; its progress from iteration to
iteration is kept. A task that is planned again and again is controlled as always, and
times are those of a plan on the way.
"""

import collections
import dataclasses
import time
from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, PRNGKeyArray, PyTree

from forethought.agents.planning.mpc import Planning
from forethought.core.given.code import naming_the_line
from forethought.core.given.settings import key_of
from forethought.core.results import Stats, name_of, names
from forethought.environments.plant import AbstractPlant
from forethought.models.around.counted import Counted, Tally
from forethought.objectives.constrained import Constrained
from forethought.planners import MPC, AbstractPlanner
from forethought.planners.around.optimality import along
from forethought.planners.registry import name_of as label
from forethought.problem import Plan, Problem
from forethought.runs.events import Scored, Watch, unwatched
from forethought.runs.plan.control import (
    Execution,
    controller_for,
    execute,
    prepare,
    reseed,
)
from forethought.runs.plan.planning import (
    first_belief,
    make_planner,
    plan_from,
    start_state,
)
from forethought.runs.plan.replanning import Worth, worth_of_looking
from forethought.tasks import load
from forethought.tasks.base import Task
from forethought.training import stop
from forethought.training.control import Episode, begin, closed_loop

COUNTED = 100
"""Predictions of so many iterations are counted, which takes a call of the host for
each; where a plan took more, their number is that in proportion."""
LONG, REPEATS = 0.3, 9
"""A plan is timed until so many seconds are spent, at most so often; the fastest
counts, because what else a machine does can only slow it."""


@dataclasses.dataclass(frozen=True)
class Score:
    """One planner's episodes on a task, one for each seed."""

    task: str
    planner: str
    optimum: float | None
    """The best return of these very episodes, where it is known."""
    execution: Execution | None = None
    replan_every: int = 0
    returns: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    """Shape `[seed]`."""
    plan_seconds: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0))
    """Wall time of one plan, shape `[seed]`."""
    iterations: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, int))
    """Of the first plan, shape `[seed]`."""
    results: dict[str, int] = dataclasses.field(default_factory=dict)
    """Result codes: of each plan, or of each step where plans follow each other."""
    progress: tuple[np.ndarray, ...] = ()
    """Best return after each iteration, one array a seed; of tasks planned once."""
    evaluations: int | None = None
    """Predictions of the model in the first plan; None where they were not counted, in
    proportion beyond `COUNTED` iterations."""
    linearisations: int | None = None
    """Predictions with derivatives."""
    violation: np.ndarray | None = None
    """By how much an episode broke the worst constraint, shape `[seed]`; None where
    there are none."""
    kkt: np.ndarray | None = None
    """By how much the first plan misses a condition of an optimum under constraints,
    shape `[seed]`; None where its planner does not know constraints."""
    looking: Worth | None = None
    """What plans are worth with closed eyes and with open ones; None where the task is
    not random, so that this is the same."""
    compile_seconds: float = 0.0
    refusal: str = ""
    """Why the planner cannot work on the task, where it cannot."""


def compare(
    task: Task | str | Sequence[Task | str],
    planners: Mapping[str, AbstractPlanner | str] | Sequence[AbstractPlanner | str],
    *,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int | None = None,
    futures: int = 50,
    count: bool = True,
    watch: Watch = unwatched,
) -> list[Score]:
    """Let each planner act on a task, or on several, under the same seeds.

    Args:
        task: What to control, or its name; or several.
        planners: Planners, or their names, then with the settings that suit the task;
            as a mapping where other names are to be shown.
        seeds: One episode each; start states and noise are the same for all planners.
        steps: Length of an episode; by default the task's.
        futures: On a random task, episodes of an open-loop plan and of replanning at
            every step, both from the start state of the first seed; 0 for none.
        count: Whether to plan once more under a model that counts its predictions.
        watch: Called as each planner is done.

    Returns:
        One score for each planner, in their order, task by task; that of a planner
        which cannot work on a task holds the reason.

    Raises:
        ValueError: There is no such task or planner; a setting is wrong; there is no
            seed or planner; or two planners have one name.
    """
    if not seeds:
        raise ValueError("A comparison needs at least one seed, got none.")
    if not planners:
        raise ValueError("A comparison needs at least one planner, got none.")
    tasks = [task] if isinstance(task, Task | str) else task
    named = planners if isinstance(planners, Mapping) else _by_name(planners)
    contests = [
        (each, name, make_planner(each, planner))
        for each in map(load, tasks)
        for name, planner in named.items()
    ]
    scores = []
    for each, name, planner in contests:
        stop.look()
        score = Score(each.name, name, None if steps else each.optimum)
        try:
            with naming_the_line():
                score = _measured(score, each, planner, seeds, steps, futures, count)
        except TypeError as refusal:
            score = dataclasses.replace(score, refusal=" ".join(str(refusal).split()))
        scores.append(score)
        watch(Scored(score))
    return scores


def _by_name(
    planners: Sequence[AbstractPlanner | str],
) -> dict[str, AbstractPlanner | str]:
    """Planners under the names that they have at the command line."""
    listed = [planners] if isinstance(planners, str) else list(planners)
    labels = [each if isinstance(each, str) else label(each) for each in listed]
    twice = next((each for each in labels if labels.count(each) > 1), None)
    if twice is not None:
        raise ValueError(
            f"A comparison needs a name of its own for each planner, got {twice!r} "
            "twice: give them as a dictionary from names to planners."
        )
    return dict(zip(labels, listed, strict=True))


def _measured(
    score: Score,
    task: Task,
    planner: AbstractPlanner,
    seeds: Sequence[int],
    steps: int | None,
    futures: int,
    count: bool,
) -> Score:
    """All that a planner's score says."""
    controller, length = controller_for(task, planner, steps)
    once = controller.replan_every >= length
    measure = _planned_once if once else _controlled
    score = measure(score, task, planner, seeds, length)
    if futures:
        looking = worth_of_looking(
            task, planner, steps=steps, seed=seeds[0], episodes=futures
        )
        score = dataclasses.replace(score, looking=looking)
    if count:
        part, times = _countable(planner, int(score.iterations[0]))
        tally = counted(task, part, seed=seeds[0])
        if tally is not None:
            score = dataclasses.replace(
                score,
                evaluations=round(times * tally.evaluations),
                linearisations=round(times * tally.linearisations),
            )
    return score


def _controlled(
    score: Score,
    task: Task,
    planner: AbstractPlanner,
    seeds: Sequence[int],
    steps: int,
) -> Score:
    """Episodes in which plans follow each other."""
    prepared = prepare(task, planner, steps=steps, seed=seeds[0])
    runs = [execute(reseed(prepared, seed)) for seed in seeds]
    codes = np.concatenate([names(run.episode.result) for run in runs])
    return dataclasses.replace(
        score,
        execution=prepared.execution,
        replan_every=prepared.controller.replan_every,
        returns=np.array([float(run.episode.value) for run in runs]),
        violation=_violations(task.problem, [run.episode for run in runs]),
        kkt=_residuals([run.first for run in runs]),
        plan_seconds=np.array([1 / run.plan_rate for run in runs]),
        iterations=np.array([iterations(run.first) for run in runs]),
        results=dict(collections.Counter(codes.tolist())),
        compile_seconds=prepared.compile_seconds,
    )


def _planned_once(
    score: Score,
    task: Task,
    planner: AbstractPlanner,
    seeds: Sequence[int],
    steps: int,
) -> Score:
    """Episodes that follow a single plan, which is timed alone."""
    plans, seconds, episodes = [], [], []
    compile_seconds = 0.0
    for seed in seeds:
        stop.look()
        start_key, plan_key, key = jax.random.split(key_of(seed), 3)
        start = start_state(task, None, key=start_key)
        plan, spent = _timed(planner, task, start, key=plan_key)
        if not plans:  # it was compiled, too
            compile_seconds = spent
        timed: list[float] = []
        while not timed or (sum(timed) < LONG and len(timed) < REPEATS):
            plan, spent = _timed(planner, task, start, key=plan_key)
            timed.append(spent)
        plans.append(plan)
        seconds.append(min(timed))
        episodes.append(follow(task, plan, start, steps, key=key))
    gains = plans[0].feedback is not None
    codes = collections.Counter(name_of(plan.result) for plan in plans)
    return dataclasses.replace(
        score,
        execution="closed loop by feedback" if gains else "open loop",
        replan_every=steps,
        returns=np.array([float(episode.value) for episode in episodes]),
        violation=_violations(task.problem, episodes),
        kkt=_residuals(plans),
        plan_seconds=np.array(seconds),
        iterations=np.array([iterations(plan) for plan in plans]),
        results=dict(codes),
        progress=tuple(progress(plan) for plan in plans),
        compile_seconds=compile_seconds,
    )


def _violations(problem: Problem, episodes: Sequence[Episode]) -> np.ndarray | None:
    """How far each episode broke constraints, where there are some."""
    if not isinstance(problem.objective, Constrained):
        return None
    found = [along(problem, each.states, each.actions) for each in episodes]
    return np.array([float(each.violation) for each in found])


def _residuals(plans: Sequence[Plan]) -> np.ndarray | None:
    """How far plans are from an optimum, where their planner looked."""
    found = [plan.stats.kkt for plan in plans if plan.stats.kkt is not None]
    return np.array([float(each) for each in found]) if found else None


def _timed(
    planner: AbstractPlanner, task: Task, start: PyTree, *, key: PRNGKeyArray
) -> tuple[Plan, float]:
    """A plan, and the wall seconds it took."""
    belief = first_belief(task, start, key=key)
    began = time.perf_counter()
    plan = plan_from(planner, task.problem, belief, key=key)
    jax.block_until_ready(plan)
    return plan, time.perf_counter() - began


class _Given(AbstractPlanner[None]):
    """A planner whose plan was made before."""

    horizon: int = eqx.field(static=True)
    given: Plan

    def init(
        self,
        problem: Problem,
        belief: PyTree,
        actions: Array | None = None,
        *,
        key: PRNGKeyArray,
    ) -> None:
        """Nothing is remembered."""

    def plan(
        self, problem: Problem, belief: PyTree, state: None, *, key: PRNGKeyArray
    ) -> tuple[Plan, None]:
        """What was given."""
        return self.given, None

    def shift(self, problem: Problem, state: None) -> None:
        """Nothing is remembered."""


@eqx.filter_jit
def _follow(
    agent: Planning, plant: AbstractPlant, state: PyTree, keys: PyTree
) -> Episode:
    loop = begin(agent, plant, state, key=keys[0])
    return closed_loop(agent, plant, loop, keys=keys)[1]


def follow(
    task: Task, plan: Plan, start: PyTree, steps: int, *, key: PRNGKeyArray
) -> Episode:
    """What happens where a plan is followed on a task, by its gains if it has some.

    Args:
        task: Whose system is acted in.
        plan: For `steps` steps or more.
        start: Where to begin.
        steps: How many actions to take.
        key: Consumed by a system that is random.
    """
    bare = eqx.tree_at(lambda plan: plan.stats, plan, Stats())
    controller = MPC(_Given(plan.actions.shape[0], bare), steps)
    keys = jax.random.split(key, steps)
    return _follow(Planning(task.problem, controller), task.plant, start, keys)


def _countable(planner: Any, iterations: int) -> tuple[AbstractPlanner, float]:
    """A planner that stops after what can be counted, and how often that fits in."""
    fields = {field.name for field in dataclasses.fields(planner)}
    if iterations <= COUNTED or "iterations" not in fields:
        return planner, 1.0
    return dataclasses.replace(planner, iterations=COUNTED), iterations / COUNTED


def counted(task: Task, planner: AbstractPlanner, *, seed: int = 0) -> Tally | None:
    """How often the first plan from a task's start asks the model.

    Args:
        task: What is planned for.
        planner: Who plans.
        seed: Of the start state and of the planner's draws.

    Returns:
        The tally, or None for a planner that does not work with a model that counts:
        it reads the model's matrices instead of asking it, or takes derivatives of
        second order, which a model that calls the host does not have.
    """
    tally = Tally()
    model = Counted(task.problem.model, tally)
    problem = eqx.tree_at(lambda problem: problem.model, task.problem, model)
    start_key, plan_key, _ = jax.random.split(key_of(seed), 3)
    start = start_state(task, None, key=start_key)
    belief = first_belief(task, start, key=start_key)
    try:
        jax.block_until_ready(plan_from(planner, problem, belief, key=plan_key))
    except (TypeError, ValueError):
        return None
    jax.effects_barrier()
    return tally


def iterations(plan: Plan) -> int:
    """How many iterations a plan took, or rounds; one where its planner has none."""
    count = plan.stats.iterations
    return len(_best(plan)) if count is None else int(count)


def progress(plan: Plan) -> np.ndarray:
    """The best return after each iteration of a plan, ending with the plan's own."""
    best = _best(plan)[: max(iterations(plan), 1)]
    best = np.maximum.accumulate(np.where(np.isfinite(best), best, -np.inf))
    best[-1] = float(plan.value)
    return best


def _best(plan: Plan) -> np.ndarray:
    """What the statistics say of the best return, one number an iteration."""
    best = plan.stats.best
    return np.array([plan.value if best is None else best], float).ravel()
