r"""Local linear models of where one is: pieces of linear maps, each of some place.

$$p(o' \mid x) = \mathcal N\Big(\sum_k g_k(x)\, W_k x,\; \sum_k g_k(x)\, \Sigma_k\Big),
  \qquad g_k(x) \propto \pi_k\, \mathcal N(x; \mu_k, \Phi_k)$$

Bent dynamics are nearly straight around a place. A mixture of Gaussians over what was
seen lately and what followed finds such places, and in each of them a regression is
fitted whose rows count by $g_k$. Its prior is the one map of all rows, so that a place
with few of them is described as the others are. Nothing is trained for long, and with
every fit the pieces follow to where an agent has come.

**Notation.** $x$ observation and action, standardised, with a one behind them; $g_k$
how much piece $k$ counts there; $W_k, \Sigma_k$ its map and noise; $V_k$ as in
`forethought.models.linear.posterior`.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from forethought.core.given.settings import Count, Positive, Seed, key_of, require
from forethought.core.linalg import matmul
from forethought.environments.base import EnvironmentSpec
from forethought.models.learned.fitting import fit_ends
from forethought.models.learned.propagation import AbstractPosterior, Propagation, Rule
from forethought.models.learned.recipes import AbstractRecipe
from forethought.models.learned.rows import Rows, split
from forethought.models.learned.termination import (
    ClosedForm,
    Ends,
    LearnedEnd,
    ends_of,
)
from forethought.models.learned.transforms import Transform
from forethought.models.linear.mixture import Mixture, fit_mixture
from forethought.models.linear.posterior import Regression
from forethought.models.linear.regression import HOLDOUT

FLOOR = 1e-3
"""The least variance of a place, in squared standard deviations of the data."""
STEPS = 50
"""The most steps that the mixture is fitted by."""


class Pieces(AbstractPosterior):
    r"""Linear maps of places, and draws of them, given what was seen lately.

    Args:
        transform: What maps see and answer. Angles on circles and discrete actions will
            do, as maps are linear in what it shows.
        size: How many draws, as for `LinearRegression`; one is the mean.
        pieces: $k$, how many places.
        latest: How many rows, the newest, are looked at.
        ridge: Of how many rows the map of all rows is worth to each piece.
        noise: As for `LinearRegression`.
        propagation: The rule by which particles are carried.
        termination: As for an `Ensemble`.
        seed: Of the rows that learned ends are fitted to.
        key: Draws the maps from the prior.

    Raises:
        ValueError: A setting outside its range, or an unknown rule or termination.

    References:
        Gu, Lillicrap, Sutskever and Levine, Continuous deep Q-learning with model-based
        acceleration, 2016, arXiv:1603.00748, §5 (local linear models that are refitted
        to the latest roll-outs); Jordan and Jacobs, Hierarchical mixtures of experts
        and the EM algorithm, 1994 (linear maps that a gate blends).

    Note:
        The paper has one map for each time step, as its episodes begin alike. Rows know
        no time, and episodes that begin anywhere have little in common at one. So maps
        belong to places here. Rows count by where they are, as maps do later.
    """

    weights: Float[Array, "sample piece output both"]
    variances: Float[Array, "sample piece output"]
    places: Mixture
    transform: Transform
    termination: LearnedEnd | ClosedForm | None
    size: int = eqx.field(static=True)
    latest: int = eqx.field(static=True)
    ridge: float = eqx.field(static=True)
    noise: float = eqx.field(static=True)
    cloud: Propagation
    seed: int = eqx.field(static=True)

    def __init__(
        self,
        transform: Transform,
        *,
        size: int = 5,
        pieces: int = 20,
        latest: int = 1000,
        ridge: float = 1e-2,
        noise: float = 1e-2,
        propagation: Rule = "TSinf",
        termination: Ends | Literal["learned"] | None = None,
        seed: int = 0,
        key: PRNGKeyArray,
    ):
        require("Pieces", Count, size=size, pieces=pieces, latest=latest)
        require("Pieces", Positive, ridge=ridge, noise=noise)
        require("Pieces", Seed, seed=seed)
        self.transform, self.cloud = transform, Propagation(propagation)
        self.size, self.latest, self.seed = size, latest, seed
        self.ridge, self.noise = ridge, noise
        draw_key, end_key = jax.random.split(key)
        n = transform.inputs_shape
        self.places = Mixture(
            jnp.ones(pieces) / pieces,
            jnp.zeros((pieces, n)),
            jnp.broadcast_to(jnp.eye(n), (pieces, n, n)),
        )
        self.weights, self.variances = _prior(
            transform, pieces, size, ridge, noise, draw_key
        )
        self.termination = ends_of(
            "Pieces", termination, transform.features_shape, size, key=end_key
        )

    def fit(
        self, data: Rows, *, key: PRNGKeyArray
    ) -> tuple["Pieces", dict[str, Array]]:
        """The pieces of the latest valid rows, and new draws of them.

        Metrics are `holdout`, what each row costs when it is left out of all maps but
        not of their places, in nats per dimension as an ensemble's; and `end_nats`
        where ends are learned.
        """
        return _fit(self, data, key, key_of(self.seed))

    def grouped(
        self, x: Float[Array, "sample row input"]
    ) -> tuple[Float[Array, "sample row output"], Float[Array, "sample row output"]]:
        """What each draw answers to rows of its own."""
        samples, rows, n = x.shape
        share = self.places.responsibilities(x.reshape(samples * rows, n))
        share = share.reshape(-1, samples, rows)
        one = jnp.concatenate([x, jnp.ones_like(x[:, :, :1])], axis=2)
        highest = jax.lax.Precision.HIGHEST
        W = jnp.einsum("ksr,skop->srop", share, self.weights, precision=highest)
        means = jnp.einsum("srop,srp->sro", W, one, precision=highest)
        return means, jnp.einsum("ksr,sko->sro", share, self.variances)


def latest_rows(rows: Rows, count: int) -> Rows:
    """The newest of them, as they come with time; with fewer rows all of them."""
    newer = jnp.sum(rows.valid) - jnp.cumsum(rows.valid)
    kept = rows.valid & (newer < count)
    first = jnp.argsort(~kept, stable=True)[: min(count, kept.shape[0])]
    rows = eqx.tree_at(lambda rows: rows.valid, rows, kept)
    return jax.tree.map(lambda leaf: leaf[first], rows)


@eqx.filter_jit
def _prior(
    transform: Transform,
    pieces: int,
    size: int,
    ridge: float,
    noise: float,
    key: PRNGKeyArray,
) -> tuple[Array, Array]:
    """Maps before anything was seen."""
    x = jnp.zeros((1, transform.inputs_shape))
    y = jnp.zeros((1, transform.outputs_shape))
    shares, none = jnp.zeros((pieces, 1)), jnp.zeros(1, bool)
    return _draws(_each(x, y, none, shares, ridge, noise), size, key)


@eqx.filter_jit
def _fit(
    model: Pieces, rows: Rows, key: PRNGKeyArray, chosen: PRNGKeyArray
) -> tuple[Pieces, dict[str, Array]]:
    place_key, draw_key, end_key = jax.random.split(key, 3)
    late = latest_rows(rows, model.latest)
    transform = model.transform.fit(
        late.obs, late.action, late.next_obs, late.reward, late.valid
    )
    x = jax.vmap(transform.inputs)(late.obs, late.action)
    y = jax.vmap(transform.targets)(late.obs, late.next_obs, late.reward)
    points = jnp.where(late.valid[:, None], jnp.concatenate([x, y], axis=1), 0)
    pieces, n = model.places.weights.shape[0], x.shape[1]
    both, _ = fit_mixture(
        points, late.valid, pieces, floor=FLOOR, limit=STEPS, key=place_key
    )
    places = Mixture(both.weights, both.means[:, :n], both.covs[:, :n, :n])
    shares = places.responsibilities(x)
    posterior = _each(x, y, late.valid, shares, model.ridge, model.noise)
    weights, variances = _draws(posterior, model.size, draw_key)
    model = eqx.tree_at(
        lambda m: (m.transform, m.places, m.weights, m.variances),
        model,
        (transform, places, weights, variances),
    )
    metrics = {"holdout": _left_out(posterior, shares, x, y, late.valid)}
    if isinstance(model.termination, LearnedEnd):
        counts, held = split(rows.valid, model.size, HOLDOUT, key=chosen)
        model, metrics["end_nats"] = fit_ends(
            model, rows, counts.astype(y.dtype), held, end_key
        )
    return model, metrics


def _each(
    x: Float[Array, "row input"],
    y: Float[Array, "row output"],
    valid: Array,
    shares: Float[Array, "piece row"],
    ridge: float,
    noise: float,
) -> Regression:
    """The regression of each piece, leaves `[piece, ...]`.

    Pieces are fitted to what the map of all rows leaves over.
    """
    whole = Regression.fit(x, y, valid, noise=noise)
    one = jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1)
    over = jnp.where(valid[:, None], y - matmul(one, whole.M.T), 0)

    def piece(share: Array) -> Regression:
        own = Regression.fit(x, over, valid, ridge=ridge, noise=noise, share=share)
        return eqx.tree_at(lambda own: own.M, own, own.M + whole.M)

    return jax.vmap(piece)(shares)


def _draws(posterior: Regression, size: int, key: PRNGKeyArray) -> tuple[Array, Array]:
    """Draws of the maps of all pieces, leaves `[draw, piece, ...]`."""
    keys = jax.random.split(key, posterior.M.shape[0])
    return jax.vmap(lambda each, key: each.draws(size, key=key), out_axes=1)(
        posterior, keys
    )


def _left_out(
    posterior: Regression, shares: Array, x: Array, y: Array, valid: Array
) -> Scalar:
    r"""What a row costs when it is left out, in nats per dimension.

    With $h_k = g_k x^\top V_k x$ piece $k$ misses it by $(y - W_k x) / (1 - h_k)$, as
    `forethought.models.linear.regression.left_out` has it for one map.
    """
    one = jnp.concatenate([x, jnp.ones_like(x[:, :1])], axis=1)

    def piece(each: Regression, share: Array) -> tuple[Array, Array]:
        kept = jnp.maximum(1 - share * jax.vmap(each.reach)(x), jnp.finfo(x.dtype).eps)
        weight = (share / kept)[:, None]
        gaps = y - matmul(one, each.M.T)
        return weight * gaps, weight * jnp.diag(each.noise)[None]

    gaps, noise = (jnp.sum(e, 0) for e in jax.vmap(piece)(posterior, shares))
    terms = jnp.where(valid[:, None], gaps**2 / noise + jnp.log(noise), 0)
    count = jnp.maximum(jnp.sum(valid), 1).astype(y.dtype)
    return 0.5 * jnp.sum(terms) / (count * y.shape[1])


class LocalLinearRecipe(AbstractRecipe):
    """Settings of `Pieces`, besides those of every recipe.

    Args:
        samples: How many draws of the posterior particles follow; one is the mean.
        pieces: How many places have a map of their own.
        latest: How many rows, the newest, are looked at.
        ridge: Of how many rows the map of all rows is worth to each piece.
        noise: The noise before anything was seen, in standard deviations of the data.
        propagation: How particles are carried through the draws.
        seed: Of the rows that learned ends are fitted to.
    """

    samples: Count = eqx.field(static=True, default=5)
    pieces: Count = eqx.field(static=True, default=20)
    latest: Count = eqx.field(static=True, default=1000)
    ridge: Positive = eqx.field(static=True, default=1e-2)
    noise: Positive = eqx.field(static=True, default=1e-2)
    propagation: Rule = eqx.field(static=True, default="TSinf")
    seed: Seed = eqx.field(static=True, default=0)

    @property
    def size(self) -> int:
        """How many draws."""
        return self.samples

    def begin(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Pieces:
        """Draws of the prior.

        Raises:
            TypeError: Observations are no vectors of numbers.
            ValueError: The known end is that of an environment of other observations.
        """
        return Pieces(
            self.transform(spec),
            size=self.samples,
            pieces=self.pieces,
            latest=self.latest,
            ridge=self.ridge,
            noise=self.noise,
            propagation=self.propagation,
            termination=self.ends(spec),
            seed=self.seed,
            key=key,
        )
