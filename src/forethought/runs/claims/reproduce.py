"""Put a published claim to the test: many seeds, one verdict.

    config.json         what is reproduced, with which settings
    seed-101/           an ordinary training run, `outcome.json` written at its end
    seed-102/           …
    bounds.json         exact-model bound and random floor
    ARM/seed-101/       … the same of each arm, where there are several
    ARM/bounds.json
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

from forethought.runs.claims.kept import RESULT, read_result
from forethought.runs.claims.outcomes import Outcome, outcome_of_lines
from forethought.runs.claims.reproductions import Outcomes, Panel, Reproduction
from forethought.runs.events import Event, Line, Notice, Watch, unwatched
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.place import place_of
from forethought.runs.store.plain import plain
from forethought.runs.store.provenance import commit, machine
from forethought.runs.train.bounds import write_bounds
from forethought.runs.train.config import Changed, config_of, differences
from forethought.runs.train.intervals import learn
from forethought.runs.train.lines import lines
from forethought.runs.train.settings import Learning

OUTCOME = "outcome.json"
EPISODES = 20
"""Of the bound, at most; fewer where they would take longer than an entry allows."""


@dataclasses.dataclass(frozen=True)
class Arm:
    """An arm that is about to be run.

    Args:
        run: A seed's training run.
        command: What to type to get the training run of a seed.
    """

    run: Callable[[int], Learning]
    command: Callable[[int], list[str]]


@dataclasses.dataclass(frozen=True)
class Replication:
    """A reproduction that is about to be run.

    Args:
        name: Of the reproduction.
        entry: Its data.
        paper: Whether the paper's settings replace ours.
        seeds: One training run each, in every arm.
        arms: By name.
    """

    name: str
    entry: Reproduction
    paper: bool
    seeds: tuple[int, ...]
    arms: Mapping[str, Arm]

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

    @property
    def runs(self) -> list[tuple[str, int]]:
        """Every arm and seed, in the order in which they are run."""
        return [(arm, seed) for arm in self.arms for seed in self.seeds]

    def settings(self, arm: str) -> dict[str, Any]:
        """Everything of an arm's training run but its seed."""
        config = plain(config_of(self.arms[arm].run(self.seeds[0])))
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
    settings = {arm: replication.settings(arm) for arm in replication.arms}
    each = settings.get("") or {"arms": settings}
    config = each | about | {"forethought": "reproduce"}
    folder = RunFolder(place_of(path))
    if not folder.has("config.json"):
        return RunFolder.create(path, config)
    kept = folder.config()
    if kept.get("reproduction") != replication.name:
        raise ValueError(
            f"reproduce {replication.name} needs a folder of its own, but {path} holds "
            f"{kept.get('reproduction') or 'another run'}."
        )
    if changed := _changed(kept, config):
        told = [f"{name}={old}, got {new}" for name, (old, new) in changed.items()]
        raise ValueError(
            f"reproduce goes on in {path} with {'; with '.join(told)}. For other "
            "settings name another folder with --out."
        )
    folder.write_json("config.json", config)
    return folder


def _changed(there: Mapping[str, Any], here: Mapping[str, Any]) -> Changed:
    """Settings in which two reproductions differ, with the names of their arms."""
    if "arms" not in here:
        return differences(there, here)
    old, new, found = there.get("arms", {}), here["arms"], {}
    for arm in {**new, **old}:
        changed = differences(old.get(arm, {}), new.get(arm, {}))
        found |= {f"{arm}: {name}": pair for name, pair in changed.items()}
    return found


def run_seeds(
    replication: Replication,
    folder: RunFolder,
    watch: Watch = unwatched,
) -> dict[str, list[Outcome]]:
    """Train every seed of every arm that has not ended yet.

    Args:
        replication: What to do.
        folder: From `open_folder`.
        watch: Called with lines of metrics, their arms and seeds, and with notices.

    Returns:
        How each seed went, in their order, by arm.
    """
    outcomes: dict[str, list[Outcome]] = {arm: [] for arm in replication.arms}
    for arm, seed in replication.runs:
        found = outcome_of(folder, arm, seed)
        if found is None:
            for notice in _train(replication, folder, arm, seed, watch):
                watch(Notice(f"{arm} seed {seed}: {notice}".lstrip()))
            found = outcome_of(folder, arm, seed)
            assert found is not None
        outcomes[arm].append(found)
    return outcomes


def seed_folder(folder: RunFolder, arm: str, seed: int) -> RunFolder:
    """Where a seed of an arm is kept."""
    return RunFolder(folder.path / arm / f"seed-{seed}")


def outcome_of(folder: RunFolder, arm: str, seed: int) -> Outcome | None:
    """How a seed went; None where it has not ended."""
    own = seed_folder(folder, arm, seed)
    return outcome_of_lines(seed, lines(own)) if own.has(OUTCOME) else None


def _train(
    replication: Replication, folder: RunFolder, arm: str, seed: int, watch: Watch
) -> tuple[str, ...]:
    """Begin a seed, or go on with it; write its outcome."""
    run, own = replication.arms[arm].run(seed), seed_folder(folder, arm, seed)
    begun = (own.path / "config.json").is_file()
    if begun:
        own = RunFolder.open(own.path)
    else:
        command = replication.arms[arm].command(seed)
        config = config_of(run, command) | {"commit": commit()}
        own = RunFolder.create(own.path, config)

    def told(event: Event) -> None:
        watch(Line(event.row, seed, arm) if isinstance(event, Line) else event)

    with own.alone():
        _, notices = learn(run, own, resume=begun, watch=told)
    own.write_json(OUTCOME, outcome_of_lines(seed, lines(own)).kept())
    return notices


def yardsticks(replication: Replication, folder: RunFolder, arm: str) -> dict[str, Any]:
    """What an arm's planner earns with the exact model, and random actions earn."""
    found = write_bounds(
        RunFolder(folder.path / arm),
        replication.arms[arm].run(replication.seeds[0]),
        episodes=EPISODES,
        seconds=replication.entry.bound_seconds,
    )
    kept = {
        "bound": found.get("exact"),
        "floor": found.get("random"),
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
    outcomes: Outcomes,
    measured: Mapping[str, Mapping[str, Any]],
    commits: str,
) -> dict[str, Any]:
    """All numbers of a reproduction, as `reproduction.json` keeps them.

    Args:
        replication: What was done.
        outcomes: How it went, by arm.
        measured: From `yardsticks`, by arm.
        commits: Of the code that trained.
    """
    entry, arms = replication.entry, {}
    for arm, runs in outcomes.items():
        steps, each, best = curves(runs)
        train = ["forethought", "train", *entry.words(arm, paper=replication.paper)]
        arms[arm] = {
            "train": " ".join(train),
            **measured[arm],
            "steps": steps,
            "median": np.median(each, axis=0),
            "median_best": np.median(best, axis=0),
            "seeds": [run.kept() for run in runs],
            "run": replication.settings(arm),
        }
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
        "remarks": [check.judge(outcomes) for check in entry.remarks],
        "published": entry.published,
        "arms": arms,
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
    replication: Replication, folder: RunFolder, outcomes: Outcomes
) -> dict[str, Any]:
    """Write `reproduction.json`, and return what it holds."""
    runs = {
        arm: [
            (replication.arms[arm].run(run.seed), seed_folder(folder, arm, run.seed))
            for run in seeds
        ]
        for arm, seeds in outcomes.items()
    }
    commits = dict.fromkeys(
        own.config().get("commit", "") for seeds in runs.values() for _, own in seeds
    )
    measured = {arm: yardsticks(replication, folder, arm) for arm in outcomes}
    result = aggregate(replication, outcomes, measured, ", ".join(commits))
    if panels := replication.entry.evidence(runs):
        result["evidence"] = [_shown(panel) for panel in panels]
    folder.write_json(RESULT, result)
    return read_result(folder)


def _shown(panel: Panel) -> dict[str, Any]:
    """A panel with numbers of four digits, so that the file stays small."""
    series = {
        name: {
            axis: [float(f"{each:.4g}") for each in np.asarray(values, float)]
            for axis, values in zip("xy", pair, strict=True)
        }
        for name, pair in panel.series.items()
    }
    return vars(panel) | {"series": series}
