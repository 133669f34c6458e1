"""Episodes that are held out, and what is foreseen of them without thought.

That nothing changes, and the linear map that fits best by least squares, stand beside
every model that was fitted.
"""

import dataclasses

import numpy as np

from forethought.data.logged import Logged
from forethought.runs.fit.scores import FLAT, first, log_density, over_known, rms

AHEAD = (1, 5, 10, 25, 50)
"""Steps ahead that tables show."""
STEPS, STARTS = AHEAD[-1], 48
"""How far models are let run, and from how many rows."""
ROWS = 256
"""Rows on which one step is judged."""
FANS = 3
"""Held-out episodes whose beginnings are shown."""
PLACES = 500
"""Rows at which doubt is asked for, at most."""


@dataclasses.dataclass(frozen=True)
class Held:
    """What a model is to foresee, and what is foreseen without thought."""

    obs: np.ndarray
    """Rows that are judged one step ahead, `[row, observation]`."""
    action: np.ndarray
    next_obs: np.ndarray
    starts: np.ndarray
    """Where longer forecasts begin, `[start, observation]`; episodes' first rows are
    the first ones."""
    actions: np.ndarray
    """What was done from there, `[start, step]` or `[start, step, action]`."""
    truth: np.ndarray
    """What happened, `[start, step, observation]`."""
    known: np.ndarray
    """Whether the episode went so far, `[start, step]`."""
    fans: int
    """So many of the starts are the beginnings of episodes."""
    scale: np.ndarray
    """Standard deviations of the data, one where there is none, `[observation]`."""
    moves: np.ndarray
    """Which dimensions are not constant in the data."""
    places: np.ndarray
    """Rows of all data at which doubt is asked for, `[place, observation]`."""
    deeds: np.ndarray
    """What was done there."""
    constant: np.ndarray
    """Root mean square error of predicting no change, `[step, observation]`."""
    linear: np.ndarray
    """The same of the linear map."""
    count: np.ndarray
    """How many forecasts went so far, `[step]`."""
    nats: dict[str, float]
    """Log-likelihood of a step by either, as Gaussians of their own errors."""


def hold(fitting: Logged, held: Logged) -> Held:
    """Prepare held-out episodes, and what is foreseen of them without thought.

    Args:
        fitting: What models are fitted to.
        held: What none of them sees.

    Raises:
        ValueError: Nothing of what was observed ever changes.
    """
    steps = min(STEPS, int(np.bincount(held.episode).max()))
    firsts = np.flatnonzero(np.diff(held.episode, prepend=-1))
    lengths = np.bincount(held.episode)
    fans = firsts[np.sort(np.argsort(-lengths, kind="stable")[:FANS])]
    starts = np.concatenate([fans, _spread(held.rows, STARTS - len(fans))])
    index = starts[:, None] + np.arange(steps)
    inside = np.minimum(index, held.rows - 1)
    known = (index < held.rows) & (
        held.episode[inside] == held.episode[starts][:, None]
    )
    rows = _spread(held.rows, ROWS)
    deviation = fitting.obs.std(axis=0)
    moves = deviation > FLAT * np.maximum(np.abs(fitting.obs.mean(axis=0)), FLAT)
    if not moves.any():
        raise ValueError(
            "A model needs observations that change, but in the episodes to learn from "
            f"{', '.join(fitting.obs_names)} never does."
        )
    scale = np.where(moves, deviation, 1.0)
    some = _spread(fitting.rows, PLACES)
    actions, truth = held.action[inside], held.next_obs[inside]
    guess = _Linear(fitting)
    still = np.broadcast_to(held.obs[starts][:, None], truth.shape)
    with np.errstate(over="ignore", invalid="ignore"):  # it may run away
        strayed = (guess.walk(held.obs[starts], actions) - truth) ** 2
    parts = (held.obs[rows], held.action[rows], held.next_obs[rows])
    spreads = guess.spread(fitting), rms(fitting.next_obs - fitting.obs)
    spreads = [np.maximum(each, FLAT * scale) for each in spreads]
    gaps = parts[2] - guess(*parts[:2]), parts[2] - parts[0]
    own, none = (log_density(*each, moves) for each in zip(gaps, spreads, strict=True))
    return Held(
        *parts,
        held.obs[starts],
        actions,
        truth,
        known,
        len(fans),
        scale,
        moves,
        fitting.obs[some],
        fitting.action[some],
        constant=first(rms(gaps[1]), over_known((still - truth) ** 2, known) ** 0.5),
        linear=first(rms(gaps[0]), over_known(strayed, known) ** 0.5),
        count=known.sum(axis=0),
        nats={"linear": own, "constant": none},
    )


class _Linear:
    """The linear map from observation and action that fits best by least squares."""

    def __init__(self, data: Logged):
        self.choices = data.action.ndim == 1
        self.top = int(data.action.max()) + 1 if self.choices else 0
        x = self._inputs(data.obs, data.action)
        self.weights = np.linalg.lstsq(x, data.next_obs, rcond=None)[0]

    def __call__(self, obs: np.ndarray, action: np.ndarray) -> np.ndarray:
        return self._inputs(obs, action) @ self.weights

    def walk(self, obs: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """The forecast of many steps from each start, `[start, step, observation]`."""
        found: list[np.ndarray] = []
        for t in range(actions.shape[1]):
            obs = self(obs, actions[:, t])
            found.append(obs)
        return np.stack(found, axis=1)

    def spread(self, data: Logged) -> np.ndarray:
        """The standard deviation of what it misses."""
        return rms(data.next_obs - self(data.obs, data.action))

    def _inputs(self, obs: np.ndarray, action: np.ndarray) -> np.ndarray:
        if self.choices:
            action = np.eye(self.top)[np.minimum(action.astype(int), self.top - 1)]
        return np.concatenate([obs, action, np.ones((len(obs), 1))], axis=1)


def _spread(rows: int, count: int) -> np.ndarray:
    """At most so many rows, evenly among all."""
    return np.arange(min(count, rows)) * rows // min(count, rows)
