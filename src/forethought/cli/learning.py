"""The commands that learn: `train`, `resume`, `evaluate`."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from forethought.cli.options import (
    EvaluateOptions,
    Evaluating,
    IntervalEvery,
    LearningEvery,
    TrainArguments,
    TrainOptions,
)
from forethought.cli.parse import (
    BadInput,
    alone,
    bad_input,
    environment_settings,
    failed,
    parse,
    subject,
    told,
)
from forethought.cli.setup import set_up
from forethought.core.words import spread, visible
from forethought.training.stop import INTERRUPTED

TARGET = "TASK_OR_GYM_ID"
DOUBLE = ("pilco",)
"""Agents that learn in 64 bits unless told otherwise."""
NEWEST = 40
"""So many returns are shown at the end, at most."""


def train_command(arguments: list[str]) -> int:
    """Learn to act on a task or in a Gymnasium environment."""
    name, rest = subject("train", TARGET, TrainOptions, arguments)
    options, learning = read_training(name, rest)
    from forethought.runs.store.folder import RunFolder
    from forethought.runs.train import trained
    from forethought.runs.train.config import config_of

    with bad_input():
        path = trained.new_folder(learning) if options.out is None else options.out
        command = ["forethought", "train", *arguments]
        config = config_of(learning, command)
        folder = RunFolder.create(path, config, overwrite=options.overwrite)
    return learn_in(learning, folder, options, resume=False)


def resume_command(arguments: list[str]) -> int:
    """Go on with a training run."""
    path, rest = subject(
        "resume",
        "DIR",
        TrainOptions,
        arguments,
        description="Go on with a training run, with its own settings.\n\n"
        "Flags of train that say otherwise are refused, --tensorboard excepted.",
    )
    learning, folder, options = _reopen("resume", path, rest)
    learning = _with_teachers(learning)
    if folder.has("tensorboard"):
        options = dataclasses.replace(options, tensorboard=True)
    return learn_in(learning, folder, options, resume=True)


def _with_teachers(learning: Any) -> Any:
    """A run of `distill` goes on with those who teach; every other one as it is."""
    from forethought.agents.registry import STUDENTS, name_of

    if name_of(learning.settings) not in STUDENTS:
        return learning
    from forethought.runs.distill import again

    with bad_input():
        return again(learning)


def evaluate_command(arguments: list[str]) -> int:
    """Let a trained agent act."""
    path, rest = subject("evaluate", "DIR", EvaluateOptions, arguments)
    options: EvaluateOptions = parse(EvaluateOptions, "evaluate DIR", rest)
    learning, folder, _ = _reopen("evaluate", path, [])
    from forethought.runs.train.intervals import score

    with bad_input():
        try:
            returns, notices = score(
                learning, folder, episodes=options.episodes, seed=options.seed
            )
        except KeyboardInterrupt:
            print("interrupted; the run is as it was")
            return INTERRUPTED
    for notice in notices:
        print(visible(notice))
    shown = ", ".join(f"{value:.4g}" for value in returns)
    print(f"returns  {shown}")
    print(f"mean     {spread(float(np.mean(returns)), float(np.std(returns)))}")
    return 0


def read_training(
    name: str, rest: list[str], kept: Any = None
) -> tuple[TrainOptions, Any]:
    """Options and run of a `train` command.

    Args:
        name: Of the task or the Gymnasium environment.
        rest: Flags.
        kept: A `Learning` in the place of defaults, of the precision that is set.
    """
    env, rest = environment_settings(rest)
    env = {**({} if kept is None else kept.env), **env}
    precision = told(rest, "--precision")
    options = TrainOptions() if kept is None else _options(kept)
    agent = told(rest, "--agent") or options.agent
    if kept is None and precision is None and agent in DOUBLE:
        options = dataclasses.replace(options, precision=64)
    set_up(int(precision) if precision in ("32", "64") else options.precision)
    from forethought.agents.base import Brief
    from forethought.agents.registry import name_of, planner_of, recipe_in
    from forethought.core.given.settings import hints_of
    from forethought.planners.registry import entry_of
    from forethought.runs.store.log import summary_writer
    from forethought.runs.train.config import with_model, with_planner
    from forethought.runs.train.defaults import settings_for
    from forethought.runs.train.settings import Learning, check

    agent, planner = told(rest, "--agent"), told(rest, "--planner")
    model = told(rest, "--model")
    with bad_input():
        if kept is not None and agent in (None, options.agent):
            settings = kept.settings
        else:
            settings = settings_for(name, agent or options.agent, env=env)
        if planner is not None:
            entry_of(planner)
            if planner_of(settings) is None:
                raise ValueError(
                    f"{name_of(settings)} plans without any planner, got "
                    f"--planner {planner}."
                )
            settings = with_planner(settings, planner)
        if model is not None:
            if recipe_in(settings) is None:
                raise ValueError(
                    f"{name_of(settings)} learns no model of this kind, got "
                    f"--model {model}."
                )
            settings = with_model(settings, model)
    kind: Any = type(settings)
    if whose := getattr(kind, "__parameters__", ()):
        parts = {
            hint: type(getattr(settings, field))
            for field, hint in hints_of(kind).items()
            if hint in whose
        }
        kind = kind[tuple(parts[each] for each in whose)]
    form: Any = TrainArguments[kind]
    default = TrainArguments(options, settings)
    read: TrainArguments = parse(form, f"train {TARGET}", rest, default=default)
    options, settings = read.options, read.agent
    with bad_input():
        usual = settings.make(Brief()).duties[0].every.unit
        learning = Learning(
            name,
            settings,
            steps=options.steps,
            seed=options.seed,
            learn=options.learn.schedule(usual),
            interval=options.interval.schedule,
            random_steps=options.random_steps,
            evaluate=options.evaluate.schedule,
            evaluate_episodes=options.evaluate_episodes,
            count=options.count,
            env=env,
        )
        check(learning)
        if options.tensorboard:
            summary_writer()
    return options, learning


def _options(kept: Any) -> TrainOptions:
    """What was asked for when a run was begun."""
    import jax.numpy as jnp

    from forethought.agents.registry import name_of

    def clock(kind: Any, schedule: Any) -> Any:
        return (
            kind() if schedule is None else kind(float(schedule.every), schedule.unit)
        )

    return TrainOptions(
        agent=name_of(kept.settings),
        steps=kept.steps,
        random_steps=kept.random_steps,
        seed=kept.seed,
        count=kept.count,
        learn=clock(LearningEvery, kept.learn),
        interval=clock(IntervalEvery, kept.interval),
        evaluate=clock(Evaluating, kept.evaluate),
        evaluate_episodes=kept.evaluate_episodes,
        precision=64 if jnp.finfo(jnp.result_type(float)).bits == 64 else 32,
    )


def _reopen(command: str, path: str, rest: list[str]) -> tuple[Any, Any, TrainOptions]:
    """The run of a folder, as its config tells it, if flags say nothing else.

    Args:
        command: Who asks.
        path: The folder.
        rest: Flags of `train` that were given besides.
    """
    from forethought.runs.store.folder import RunFolder
    from forethought.runs.train.config import (
        config_of,
        differences,
        read_back,
        refusal,
    )

    with bad_input():
        folder = RunFolder.open(path)
        stored = folder.config()
        asked = stored.get("options")
        precision = asked.get("precision") if isinstance(asked, Mapping) else None
        set_up(64 if precision == 64 else 32)  # before a task computes anything
        kept = read_back(command, path, stored)
        for flag in {word.split("=")[0] for word in rest} & {"--out", "--overwrite"}:
            raise ValueError(f"{command} goes on in {path}; it takes no {flag}.")
    options, learning = read_training(kept.name, rest, kept)
    if changed := differences(stored, config_of(learning)):
        raise BadInput(refusal(changed))
    return learning, folder, options


def learn_in(learning: Any, folder: Any, options: TrainOptions, *, resume: bool) -> int:
    """Train under a progress line; what is done is on the disk."""
    from forethought.reports.write import film_training, write_report
    from forethought.runs.store.log import Terminal
    from forethought.runs.train.taught import compared
    from forethought.runs.train.trained import train_in

    console, filmed = Terminal(), []
    try:
        with alone(folder):
            with bad_input():
                run = train_in(
                    learning,
                    folder,
                    console,
                    resume=resume,
                    tensorboard=options.tensorboard,
                    epilogue=options.epilogue,
                )
                if options.epilogue:
                    with console.status("filming what was learned"):
                        filmed = film_training(run)
                report = write_report(folder)
        for notice in (*run.notices, *filmed):
            console.print(notice)
        newest = run.returns[-NEWEST:]
        shown = ", ".join(f"{value:.4g}" for value in newest)
        if len(newest) < len(run.returns):
            shown = f"… {shown} (the last {NEWEST})"
        console.print(f"returns  {shown}")
        for who, words in compared(folder):
            console.print(f"{who:8} {words}", soft_wrap=True)
        console.print(f"report   {report}", soft_wrap=True)
    except KeyboardInterrupt:
        words = f"interrupted; forethought resume {folder.path} goes on"
        console.print(words, soft_wrap=True)
        return INTERRUPTED
    except (FloatingPointError, OSError) as error:
        raise failed(error, folder) from error
    return 0
