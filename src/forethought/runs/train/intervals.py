"""A training run that cannot be lost: interval by interval, each one on the disk.

An interval ends whenever a duty is due that is not done inside the loop of acting, and
as often besides as the run says; for an agent whose duties are all inside, that is
after each episode unless told otherwise. After each interval the metrics grow by a line
and everything that the run carries is saved, so that a run that was killed goes on from
its last interval and ends with the same lines as one that never was.
"""

import math
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree

from forethought.agents.base import Duty, Metrics
from forethought.core.given.settings import key_of
from forethought.environments.base import AbstractEnvironment
from forethought.runs.events import Line, Row, Watch, unwatched
from forethought.runs.store import checkpoint
from forethought.runs.store.folder import RunFolder
from forethought.runs.train.cards import write_card
from forethought.runs.train.saving import Saving, load_learner
from forethought.runs.train.settings import Learning
from forethought.training import stop
from forethought.training.duties import Mark, times_due
from forethought.training.evaluate import (
    Evaluated,
    evaluate,
    evaluate_host_told,
    evaluate_told,
)
from forethought.training.host_loop import HostTraining
from forethought.training.loop import Trace, Training, TrainState

EVALUATION = 0xE7A1
"""Sets the random stream of evaluation episodes apart from that of training."""


def learn(
    run: Learning,
    folder: RunFolder,
    *,
    resume: bool = False,
    watch: Watch = unwatched,
) -> tuple[TrainState, tuple[str, ...]]:
    """Train, writing a line of metrics and a checkpoint after each interval.

    | in a line | is |
    |---|---|
    | `interval`, `step`, `episode` | the number of each that was reached |
    | `kind` | of the actions: random or planned |
    | `return` | the mean over episodes that ended here; null where none did |
    | `episodes`, `returns`, `ends` | how many ended, what each earned, at which step |
    | `lengths` | how many steps each of them had |
    | `evaluation`, `evaluation_std` | mean and spread over episodes apart |
    | `success` | the share of these that were one, where the task can tell |
    | `seconds`, `cpu` | wall time of all of it, and that of all cores together |

    and what the agent told: while acting, the means of real numbers (where finite) and
    the sums of counts; while learning, as well; of evaluations the means over episodes
    (`AbstractAgent.hindsight`). In between, a model is examined on what
    it has not learned yet (`forethought.training.forecasts`).

    Args:
        run: What to do.
        folder: Where it is kept.
        resume: Whether to go on from the newest usable checkpoint. A run that was
            stopped before it had one begins anew, which leads to the same lines.
        watch: Called with each line of metrics.

    Returns:
        Where training ended, and sentences about checkpoints that were passed over
        and environments that could not be brought back.

    Raises:
        ValueError: All checkpoints are damaged, or do not fit what is to be run.
        FloatingPointError: A reward or an observation is not finite, or learning broke
            down; the message names the step and the environment, or the update. What
            was saved before stays usable.
        OSError: Nothing can be written. What was saved before stays usable.
    """
    training = run.training
    state = training.begin(key=key_of(run.seed))
    interval, episodes, notices, begun = 0, 0, (), [0] * run.count
    saving = Saving(folder.path, training.replay)
    if resume and checkpoint.any_finished(folder.path):
        found = saving.load(state)
        interval, begun = found.interval, found.host["begun"]
        state, lost = training.resume(found.state)
        episodes, notices = int(state.flow.episodes), (*found.notices, *lost)
    if resume:
        folder.keep_metrics(interval)

    while (step := int(state.flow.step)) < run.total_steps:
        stop.look()
        began, began_cpu = time.perf_counter(), time.process_time()
        interval += 1
        random = step < run.first_steps
        state, trace = _collect(training, state, **_stretch(run, step, episodes))
        trace = trace.taken()
        _require_sound(run, state)
        _require_finite(run.name, trace, step // run.count)
        before, now = episodes, int(state.flow.step)
        ends, lengths, begun = _ends(trace, step, run.count, begun)
        episodes = int(state.flow.episodes)
        card = write_card(
            folder,
            training.agent,
            state,
            interval=interval,
            new=now - step,
            seed=run.seed,
            count=run.count,
            names=run.observed,
        )
        told: Row = {}
        for duty in run.outside:
            rounds = []
            for _ in range(_updates(run, duty, (step, before), (now, episodes))):
                state, metrics = training.perform(state, duty)
                rounds.append(metrics)
            told |= _learning(rounds)
        _require_sound(run, state)
        returns = [value for _, value in ends]
        row: Row = {
            "interval": interval,
            "step": now,
            "episode": episodes,
            "kind": "random" if random else "planned",
            "return": float(np.mean(returns)) if returns else None,
            "episodes": len(ends),
            "returns": returns,
            "ends": [end for end, _ in ends],
            "lengths": lengths,
        }
        if run.evaluate is not None and run.evaluate.due(
            steps=now, episodes=episodes
        ) > run.evaluate.due(steps=step, episodes=before):
            key = jax.random.fold_in(key_of(run.seed), EVALUATION)
            key = jax.random.fold_in(key, interval)
            found = _evaluated(run, state.learner, run.evaluate_episodes, key)
            row["evaluation"] = _number(np.mean(found.returns))
            row["evaluation_std"] = _number(np.std(found.returns))
            if found.success is not None:
                row["success"] = float(np.mean(found.success))
            row |= _acting(found.told)
        row |= _acting(trace.watched) | _acting(trace.learned)
        row |= told | card
        row["seconds"] = time.perf_counter() - began
        row["cpu"] = time.process_time() - began_cpu
        folder.append(row, flush=True)  # a checkpoint never knows more lines
        saving.save(interval, state, {"begun": begun})
        watch(Line(row))
    return state, notices


def pace(run: Learning) -> float:
    """Seconds of a step in the loop, with what is learned in it: a measurement.

    It is taken in the first interval of the run, which is thrown away, as if the agent
    had begun to learn.
    """
    training = run.training
    first = max((duty.begin for duty in run.duties), default=0)
    begun = jnp.asarray(first, jnp.int32)

    def begin() -> TrainState:
        state = training.begin(key=key_of(run.seed))
        return eqx.tree_at(lambda state: state.flow.step, state, begun)

    state = begin()
    stretch = _stretch(run, max(0, run.first_steps), 0)
    few = {"limit": jnp.asarray(1, jnp.int32)}
    jax.block_until_ready(_collect(training, state, **stretch | few))
    if isinstance(training, HostTraining):
        state, few = begin(), {"limit": 50}
    else:
        few = {}
    began = time.perf_counter()
    _, trace = jax.block_until_ready(_collect(training, state, **stretch | few))
    return (time.perf_counter() - began) / max(1, int(trace.steps) * run.count)


def score(
    run: Learning, folder: RunFolder, *, episodes: int, seed: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Returns of evaluation episodes with what a run has learned so far.

    Raises:
        ValueError: There is no usable checkpoint, or episodes have no length.
    """
    like = run.training.begin(key=key_of(run.seed))
    found = load_learner(folder.path, like)
    key = key_of(seed)
    returns = _evaluated(run, found.tree.learner, episodes, key).returns
    return np.asarray(returns), found.notices


def _collect(
    training: Training | HostTraining, state: TrainState, **stretch: Any
) -> tuple[TrainState, Trace]:
    """Collect, compiled where it can be: once for all runs of equal settings."""
    if isinstance(training, HostTraining):
        return training.collect(state, **stretch)
    return _compiled_collect(training, state, stretch)


@eqx.filter_jit
def _compiled_collect(
    training: Training, state: TrainState, stretch: dict[str, Any]
) -> tuple[TrainState, Trace]:
    return training.collect(state, **stretch)


compiled_evaluate = eqx.filter_jit(evaluate)
_compiled_told = eqx.filter_jit(evaluate_told)


def _stretch(run: Learning, step: int, episodes: int) -> dict[str, Any]:
    """How to collect until it is time to learn.

    Only sizes are static, and these are the same in every interval; where it stops is
    data, so that nothing is compiled again.
    """

    def rounds(steps: int) -> int:
        return -(-steps // run.count)

    def data(number: int) -> jax.Array:
        return jnp.asarray(number, jnp.int32)

    if step < run.first_steps:
        size = rounds(run.first_steps)
        return {"steps": size, "random": True, "limit": data(size)}
    limits, ends = [rounds(run.total_steps - step)], []
    for clock in run.clocks:
        wait = clock.wait(steps=step, episodes=episodes)
        if clock.unit == "episodes":
            ends.append(wait)
        else:
            limits.append(rounds(wait))
    size = {"steps": run.interval_steps, "limit": data(min(limits))}
    return size | ({"episodes": data(min(ends))} if ends else {})


def _updates(run: Learning, duty: Duty, before: Mark, now: Mark) -> int:
    """How often to do a duty once an interval is over.

    What was due more than once is done once, unless it is counted by a ratio. After
    random steps, and at the end of the run, everything is done at least once, unless it
    has not begun by then, or ends before the run does.
    """
    number = int(times_due(duty, before, now))
    if duty.every.unit != "ratio":
        number = min(number, duty.times)
    until = math.inf if duty.until is None else duty.until
    at_first = before[0] < run.first_steps and duty.begin <= now[0] <= until
    at_last = now[0] >= run.total_steps > duty.begin and duty.until is None
    return max(number, duty.times) if at_first or at_last else number


def _ends(
    trace: Trace, step: int, count: int, begun: list[int]
) -> tuple[list[tuple[int, float]], list[int], list[int]]:
    """Episodes that ended.

    Args:
        trace: What happened.
        step: Environment steps before it.
        count: Environments that were acted in side by side.
        begun: Steps that each had done when its episode began.

    Returns:
        The step at which each episode ended and what it had earned; how many steps it
        had; and where the episodes that are under way now began.
    """
    rows, copies = np.nonzero(np.asarray(trace.ended))
    earned = np.asarray(trace.episode_returns)[rows, copies]
    steps = step + (rows + 1) * count
    begun, lengths = list(begun), []
    for end, copy in zip((steps // count).tolist(), copies, strict=True):
        lengths.append(end - begun[copy])
        begun[copy] = end
    ends = [(int(end), float(value)) for end, value in zip(steps, earned, strict=True)]
    return ends, lengths, begun


def _evaluated(
    run: Learning, learner: PyTree, episodes: int, key: PRNGKeyArray
) -> Evaluated:
    """Episodes apart, and all that there is to tell of them."""
    agent, environment = run.training.agent, run.apart
    how = {"episodes": episodes, "key": key}
    if isinstance(environment, AbstractEnvironment):
        success = None if run.task is None else run.task.success
        return _compiled_told(agent, environment, learner, success, **how)
    return evaluate_host_told(agent, environment, learner, **how)


def _acting(watched: Metrics) -> Row:
    """What the agent told step by step: counts add up, real numbers are averaged."""
    row: Row = {}
    for name, leaf in watched.items():
        values = np.asarray(leaf)
        if values.dtype.kind == "f":
            finite = values[np.isfinite(values)]
            row[name] = float(np.mean(finite)) if finite.size else None
        else:
            row[name] = int(np.sum(values))
    return row


def _learning(told: list[Metrics]) -> Row:
    """What the agent told while learning: means, over members and updates too.

    A single whole number is a count, and counts add up.
    """
    row: Row = {}
    for name in told[-1] if told else ():
        values = [np.asarray(each[name]) for each in told]
        if values[-1].ndim == 0 and values[-1].dtype.kind in "iu":
            row[name] = int(np.sum(values))
        elif values[-1].ndim <= 1:
            row[name] = _number(np.mean([np.mean(each) for each in values]))
    return row


def _number(value: Any) -> float | None:
    """A number as JSON can hold it."""
    return float(value) if np.isfinite(value) else None


def _require_sound(run: Learning, state: TrainState) -> None:
    """Refuse to go on with what was not learned."""
    fault = run.training.agent.broken(state.learner)
    if fault is not None:
        raise FloatingPointError(
            f"Training on {run.name} stopped before step {int(state.flow.step)}: "
            f"{fault}. What was saved before stays usable."
        )


def _require_finite(name: str, trace: Trace, before: int) -> None:
    """Refuse to learn from what is no number."""
    finite = np.asarray(trace.finite)
    if not finite.all():
        row, copy = np.argwhere(~finite)[0]
        raise FloatingPointError(
            f"{name} gave a reward or an observation that is not finite, in "
            f"environment {copy} at step {before + row + 1}."
        )
