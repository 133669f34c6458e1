r"""A model that is wrong, and whose samples are wrong in ways of their own.

$$y_e' = y_e + a\, \tanh(R_e x) / t, \qquad R_e \sim \mathcal N(0, I / n)$$

A negative control: whoever weighs what a model says by how far its samples agree should
find this one out, and whoever believes it should fail. However much is seen, it stays
as wrong as it is.

**Notation.** $x, y_e$ what sample $e$ sees and answers, standardised; $n$ the size of
$x$; $a$ by how many standard deviations of the data it is off, as a root of the mean
square where $x$ is standard normal, for which $t$ is that of the tangent.
"""

import dataclasses
from typing import cast

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.given.settings import Count, Depth, Nonnegative, Seed
from forethought.environments.base import EnvironmentSpec
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.propagation import AbstractPosterior, Propagation
from forethought.models.learned.recipes import AbstractRecipe, EnsembleRecipe
from forethought.models.learned.termination import ClosedForm, LearnedEnd
from forethought.models.learned.transforms import Transform

TANGENT = 0.628
"""$t$, the root of the mean square of tanh of a standard normal number."""


class Distorted(AbstractPosterior):
    """A model, each of whose samples is bent by a map of its own.

    Args:
        model: It is fitted to the truth, and bent afterwards.
        bends: $R_e$, shape `[sample, input, output]`.
        amount: $a$.
    """

    model: AbstractPosterior
    bends: Float[Array, "sample input output"]
    transform: Transform
    termination: LearnedEnd | ClosedForm | None
    size: int = eqx.field(static=True)
    cloud: Propagation
    amount: float = eqx.field(static=True)

    def __init__(
        self,
        model: AbstractPosterior,
        bends: Float[Array, "sample input output"],
        amount: float,
    ):
        self.model, self.bends, self.amount = model, bends, amount
        self.transform, self.termination = model.transform, model.termination
        self.size, self.cloud = model.size, model.cloud

    def fit(
        self, data: PyTree, *, key: PRNGKeyArray
    ) -> tuple["Distorted", dict[str, Array]]:
        """The model fitted to what was seen, bent as before; metrics are the model's.

        These know nothing of the bend.
        """
        model, metrics = self.model.fit(data, key=key)
        straight = cast(AbstractPosterior, model)
        return Distorted(straight, self.bends, self.amount), metrics

    def grouped(
        self, x: Float[Array, "sample row input"]
    ) -> tuple[Float[Array, "sample row output"], Float[Array, "sample row output"]]:
        """What each sample answers to rows of its own, bent."""
        means, variances = self.model.grouped(x)
        turned = jnp.einsum("sri,sio->sro", x, self.bends)
        return means + self.amount / TANGENT * jnp.tanh(turned), variances


class DistortedRecipe(AbstractRecipe):
    """Settings of a `Distorted` ensemble of networks, besides those of every recipe.

    Args:
        amount: By how many standard deviations of the data each member is off.
        members: How many networks, each bent by a map of its own.
        width: Units of each hidden layer.
        depth: How many hidden layers.
        fitting: How networks are fitted.
        seed: Of the bootstrap, and of the maps that bend members.
    """

    amount: Nonnegative = eqx.field(static=True, default=0.5)
    members: Count = eqx.field(static=True, default=4)
    width: Count = eqx.field(static=True, default=64)
    depth: Depth = eqx.field(static=True, default=2)
    fitting: FitSettings = eqx.field(static=True, default=FitSettings())
    seed: Seed = eqx.field(static=True, default=0)

    @property
    def size(self) -> int:
        """How many networks."""
        return self.members

    def begin(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Distorted:
        """Networks that have seen nothing, and how they are bent.

        Raises:
            TypeError: Observations are no vectors of numbers.
            ValueError: The known end is that of an environment of other observations.
        """
        names = [field.name for field in dataclasses.fields(AbstractRecipe)]
        straight = EnsembleRecipe(
            **{name: getattr(self, name) for name in names},
            members=self.members,
            width=self.width,
            depth=self.depth,
            probabilistic=False,
            fitting=self.fitting,
            seed=self.seed,
        )
        model = straight.begin(spec, key=key)
        n, outputs = model.transform.inputs_shape, model.transform.outputs_shape
        drawn = jax.random.normal(
            jax.random.fold_in(key, self.members), (self.members, n, outputs)
        )
        return Distorted(model, drawn / n**0.5, self.amount)
