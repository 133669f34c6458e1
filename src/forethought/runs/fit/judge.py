r"""How well a fitted model foresees episodes that it has not seen, and knows how well.

Every class of model is asked the same, by what `AbstractLearned` promises: a cloud of
its own particles is let run from many held-out rows, under the actions that were really
taken. What the draws of the cloud say is compared with what happened.

| question | answer, per observed dimension |
|---|---|
| how far off after $k$ steps? | `errors` of the cloud's mean, in the data's own units |
| does it know how far? | `ranks`: where among the draws the truth lies |
| both in one | `crps`, in own units, and `nats`, the log-likelihood of a step |
| what of that would data teach? | `aleatoric` and `epistemic` variance, and where |

Beside it stand two predictions that need no thought: that nothing changes, and the
linear map that fits best by least squares.

**Notation.** $P$ draws $x_1 \le \dots \le x_P$ of one number, $y$ what happened.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, PRNGKeyArray

from forethought.data.logged import Logged
from forethought.models.base import AbstractLearned
from forethought.training.forecasts import forecast, quantiles

LEVELS = (0.5, 0.8, 0.95)
"""Central intervals that are judged."""
GRID = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""Levels of the curve of calibration."""
BANDS = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
"""Quantiles that bound the intervals, and the median."""
AHEAD = (1, 5, 10, 25, 50)
"""Steps ahead that tables show."""
STEPS, STARTS, PARTICLES = AHEAD[-1], 48, 60
"""How far the model is let run, from how many rows, with how many particles."""
ROWS, DRAWS = 256, 400
"""Rows on which one step is judged, and the draws of each."""
FANS = 3
"""Held-out episodes whose beginnings are shown."""
PLACES = 500
"""Rows at which doubt is asked for, at most."""
FAR = (1.0, 1.5, 2.0, 3.0, 4.0)
"""How many times as far from the middle as the data doubt is asked for."""
FLAT = 1e-6
"""A spread below this share of the data's own is none."""


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


@dataclasses.dataclass(frozen=True)
class Judged:
    """What one model foresaw; observed dimensions are the last axis, as in `Held`."""

    errors: np.ndarray
    """Root mean square error after 1, 2, … steps, `[step, observation]`."""
    coverage: np.ndarray
    """Share of what happened within the intervals of `LEVELS`, after so many steps,
    `[level, step, observation]`; NaN of what never changes."""
    calibration: np.ndarray
    """The same of `GRID` after one step, `[level, observation]`."""
    crps: np.ndarray
    """Continuous ranked probability score of one step, `[observation]`."""
    nats: float
    """Log-likelihood of a step; minus infinity where the model claims no spread."""
    fan: np.ndarray
    """`BANDS` of the draws, `[fan, band, step, observation]`."""
    aleatoric: np.ndarray
    """At `Held.places`, in standard deviations of a step's change."""
    epistemic: np.ndarray
    far: np.ndarray
    """Mean aleatoric and epistemic deviation `FAR` out, `[part, distance]`."""

    @property
    def epistemic_share(self) -> float:
        """Of the variance that the model claims of a step; NaN where it claims none."""
        shares = self.shares
        return float(np.nanmean(shares)) if np.isfinite(shares).any() else np.nan

    @property
    def shares(self) -> np.ndarray:
        """The same for each dimension, `[observation]`."""
        parts = [np.mean(part**2, axis=0) for part in (self.aleatoric, self.epistemic)]
        total = parts[0] + parts[1]
        return np.where(total > 0, parts[1] / np.where(total > 0, total, 1), np.nan)


def overall(errors: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Errors of all dimensions in one, in standard deviations of the data."""
    with np.errstate(over="ignore"):  # of a linear map that ran away
        return np.asarray(np.sqrt(np.mean((errors / scale) ** 2, axis=-1)))


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
    spreads = guess.spread(fitting), _rms(fitting.next_obs - fitting.obs)
    spreads = [np.maximum(each, FLAT * scale) for each in spreads]
    gaps = parts[2] - guess(*parts[:2]), parts[2] - parts[0]
    own, none = (_log_density(*each, moves) for each in zip(gaps, spreads, strict=True))
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
        constant=_first(_rms(gaps[1]), _over_known((still - truth) ** 2, known) ** 0.5),
        linear=_first(_rms(gaps[0]), _over_known(strayed, known) ** 0.5),
        count=known.sum(axis=0),
        nats={"linear": own, "constant": none},
    )


def judge(model: AbstractLearned, held: Held, *, key: PRNGKeyArray) -> Judged:
    """Let a fitted model foresee what it has not seen.

    Args:
        model: Its beliefs begin with what is observed.
        held: As `hold` prepared it.
        key: Draws particles.

    Note:
        The likelihood is that of a Gaussian with the cloud's mean and variance in each
        dimension. It is the same for all classes; a mixture's own is never asked for.
    """
    one_key, far_key, doubt_key = jax.random.split(key, 3)
    real = jnp.zeros(()).dtype

    def given(values: np.ndarray) -> Array:
        return jnp.asarray(values if values.dtype.kind in "iu" else values.astype(real))

    single = bool(_sure(model, given(held.obs[0]), given(held.action[0]), one_key))
    one = _foresee(
        model,
        given(held.obs),
        given(held.action[:, None]),
        given(held.next_obs[:, None]),
        jax.random.split(one_key, len(held.obs)),
        (1, DRAWS) if single else (DRAWS, 1),
    )
    far = _foresee(
        model,
        given(held.starts),
        given(held.actions),
        given(held.truth),
        jax.random.split(far_key, len(held.starts)),
        (1, PARTICLES) if single else (PARTICLES, 1),
    )
    one = {name: np.asarray(part, float)[:, 0] for name, part in one.items()}
    far = {name: np.asarray(part, float) for name, part in far.items()}
    spread = np.sqrt(one["variance"])
    claims = np.median(spread, axis=0) > FLAT * held.scale
    nats = -np.inf
    if claims[held.moves].any():
        floor = np.maximum(spread, FLAT * held.scale)
        nats = _log_density(held.next_obs - one["mean"], floor, held.moves)
    centre = held.places.mean(axis=0)
    places = [held.places, *(centre + s * (held.places - centre) for s in FAR[1:])]
    size = held.obs.shape[1]
    doubts = [
        [
            np.sqrt(np.maximum(np.asarray(part, float)[:, :size], 0))
            for part in _doubts(model, given(each), given(held.deeds), doubt_key)
        ]
        for each in places
    ]
    squares = (far["mean"] - held.truth) ** 2
    # Whether what never changes lies within an interval says nothing.
    told = np.where(held.moves, 1.0, np.nan)
    coverage = [
        told
        * _first(
            _inside(one["rank"], level).mean(axis=0),
            _over_known(_inside(far["rank"], level), held.known),
        )
        for level in LEVELS
    ]
    return Judged(
        errors=_first(
            _rms(one["mean"] - held.next_obs), _over_known(squares, held.known) ** 0.5
        ),
        coverage=np.stack(coverage),
        calibration=told
        * np.stack([_inside(one["rank"], p).mean(axis=0) for p in GRID]),
        crps=one["crps"].mean(axis=0),
        nats=nats,
        fan=far["bands"][: held.fans].swapaxes(1, 2),
        aleatoric=doubts[0][0],
        epistemic=doubts[0][1],
        far=np.sqrt([[np.mean(part**2) for part in each] for each in doubts]).T,
    )


@eqx.filter_jit
def _foresee(
    model: AbstractLearned,
    obs: Array,
    actions: Array,
    truth: Array,
    keys: Key[Array, " start"],
    counts: tuple[int, int],
) -> dict[str, Array]:
    """Forecasts from each start, compared with what happened, `[start, step, …]`.

    `counts` are those of particles, and of what is drawn of each.
    """
    particles, draws = counts

    def one(inputs: tuple) -> dict[str, Array]:
        obs, actions, truth, key = inputs
        key, tie_key = jax.random.split(key)
        many = {"cloud": model.cloud, "particles": particles, "draws": draws}
        cloud = forecast(model, obs, actions, **many, key=key)[1:]
        ties = jax.random.uniform(tie_key, truth.shape, truth.dtype)
        return {
            "mean": jnp.mean(cloud, axis=1),
            "variance": jnp.var(cloud, axis=1),
            "rank": rank(cloud, truth, ties),
            "crps": crps(cloud, truth),
            "bands": jnp.moveaxis(quantiles(cloud, BANDS), 0, 1),
        }

    return jax.lax.map(one, (obs, actions, truth, keys))


@eqx.filter_jit
def _sure(
    model: AbstractLearned, obs: Array, action: Array, key: PRNGKeyArray
) -> Array:
    """Whether a step leads to one belief, whatever is drawn: one particle says all."""
    keys = jax.random.split(key)
    belief = model.observe(model.init(key=key), obs, key=key)
    one, other = (
        jax.tree.leaves(
            eqx.filter(model.predict(belief, action, key=each), eqx.is_array)
        )
        for each in keys
    )
    same = [jnp.array_equal(*pair) for pair in zip(one, other, strict=True)]
    return jnp.all(jnp.stack(same)) & (model.cloud.enough(model, 1) == 1)


@eqx.filter_jit
def _doubts(
    model: AbstractLearned, obs: Array, action: Array, key: PRNGKeyArray
) -> tuple[Array, Array]:
    """Aleatoric and epistemic variance of each row's next step, `[row, output]`."""
    prior = model.init(key=key)

    def one(inputs: tuple) -> tuple[Array, Array]:
        obs, action = inputs
        return model.doubt(model.observe(prior, obs, key=key), action)

    return jax.lax.map(one, (obs, action))


def rank(
    cloud: Float[Array, "step particle observation"],
    truth: Float[Array, "step observation"],
    ties: Float[Array, "step observation"],
) -> Float[Array, "step observation"]:
    r"""Where the truth lies among the draws, from 0 to 1.

    $$u = \frac{|\{x_i < y\}| + v\,(|\{x_i = y\}| + 1)}{P + 1}$$

    It is uniform exactly where the truth is one more draw of the same distribution,
    however few draws there are. The central interval of level $p$ holds the truth
    where $|u - \tfrac12| \le \tfrac p2$.

    Args:
        cloud: $x_i$.
        truth: $y$.
        ties: $v$, uniform.

    References:
        Czado, Gneiting and Held, Predictive model assessment for count data, 2009,
        section 2 (the randomised probability integral transform).
    """
    y = truth[:, None, :]
    below = jnp.sum(cloud < y, axis=1).astype(truth.dtype)
    equal = jnp.sum(cloud == y, axis=1).astype(truth.dtype)
    return (below + ties * (equal + 1)) / (cloud.shape[1] + 1)


def crps(
    cloud: Float[Array, "step particle observation"],
    truth: Float[Array, "step observation"],
) -> Float[Array, "step observation"]:
    r"""The continuous ranked probability score; less is better.

    $$\frac1P \sum_i |x_i - y| - \frac{1}{P (P - 1)} \sum_i (2 i - P - 1)\, x_i$$

    Of a single number it is the absolute error.

    Args:
        cloud: $x_i$, in any order.
        truth: $y$.

    References:
        Gneiting and Raftery, Strictly proper scoring rules, prediction, and
        estimation, 2007, equation 21; without bias of few draws as in Ferro, Fair
        scores for ensemble forecasts, 2014.
    """
    particles = cloud.shape[1]
    miss = jnp.mean(jnp.abs(cloud - truth[:, None, :]), axis=1)
    weights = 2 * jnp.arange(1, particles + 1) - particles - 1
    weights = weights.astype(cloud.dtype)[None, :, None]
    gaps = jnp.sum(weights * jnp.sort(cloud, axis=1), axis=1)
    return miss - gaps / max(particles * (particles - 1), 1)


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
        return _rms(data.next_obs - self(data.obs, data.action))

    def _inputs(self, obs: np.ndarray, action: np.ndarray) -> np.ndarray:
        if self.choices:
            action = np.eye(self.top)[np.minimum(action.astype(int), self.top - 1)]
        return np.concatenate([obs, action, np.ones((len(obs), 1))], axis=1)


def _spread(rows: int, count: int) -> np.ndarray:
    """At most so many rows, evenly among all."""
    return np.arange(min(count, rows)) * rows // min(count, rows)


def _first(one: np.ndarray, longer: np.ndarray) -> np.ndarray:
    """What many rows say of the first step, before what few say of all others."""
    return np.concatenate([one[None], longer[1:]])


def _inside(rank: np.ndarray, level: float) -> np.ndarray:
    return (np.abs(rank - 0.5) <= level / 2).astype(float)


def _rms(values: np.ndarray) -> np.ndarray:
    return np.sqrt(np.mean(values**2, axis=0))


def _over_known(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """The mean over starts of what is known, `[step, observation]`."""
    with np.errstate(over="ignore"):
        total = np.where(known[:, :, None], values, 0).sum(axis=0)
    return total / np.maximum(known.sum(axis=0), 1)[:, None]


def _log_density(gaps: np.ndarray, spread: np.ndarray, moves: np.ndarray) -> float:
    """Mean log-likelihood of rows, over all dimensions that move."""
    spread = np.broadcast_to(spread, gaps.shape)
    logs = -0.5 * (gaps / spread) ** 2 - np.log(spread) - 0.5 * np.log(2 * np.pi)
    return float(np.mean(np.sum(logs[:, moves], axis=1)))
