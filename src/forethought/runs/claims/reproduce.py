"""Put a published claim to the test: many seeds, one verdict.

    config.json         what is reproduced, with which settings
    seed-101/           an ordinary training run, `outcome.json` written at its end
    seed-102/           …
    bounds.json         exact-model bound and random floor
    reproduction.json   all numbers, small enough to be committed
    reproduction.png
    report.html

Whatever is there is not done again: the same command after a crash goes on where it
stopped, in the middle of a seed if need be, and ends with the same numbers.
"""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from forethought.runs.claims.kept import RESULT, Seed, read_result
from forethought.runs.claims.reproductions import Outcome, Reproduction
from forethought.runs.events import Event, Line, Notice, Watch, unwatched
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.place import place_of
from forethought.runs.store.plain import plain
from forethought.runs.store.provenance import commit, machine
from forethought.runs.train.bounds import write_bounds
from forethought.runs.train.config import config_of, differences
from forethought.runs.train.intervals import learn
from forethought.runs.train.lines import lines
from forethought.runs.train.settings import Learning

OUTCOME = "outcome.json"
EPISODES, SECONDS = 20, 200.0
"""At most, of the bound; fewer episodes where they would take longer than this."""


@dataclasses.dataclass(frozen=True)
class Replication:
    """A reproduction that is about to be run.

    Args:
        name: Of the reproduction.
        entry: Its data.
        paper: Whether the paper's settings replace ours.
        seeds: One training run each.
        run: A seed's training run.
        command: What to type to get the training run of a seed.
    """

    name: str
    entry: Reproduction
    paper: bool
    seeds: tuple[int, ...]
    run: Callable[[int], Learning]
    command: Callable[[int], list[str]]

    def __post_init__(self):
        """Check the seeds."""
        if not self.seeds:
            raise ValueError("A reproduction needs at least one seed, got none.")

    @property
    def words(self) -> list[str]:
        """The command that does all of it, without folders."""
        words = ["forethought", "reproduce", self.name]
        words += ["--seeds", str(len(self.seeds)), "--seed", str(self.seeds[0])]
        return words + (["--paper"] if self.paper else [])

    def settings(self) -> dict[str, Any]:
        """Everything of a training run but its seed."""
        config = plain(config_of(self.run(self.seeds[0])))
        del config["options"]["seed"]
        return config


def open_folder(replication: Replication, path: str | os.PathLike) -> RunFolder:
    """The folder of a reproduction: a new one, or one that was begun with the same.

    Raises:
        ValueError: Something else lies there, or a reproduction with other settings.
    """
    about = {
        "reproduction": replication.name,
        "paper": replication.paper,
        "command": replication.words,
    }
    config = replication.settings() | about | {"forethought": "reproduce"}
    folder = RunFolder(place_of(path))
    if not folder.has("config.json"):
        return RunFolder.create(path, config)
    kept = folder.config()
    if kept.get("reproduction") != replication.name:
        raise ValueError(
            f"reproduce {replication.name} needs a folder of its own, but {path} holds "
            f"{kept.get('reproduction') or 'another run'}."
        )
    if changed := differences(kept, config):
        told = [f"{name}={old}, got {new}" for name, (old, new) in changed.items()]
        raise ValueError(
            f"reproduce goes on in {path} with {'; with '.join(told)}. For other "
            "settings name another folder with --out."
        )
    folder.write_json("config.json", config)
    return folder


def run_seeds(
    replication: Replication,
    folder: RunFolder,
    watch: Watch = unwatched,
) -> list[Outcome]:
    """Train every seed that has not ended yet.

    Args:
        replication: What to do.
        folder: From `open_folder`.
        watch: Called with lines of metrics and their seeds, and with notices.

    Returns:
        How each seed went, in their order.
    """
    outcomes = []
    for seed in replication.seeds:
        found = outcome_of(folder, seed)
        if found is None:
            for notice in _train(replication, folder, seed, watch):
                watch(Notice(f"seed {seed}: {notice}"))
            found = outcome_of(folder, seed)
            assert found is not None
        outcomes.append(found)
    return outcomes


def outcome_of(folder: RunFolder, seed: int) -> Outcome | None:
    """How a seed went; None where it has not ended."""
    own = RunFolder(folder.path / f"seed-{seed}")
    if not own.has(OUTCOME):
        return None
    kept = own.read_json(OUTCOME, Seed)
    return Outcome(
        kept["seed"],
        tuple(kept["steps"]),
        tuple(kept["returns"]),
        tuple(kept["planned"]),
        kept["seconds"],
    )


def _train(
    replication: Replication, folder: RunFolder, seed: int, watch: Watch
) -> tuple[str, ...]:
    """Begin a seed, or go on with it; write its outcome."""
    run, path = replication.run(seed), folder.path / f"seed-{seed}"
    begun = (path / "config.json").is_file()
    if begun:
        own = RunFolder.open(path)
    else:
        config = config_of(run, replication.command(seed)) | {"commit": commit()}
        own = RunFolder.create(path, config)

    def with_seed(event: Event) -> None:
        watch(Line(event.row, seed) if isinstance(event, Line) else event)

    with own.alone():
        _, notices = learn(run, own, resume=begun, watch=with_seed)
    rows = lines(own)
    ended = [
        (at, value, row["kind"] == "planned")
        for row in rows
        for at, value in zip(row["ends"], row["returns"], strict=True)
    ]
    steps, returns, planned = zip(*ended, strict=True)
    seconds = sum(row["seconds"] for row in rows)
    outcome = Outcome(seed, steps, returns, planned, seconds)
    own.write_json(OUTCOME, dataclasses.asdict(outcome))
    return notices


def yardsticks(replication: Replication, folder: RunFolder) -> dict[str, Any]:
    """What the same planner earns with the exact model, and random actions earn."""
    run = replication.run(replication.seeds[0])
    found = write_bounds(
        folder,
        run,
        episodes=EPISODES,
        seconds=SECONDS,
    )
    kept = {
        "bound": found.get("exact"),
        "floor": found["random"],
        "bound_note": found.get("note", ""),
    }
    return {
        name: {
            "mean": value["mean"],
            "std": value["std"],
            "episodes": len(value["returns"]),
        }
        if isinstance(value, Mapping)
        else value
        for name, value in kept.items()
    }


def aggregate(
    replication: Replication,
    outcomes: Sequence[Outcome],
    measured: Mapping[str, Any],
    commits: str,
) -> dict[str, Any]:
    """All numbers of a reproduction, as `reproduction.json` keeps them."""
    entry = replication.entry
    steps, each, best = curves(outcomes)
    return {
        "name": replication.name,
        "claim": entry.claim,
        "variant": entry.variant,
        "settings": "the paper's" if replication.paper else "ours",
        "note": entry.paper_note if replication.paper else "",
        "command": " ".join(replication.words),
        "commit": commits,
        "machine": machine(),
        "checks": [check.judge(outcomes) for check in entry.checks],
        **measured,
        "published": entry.published,
        "steps": steps,
        "median": np.median(each, axis=0),
        "median_best": np.median(best, axis=0),
        "seeds": outcomes,
        "run": replication.settings(),
    }


def curves(outcomes: Sequence[Outcome]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Seeds side by side, on the steps at which an episode of any of them ended.

    An episode's return stands until the next one ends; before a seed's first episode
    ends it has none, and those steps are left out.

    Returns:
        Steps, shape `[step]`; the return of the newest episode and the maximum so
        far, both of shape `[seed, step]`.
    """
    first = max(run.steps[0] for run in outcomes)
    steps = np.array(sorted({at for run in outcomes for at in run.steps}))
    steps = steps[steps >= first]
    each, best = [], []
    for run in outcomes:
        newest = np.searchsorted(run.steps, steps, side="right") - 1
        each.append(np.array(run.returns)[newest])
        best.append(np.maximum.accumulate(run.returns)[newest])
    return steps, np.array(each), np.array(best)


def save_result(
    replication: Replication, folder: RunFolder, outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """Write `reproduction.json`, and return what it holds."""
    commits = [
        RunFolder(folder.path / f"seed-{run.seed}").config().get("commit", "")
        for run in outcomes
    ]
    result = aggregate(
        replication,
        outcomes,
        yardsticks(replication, folder),
        ", ".join(dict.fromkeys(commits)),
    )
    folder.write_json(RESULT, result)
    return read_result(folder)
