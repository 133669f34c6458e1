"""Plan and act on a task: what the command line and `forethought.control` both do."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray

from forethought.agents.planning.mpc import Planning
from forethought.core.given.code import naming_the_line
from forethought.core.given.settings import Count, key_of, require
from forethought.planners import MPC, AbstractPlanner
from forethought.planners.base import looking_ahead
from forethought.planners.registry import name_of
from forethought.problem import Plan
from forethought.runs.events import Acted, Watch, unwatched
from forethought.runs.plan.first import KeepsFirst, KeptState
from forethought.runs.plan.foresight import foresee_run
from forethought.runs.plan.planning import first_belief, make_planner, start_state
from forethought.runs.store.plain import config_with
from forethought.tasks import load
from forethought.tasks.base import Task
from forethought.training import stop
from forethought.training.control import Episode, Loop, begin, closed_loop

_advance: Any = eqx.filter_jit(closed_loop)
_before: Any = eqx.filter_jit(begin)
Execution = Literal["closed loop", "closed loop by feedback", "open loop"]


@dataclasses.dataclass(frozen=True)
class Run:
    """An episode, how it was planned, and what it cost."""

    task: Task
    planner: AbstractPlanner
    execution: Execution
    replan_every: int
    seed: int
    first: Plan
    """The first plan in full, with the statistics of its search."""
    episode: Episode
    seconds: np.ndarray
    """Wall time of each step, planning and simulation together, shape `[time]`."""
    compile_seconds: float
    optimum: float | None
    """The best return of this very episode, where it is known."""
    interrupted: bool = False

    @property
    def plans(self) -> int:
        """How many plans were made."""
        return -(-len(self.seconds) // self.replan_every)

    @property
    def plan_rate(self) -> float:
        """Plans per second of wall time."""
        return self.plans / max(float(np.sum(self.seconds)), 1e-9)


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A control run that is compiled and ready to start."""

    task: Task
    planner: AbstractPlanner
    controller: MPC
    """Of the planner, whose first plan is kept."""
    execution: Execution
    steps: int
    chunk: int
    seed: int
    loop: Loop
    keys: Key[Array, " time"]
    advance: Callable[..., tuple[Loop, Episode]]
    compile_seconds: float
    optimum: float | None


@naming_the_line()
def controller_for(
    task: Task,
    planner: AbstractPlanner | None = None,
    steps: int | None = None,
    *,
    replan_every: int | None = None,
    open_loop: bool = False,
) -> tuple[MPC, int]:
    """The controller and the number of steps of a run, once all is found to fit.

    Raises:
        ValueError: A number is wrong.
        TypeError: The planner cannot work on this task.
    """
    planner = make_planner(task, planner)
    steps = task.steps if steps is None else steps
    require("Control", Count, steps=steps)
    if open_loop:
        if replan_every is not None:
            raise ValueError(
                "Open loop plans once, so it takes no replan_every, got "
                f"{replan_every}."
            )
        planner = looking_ahead(planner, steps)
        controller = MPC(planner, steps, feedback=False)
    else:
        every = task.replan_every if replan_every is None else replan_every
        if replan_every is None:
            every = min(every, planner.horizon)
        controller = MPC(planner, every)

    def begun(key: PRNGKeyArray) -> Any:
        belief = first_belief(task, task.system.start(key=key), key=key)
        return controller.init(task.problem, belief, key=key)

    eqx.filter_eval_shape(begun, jax.random.key(0))
    foresee_run(task, controller, steps)
    return controller, steps


@naming_the_line()
def prepare(
    task: Task,
    planner: AbstractPlanner | None = None,
    *,
    steps: int | None = None,
    seed: int = 0,
    start: Any = None,
    replan_every: int | None = None,
    open_loop: bool = False,
    chunk: int | None = None,
) -> Prepared:
    """Check everything that `control` needs, and compile it.

    Raises:
        ValueError: A number, the start state or the planner's settings are wrong.
        TypeError: The planner cannot work on this task.
    """
    controller, steps = controller_for(
        task, planner, steps, replan_every=replan_every, open_loop=open_loop
    )
    planner = controller.planner
    controller = dataclasses.replace(controller, planner=KeepsFirst(planner))
    loop, keys = _begin(task, controller, start, seed, steps)
    chunk = steps if chunk is None else _divisor(steps, chunk)

    began = time.perf_counter()
    agent = Planning(task.problem, controller)
    lowered = _advance.lower(
        agent, task.plant, loop, keys=keys[:chunk], wanted=task.wanted
    )
    advance = lowered.compile()
    seconds = time.perf_counter() - began
    execution: Execution = "closed loop"
    if open_loop:
        execution = "open loop"
    elif controller.replan_every >= steps:
        plan = loop.scene.carry.controller.plan
        gains = plan is not None and plan.feedback is not None
        execution = "closed loop by feedback" if gains else "open loop"
    return Prepared(
        task,
        planner,
        controller,
        execution,
        steps,
        chunk,
        seed,
        loop,
        keys,
        advance,
        seconds,
        task.optimum if steps == task.steps and start is None else None,
    )


def _begin(
    task: Task, controller: MPC, start: Any, seed: int, steps: int
) -> tuple[Loop, Key[Array, " time"]]:
    """The loop before its first step, and a key for each step."""
    start_key, begin_key, key = jax.random.split(key_of(seed), 3)
    state = start_state(task, start, key=start_key)
    agent = Planning(task.problem, controller)
    loop = _before(agent, task.plant, state, key=begin_key)
    return loop, jax.random.split(key, steps)


def reseed(prepared: Prepared, seed: int) -> Prepared:
    """The same run from another seed, without compiling again."""
    loop, keys = _begin(prepared.task, prepared.controller, None, seed, prepared.steps)
    return dataclasses.replace(prepared, seed=seed, loop=loop, keys=keys)


def execute(prepared: Prepared, watch: Watch = unwatched) -> Run:
    """Run what was prepared; Ctrl-C ends it early with what happened so far.

    Args:
        prepared: From `prepare`.
        watch: Called after each chunk with its part of the episode.
    """
    task, loop = prepared.task, prepared.loop
    pieces: list[Episode] = []
    seconds: list[np.ndarray] = []
    interrupted = False
    try:
        for i in range(0, prepared.steps, prepared.chunk):
            stop.look()
            began = time.perf_counter()
            loop, piece = prepared.advance(
                Planning(task.problem, prepared.controller),
                task.plant,
                loop,
                keys=prepared.keys[i : i + prepared.chunk],
                wanted=task.wanted,
            )
            jax.block_until_ready(piece)
            spent = time.perf_counter() - began
            pieces.append(piece)
            seconds.append(np.full(prepared.chunk, spent / prepared.chunk))
            watch(Acted(piece, seconds[-1]))
    except KeyboardInterrupt:
        if not pieces:
            raise
        interrupted = True
    kept: KeptState = loop.scene.carry.controller.planner
    return Run(
        task,
        prepared.planner,
        prepared.execution,
        prepared.controller.replan_every,
        prepared.seed,
        kept.first,
        join(pieces),
        np.concatenate(seconds),
        prepared.compile_seconds,
        prepared.optimum,
        interrupted,
    )


def control(
    task: Task | str,
    planner: AbstractPlanner | str | None = None,
    *,
    steps: int | None = None,
    seed: int = 0,
    start: Any = None,
    replan_every: int | None = None,
    open_loop: bool = False,
    **settings: Any,
) -> Run:
    """Act on a task by planning.

    Args:
        task: What to control, or its name.
        planner: Any planner, or its name, then with the settings that suit the task; by
            default one that can.
        steps: Length of the episode; by default the task's.
        seed: Of the start state, the planner's draws and the system's noise.
        start: The state to begin in; by default the task's own.
        replan_every: Steps between plans; by default the task's.
        open_loop: Plan once for the whole episode, and act with closed eyes.
        **settings: Of the planner by name, such as `population=200`; the setting
            `open_loop` of tree search is that of `MCTS(open_loop=True)` alone.

    Returns:
        The episode, the first plan in full, and the wall time of each step.

    Raises:
        ValueError: There is no such task, planner or setting; or a number, the start
            state or a setting is wrong.
        TypeError: The planner cannot work on this task.
    """
    task = load(task)
    return execute(
        prepare(
            task,
            make_planner(task, planner, **settings),
            steps=steps,
            seed=seed,
            start=start,
            replan_every=replan_every,
            open_loop=open_loop,
        )
    )


def config_of(
    task: Task,
    planner: AbstractPlanner,
    options: Any,
    command: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Everything that the `config.json` of a run says."""
    return config_with("plan", task.name, name_of(planner), planner, options, command)


def join(pieces: list[Episode]) -> Episode:
    """Consecutive pieces of one episode as a whole."""
    states = jax.tree.map(
        lambda *leaves: jnp.concatenate(
            [leaves[0], *(leaf[1:] for leaf in leaves[1:])]
        ),
        *(piece.states for piece in pieces),
    )
    joined = {
        name: jax.tree.map(
            lambda *leaves: jnp.concatenate(leaves),
            *(getattr(piece, name) for piece in pieces),
        )
        for name in ("actions", "rewards", "alive", "planned", "result", "stats")
    }
    return Episode(states=states, final=pieces[-1].final, **joined)


def _divisor(steps: int, at_most: int) -> int:
    """The largest divisor of `steps` that is no larger than `at_most`."""
    return next(n for n in range(min(steps, at_most), 0, -1) if steps % n == 0)
