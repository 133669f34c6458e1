"""What was learned, at work: one episode of the trained agent, as a video.

In a pure environment the episode is kept as arrays in `policy.npz`, from which the
video can be made again at any time; one of Gymnasium whose equations are a task here
too is played in that. Any other Gymnasium environment draws itself while it is
acted in, so that there the pictures are all that stays.
"""

import dataclasses
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PRNGKeyArray, PyTree
from PIL import Image

from forethought.core.given.settings import key_of
from forethought.core.types import ravel
from forethought.reports.film.drawing import caption
from forethought.reports.film.video import film, frames
from forethought.runs.store.folder import RunFolder
from forethought.runs.train.settings import Learning
from forethought.runs.train.trained import Trained
from forethought.tasks.base import Task
from forethought.training.evaluate import evaluate_host
from forethought.training.play import Played, play

FILE = "policy.npz"
FORM = {
    "dt": "fiu",
    "states": "fiub time+1 state",
    "rewards": "fiu time",
    **dict.fromkeys(("sketch/start", "sketch/end"), "fiu time+1 capsule space"),
    **dict.fromkeys(("sketch/radius", "sketch/kind"), "fiu time+1 capsule"),
}
"""What `policy.npz` holds, and `actions` besides."""
STREAM = 0xF117
LARGEST, MOST = 512, 400
"""Pixels of a picture's longer side, and how many are kept in memory, at most."""


@dataclasses.dataclass(frozen=True)
class Footage:
    """An episode, as far as a video shows it."""

    dt: float
    """Seconds of a step."""
    states: np.ndarray
    """`[time + 1, state]`"""
    actions: np.ndarray
    """`[time, ...]`"""
    rewards: np.ndarray
    """`[time]`"""
    sketch: dict[str, np.ndarray]
    """`start`, `end`, `radius`, `kind` of capsules, each with `time + 1` in front."""

    def save(self, folder: RunFolder) -> None:
        """Write `policy.npz`."""
        arrays = {name: value for name, value in vars(self).items() if name != "sketch"}
        arrays |= {f"sketch/{name}": value for name, value in self.sketch.items()}
        folder.save_arrays(FILE, arrays)

    @classmethod
    def load(cls, folder: RunFolder) -> "Footage":
        """Read `policy.npz`.

        Raises:
            ValueError: It is missing, broken, or not such an episode.
        """
        arrays = folder.arrays(FILE, FORM)
        sketch = {
            name.removeprefix("sketch/"): arrays.pop(name)
            for name in list(arrays)
            if name.startswith("sketch/")
        }
        try:
            return cls(**{**arrays, "dt": float(arrays["dt"])}, sketch=sketch)
        except (KeyError, TypeError) as error:
            raise ValueError(
                f"The video of a policy needs an episode in {folder.path / FILE}, but "
                f"the arrays there are {', '.join(arrays)}."
            ) from error


def film_policy(trained: Trained) -> str | None:
    """Let the trained agent act for an episode, and write `video.mp4` of it.

    Returns:
        A sentence for the user where there is no video, or not the one wanted.
    """
    folder, run, learner = trained.folder, trained.learning, trained.learner
    key = jax.random.fold_in(key_of(run.seed), STREAM)
    agent = run.training.agent
    if run.known is None:
        return film_host(folder, run, learner, key)
    pieces = list(play(agent, run.known.environment, learner, key=key))
    shot = footage(run.known, [before for before, _ in pieces], [p for _, p in pieces])
    shot.save(folder)
    pictures, rate, notice = frames(shot, run.known.system)
    film(folder, pictures, rate)
    return notice


def footage(task: Task, before: list[PyTree], pieces: list[Played]) -> Footage:
    """An episode as arrays, up to its end.

    Args:
        task: What was acted in.
        before: The environment's state before each piece.
        pieces: What happened.
    """
    alive = np.concatenate([piece.alive for piece in pieces])
    steps = int(alive.sum())

    def joined(*leaves: Any) -> Any:
        first, *rest = leaves
        return jnp.concatenate([first[None], *rest])[: steps + 1]

    states = jax.tree.map(joined, before[0], *(piece.states for piece in pieces))
    states = jax.vmap(lambda state: state.system)(states)
    sketch = jax.vmap(task.system.sketch)(states)
    return Footage(
        dt=float(task.system.dt),
        states=np.asarray(jax.vmap(lambda state: ravel(state)[0])(states)),
        actions=np.concatenate([piece.actions for piece in pieces])[:steps],
        rewards=np.concatenate([piece.rewards for piece in pieces])[:steps],
        sketch={name: np.asarray(part) for name, part in vars(sketch).items()},
    )


@dataclasses.dataclass
class _Roll:
    """Pictures of an episode: every so manieth, so that memory holds them."""

    pictures: list[np.ndarray] = dataclasses.field(default_factory=list)
    every: int = 1
    steps: int = 0
    total: float = 0.0
    rate: float = 30.0
    over: bool = False

    def shoot(self, env: gymnasium.Env) -> None:
        """Keep a picture of where the environment is now."""
        if self.over or self.steps % self.every:
            return
        frame: Any = env.render()
        picture = Image.fromarray(np.asarray(frame, np.uint8))
        picture = picture.reduce(-(-max(picture.size) // LARGEST))
        width, height = (2 * (side // 2) for side in picture.size)
        told = f"return {self.total:.1f}".replace("-", "−")
        still = np.asarray(picture.crop((0, 0, width, height)))
        self.pictures.append(caption(still, f"step {self.steps}", told))
        if len(self.pictures) > MOST:
            self.pictures[:], self.every = self.pictures[::2], 2 * self.every


class _Camera(gymnasium.Wrapper):
    """Shoots the first episode of an environment, on a roll."""

    def __init__(self, env: gymnasium.Env, roll: _Roll):
        super().__init__(env)
        self.roll = roll
        roll.rate = float(env.metadata.get("render_fps", roll.rate))

    def reset(self, **options: Any) -> Any:
        """Begin an episode."""
        result = self.env.reset(**options)
        self.roll.shoot(self.env)
        return result

    def step(self, action: Any) -> Any:
        """Act once."""
        result = self.env.step(action)
        self.roll.steps += 1
        self.roll.total += float(result[1])
        self.roll.shoot(self.env)
        self.roll.over = self.roll.over or bool(result[2] or result[3])
        return result


def film_host(
    folder: RunFolder, run: Learning, learner: PyTree, key: PRNGKeyArray
) -> str | None:
    """Film an episode in a Gymnasium environment, as `film_policy` does."""
    roll = _Roll()
    # Environments draw with libraries of many kinds, which fail in as many ways where
    # there is no display: none of them is worth losing the rest of a report.
    try:
        with run.copies(
            options={"render_mode": "rgb_array"},
            wrappers=[lambda env: _Camera(env, roll)],
        ) as environment:
            evaluate_host(run.agent, environment, learner, episodes=1, key=key)
        film(folder, roll.pictures, roll.rate / roll.every)
    except Exception as error:
        reason = " ".join(str(error).split())
        return f"There is no video, because {run.name} cannot be drawn here: {reason}"
    return None
