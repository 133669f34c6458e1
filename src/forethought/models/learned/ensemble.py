r"""Bootstrap ensembles: what is not known, as members that disagree.

$$p(o' \mid o, u) = \tfrac1E \sum_e \mathcal N\big(o';\,
  \mu_e(o, u), \sigma_e^2(o, u)\big)$$

The prediction is a *mixture*, which two bends of a road do not blur into the cliff
between them. So a member is a sample of a posterior, and a particle follows one of
them, as `forethought.models.learned.propagation` says.
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from forethought.core.given.settings import Count, Seed, require
from forethought.models.learned.fitting import AbstractMembers, FitSettings, fit
from forethought.models.learned.mlp import MLP
from forethought.models.learned.propagation import Propagation, Rule
from forethought.models.learned.termination import (
    ClosedForm,
    Ends,
    LearnedEnd,
    ends_of,
)
from forethought.models.learned.transforms import Transform


class Ensemble(AbstractMembers):
    """Networks of one shape that are initialised and fitted apart.

    ```python
    >>> import jax
    >>> from forethought.models.learned.ensemble import Ensemble
    >>> from forethought.models.learned.transforms import Transform
    >>> model = Ensemble(Transform(3, 1), size=2, width=8, key=jax.random.key(0))
    >>> belief = model.init(key=jax.random.key(1))
    >>> belief = model.predict(belief, jax.numpy.ones(1), key=jax.random.key(2))
    >>> model.readout(belief).x.shape
    (3,)

    ```

    Args:
        transform: What networks see and answer.
        size: How many members.
        width: Units of each hidden layer.
        depth: How many hidden layers.
        elites: $E$, how many of them particles follow, those that did best on the rows
            that were held out; all of them if not given.
        probabilistic: Whether members predict their noise.
        propagation: The rule by which particles are carried.
        termination: Where episodes end: nowhere, where a function of the observation
            says so, or where it is learned (`LearnedEnd`), by each sample for itself.
        fitting: How members are fitted.
        seed: Of the bootstrap: how often a row counts never changes as data grow.
        key: Draws the weights of all members.

    Raises:
        ValueError: No members, more elites than members or none, no rows held out to
            choose them by, an unknown rule, an unknown termination, or decays of
            weights for another number of layers.

    References:
        Chua et al., Deep reinforcement learning in a handful of trials using
        probabilistic dynamics models, 2018, arXiv:1805.12114, sections 4 and 5.
        Elites: Janner et al., When to trust your model: model-based policy
        optimization, 2019, arXiv:1906.08253, whose code fits 7 and follows 5.

    Note:
        The paper's tasks use three hidden layers of 500 or four of 200.
    """

    members: MLP
    """Leaves with a leading axis `[member]`."""
    transform: Transform
    termination: LearnedEnd | ClosedForm | None
    """If learned, leaves with a leading axis `[sample]`."""
    best: Int[Array, " sample"] | None
    """Members that particles follow; None for all of them."""
    networks: int = eqx.field(static=True)
    size: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    depth: int = eqx.field(static=True)
    cloud: Propagation
    fitting: FitSettings = eqx.field(static=True)
    seed: int = eqx.field(static=True)

    def __init__(
        self,
        transform: Transform,
        *,
        size: int = 5,
        width: int = 200,
        depth: int = 3,
        elites: int | None = None,
        probabilistic: bool = True,
        propagation: Rule = "TSinf",
        termination: Ends | Literal["learned"] | None = None,
        fitting: FitSettings = FitSettings(),  # noqa: B008  (a frozen setting)
        seed: int = 0,
        key: PRNGKeyArray,
    ):
        require("Ensemble", Count, size=size, width=width, depth=depth)
        require("Ensemble", Seed, seed=seed)
        decay = fitting.weight_decay
        if isinstance(decay, tuple) and len(decay) != depth + 1:
            raise ValueError(
                f"weight_decay needs one number for each of {depth + 1} layers, got "
                f"{len(decay)}."
            )
        if elites is not None:
            require_elites("Ensemble", elites, size, fitting)
        self.transform, self.cloud = transform, Propagation(propagation)
        self.networks, self.width, self.depth = size, width, depth
        self.size = size if elites is None else elites
        self.best = None if elites is None else jnp.arange(elites)
        self.fitting, self.seed = fitting, seed
        self.members = eqx.filter_vmap(
            lambda key: MLP(
                transform.inputs_shape,
                transform.outputs_shape,
                width,
                depth,
                probabilistic=probabilistic,
                key=key,
            )
        )(jax.random.split(key, size))
        self.termination = ends_of(
            "Ensemble",
            termination,
            transform.features_shape,
            self.size,
            key=jax.random.fold_in(key, size),
        )

    @property
    def probabilistic(self) -> bool:
        """Whether members predict their noise."""
        return self.members.probabilistic

    def fresh(self, *, key: PRNGKeyArray) -> "Ensemble":
        """The same ensemble with new weights."""
        end = self.termination
        return Ensemble(
            self.transform,
            size=self.networks,
            width=self.width,
            depth=self.depth,
            elites=None if self.best is None else self.size,
            probabilistic=self.probabilistic,
            propagation=self.cloud.rule,
            termination="learned" if isinstance(end, LearnedEnd) else end and end.ends,
            fitting=self.fitting,
            seed=self.seed,
            key=key,
        )

    def under(self, transform: Transform) -> "Ensemble":
        r"""The same function of raw observations and actions, by another transform.

        A network of $x = (o - m)/s$ becomes one of $x' = (o - m')/s'$: its first layer
        sees $x = \tfrac{s'}{s} x' + \tfrac{m' - m}{s}$, its last one answers
        $y' = \tfrac{s_y}{s_y'} y + \tfrac{m_y - m_y'}{s_y'}$.

        Args:
            transform: Of the same dimensions, with other statistics.
        """
        old, new = self.transform, transform
        scale = new.input_scale / old.input_scale
        shift = (new.input_mean - old.input_mean) / old.input_scale
        output_scale = old.output_scale / new.output_scale
        output_shift = (old.output_mean - new.output_mean) / new.output_scale
        members = eqx.filter_vmap(
            lambda network: network.rescaled(scale, shift, output_scale, output_shift)
        )(self.members)
        end = self.termination
        if isinstance(end, LearnedEnd):
            # What ends an episode is seen through the first of the inputs.
            n = self.transform.features_shape
            end = eqx.filter_vmap(lambda end: end.under(scale[:n], shift[:n]))(end)
        return eqx.tree_at(
            lambda model: (model.members, model.transform, model.termination),
            self,
            (members, transform, end),
            is_leaf=lambda node: node is None,
        )

    def followed(self, scores: Float[Array, " member"]) -> "Ensemble":
        """The same ensemble, whose particles follow members of the lowest scores.

        Members keep their places, and with them the rows that they learn from.
        """
        if self.best is None:
            return self
        best = jnp.argsort(scores)[: self.size].astype(self.best.dtype)
        return eqx.tree_at(lambda model: model.best, self, best)

    def fit(
        self, data: PyTree, *, key: PRNGKeyArray
    ) -> tuple["Ensemble", dict[str, Array]]:
        """Every member fitted to its own bootstrap of `Rows`.

        Metrics are told by `forethought.models.learned.fitting.fit`.
        """
        return fit(self, data, key=key)

    def grouped(
        self, x: Float[Array, "sample row input"]
    ) -> tuple[Float[Array, "sample row output"], Float[Array, "sample row output"]]:
        """What each member answers to rows of its own."""
        # One member after another: on a CPU a product with a batch axis of members
        # takes nearly twice as long, and a loop works in memory that is still cached.
        members = self.members
        if self.best is not None:
            members = jax.tree.map(lambda leaf: leaf[self.best], members)
        return jax.lax.map(lambda each: jax.vmap(each[0])(each[1]), (members, x))


def require_elites(who: str, elites: int, members: int, fitting: FitSettings) -> None:
    """Refuse elites that there cannot be.

    Raises:
        ValueError: There are none or too many, or no rows to choose them by.
    """
    if not 1 <= elites <= members:
        raise ValueError(
            f"{who} needs elites among its {members} members, got {elites} of them."
        )
    if fitting.holdout == 0:
        raise ValueError(
            f"{who} needs rows that are held out to choose {elites} elites by, but "
            "fitting.holdout is 0."
        )
