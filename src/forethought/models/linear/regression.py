r"""A linear model that is learned, and knows how well its data determine it.

$$p(o' \mid o, u) = \mathcal N(A o + B u + f, \Sigma)$$

One regression over all rows. What is not known is a posterior over $(A, B, f, \Sigma)$
in closed form (`forethought.models.linear.posterior`), so that nothing is trained and
a fit takes milliseconds. Numbered draws of it are samples as members of an ensemble
are, and a particle follows one of them by the same five rules.

It is the baseline of every bent model, and the right model of a linear world.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Scalar

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
from forethought.models.linear.dynamics import Linear
from forethought.models.linear.kalman import LinearGaussian
from forethought.models.linear.posterior import Regression, require_affine

HOLDOUT = 0.1
"""Share of rows on which learned ends are judged; the map needs none."""


class LinearRegression(AbstractPosterior):
    r"""Draws of a linear map and its noise, given what was seen.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.models.learned.rows import Rows
    >>> from forethought.models.learned.transforms import Transform
    >>> from forethought.models.linear.regression import LinearRegression
    >>> key = jax.random.key(0)
    >>> obs, action = jax.random.normal(key, (64, 2)), jnp.linspace(-1, 1, 64)[:, None]
    >>> rows = Rows.pad(obs, action, obs[:, 0], 0.5 * obs + action)
    >>> model, _ = LinearRegression(Transform(2, 1), key=key).fit(rows, key=key)
    >>> [round(float(entry), 3) for entry in model.linear.dynamics.F[0]]
    [0.5, 0.0, 1.0]

    ```

    Args:
        transform: What the map sees and answers; standard inputs and outputs are what
            makes one prior do for all data.
        size: How many draws. With more than there are inputs (and the offset) their
            spread is the posterior's exactly; one is the mean.
        ridge: Of how many rows the prior on each weight is worth.
        noise: Standard deviation of the noise before anything was seen, in standard
            deviations of the data. The prior of a weight is $\text{noise} /
            \sqrt{\text{ridge}}$ wide.
        propagation: The rule by which particles are carried.
        termination: As for an `Ensemble`.
        seed: Of the rows that learned ends are fitted to.
        key: Draws the map from the prior.

    Raises:
        ValueError: No draws, a setting outside its range, or an unknown rule or
            termination.

    References:
        As for `Regression`.

    Note:
        A reward is predicted as one more linear output, which it seldom is.
    """

    weights: Float[Array, "sample output both"]
    variances: Float[Array, "sample output"]
    posterior: Regression
    transform: Transform
    termination: LearnedEnd | ClosedForm | None
    size: int = eqx.field(static=True)
    ridge: float = eqx.field(static=True)
    noise: float = eqx.field(static=True)
    cloud: Propagation
    seed: int = eqx.field(static=True)

    def __init__(
        self,
        transform: Transform,
        *,
        size: int = 20,
        ridge: float = 1e-4,
        noise: float = 1e-2,
        propagation: Rule = "TSinf",
        termination: Ends | Literal["learned"] | None = None,
        seed: int = 0,
        key: PRNGKeyArray,
    ):
        require("LinearRegression", Count, size=size)
        require("LinearRegression", Positive, ridge=ridge, noise=noise)
        require("LinearRegression", Seed, seed=seed)
        self.transform, self.cloud = transform, Propagation(propagation)
        self.size, self.ridge, self.noise, self.seed = size, ridge, noise, seed
        draw_key, end_key = jax.random.split(key)
        self.posterior, (self.weights, self.variances) = _prior(
            transform, ridge, noise, size, draw_key
        )
        self.termination = ends_of(
            "LinearRegression",
            termination,
            transform.features_shape,
            size,
            key=end_key,
        )

    @property
    def linear(self) -> LinearGaussian:
        """The mean map and its noise in the data's own units, for LQR and its kin.

        Raises:
            TypeError: The transform has angles, circles or discrete actions.
        """
        require_affine("LinearRegression.linear", self.transform)
        F, f, W = self.posterior.unscaled(self.transform)
        return LinearGaussian(Linear(F, f), W)

    def fit(
        self, data: Rows, *, key: PRNGKeyArray
    ) -> tuple["LinearRegression", dict[str, Array]]:
        """The posterior of all valid rows, and new draws of it.

        Metrics are `holdout`, what each row costs when it is left out of the fit, in
        nats per dimension as an ensemble's; and `end_nats` where ends are learned.
        """
        return _fit(self, data, key, key_of(self.seed))

    def grouped(
        self, x: Float[Array, "sample row input"]
    ) -> tuple[Float[Array, "sample row output"], Float[Array, "sample row output"]]:
        """What each draw answers to rows of its own."""
        W, offset = self.weights[:, :, :-1], self.weights[:, :, -1]
        highest = jax.lax.Precision.HIGHEST
        means = jnp.einsum("sri,soi->sro", x, W, precision=highest) + offset[:, None]
        return means, jnp.broadcast_to(self.variances[:, None], means.shape)


@eqx.filter_jit
def _prior(
    transform: Transform, ridge: float, noise: float, size: int, key: PRNGKeyArray
) -> tuple[Regression, tuple[Array, Array]]:
    """What is believed before anything was seen, and draws of it."""
    x = jnp.zeros((1, transform.inputs_shape))
    y = jnp.zeros((1, transform.outputs_shape))
    valid = jnp.zeros(1, bool)
    posterior = Regression.fit(x, y, valid, ridge=ridge, noise=noise)
    return posterior, posterior.draws(size, key=key)


@eqx.filter_jit
def _fit(
    model: LinearRegression, rows: Rows, key: PRNGKeyArray, chosen: PRNGKeyArray
) -> tuple[LinearRegression, dict[str, Array]]:
    draw_key, end_key = jax.random.split(key)
    transform = model.transform.fit(
        rows.obs, rows.action, rows.next_obs, rows.reward, rows.valid
    )
    x = jax.vmap(transform.inputs)(rows.obs, rows.action)
    y = jax.vmap(transform.targets)(rows.obs, rows.next_obs, rows.reward)
    posterior = Regression.fit(x, y, rows.valid, ridge=model.ridge, noise=model.noise)
    weights, variances = posterior.draws(model.size, key=draw_key)
    model = eqx.tree_at(
        lambda m: (m.transform, m.posterior, m.weights, m.variances),
        model,
        (transform, posterior, weights, variances),
    )
    metrics = {"holdout": left_out(posterior, x, y, rows.valid)}
    if isinstance(model.termination, LearnedEnd):
        counts, held = split(rows.valid, model.size, HOLDOUT, key=chosen)
        model, metrics["end_nats"] = fit_ends(
            model, rows, counts.astype(y.dtype), held, end_key
        )
    return model, metrics


def left_out(
    posterior: Regression,
    x: Float[Array, "row input"],
    y: Float[Array, "row output"],
    valid: Bool[Array, " row"],
) -> Scalar:
    r"""What a row costs when it is left out of the fit, in nats per dimension.

    With $h = x^\top V x$ the mean without a row misses it by $(y - Mx) / (1 - h)$, and
    the variance there is $\Sigma_{ii} / (1 - h)$.

    Args:
        posterior: Of all rows.
        x: Inputs, standardised.
        y: Outputs, standardised.
        valid: Which rows hold data.

    References:
        Allen, The relationship between variable selection and data augmentation and a
        method for prediction, 1974 (the residuals that are left out).
    """
    ones = jnp.ones_like(x[:, :1])
    gaps = y - matmul(jnp.concatenate([x, ones], axis=1), posterior.M.T)
    kept = jnp.maximum(1 - jax.vmap(posterior.reach)(x), jnp.finfo(x.dtype).eps)
    noise = jnp.diag(posterior.noise)[None]
    terms = gaps**2 / (kept[:, None] * noise) + jnp.log(noise / kept[:, None])
    count = jnp.maximum(jnp.sum(valid), 1).astype(y.dtype)
    total = jnp.sum(jnp.where(valid[:, None], terms, 0))
    return 0.5 * total / (count * y.shape[1])


class LinearGaussianRecipe(AbstractRecipe):
    """Settings of a `LinearRegression`, besides those of every recipe.

    Args:
        samples: How many draws of the posterior particles follow.
        ridge: Of how many rows the prior on each weight is worth.
        noise: The noise before anything was seen, in standard deviations of the data.
        propagation: How particles are carried through the draws.
        seed: Of the rows that learned ends are fitted to.
    """

    samples: Count = eqx.field(static=True, default=20)
    ridge: Positive = eqx.field(static=True, default=1e-4)
    noise: Positive = eqx.field(static=True, default=1e-2)
    propagation: Rule = eqx.field(static=True, default="TSinf")
    seed: Seed = eqx.field(static=True, default=0)

    @property
    def size(self) -> int:
        """How many draws."""
        return self.samples

    def begin(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> LinearRegression:
        """Draws of the prior.

        Raises:
            TypeError: Observations are no vectors of numbers.
            ValueError: The known end is that of an environment of other observations.
        """
        return LinearRegression(
            self.transform(spec),
            size=self.samples,
            ridge=self.ridge,
            noise=self.noise,
            propagation=self.propagation,
            termination=self.ends(spec),
            seed=self.seed,
            key=key,
        )
