r"""Bootstrap ensembles: what is not known, as members that disagree.

$$p(o' \mid o, u) = \tfrac1E \sum_e \mathcal N\big(o';\,
  \mu_e(o, u), \sigma_e^2(o, u)\big)$$

The prediction is a *mixture*, which two bends of a road do not blur into the cliff
between them. So a belief carries which member it follows, and the rule of propagation
says what that means at a step:

| rule | one step of a particle |
|---|---|
| E | the mean over members, without noise |
| DS | drawn from a Gaussian with the mixture's moments |
| MM | as DS, and the cloud of particles is refitted by a Gaussian after each step |
| TS1 | drawn from a member that is dealt anew at each step |
| TSinf | drawn from the particle's own member throughout |

Here one particle is predicted; clouds of them, with what they share, are
`forethought.models.learned.propagation`.
"""

from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, Scalar

from forethought.core.readout import Readout
from forethought.core.types import Action
from forethought.models.base import AbstractModel
from forethought.models.learned.mlp import MLP
from forethought.models.learned.termination import ClosedForm, Ends, LearnedEnd
from forethought.models.learned.transforms import Transform
from forethought.models.learned.uncertainty import mixture_moments

Rule = Literal["E", "DS", "MM", "TS1", "TSinf"]


class Particle(eqx.Module):
    """One possible state of the world, and the member that it follows."""

    obs: Float[Array, " observation"]
    reward: Scalar
    """The reward that was predicted on the way here; zero if none is."""
    discount: Scalar
    """The probability that the episode went on after the last step."""
    member: Int[Array, ""]


class Ensemble(AbstractModel[Particle]):
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
        size: $E$, how many members.
        width: Units of each hidden layer.
        depth: How many hidden layers.
        probabilistic: Whether members predict their noise.
        propagation: The rule by which particles are carried.
        termination: Where episodes end: nowhere, where a function of the observation
            says so, or where it is learned (`LearnedEnd`), by each member for itself.
        key: Draws the weights of all members.

    Raises:
        ValueError: No members, an unknown rule, or an unknown termination.

    References:
        Chua et al., Deep reinforcement learning in a handful of trials using
        probabilistic dynamics models, 2018, arXiv:1805.12114, sections 4 and 5.

    Note:
        The paper's tasks use three hidden layers of 500 or four of 200.
    """

    members: MLP
    """Leaves with a leading axis `[member]`."""
    transform: Transform
    termination: LearnedEnd | ClosedForm | None
    """If learned, leaves with a leading axis `[member]`."""
    size: int = eqx.field(static=True)
    width: int = eqx.field(static=True)
    depth: int = eqx.field(static=True)
    propagation: Rule = eqx.field(static=True)

    def __init__(
        self,
        transform: Transform,
        *,
        size: int = 5,
        width: int = 200,
        depth: int = 3,
        probabilistic: bool = True,
        propagation: Rule = "TSinf",
        termination: Ends | Literal["learned"] | None = None,
        key: PRNGKeyArray,
    ):
        if size < 1:
            raise ValueError(f"Ensemble needs size >= 1, got {size}.")
        if propagation not in get_args(Rule):
            raise ValueError(
                f"Ensemble needs a propagation among {', '.join(get_args(Rule))}, got "
                f"{propagation!r}."
            )
        if isinstance(termination, str) and termination != "learned":
            raise ValueError(
                "Ensemble needs a termination that is None, 'learned' or a function of "
                f"the observation, got {termination!r}."
            )
        self.transform, self.size, self.propagation = transform, size, propagation
        self.width, self.depth = width, depth
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
        if termination is None:
            self.termination = None
        elif isinstance(termination, str):
            self.termination = eqx.filter_vmap(
                lambda key: LearnedEnd(transform.features_shape, key=key)
            )(jax.random.split(jax.random.fold_in(key, size), size))
        else:
            self.termination = ClosedForm(termination)

    @property
    def probabilistic(self) -> bool:
        """Whether members predict their noise."""
        return self.members.probabilistic

    def fresh(self, *, key: PRNGKeyArray) -> "Ensemble":
        """The same ensemble with new weights."""
        end = self.termination
        return Ensemble(
            self.transform,
            size=self.size,
            width=self.width,
            depth=self.depth,
            probabilistic=self.probabilistic,
            propagation=self.propagation,
            termination="learned" if isinstance(end, LearnedEnd) else end and end.ends,
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
            one, none = jnp.ones_like(scale[:1]), jnp.zeros_like(scale[:1])
            networks = eqx.filter_vmap(
                lambda network: network.rescaled(scale[:n], shift[:n], one, none)
            )(end.network)
            end = eqx.tree_at(lambda end: end.network, end, networks)
        return eqx.tree_at(
            lambda model: (model.members, model.transform, model.termination),
            self,
            (members, transform, end),
            is_leaf=lambda node: node is None,
        )

    def init(self, *, key: PRNGKeyArray) -> Particle:
        """The mean observation of the data, with a member drawn at random."""
        obs = self.transform.mean
        member = jax.random.randint(key, (), 0, self.size)
        return Particle(obs, jnp.zeros_like(obs[0]), jnp.ones_like(obs[0]), member)

    def predict(
        self, belief: Particle, action: Action, *, key: PRNGKeyArray
    ) -> Particle:
        """One step of one particle; by TS1 its member is drawn first.

        All members are computed and one is chosen, which under `jax.vmap` is cheaper
        than fetching one member's weights for each particle.
        """
        means, variances = self.outputs(belief.obs, action)
        noise_key, member_key = jax.random.split(key)
        member = belief.member
        if self.propagation == "TS1":
            member = jax.random.randint(member_key, (), 0, self.size)
        if self.propagation in ("TS1", "TSinf"):
            mean, variance = means[member], variances[member]
        else:
            mean, variance = mixture_moments(means, variances)
        if self.propagation == "E":
            y = mean
        else:
            noise = jax.random.normal(noise_key, mean.shape, mean.dtype)
            y = mean + jnp.sqrt(variance) * noise
        next_obs, reward = self.transform.restore(belief.obs, y)
        ends = self.ends(jnp.broadcast_to(next_obs, (self.size, 1, *next_obs.shape)))
        own = self.propagation in ("TS1", "TSinf")
        end = ends[member, 0] if own else jnp.mean(ends)
        return Particle(next_obs, reward, 1 - end, member)

    def observe(
        self, belief: Particle, obs: Float[Array, " observation"], *, key: PRNGKeyArray
    ) -> Particle:
        """The particle where it was seen; its member stays."""
        return Particle(
            obs.astype(belief.obs.dtype),
            jnp.zeros_like(belief.reward),
            jnp.ones_like(belief.discount),
            belief.member,
        )

    def readout(self, belief: Particle) -> Readout[Array]:
        """The observation, with reward and discount where the model predicts them."""
        ends = self.termination is not None
        return Readout(
            belief.obs,
            belief.reward if self.transform.reward else None,
            belief.discount if ends else None,
        )

    def outputs(
        self, obs: Float[Array, " observation"], action: Action
    ) -> tuple[Float[Array, "member output"], Float[Array, "member output"]]:
        """What each member answers, in standardised units: means and variances."""
        x = self.transform.inputs(obs, action)
        means, variances = self.grouped(jnp.broadcast_to(x, (self.size, 1, x.shape[0])))
        return means[:, 0], variances[:, 0]

    def grouped(
        self, x: Float[Array, "member row input"]
    ) -> tuple[Float[Array, "member row output"], Float[Array, "member row output"]]:
        """What each member answers to rows of its own, each row being computed once.

        Args:
            x: Standardised inputs, shape `[member, row, input]`.

        Returns:
            Means and variances, shape `[member, row, output]`.
        """
        # One member after another: on a CPU a product with a batch axis of members
        # takes nearly twice as long, and a loop works in memory that is still cached.
        return jax.lax.map(lambda each: jax.vmap(each[0])(each[1]), (self.members, x))

    def ends(
        self, obs: Float[Array, "member row observation"]
    ) -> Float[Array, "member row"]:
        """How probable each member finds an end at observations of its own."""
        if self.termination is None:
            return jnp.zeros_like(obs[:, :, 0])
        if isinstance(self.termination, ClosedForm):
            return jax.vmap(jax.vmap(self.termination.ends))(obs).astype(obs.dtype)
        features = jax.vmap(jax.vmap(self.transform.features))(obs)
        return eqx.filter_vmap(lambda end, x: jax.vmap(end)(x))(
            self.termination, features
        )
