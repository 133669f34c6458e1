"""A model that counts how often it is asked."""

import collections
from typing import Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.readout import Readout
from forethought.core.types import Action, ravel
from forethought.models.base import AbstractModel

Belief = TypeVar("Belief")


class Tally:
    """Counts on the host, by how often the model was differentiated.

    One prediction in the middle of a batch of a thousand counts a thousand. A
    linearisation counts once, whatever the dimension and whether its derivatives run
    forwards or backwards.
    """

    def __init__(self):
        self.orders: collections.Counter[int] = collections.Counter()

    @property
    def evaluations(self) -> int:
        """Predictions alone."""
        return self.orders[0]

    @property
    def linearisations(self) -> int:
        """Predictions with their first derivatives, or with higher ones."""
        return sum(count for order, count in self.orders.items() if order > 0)


class Counted(AbstractModel[Belief], Generic[Belief]):
    """Another model, whose predictions are counted while they are computed.

    Each prediction calls the host, so this is for counting and not for timing, and
    second derivatives by way of reverse ones are refused.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.models.around.counted import Counted, Tally
    >>> from forethought.models.linear.dynamics import Linear
    >>> tally = Tally()
    >>> model = Counted(Linear([[0.5, 1.0]]), tally)
    >>> u, key = jnp.ones(1), jax.random.key(0)
    >>> step = jax.jit(jax.vmap(lambda x: model.predict(x, u, key=key)))
    >>> step(jnp.zeros((7, 1))).shape, tally.evaluations
    ((7, 1), 7)

    ```

    Args:
        model: Who predicts.
        tally: Where it is counted.
    """

    model: AbstractModel[Belief]
    tally: Tally = eqx.field(static=True)

    def init(self, *, key: PRNGKeyArray) -> Belief:
        """That of the model."""
        return self.model.init(key=key)

    def predict(self, belief: Belief, action: Action, *, key: PRNGKeyArray) -> Belief:
        """What the model predicts, and one more on the tally."""
        after, unravel = ravel(self.model.predict(belief, action, key=key))
        # Nothing is added, by a function that must be computed to know so.
        nothing = _counter(self.tally, 0)(after[0].astype(jnp.float32))
        return unravel(after + nothing.astype(after.dtype)[None])

    def observe(
        self, belief: Belief, obs: PyTree[Array], *, key: PRNGKeyArray
    ) -> Belief:
        """That of the model."""
        return self.model.observe(belief, obs, key=key)

    def readout(self, belief: Belief) -> Readout:
        """That of the model."""
        return self.model.readout(belief)


def _counter(tally: Tally, order: int):
    """A function that is zero everywhere and counts where it is evaluated.

    Its derivative is zero too, and counts one order higher. That it is zero only the
    host knows, so that nobody leaves out the count for want of use.
    """

    def host(x):
        tally.orders[order] += int(np.prod(np.shape(x)))
        return np.zeros(np.shape(x), np.float32)

    @jax.custom_jvp
    def count(x: Float[Array, ""]) -> Float[Array, ""]:
        shape = jax.ShapeDtypeStruct((), jnp.float32)
        return jax.pure_callback(host, shape, x, vmap_method="broadcast_all")

    @count.defjvp
    def _(primals, tangents):
        nothing = _counter(tally, order + 1)(*primals)
        return nothing, nothing * tangents[0]

    return count
