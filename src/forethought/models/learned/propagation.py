r"""How particles are carried through a model that does not know which of it is right.

A learned model is seldom one function: it is several *samples* of a posterior, each of
which may be the truth. Samples are numbered, and a particle carries the number of the
one that it follows:

| posterior | a sample |
|---|---|
| ensemble | one member |
| Bayesian network | weights that were drawn once |
| Gaussian process | a function that was drawn |
| latent modes | one mode |

The rule of propagation says what that means at a step:

| rule | one step of a particle | what particles share |
|---|---|---|
| E | the mean over samples, without noise | nothing; all are alike |
| DS | drawn from a Gaussian with the mixture's moments | nothing |
| MM | as DS | answers are redrawn from a Gaussian with their moments |
| TS1 | drawn from a sample that is dealt anew | the same number goes to each sample |
| TSinf | drawn from its own sample throughout | particle $p$ of $P$ gets $\lfloor p E / P \rfloor$ |

Answers are in the model's output space, before a particle's own observation is added.
Dealing the same number to each sample, rather than drawing samples, takes the luck of
the draw out of the comparison between candidates. A particle by itself is a cloud of
one, whose sample TS1 draws.

**Notation.** $E$ samples, $P$ particles.
"""  # noqa: E501  (a table)

import abc
from collections.abc import Callable
from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray, PyTree, Scalar

from forethought.core.readout import Readout
from forethought.core.types import Action
from forethought.models.base import AbstractCloud, AbstractLearned, AbstractModel
from forethought.models.learned.termination import ClosedForm, LearnedEnd
from forethought.models.learned.transforms import Transform
from forethought.models.learned.uncertainty import mixture_doubt, mixture_moments

Rule = Literal["E", "DS", "MM", "TS1", "TSinf"]
OWN = ("TS1", "TSinf")
"""Rules by which a particle is answered by one sample alone."""


class Particle(eqx.Module):
    """One possible state of the world, and the sample of the model that it follows."""

    obs: Float[Array, " observation"]
    reward: Scalar
    """The reward that was predicted on the way here; zero if none is."""
    discount: Scalar
    """The probability that the episode went on after the last step."""
    sample: Int[Array, ""]


class Propagation(AbstractCloud):
    """The particles of an `AbstractPosterior`, by a rule.

    Args:
        rule: What following a sample means.

    Raises:
        ValueError: An unknown rule, or TS1 or TSinf with particles that samples cannot
            share evenly.
        TypeError: The model is no posterior.

    References:
        Chua et al., Deep reinforcement learning in a handful of trials using
        probabilistic dynamics models, 2018, arXiv:1805.12114, section 5;
        details as in the authors' code.

    Note:
        One key serves all candidates of a planner, so one deal does too; the
        authors deal for each candidate.
    """

    rule: Rule = eqx.field(static=True, default="TSinf")

    def __check_init__(self):
        """Check the rule."""
        if self.rule not in get_args(Rule):
            raise ValueError(
                f"Propagation needs a rule among {', '.join(get_args(Rule))}, got "
                f"{self.rule!r}."
            )

    def enough(self, model: AbstractModel, particles: int) -> int:
        """As many more as samples need to share them evenly."""
        size = _require_posterior(model).size
        return -(-particles // size) * size

    def spread(
        self, model: AbstractModel, belief: PyTree, particles: int, *, key: PRNGKeyArray
    ) -> Particle:
        """Copies of one particle, with samples dealt in order."""
        size = _require_posterior(model).size
        if self.rule in OWN and particles % size:
            raise ValueError(
                f"{self.rule} needs particles that {size} members can share evenly, "
                f"got {particles}."
            )
        cloud = jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, (particles, *leaf.shape)), belief
        )
        sample = jnp.arange(particles) * size // particles
        return eqx.tree_at(
            lambda cloud: cloud.sample, cloud, sample.astype(belief.sample.dtype)
        )

    def predict(
        self,
        model: AbstractModel,
        cloud: PyTree,
        action: Action,
        *,
        keys: Key[Array, " particle"],
        own: bool = False,
    ) -> Particle:
        """One step of all particles, each computed by its own sample alone."""
        shared = jax.random.fold_in(keys[0], keys.shape[0])
        posterior = _require_posterior(model)
        if not own:
            action = jnp.broadcast_to(action, (keys.shape[0], *jnp.shape(action)))
        return self._step(posterior, cloud, action, keys, shared)

    def alone(
        self,
        model: "AbstractPosterior",
        particle: Particle,
        action: Action,
        *,
        key: PRNGKeyArray,
    ) -> Particle:
        """One step of a particle by itself.

        All samples are computed and one is chosen, which under `jax.vmap` is cheaper
        than fetching one sample's weights for each particle.
        """
        key, shared = jax.random.split(key)
        cloud = jax.tree.map(lambda leaf: leaf[None], particle)
        after = self._step(model, cloud, action[None], key[None], shared)
        return jax.tree.map(lambda leaf: leaf[0], after)

    def _step(
        self,
        model: "AbstractPosterior",
        cloud: Particle,
        action: Action,
        keys: Key[Array, " particle"],
        shared: PRNGKeyArray,
    ) -> Particle:
        size, particles = model.size, keys.shape[0]
        even, own = particles % size == 0, self.rule in OWN
        sample, order, back = cloud.sample, slice(None), slice(None)
        if self.rule == "TS1" and even:
            order = jax.random.permutation(shared, particles)
            back = jnp.argsort(order)
            sample = (back * size // particles).astype(sample.dtype)
        elif self.rule == "TS1":
            drawn = jax.random.randint(shared, sample.shape, 0, size)
            sample = drawn.astype(sample.dtype)

        def everyone(answer: Callable[[Array], PyTree], rows: Array) -> PyTree:
            """What all samples answer, `[sample, particle]`."""
            return answer(jnp.broadcast_to(rows, (size, *rows.shape)))

        def each(answer: Callable[[Array], PyTree], rows: Array) -> PyTree:
            """What each particle's own sample answers, `[particle]`."""
            if not even:
                chosen = (sample, jnp.arange(particles))
                return jax.tree.map(lambda part: part[chosen], everyone(answer, rows))
            # Dealt evenly, samples take equal runs of the rows in order.
            found = answer(rows[order].reshape(size, -1, rows.shape[1]))
            return jax.tree.map(
                lambda part: part.reshape(particles, *part.shape[2:])[back], found
            )

        x = jax.vmap(model.transform.inputs)(cloud.obs, action)
        if own:
            mean, variance = each(model.grouped, x)
        else:
            mean, variance = model.mixture(x)
        if self.rule == "E":
            y = mean
        else:
            noise = jax.vmap(
                lambda key: jax.random.normal(key, mean.shape[1:], mean.dtype)
            )(keys)
            y = mean + jnp.sqrt(variance) * noise
        if self.rule == "MM":
            fresh = jax.random.normal(shared, y.shape, y.dtype)
            centre, spread = jnp.mean(y, axis=0), jnp.std(y, axis=0)
            y = centre[None, :] + spread[None, :] * fresh
        obs, reward = jax.vmap(model.transform.restore)(cloud.obs, y)
        if own:
            ends = each(model.ends, obs)
        else:
            ends = jnp.mean(everyone(model.ends, obs), axis=0)
        return jax.vmap(Particle)(obs, reward, 1 - ends, sample)


class AbstractPosterior(AbstractLearned[Particle]):
    """A model of which several numbered samples may be right.

    It has to say what its samples answer (`grouped`) and how it is fitted (`fit`); how
    particles follow samples is the same for all.
    """

    # Modules are frozen, which pyright does not see of abstract variables.
    cloud: eqx.AbstractVar[Propagation]  # pyright: ignore[reportIncompatibleVariableOverride]
    """The rule by which particles are carried, alone or together."""
    transform: eqx.AbstractVar[Transform]
    """What samples see and answer."""
    termination: eqx.AbstractVar[LearnedEnd | ClosedForm | None]
    """Where episodes end; if learned, leaves with a leading axis `[sample]`."""
    size: eqx.AbstractVar[int]
    """$E$, how many samples there are."""

    @abc.abstractmethod
    def grouped(
        self, x: Float[Array, "sample row input"]
    ) -> tuple[Float[Array, "sample row output"], Float[Array, "sample row output"]]:
        """What each sample answers to rows of its own, each row being computed once.

        Args:
            x: Standardised inputs, shape `[sample, row, input]`.

        Returns:
            Means and variances, shape `[sample, row, output]`.
        """

    def mixture(
        self, x: Float[Array, "row input"]
    ) -> tuple[Float[Array, "row output"], Float[Array, "row output"]]:
        """Mean and variance of what samples answer together, noise among it.

        Args:
            x: Standardised inputs, shape `[row, input]`.

        Returns:
            Shapes `[row, output]`.
        """
        rows = jnp.broadcast_to(x, (self.size, *x.shape))
        return jax.vmap(mixture_moments, 1)(*self.grouped(rows))

    def init(self, *, key: PRNGKeyArray) -> Particle:
        """The mean observation of the data, with a sample drawn at random."""
        obs = self.transform.mean
        sample = jax.random.randint(key, (), 0, self.size)
        return Particle(obs, jnp.zeros_like(obs[0]), jnp.ones_like(obs[0]), sample)

    def predict(
        self, belief: Particle, action: Action, *, key: PRNGKeyArray
    ) -> Particle:
        """One step of one particle; by TS1 its sample is drawn first."""
        return self.cloud.alone(self, belief, action, key=key)

    def observe(
        self, belief: Particle, obs: Float[Array, " observation"], *, key: PRNGKeyArray
    ) -> Particle:
        """The particle where it was seen; its sample stays."""
        return Particle(
            obs.astype(belief.obs.dtype),
            jnp.zeros_like(belief.reward),
            jnp.ones_like(belief.discount),
            belief.sample,
        )

    def readout(self, belief: Particle) -> Readout[Array]:
        """The observation, with reward and discount where the model predicts them."""
        ends = self.termination is not None
        return Readout(
            belief.obs,
            belief.reward if self.transform.reward else None,
            belief.discount if ends else None,
        )

    def expect(
        self, belief: Particle
    ) -> tuple[Float[Array, " observation"], Float[Array, " observation"]]:
        """The particle's own observation, and no variance: a particle knows its place.

        What is uncertain is told by a cloud of them.
        """
        return belief.obs, jnp.zeros_like(belief.obs)

    def doubt(
        self, belief: Particle, action: Action
    ) -> tuple[Float[Array, " output"], Float[Array, " output"]]:
        """The noise that samples predict on average, and how far they disagree."""
        return mixture_doubt(*self.outputs(belief.obs, action))

    def outputs(
        self, obs: Float[Array, " observation"], action: Action
    ) -> tuple[Float[Array, "sample output"], Float[Array, "sample output"]]:
        """What each sample answers, in standardised units: means and variances."""
        x = self.transform.inputs(obs, action)
        means, variances = self.grouped(jnp.broadcast_to(x, (self.size, 1, x.shape[0])))
        return means[:, 0], variances[:, 0]

    def ends(
        self, obs: Float[Array, "sample row observation"]
    ) -> Float[Array, "sample row"]:
        """How probable each sample finds an end at observations of its own."""
        if self.termination is None:
            return jnp.zeros_like(obs[:, :, 0])
        if isinstance(self.termination, ClosedForm):
            return jax.vmap(jax.vmap(self.termination.ends))(obs).astype(obs.dtype)
        features = jax.vmap(jax.vmap(self.transform.features))(obs)
        return eqx.filter_vmap(lambda end, x: jax.vmap(end)(x))(
            self.termination, features
        )


def _require_posterior(model: AbstractModel) -> AbstractPosterior:
    if not isinstance(model, AbstractPosterior):
        raise TypeError(
            "Propagation carries the particles of a model of which there are samples, "
            f"but the model is {type(model).__name__}; use Independent with it."
        )
    return model
