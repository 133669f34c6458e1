r"""Bayesian neural networks: what is not known, as weights that might have been.

$$p(o' \mid o, u) = \int p(o' \mid o, u, \theta)\, q(\theta)\, d\theta
  \approx \tfrac1E \sum_e p(o' \mid o, u, \theta_e)$$

with $q$ a Gaussian over weights (`forethought.models.learned.variational`). A sample of
the posterior is a draw $\theta_e$. It is known by its number: from the same number the
same weights are drawn again whenever they are asked, so that a particle carries no more
than the number.
"""

import dataclasses
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.given.settings import (
    Count,
    Positive,
    Range,
    Seed,
    check_ranges,
    key_of,
    require,
)
from forethought.models.learned.fitting import fit_ends, score
from forethought.models.learned.mlp import MLP, Units
from forethought.models.learned.propagation import AbstractPosterior, Propagation, Rule
from forethought.models.learned.rows import Rows, split
from forethought.models.learned.termination import (
    ClosedForm,
    Ends,
    LearnedEnd,
    ends_of,
)
from forethought.models.learned.transforms import Transform
from forethought.models.learned.variational import GaussianMLP, gaussian_loss, maximise


@dataclasses.dataclass(frozen=True)
class BoundSettings:
    """How a Bayesian network is fitted.

    Args:
        epochs: How many times the fit is looked at. It has no early stop: what the
            divergence takes back of the weights, it takes late.
        updates: Minibatches in an epoch.
        batch: Rows in a minibatch.
        learning_rate: Adam's first step; it falls to zero along a cosine.
        temperature: What the divergence counts; 1 is the evidence lower bound. Less is
            surer of itself than the data allow, though intervals may still hold.
        holdout: Share of rows that are not learned from.

    Raises:
        ValueError: A setting lies outside its range.
    """

    epochs: Count = 60
    updates: Count = 200
    batch: Count = 100
    learning_rate: Positive = 5e-3
    temperature: Positive = 1.0
    holdout: Annotated[float, Range(at_least=0, below=1)] = 0.1

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self)


class BayesianNetwork(AbstractPosterior):
    r"""A network with a Gaussian for each of its weights.

    ```python
    >>> import jax
    >>> from forethought.models.learned.bayesian import BayesianNetwork
    >>> from forethought.models.learned.transforms import Transform
    >>> model = BayesianNetwork(Transform(3, 1), size=2, width=8, key=jax.random.key(0))
    >>> aleatoric, epistemic = model.doubt(
    ...     model.init(key=jax.random.key(1)), jax.numpy.ones(1)
    ... )
    >>> epistemic.shape
    (3,)

    ```

    Args:
        transform: What networks see and answer.
        size: $E$, how many draws of the weights there are.
        width: Units of each hidden layer.
        depth: How many hidden layers.
        units: What hidden units do. Those that are `tanh` tell a gap among the data,
            those that are `silu` tell how far away they are; `mixed` are some of each.
        scale: A weight's prior has a standard deviation of this over the root of its
            layer's inputs.
        propagation: The rule by which particles are carried.
        termination: Where episodes end: nowhere, where a function of the observation
            says so, or where it is learned (`LearnedEnd`), for each sample from its own
            bootstrap of the rows.
        fitting: How the posterior is fitted.
        seed: Of what samples are drawn with, the same whatever was learned: two fits
            differ by what they know, and not by the luck of a draw.
        key: Draws the first means of the weights.

    Raises:
        ValueError: No samples, an unknown rule, or an unknown termination.

    References:
        Blundell et al., Weight uncertainty in neural networks, 2015,
        arXiv:1505.05424; Depeweg et al., Learning and policy search in stochastic
        dynamical systems with Bayesian neural networks, 2017, arXiv:1605.07127.

    Note:
        Depeweg's networks have a noise input besides and minimise an
        $\alpha$-divergence; here noise is Gaussian, and the bound is the variational
        one.
    """

    posterior: GaussianMLP
    transform: Transform
    termination: LearnedEnd | ClosedForm | None
    """If learned, leaves with a leading axis `[sample]`."""
    size: int = eqx.field(static=True)
    cloud: Propagation
    fitting: BoundSettings = eqx.field(static=True)
    seed: int = eqx.field(static=True)

    def __init__(
        self,
        transform: Transform,
        *,
        size: int = 10,
        width: int = 50,
        depth: int = 1,
        units: Units = "mixed",
        scale: float = 2.0,
        propagation: Rule = "TSinf",
        termination: Ends | Literal["learned"] | None = None,
        fitting: BoundSettings = BoundSettings(),
        seed: int = 0,
        key: PRNGKeyArray,
    ):
        require("BayesianNetwork", Count, size=size, width=width, depth=depth)
        require("BayesianNetwork", Seed, seed=seed)
        self.transform, self.cloud = transform, Propagation(propagation)
        self.size, self.fitting, self.seed = size, fitting, seed
        self.termination = ends_of(
            "BayesianNetwork",
            termination,
            transform.features_shape,
            size,
            key=jax.random.fold_in(key, size),
        )
        sizes = transform.inputs_shape, transform.outputs_shape, width, depth
        self.posterior = GaussianMLP(MLP(*sizes, units=units, key=key), scale)

    def fit(
        self, data: PyTree, *, key: PRNGKeyArray
    ) -> tuple["BayesianNetwork", dict[str, Array]]:
        """The posterior of `Rows`, from new weights.

        Returns:
            The fitted model, and as metrics: `curve`, the score of the mean weights by
            epoch, in nats per dimension on the hold-out rows, shape `[epochs, 1]`;
            `holdout`, the last of it, and `epochs`, how many, each of shape `[1]`;
            `active`, how many hidden units say anything; `divergence`, how many nats
            the posterior is from its prior. Where ends are learned, `end_nats` is what
            they cost per hold-out row.
        """
        return _fit(self, data, key, key_of(self.seed))

    def grouped(
        self, x: Float[Array, "sample row input"]
    ) -> tuple[Float[Array, "sample row output"], Float[Array, "sample row output"]]:
        """What each sample's weights answer to rows of its own."""
        key = key_of(self.seed)

        def answer(each):
            e, rows = each
            network = self.posterior.draw(key=jax.random.fold_in(key, e))
            return jax.vmap(network)(rows)

        return jax.lax.map(answer, (jnp.arange(self.size), x))


@eqx.filter_jit
def _fit(
    model: BayesianNetwork, rows: Rows, key: PRNGKeyArray, chance: PRNGKeyArray
) -> tuple[BayesianNetwork, dict[str, Array]]:
    init_key, fit_key, end_key = jax.random.split(key, 3)
    transform = model.transform.fit(
        rows.obs, rows.action, rows.next_obs, rows.reward, rows.valid
    )
    network, settings = model.posterior.mean, model.fitting
    network = MLP(
        transform.inputs_shape,
        transform.outputs_shape,
        network.biases[0].shape[0],
        len(network.weights) - 1,
        units=network.units,
        key=init_key,
    )
    x = jax.vmap(transform.inputs)(rows.obs, rows.action)
    y = jax.vmap(transform.targets)(rows.obs, rows.next_obs, rows.reward)
    counts, held = split(rows.valid, model.size, settings.holdout, key=chance)
    # Where none would be left to learn from, they are judged on what they learned.
    learned = jnp.where(jnp.all(held == rows.valid), rows.valid, rows.valid & ~held)
    # Rows that are held out come first, so that no others need be looked at.
    first_held = jnp.argsort(~held)
    judged = x[first_held], y[first_held], jnp.sum(held)
    posterior, curve = maximise(
        GaussianMLP(network, model.posterior.scale),
        gaussian_loss,
        x,
        y,
        learned,
        lambda posterior: score(posterior.mean, *judged),
        epochs=settings.epochs,
        updates=settings.updates,
        batch=settings.batch,
        learning_rate=settings.learning_rate,
        temperature=settings.temperature,
        key=fit_key,
    )
    metrics = {
        "holdout": curve[-1:],
        "epochs": jnp.full((1,), settings.epochs, jnp.int32),
        "curve": curve[:, None],
        "active": posterior.active(),
        "divergence": posterior.divergence(),
    }
    model = eqx.tree_at(
        lambda m: (m.posterior, m.transform), model, (posterior, transform)
    )
    if isinstance(model.termination, LearnedEnd):
        fresh = ends_of(
            "", "learned", transform.features_shape, model.size, key=init_key
        )
        model = eqx.tree_at(lambda m: m.termination, model, fresh)
        model, metrics["end_nats"] = fit_ends(model, rows, counts, held, end_key)
    return model, metrics
