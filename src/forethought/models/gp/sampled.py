r"""A Gaussian process as a model: functions drawn from it are what particles follow.

$$p(o' \mid o, u) = \mathcal N\big(o';\, \mu(x), \sigma_f^2(x) + \sigma^2\big)$$

in standardised units, with $x$ the inputs that observation and action make.
$\sigma_f^2$ is what is not known, and shrinks with data; $\sigma^2$ is noise and stays.
By TS1 and TSinf a particle follows a function that was drawn
(`forethought.models.gp.draws`) and meets the noise; by E, DS and MM it is answered by
$\mu$ and both variances in closed form.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.given.settings import Count, require
from forethought.core.types import Action
from forethought.models.gp.draws import Draws, draw_prior
from forethought.models.gp.hyper import SearchSettings
from forethought.models.gp.kernels import Kind
from forethought.models.gp.learning import learn
from forethought.models.gp.processes import Processes
from forethought.models.learned.fitting import fit_ends
from forethought.models.learned.propagation import (
    AbstractPosterior,
    Propagation,
    Rule,
)
from forethought.models.learned.rows import Rows, split
from forethought.models.learned.termination import (
    ClosedForm,
    Ends,
    LearnedEnd,
    ends_of,
)
from forethought.models.learned.transforms import Transform

HELD_OUT = 0.1
"""Share of rows that ends are judged by."""


class GaussianProcess(AbstractPosterior):
    """One Gaussian process for each number that is predicted.

    ```python
    >>> import jax
    >>> from forethought.models.gp.sampled import GaussianProcess
    >>> from forethought.models.learned.transforms import Transform
    >>> model = GaussianProcess(Transform(3, 1), points=8, key=jax.random.key(0))
    >>> belief = model.init(key=jax.random.key(1))
    >>> belief = model.predict(belief, jax.numpy.ones(1), key=jax.random.key(2))
    >>> model.readout(belief).x.shape
    (3,)

    ```

    Args:
        transform: What processes see and answer.
        size: How many functions are drawn, for particles to follow.
        points: Up to so many rows regression is exact; of more, so many inducing
            points are made.
        kernel: Of the functions.
        line: Whether a straight line goes before each process, to which it returns far
            from data. Otherwise it returns to the mean of the data.
        waves: Of how many waves a function of the prior is drawn.
        propagation: The rule by which particles are carried.
        termination: Where episodes end: nowhere, where a function of the observation
            says so, or where it is learned (`LearnedEnd`), with each function anew.
        search: How kernels are found.
        key: Draws functions of the prior.

    Raises:
        ValueError: No functions, points or waves, an unknown rule, or an unknown
            termination.

    References:
        Rasmussen and Williams, Gaussian processes for machine learning, 2006; with
        functions drawn: Wilson et al., 2020, arXiv:2002.09309.

    Note:
        Float64 is what it is made for. In float32 the noise has a floor, by the square
        root of the number of rows times the spacing of floats, that keeps covariances
        positive: what lies below that cannot be told from noise.
    """

    processes: Processes
    draws: Draws
    transform: Transform
    termination: LearnedEnd | ClosedForm | None
    """If learned, leaves with a leading axis `[sample]`."""
    size: int = eqx.field(static=True)
    line: bool = eqx.field(static=True)
    waves: int = eqx.field(static=True)
    cloud: Propagation
    search: SearchSettings = eqx.field(static=True)

    def __init__(
        self,
        transform: Transform,
        *,
        size: int = 10,
        points: int = 512,
        kernel: Kind = "squared-exponential",
        line: bool = False,
        waves: int = 256,
        propagation: Rule = "TSinf",
        termination: Ends | Literal["learned"] | None = None,
        search: SearchSettings = SearchSettings(),  # noqa: B008  (a frozen setting)
        key: PRNGKeyArray,
    ):
        require("GaussianProcess", Count, size=size, points=points, waves=waves)
        require("GaussianProcess", Kind, kernel=kernel)
        self.transform, self.cloud = transform, Propagation(propagation)
        self.size, self.line, self.waves = size, line, waves
        self.search = search
        inputs, outputs = transform.inputs_shape, transform.outputs_shape
        self.processes = Processes(inputs, outputs, points, kernel)
        self.draws = draw_prior(self.processes, size, waves, key=key)
        self.termination = ends_of(
            "GaussianProcess",
            termination,
            transform.features_shape,
            size,
            key=jax.random.fold_in(key, size),
        )

    def fit(
        self, data: PyTree, *, key: PRNGKeyArray
    ) -> tuple["GaussianProcess", dict[str, Array]]:
        """Every process fitted to all valid rows of `Rows`.

        Metrics are told by `forethought.models.gp.learning.learn`.
        """
        return _fit(self, data, key)

    def narrowed(self, points: int) -> "GaussianProcess":
        """The same of the first points alone, where no others hold anything.

        The time of a step grows with how many there may be.
        """
        return eqx.tree_at(
            lambda model: (model.processes, model.draws.weights),
            self,
            (self.processes.narrowed(points), self.draws.weights[..., :points]),
        )

    def grouped(
        self, x: Float[Array, "sample row input"]
    ) -> tuple[Float[Array, "sample row output"], Float[Array, "sample row output"]]:
        """What each function answers to rows of its own, and the noise."""
        values = self.draws(self.processes, x)
        noise = self.processes.kernel.noise
        return values, jnp.broadcast_to(noise[None, None], values.shape)

    def mixture(
        self, x: Float[Array, "row input"]
    ) -> tuple[Float[Array, "row output"], Float[Array, "row output"]]:
        """Mean and variance over all functions there are, not only those drawn."""
        mean, variance = self.processes.moments(x)
        return mean, variance + self.processes.kernel.noise[None]

    def doubt(
        self, belief: PyTree, action: Action
    ) -> tuple[Float[Array, " output"], Float[Array, " output"]]:
        """The noise, and the variance of the functions that data allow."""
        x = self.transform.inputs(belief.obs, action)
        _, variance = self.processes.moments(x[None])
        return self.processes.kernel.noise, variance[0]


@eqx.filter_jit
def _fit(
    model: GaussianProcess, rows: Rows, key: PRNGKeyArray
) -> tuple[GaussianProcess, dict[str, Array]]:
    transform = model.transform.fit(
        rows.obs, rows.action, rows.next_obs, rows.reward, rows.valid
    )
    model = eqx.tree_at(lambda model: model.transform, model, transform)
    found = learn(
        model.processes,
        jax.vmap(transform.inputs)(rows.obs, rows.action),
        jax.vmap(transform.targets)(rows.obs, rows.next_obs, rows.reward),
        rows.valid,
        model.search,
        line=model.line,
        samples=model.size,
        waves=model.waves,
        key=key,
    )
    model = eqx.tree_at(
        lambda model: (model.processes, model.draws),
        model,
        (found.processes, found.draws),
    )
    metrics = found.metrics
    if isinstance(model.termination, LearnedEnd):
        of_rows, of_ends = jax.random.split(key)
        counts, held = split(rows.valid, model.size, HELD_OUT, key=of_rows)
        counts = counts.astype(rows.reward.dtype)
        model, metrics["end_nats"] = fit_ends(model, rows, counts, held, of_ends)
    return model, metrics
