r"""Fitting an ensemble to data that grow.

Each member sees a bootstrap of its own (`forethought.models.learned.rows`). A row that
counts twice weighs twice in the loss; rows that count zero are skipped.

One epoch is one compiled loop over minibatches, the fit a compiled loop over epochs.
How many rows are valid is data and not shape: with rows padded to a power of two
(`Rows.pad`), a second fit recompiles only when the data have outgrown their capacity.

**Notation.** $y$ targets and $\mu, \sigma^2$ answers, mean and variance, in
standardised units.
"""

import abc
import dataclasses
from typing import Annotated, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Scalar

from forethought.core.given.settings import (
    Count,
    Nonnegative,
    Positive,
    Range,
    check_ranges,
    key_of,
)
from forethought.core.optimise import early_stopping, take_step
from forethought.models.learned.calibration import calibrated
from forethought.models.learned.mlp import MLP
from forethought.models.learned.propagation import AbstractPosterior
from forethought.models.learned.rows import Rows, split, summed
from forethought.models.learned.termination import LearnedEnd
from forethought.models.learned.transforms import Transform


@dataclasses.dataclass(frozen=True)
class FitSettings:
    """How an ensemble is fitted.

    Args:
        epochs: The most passes over the data.
        patience: A member stops after this many epochs without improvement.
        threshold: What counts as one, in nats per dimension on the hold-out rows.
        holdout: Share of rows that members do not learn from.
        batch: Rows in a minibatch.
        updates: The fewest minibatches of an epoch. Few rows are passed several times
            between two looks at the hold-out rows, or patience would end too soon.
        learning_rate: Adam's step.
        weight_decay: For each layer, or one for all; decoupled from the gradient.
        clip: The largest norm of a member's gradient; infinity for none.
        warm: Go on from the model's weights instead of drawing new ones. The transform
            is fitted to all rows either way, and the first and the last layer are
            changed such that a warm fit begins at the same function of observations
            and actions (`Ensemble.under`). A model's first fit draws its weights.
        calibrate: Scale the noise of each output to fit the rows that were held out
            (`forethought.models.learned.calibration`).

    Raises:
        ValueError: A setting lies outside its range.
    """

    epochs: Count = 200
    patience: Count = 10
    threshold: Nonnegative = 0.01
    holdout: Annotated[float, Range(at_least=0, below=1)] = 0.1
    batch: Count = 64
    updates: Count = 30
    learning_rate: Positive = 1e-3
    weight_decay: Nonnegative | tuple[Nonnegative, ...] = 1e-4
    clip: Annotated[float, Range(above=0, endless=True)] = 10.0
    warm: bool = False
    calibrate: bool = False

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self)


Members = TypeVar("Members", bound="AbstractMembers")
Posterior = TypeVar("Posterior", bound=AbstractPosterior)


class AbstractMembers(AbstractPosterior):
    """A posterior whose samples are networks of one shape, fitted apart."""

    members: eqx.AbstractVar[MLP]
    """Leaves with a leading axis `[member]`."""
    networks: eqx.AbstractVar[int]
    """How many members there are; samples are some of them, or all."""
    fitting: eqx.AbstractVar[FitSettings]
    seed: eqx.AbstractVar[int]
    """Draws what rows count; the same for all fits of one model."""

    @abc.abstractmethod
    def fresh(self: Members, *, key: PRNGKeyArray) -> Members:
        """The same model with new weights."""

    @abc.abstractmethod
    def followed(self: Members, scores: Float[Array, " member"]) -> Members:
        """The same model, whose samples are the members of the lowest scores."""

    @abc.abstractmethod
    def under(self: Members, transform: Transform) -> Members:
        """The same function of raw numbers, by another transform."""


def negative_log_likelihood(
    network: MLP,
    x: Float[Array, "row input"],
    y: Float[Array, "row output"],
    weight: Float[Array, " row"],
) -> Scalar:
    r"""The loss of one member.

    $$\overline{(\mu - y)^2 / \sigma^2 + \log \sigma^2}
      + 0.01 \sum \ell_{\max} - 0.01 \sum \ell_{\min}$$

    A deterministic member's is the mean squared error.

    Args:
        network: One member.
        x: Inputs, standardised.
        y: Targets, standardised.
        weight: What each row counts, 1 on average.

    References:
        Chua et al., 2018, arXiv:1805.12114, equation 1 (per dimension and without its
        constants); the bounds' price is that of the authors' code.
    """
    mean, variance = jax.vmap(network)(x)
    if not network.probabilistic:
        return jnp.mean(weight * jnp.mean((mean - y) ** 2, axis=1))
    losses = (mean - y) ** 2 / variance + jnp.log(variance)
    loss = jnp.mean(weight * jnp.mean(losses, axis=1))
    bounds = jnp.sum(network.max_log_variance) - jnp.sum(network.min_log_variance)
    return loss + 0.01 * bounds


def score(
    network: MLP,
    x: Float[Array, "row input"],
    y: Float[Array, "row output"],
    count: Int[Array, ""],
) -> Scalar:
    r"""Nats per dimension on the first `count` rows, without constants; less is better.

    $$\tfrac12 \log \overline{(\mu - y)^2 / \sigma^2}
      + \tfrac12 \overline{\log \sigma^2}$$

    averaged over dimensions: the negative log-likelihood, had the variance of each
    dimension been scaled to fit. By the plain one a single surprising row costs a
    member the more, the better it knows all other rows, and would stop its fit in the
    first epochs; here it costs the logarithm of that. A deterministic network's is the
    logarithm of its errors, so that one threshold serves both.
    """

    def terms(x, y):
        mean, variance = jax.vmap(network)(x)
        if not network.probabilistic:
            variance = jnp.ones_like(mean)
        return jnp.stack([(mean - y) ** 2 / variance, jnp.log(variance)])

    total = summed(terms, x, y, count, 2)
    errors, logs = total / jnp.maximum(count, 1).astype(y.dtype)
    return 0.5 * jnp.mean(jnp.log(jnp.maximum(errors, 1e-12)) + logs)


def fit(
    model: Members, rows: Rows, *, key: PRNGKeyArray
) -> tuple[Members, dict[str, Array]]:
    """Fit every member to its own bootstrap of the data.

    Members stop by themselves and keep the weights that were best on the hold-out
    rows; the same rows are held out from all of them.

    Args:
        model: It says how, and its weights are used where that is `warm`.
        rows: The data; only valid rows are looked at.
        key: Draws weights and minibatches.

    Returns:
        The fitted model, and as metrics per member: `holdout`, the best `score`, in
        nats per dimension; `epochs`, how many it took; `curve`, the score by epoch, NaN
        where the fit had stopped, shape `[epochs, member]`. Where ends are learned,
        `end_nats` is what they cost per hold-out row; it is no part of `holdout`, so
        that learning them changes neither what members predict nor how long they fit.

    Note:
        Decay is decoupled (Loshchilov and Hutter, 2019, arXiv:1711.05101) where PETS
        adds it to the loss; the hold-out and the early stop are not PETS's either,
        which makes 5 passes over all data.
    """
    return _fit(model, rows, key, key_of(model.seed), model.fitting)


@eqx.filter_jit
def _fit(
    model: Members,
    rows: Rows,
    key: PRNGKeyArray,
    bootstrap: PRNGKeyArray,
    settings: FitSettings,
) -> tuple[Members, dict[str, Array]]:
    init_key, key = jax.random.split(key)
    transform = model.transform.fit(
        rows.obs, rows.action, rows.next_obs, rows.reward, rows.valid
    )
    known = model.transform.fitted
    fresh = eqx.tree_at(lambda m: m.transform, model.fresh(key=init_key), transform)
    if settings.warm:
        model = jax.tree.map(
            lambda old, new: jnp.where(known, old, new), model.under(transform), fresh
        )
    else:
        model = fresh
    x = jax.vmap(model.transform.inputs)(rows.obs, rows.action)
    y = jax.vmap(model.transform.targets)(rows.obs, rows.next_obs, rows.reward)
    counts, held = split(rows.valid, model.networks, settings.holdout, key=bootstrap)
    counts = counts.astype(y.dtype)
    # Rows that are held out come first, so that no others need be looked at.
    first_held = jnp.argsort(~held)
    judged = (x[first_held], y[first_held], jnp.sum(held))
    optimiser = _optimiser(model.members, settings)
    batch = min(settings.batch, x.shape[0])

    def fit_member(network, counts, key):
        number = jnp.sum(counts > 0)
        weights = counts * number.astype(y.dtype) / jnp.maximum(jnp.sum(counts), 1)
        batches = jnp.maximum((number + batch - 1) // batch, settings.updates)

        def epoch(network, state, t):
            # Rows that count come first, shuffled; batches wrap around.
            shuffle = jax.random.uniform(
                jax.random.fold_in(key, t), counts.shape, counts.dtype
            )
            order = jnp.argsort(jnp.where(counts > 0, shuffle, 2.0))

            def step(i, carry):
                network, state = carry
                chosen = order[(i * batch + jnp.arange(batch)) % jnp.maximum(number, 1)]
                grads = jax.grad(negative_log_likelihood)(
                    network, x[chosen], y[chosen], weights[chosen]
                )
                return take_step(optimiser, network, state, grads)

            return jax.lax.fori_loop(0, batches, step, (network, state))

        return early_stopping(
            epoch,
            lambda network: score(network, *judged),
            network,
            optimiser.init(network),
            limit=settings.epochs,
            patience=settings.patience,
            threshold=settings.threshold,
        )

    keys = jax.random.split(key, model.networks)
    if jax.default_backend() == "cpu":
        # One member after another: a batch of small products is slow on a CPU, and
        # a member that has stopped costs nothing.
        found = jax.lax.map(
            lambda each: fit_member(*each), (model.members, counts, keys)
        )
    else:
        found = jax.vmap(fit_member)(model.members, counts, keys)
    members = found.best
    if settings.calibrate and members.probabilistic and settings.holdout > 0:
        members = calibrated(members, *judged)
    model = eqx.tree_at(lambda m: m.members, model, members).followed(found.score)
    metrics = {
        "holdout": found.score,
        "epochs": found.epochs,
        "curve": found.curve.T,
    }
    if isinstance(model.termination, LearnedEnd):
        own = counts[: model.size]
        model, metrics["end_nats"] = fit_ends(model, rows, own, held, key)
    return model, metrics


def fit_ends(
    model: Posterior,
    rows: Rows,
    counts: Float[Array, "sample row"],
    held: Bool[Array, " row"],
    key: PRNGKeyArray,
) -> tuple[Posterior, Float[Array, " sample"]]:
    """The model with ends as its samples learned them, and their hold-out scores.

    Args:
        model: Its ends are learned.
        rows: The data.
        counts: How often each row counts for each sample.
        held: The rows of which scores are made.
        key: Draws the minibatches.
    """
    features = jax.vmap(model.transform.features)(rows.next_obs)

    def fit_member(end, counts, key):
        end = end.fit(features, rows.terminated, rows.valid, counts, key=key)
        return end, end.nats(features, rows.terminated, held)

    def learn(ends):
        keys = jax.random.split(jax.random.fold_in(key, model.size), model.size)
        return eqx.filter_vmap(fit_member)(ends, counts, keys)

    def skip(ends):
        return ends, jnp.zeros((model.size,), counts.dtype)

    ended = jnp.any(rows.valid & rows.terminated)
    ends, nats = jax.lax.cond(ended, learn, skip, model.termination)
    return eqx.tree_at(lambda m: m.termination, model, ends), nats


def _optimiser(members: MLP, settings: FitSettings) -> optax.GradientTransformation:
    """Adam on clipped gradients, with decay of each layer's weights."""
    decay = settings.weight_decay
    layers = len(members.weights)
    each = decay if isinstance(decay, tuple) else (decay,) * layers

    def pull(updates, params):
        weights = tuple(
            update + rate * W
            for update, rate, W in zip(
                updates.weights, each, params.weights, strict=True
            )
        )
        return eqx.tree_at(lambda network: network.weights, updates, weights)

    # One long vector is clipped and scaled faster than many small arrays.
    step = optax.chain(optax.clip_by_global_norm(settings.clip), optax.scale_by_adam())
    return optax.chain(
        optax.flatten(step),
        optax.stateless(pull),
        optax.scale_by_learning_rate(settings.learning_rate),
    )
