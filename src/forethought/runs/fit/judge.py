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
linear map that fits best by least squares (`forethought.runs.fit.held`). Scores are in
`forethought.runs.fit.scores`.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray

from forethought.models.base import AbstractLearned
from forethought.runs.fit.held import Held
from forethought.runs.fit.scores import (
    FLAT,
    crps,
    first,
    inside,
    log_density,
    over_known,
    rank,
    rms,
)
from forethought.training.forecasts import forecast, quantiles

LEVELS = (0.5, 0.8, 0.95)
"""Central intervals that are judged."""
GRID = tuple(round(0.05 * i, 2) for i in range(1, 20))
"""Levels of the curve of calibration."""
BANDS = (0.025, 0.1, 0.25, 0.5, 0.75, 0.9, 0.975)
"""Quantiles that bound the intervals, and the median."""
PARTICLES, DRAWS = 60, 400
"""Particles of a long forecast, and of one step."""
FAR = (1.0, 1.5, 2.0, 3.0, 4.0)
"""How many times as far from the middle as the data doubt is asked for."""


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

    deed = np.asarray(held.action[0])
    single = bool(_sure(model, given(held.obs[0]), given(deed), one_key))
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
        nats = log_density(held.next_obs - one["mean"], floor, held.moves)
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
        * first(
            inside(one["rank"], level).mean(axis=0),
            over_known(inside(far["rank"], level), held.known),
        )
        for level in LEVELS
    ]
    return Judged(
        errors=first(
            rms(one["mean"] - held.next_obs), over_known(squares, held.known) ** 0.5
        ),
        coverage=np.stack(coverage),
        calibration=told
        * np.stack([inside(one["rank"], p).mean(axis=0) for p in GRID]),
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
