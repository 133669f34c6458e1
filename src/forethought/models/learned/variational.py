r"""Networks whose weights are Gaussian, fitted by the evidence lower bound.

Every weight and bias has a distribution of its own, and all of them are independent
(*mean field*):

$$q(\theta) = \prod_i \mathcal N(\theta_i; m_i, s_i^2), \qquad
  p(\theta) = \prod_i \mathcal N(\theta_i; 0, \tau_i^2)$$

They are fitted such that, per row of data,

$$\mathbb E_q\Big[\tfrac1N \sum_n \log p(y_n \mid x_n, \theta)\Big]
  - \tfrac1N \mathrm{KL}(q \,\|\, p)$$

is large. The divergence has this weight and no other: a smaller one makes a posterior
that is too sure of itself, and no count of how often intervals hold would tell.

**Local reparametrisation.** While fitting, a layer's answer to a row is drawn in the
place of its weights: of $x$ it is a Gaussian with mean $m^\top x$ and variance
$(s^2)^\top x^2$. Rows of a minibatch so have draws of their own, which makes the
gradient far less noisy at the same cost.

**Notation.** $N$ rows; $m_i, s_i$ mean and standard deviation of a weight, $\tau_i$ of
its prior; a layer has $n$ inputs.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray, Scalar

from forethought.core.given.settings import Positive, require
from forethought.core.optimise import take_step
from forethought.models.learned.mlp import MLP

START = 0.05
"""The first standard deviation of a weight, times the root of its layer's inputs."""
SURE = 3.0
"""A weight has left its prior where its mean is so many deviations from zero."""

Loss = Callable[[Array, Array, Array], Scalar]
"""From mean, variance and target of one row to nats; less is better."""


class GaussianMLP(eqx.Module):
    r"""A distribution over networks of one shape.

    Args:
        network: Its weights are the first means, $m$; its shape is that of all.
        scale: A weight's prior has $\tau = $ `scale` $/ \sqrt n$, a bias's has 1.

    Raises:
        ValueError: A scale that is not above zero.

    References:
        Blundell et al., Weight uncertainty in neural networks, 2015,
        arXiv:1505.05424, section 3; Kingma, Salimans and Welling, Variational dropout
        and the local reparameterization trick, 2015, arXiv:1506.02557, section 2.3.

    Note:
        Blundell's prior is a mixture of two Gaussians; this is one, so that the
        divergence is exact. Bounds of the log-variance are no weights: they have
        values, and no distribution.
    """

    mean: MLP
    log_std: tuple[tuple[Array, ...], tuple[Array, ...]]
    r"""$\log s$ of weights and of biases."""
    scale: float = eqx.field(static=True)

    def __init__(self, network: MLP, scale: float = 1.0):
        require("GaussianMLP", Positive, scale=scale)
        roots = [W.shape[0] ** 0.5 for W in network.weights]
        # Products, because a filled array is weakly typed and would recompile a fit.
        log_std = [
            (0 * W + jnp.log(START / root), 0 * b + jnp.log(0.3 * START))
            for W, b, root in zip(network.weights, network.biases, roots, strict=True)
        ]
        weights, biases = zip(*log_std, strict=True)
        self.mean, self.log_std, self.scale = network, (weights, biases), scale

    def draw(self, *, key: PRNGKeyArray) -> MLP:
        """One network."""
        means = self.mean.weights, self.mean.biases
        leaves, tree = jax.tree.flatten(means)
        keys = jax.tree.unflatten(tree, list(jax.random.split(key, len(leaves))))
        weights, biases = jax.tree.map(
            lambda m, log_std, key: (
                m + jnp.exp(log_std) * jax.random.normal(key, m.shape, m.dtype)
            ),
            means,
            self.log_std,
            keys,
        )
        return eqx.tree_at(
            lambda n: (n.weights, n.biases), self.mean, (weights, biases)
        )

    def noisy(
        self, x: Float[Array, " input"], noise: Float[Array, " unit"]
    ) -> tuple[Float[Array, " output"], Float[Array, " output"]]:
        """What a network drawn for this row alone answers, layer by layer.

        Args:
            x: Standardised.
            noise: Standard normal, one number for each of `units`.
        """
        at, last = 0, len(self.mean.weights) - 1
        layers = zip(self.mean.weights, self.mean.biases, *self.log_std, strict=True)
        for i, (W, b, log_W, log_b) in enumerate(layers):
            mean = x @ W + b
            variance = (x * x) @ jnp.exp(2 * log_W) + jnp.exp(2 * log_b)
            x = mean + jnp.sqrt(variance) * noise[at : at + b.shape[0]]
            at += b.shape[0]
            x = x if i == last else self.mean.active(x)
        return self.mean.answer(x)

    @property
    def units(self) -> int:
        """How many numbers all layers answer together."""
        return sum(b.shape[0] for b in self.mean.biases)

    def divergence(self) -> Scalar:
        r"""$\mathrm{KL}(q \,\|\, p)$, in nats."""
        layers = zip(self.mean.weights, self.mean.biases, *self.log_std, strict=True)
        nats = jnp.zeros((), self.mean.biases[0].dtype)
        for W, b, log_W, log_b in layers:
            nats += jnp.sum(_kl(W, log_W, self.scale / W.shape[0] ** 0.5))
            nats += jnp.sum(_kl(b, log_b, 1.0))
        return nats

    def active(self) -> Int[Array, ""]:
        """How many hidden units have a weight out of them that is surely not zero.

        None of a network that fell back to its prior, which answers the mean of the
        data everywhere and calls all else noise.
        """
        outgoing = zip(self.mean.weights[1:], self.log_std[0][1:], strict=True)
        return sum(
            (
                jnp.sum(jnp.any(jnp.abs(W) > SURE * jnp.exp(log_std), axis=1))
                for W, log_std in outgoing
            ),
            start=jnp.zeros((), int),
        )


def maximise(
    posterior: GaussianMLP,
    loss: Loss,
    x: Float[Array, "row input"],
    y: Float[Array, "row output"],
    learned: Bool[Array, " row"],
    score: Callable[[GaussianMLP], Scalar],
    *,
    epochs: int,
    updates: int,
    batch: int,
    learning_rate: float,
    temperature: ArrayLike = 1.0,
    key: PRNGKeyArray,
) -> tuple[GaussianMLP, Float[Array, " epoch"]]:
    r"""The posterior that maximises the bound, and its score after each epoch.

    The divergence begins at no weight, and has its own, `temperature` $/ N$, after a
    third of all updates: from the start it would silence units before they have learned
    anything. Adam's step falls to zero along a cosine.

    Args:
        posterior: Where it begins.
        loss: The negative log-likelihood of one row.
        x: Standardised.
        y: Standardised.
        learned: Which rows count, shape `[row]`.
        score: Noted after each epoch.
        epochs: How many.
        updates: Minibatches in each.
        batch: Rows in a minibatch.
        learning_rate: Adam's first step.
        temperature: 1 for the bound; less is a posterior that is too cold.
        key: Draws minibatches and noise.
    """
    number = jnp.maximum(jnp.sum(learned), 1)
    total, batch = epochs * updates, min(batch, x.shape[0])
    dtype = y.dtype
    rate = optax.cosine_decay_schedule(learning_rate, total)
    # One long vector is scaled faster than many small arrays.
    optimiser = optax.chain(
        optax.flatten(optax.scale_by_adam()), optax.scale_by_learning_rate(rate)
    )

    def cost(posterior, rows, noise, weight):
        mean, variance = jax.vmap(posterior.noisy)(x[rows], noise)
        nats = jnp.mean(jax.vmap(loss)(mean, variance, y[rows]))
        top, bottom = posterior.mean.max_log_variance, posterior.mean.min_log_variance
        price = 0.01 * (jnp.sum(top) - jnp.sum(bottom))
        return nats + weight * posterior.divergence() + price

    def epoch(carry, t):
        shuffle_key, noise_key = jax.random.split(jax.random.fold_in(key, t))
        # Rows that count come first, shuffled; batches wrap around.
        shuffle = jax.random.uniform(shuffle_key, learned.shape, dtype)
        order = jnp.argsort(jnp.where(learned, shuffle, 2.0))

        def step(i, carry):
            posterior, state = carry
            rows = order[(i * batch + jnp.arange(batch)) % number]
            noise = jax.random.normal(
                jax.random.fold_in(noise_key, i), (batch, posterior.units), dtype
            )
            share = (t * updates + i + 1).astype(dtype) / max(total / 3, 1)
            weight = temperature * jnp.minimum(share, 1) / number.astype(dtype)
            grads = jax.grad(cost)(posterior, rows, noise, weight)
            return take_step(optimiser, posterior, state, grads)

        posterior, state = jax.lax.fori_loop(0, updates, step, carry)
        return (posterior, state), score(posterior)

    start: Any = posterior
    (posterior, _), curve = jax.lax.scan(
        epoch, (start, optimiser.init(start)), jnp.arange(epochs)
    )
    return posterior, curve


def gaussian_loss(
    mean: Float[Array, " output"],
    variance: Float[Array, " output"],
    y: Float[Array, " output"],
) -> Scalar:
    """The negative log-likelihood of one row, without its constant."""
    return 0.5 * jnp.sum((y - mean) ** 2 / variance + jnp.log(variance))


def _kl(mean: Array, log_std: Array, prior: float) -> Array:
    r"""$\log \tfrac\tau s + \tfrac{s^2 + m^2}{2 \tau^2} - \tfrac12$."""
    square = jnp.exp(2 * log_std) + mean * mean
    return (
        jnp.log(jnp.asarray(prior, mean.dtype))
        - log_std
        + square / (2 * prior**2)
        - 0.5
    )
