"""The commands that learn: `train`, `resume`, `evaluate`."""

import dataclasses
from typing import Any

import numpy as np

from forethought.cli.options import (
    AgentFields,
    EvaluateOptions,
    TrainOptions,
)
from forethought.cli.parse import (
    INTERRUPTED,
    BadInput,
    Failed,
    bad_input,
    parse,
    split,
    subject,
)
from forethought.cli.setup import set_up

TARGET = "TASK_OR_GYM_ID"
NEWEST = 40
"""So many returns are shown at the end, at most."""


def train_command(arguments: list[str]) -> int:
    """Learn to act on a task or in a Gymnasium environment."""
    name, rest = subject("train", TARGET, TrainOptions, arguments)
    options, learning = read_training(name, rest)
    from forethought.runs.store.folder import RunFolder
    from forethought.runs.train import trained

    with bad_input():
        path = options.out or trained.new_folder(learning)
        command = ["forethought", "train", *arguments]
        folder = RunFolder.create(path, trained.config_of(learning, command))
    return _learn(learning, folder, options, resume=False)


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
    return _learn(learning, folder, options, resume=True)


def evaluate_command(arguments: list[str]) -> int:
    """Let a trained agent act."""
    path, rest = subject("evaluate", "DIR", EvaluateOptions, arguments)
    options: EvaluateOptions = parse(EvaluateOptions, "evaluate DIR", rest)
    learning, folder, _ = _reopen("evaluate", path, [])
    from forethought.runs.train.intervals import score

    with bad_input():
        if options.episodes < 1:
            raise ValueError(f"evaluate needs episodes >= 1, got {options.episodes}.")
        returns, notices = score(
            learning, folder, episodes=options.episodes, seed=options.seed
        )
    print(*notices, sep="\n", end="\n" if notices else "")
    shown = ", ".join(f"{value:.4g}" for value in returns)
    print(f"returns  {shown}")
    print(f"mean     {np.mean(returns):.4g} ± {np.std(returns):.2g} (std)")
    return 0


def read_training(name: str, rest: list[str]) -> tuple[TrainOptions, Any]:
    """Options and run of a `train` command."""
    common, fields = split(rest, "--agent.")
    options: TrainOptions = parse(TrainOptions, f"train {TARGET}", common)
    set_up(options.precision)
    from forethought.agents.base import Brief
    from forethought.planners.registry import entry_of
    from forethought.runs.store.log import summary_writer
    from forethought.runs.train.settings import Learning, check, settings_for

    with bad_input():
        settings = settings_for(name, options.agent)
        if options.planner is not None:
            entry_of(options.planner)
            if not hasattr(settings, "planner"):
                raise ValueError(
                    f"{options.agent} plans without any planner, got --planner "
                    f"{options.planner}."
                )
            settings = _planning(settings, options.planner)
    agent: Any = type(settings)
    if (planner := getattr(settings, "planner", None)) is not None:
        agent = agent[type(planner)]
    form: Any = AgentFields[agent]
    settings = parse(
        form, f"train {TARGET}", fields, default=AgentFields(settings)
    ).agent
    usual = settings.make(Brief()).duties[0].every.unit
    with bad_input():
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
        )
        check(learning)
        if options.tensorboard:
            summary_writer()
    return options, learning


def _planning(settings: Any, name: str) -> Any:
    """The settings of an agent with another planner, which looks as far ahead."""
    from forethought.planners.registry import assemble, entry_of

    if type(settings.planner) is entry_of(name).settings:
        return settings

    def same(each: str) -> dict[str, Any]:
        names = {field.name for field in dataclasses.fields(entry_of(each).settings)}
        kept = names & {"horizon", "particles"} & set(vars(settings.planner))
        return {field: getattr(settings.planner, field) for field in kept}

    return dataclasses.replace(settings, planner=assemble(name, same))


def _reopen(command: str, path: str, rest: list[str]) -> tuple[Any, Any, TrainOptions]:
    """The run of a folder, from the command that its config holds, if it still is it.

    Args:
        command: Who asks.
        path: The folder.
        rest: Flags of `train` that were given besides.
    """
    from forethought.runs.store.folder import RunFolder
    from forethought.runs.train.trained import config_of, differences, refusal

    with bad_input():
        folder = RunFolder.open(path)
        stored = folder.config()
        words = stored.get("command")
        if words is None and "settings" in stored:
            raise ValueError(
                f"{path} was begun from Python with settings of its own; "
                f"forethought.train(..., out={path!r}, resume=True) goes on with it."
            )
        if not (isinstance(words, list) and words[1:2] == ["train"]):
            raise ValueError(f"{command} needs the folder of a training run: {path}.")
        if any(word.split("=")[0] == "--out" for word in rest):
            raise ValueError(f"{command} goes on in {path}; it takes no --out.")
    options, learning = read_training(words[2], [*words[3:], *rest])
    config = config_of(learning)
    changed = differences(stored, config)
    if changed:
        today = config_of(read_training(words[2], words[3:])[1]) if rest else config
        asked = {
            name: values
            for name, values in changed.items()
            if name in differences(today, config)
        }
        raise BadInput(refusal(asked) if asked else _drifted(path, changed))
    return learning, folder, options


def _drifted(path: str, changed: dict[str, tuple[Any, Any]]) -> str:
    """Why a command that is repeated word by word is no longer the same run."""
    told = [f"{name}={old}, now {new}" for name, (old, new) in changed.items()]
    return (
        f"The command that began {path} means something else to this version of "
        f"forethought: {'; '.join(told)}. Flags after DIR can set that back."
    )


def _learn(learning: Any, folder: Any, options: TrainOptions, *, resume: bool) -> int:
    """Train under a progress line; what is done is on the disk."""
    from rich.console import Console

    from forethought.reports.report import film_training, write_report
    from forethought.runs.train.trained import execute

    console = Console()
    try:
        with bad_input():
            run = execute(
                learning,
                folder,
                console,
                resume=resume,
                tensorboard=options.tensorboard,
                epilogue=options.epilogue,
            )
    except KeyboardInterrupt:
        console.print(f"interrupted; forethought resume {folder.path} goes on")
        return INTERRUPTED
    except (FloatingPointError, OSError) as error:
        raise Failed(f"{error} What was done is in {folder.path}.") from error
    filmed = []
    if options.epilogue:
        with console.status("filming what was learned"):
            filmed = film_training(run)
    for notice in (*run.notices, *filmed):
        console.print(notice, markup=False)
    newest = run.returns[-NEWEST:]
    shown = ", ".join(f"{value:.4g}" for value in newest)
    more = f"… {shown} (the last {NEWEST})" if len(newest) < len(run.returns) else shown
    console.print(f"returns  {more}")
    console.print(f"report   {write_report(folder)}")
    return 0
