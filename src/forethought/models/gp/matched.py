r"""Gaussian processes as a model whose belief is a Gaussian: moment matching.

What is believed of the state goes through the processes by its exact moments
(`forethought.models.gp.moments`), and what comes out is taken for a Gaussian again:

$$m' = m + \mathbb E \Delta, \qquad
  S' = S + \operatorname{cov}(\Delta) + \operatorname{cov}(x, \Delta)
  + \operatorname{cov}(\Delta, x) + \operatorname{diag}(\sigma^2)$$

Nothing is drawn, so plans are smooth in the actions and their gradients exact. The
action may itself be uncertain and answer the state (`Response`).

**Notation.** $\Delta$ what a step changes; a dimension that is predicted itself has no
$m$ and $S$ added.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.gaussian import Gaussian, Response
from forethought.core.given.settings import Count, require
from forethought.core.linalg import matmul, symmetrise
from forethought.core.readout import Readout
from forethought.core.types import Action
from forethought.models.base import AbstractCloud, AbstractLearned, Independent
from forethought.models.gp.hyper import SearchSettings
from forethought.models.gp.learning import learn
from forethought.models.gp.moments import match
from forethought.models.gp.processes import Processes
from forethought.models.gp.turns import with_turns
from forethought.models.learned.rows import Rows
from forethought.models.learned.transforms import Transform


class MomentMatching(AbstractLearned[Gaussian]):
    """One Gaussian process for each number, through which a Gaussian goes.

    ```python
    >>> import jax
    >>> from forethought.models.gp.matched import MomentMatching
    >>> from forethought.models.learned.transforms import Transform
    >>> model = MomentMatching(Transform(2, 1), points=8)
    >>> belief = model.init(key=jax.random.key(1))
    >>> belief = model.predict(belief, jax.numpy.ones(1), key=jax.random.key(2))
    >>> model.readout(belief).x.cov.shape
    (2, 2)

    ```

    Args:
        transform: What processes see and answer. Angles are seen by the moments of
            their sines and cosines.
        points: Up to so many rows regression is exact; of more, so many inducing
            points are made.
        line: Whether a straight line goes before each process.
        search: How kernels, which are squared exponentials, are found.

    Raises:
        ValueError: The transform has circles or a reward, which a Gaussian of the
            observation does not hold; or an action is a choice; or there are no points.

    References:
        Deisenroth, Fox and Rasmussen, Gaussian processes for data-efficient learning in
        robotics and control, 2015, doi:10.1109/TPAMI.2013.218, equations 10 to 12.

    Note:
        The noise is that of the step, and is part of what is believed of the next
        state. With angles the covariance of state and answer goes by way of sines and
        cosines, as if all of them were jointly normal.
    """

    processes: Processes
    precision: Float[Array, "output point point"]
    transform: Transform
    cloud: AbstractCloud
    line: bool = eqx.field(static=True)
    search: SearchSettings = eqx.field(static=True)

    def __init__(
        self,
        transform: Transform,
        *,
        points: int = 256,
        line: bool = False,
        search: SearchSettings = SearchSettings(),  # noqa: B008  (a frozen setting)
    ):
        require("MomentMatching", Count, points=points)
        strange = {
            "circles": transform.circles,
            "reward": transform.reward,
            "discrete": transform.discrete,
        }
        if found := [name for name, given in strange.items() if given]:
            raise ValueError(
                "MomentMatching needs observations and actions that a Gaussian can "
                f"hold, without {found[0]}, got {found[0]}={strange[found[0]]}."
            )
        self.transform, self.cloud = transform, Independent()
        self.line, self.search = line, search
        inputs, outputs = transform.inputs_shape, transform.outputs_shape
        self.processes = Processes(inputs, outputs, points, "squared-exponential")
        self.precision = self.processes.precision()

    def init(self, *, key: PRNGKeyArray) -> Gaussian:
        """The mean observation of the data, for certain."""
        mean = self.transform.mean
        size = mean.shape[0]
        return Gaussian(mean, jnp.zeros((size, size), mean.dtype))

    def predict(
        self, belief: Gaussian, action: Action | Response, *, key: PRNGKeyArray
    ) -> Gaussian:
        """The Gaussian of the moments that a step leads to; nothing is drawn."""
        x, away = self._seen(belief, action)
        mean, cov, slope = match(self.processes, self.precision, x.mean, x.cov)
        # Rounding may take more off a variance than there is.
        cov = cov + jnp.diag(jnp.maximum(-jnp.diag(cov), 0))
        t, n = self.transform, belief.mean.shape[0]
        scale = t.output_scale
        noise = jnp.diag(t.variance_scale * self.processes.kernel.noise)
        change = scale[:, None] * cov * scale[None] + noise
        # Of the state and the change, by way of what the processes see.
        cross = matmul(away, slope) * scale[None]
        kept = jnp.ones(n, mean.dtype)
        if t.absolute:
            kept = kept.at[jnp.array(t.absolute)].set(0)
        cross = kept[:, None] * cross
        before = kept[:, None] * belief.cov * kept[None]
        after = symmetrise(before + change + cross + cross.T)
        moved = kept * belief.mean + t.output_mean + scale * mean
        return Gaussian(moved, after)

    def _seen(
        self, belief: Gaussian, action: Action | Response
    ) -> tuple[Gaussian, Float[Array, "observation input"]]:
        """What processes see of state and action, and its covariance with the state."""
        t, n = self.transform, belief.mean.shape[0]
        if isinstance(action, Response):
            both = action.joint(belief)
        else:
            u = action.astype(belief.mean.dtype)
            wide = jnp.pad(belief.cov, (0, u.shape[0]))
            both = Gaussian(jnp.concatenate([belief.mean, u]), wide)
        order = list(range(both.mean.shape[0]))
        if t.angles:
            size, turns = len(order), len(t.angles)
            both = with_turns(both, t.angles)
            for i, angle in enumerate(t.angles):
                order[angle] = size + i
            cosines = range(size + turns, size + 2 * turns)
            order = [*order[:n], *cosines, *order[n:]]
        at = jnp.array(order)
        scale = t.input_scale
        mean = (both.mean[at] - t.input_mean) / scale
        cov = both.cov[at][:, at] / scale[:, None] / scale[None]
        return Gaussian(mean, cov), both.cov[:n][:, at] / scale[None]

    def observe(
        self, belief: Gaussian, obs: Float[Array, " observation"], *, key: PRNGKeyArray
    ) -> Gaussian:
        """What was seen, for certain."""
        return Gaussian(obs.astype(belief.mean.dtype), jnp.zeros_like(belief.cov))

    def readout(self, belief: Gaussian) -> Readout[Gaussian]:
        """The belief itself, of which `Expected` takes the expectation."""
        return Readout(belief)

    def expect(
        self, belief: Gaussian
    ) -> tuple[Float[Array, " observation"], Float[Array, " observation"]]:
        """Mean and variances of the belief."""
        return belief.mean, jnp.diag(belief.cov)

    def doubt(
        self, belief: Gaussian, action: Action
    ) -> tuple[Float[Array, " output"], Float[Array, " output"]]:
        """The noise, and what is not known of the functions at the belief's mean."""
        x = self.transform.inputs(belief.mean, action)
        _, variance = self.processes.moments(x[None])
        return self.processes.kernel.noise, variance[0]

    def fit(
        self, data: PyTree, *, key: PRNGKeyArray
    ) -> tuple["MomentMatching", dict[str, Array]]:
        """Every process fitted to all valid rows of `Rows`.

        Metrics are told by `forethought.models.gp.learning.learn`.
        """
        return _fit(self, data, key)

    def narrowed(self, points: int) -> "MomentMatching":
        """The same of the first points alone, where no others hold anything.

        The time of a step grows with the square of how many there may be.
        """
        return eqx.tree_at(
            lambda model: (model.processes, model.precision),
            self,
            (self.processes.narrowed(points), self.precision[:, :points, :points]),
        )


@eqx.filter_jit
def _fit(
    model: MomentMatching, rows: Rows, key: PRNGKeyArray
) -> tuple[MomentMatching, dict[str, Array]]:
    transform = model.transform.fit(
        rows.obs, rows.action, rows.next_obs, rows.reward, rows.valid
    )
    found = learn(
        model.processes,
        jax.vmap(transform.inputs)(rows.obs, rows.action),
        jax.vmap(transform.targets)(rows.obs, rows.next_obs, rows.reward),
        rows.valid,
        model.search,
        line=model.line,
        key=key,
    )
    model = eqx.tree_at(
        lambda model: (model.processes, model.precision, model.transform),
        model,
        (found.processes, found.processes.precision(), transform),
    )
    return model, found.metrics
