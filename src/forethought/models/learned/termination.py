r"""Where an episode ends, as a model knows it: in closed form, or learned.

An end is a matter of where a step led to: $d(o') \in [0, 1]$, the probability that the
episode ends at $o'$. A particle carries $1 - d$ as its discount, so that a return
weighs what comes later by the probability of getting there. Truncation is no end: it
says that the recording stopped, not the task.

| | $d(o')$ |
|---|---|
| none | 0 |
| closed form | 0 or 1, by a function that is known |
| learned | $\mathrm{sigmoid}(f_e(o') + \log \tfrac{n_1}{n_0})$, for each member $e$ |

**Notation.** $n_1, n_0$ rows that ended and rows that did not; $f_e$ a small network
of member $e$'s own.
"""

from collections.abc import Callable
from typing import Any, Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Scalar

from forethought.core.optimise import take_step
from forethought.core.words import unknown
from forethought.models.learned.mlp import MLP

Ends = Callable[[Float[Array, " observation"]], Bool[Array, ""]]
"""Whether an episode ends at an observation."""

# Measured where a cart leaves its rail or its pole leans too far, on 4 to 20 ends of
# each kind in 3,000 rows: with squares an end that comes next is foreseen two to five
# times as probable, and rates that fall to zero halve what is missed.
WIDTH, DEPTH, UPDATES, BATCH, LEARNING_RATE, WEIGHT_DECAY = 32, 2, 1000, 64, 1e-2, 0.1


class LearnedEnd(eqx.Module):
    r"""When one member expects the episode to end.

    Ends are rare, and a minibatch drawn at large would seldom hold one. So one half of
    each ended and the other did not, and each half weighs what it is of the data:

    $$\min_f\; \tfrac{n_1}{n}\, \mathbb E_{1}\,\mathrm{softplus}(-z)
      + \tfrac{n_0}{n}\, \mathbb E_{0}\,\mathrm{softplus}(z), \qquad
      z = f(o') + \log \tfrac{n_1}{n_0}$$

    This is the likelihood itself, with less noise in its gradient, and it begins at
    the share of ends. Ends that weigh more than they are would be learned sooner, but
    be called more probable than they are, and a planner would pay for ends that do not
    come. Until an end was seen, $d$ is exactly zero.

    The network sees the features and their squares: most ends are where a number leaves
    an interval, and so one side teaches the other.

    Args:
        features: How many numbers it sees of an observation.
        key: Draws the weights.

    Note:
        A network of its own, and not one more output of the one that predicts: what
        ends an episode is a function of where it got to, whatever led there; and
        ends, however rare, leave the fit of the Gaussians as it is.
    """

    network: MLP
    log_odds: Scalar
    seen: Bool[Array, ""]

    def __init__(self, features: int, *, key: PRNGKeyArray):
        self.network = MLP(2 * features, 1, WIDTH, DEPTH, probabilistic=False, key=key)
        self.log_odds = jnp.zeros(())
        self.seen = jnp.asarray(False)

    def __call__(self, features: Float[Array, " feature"]) -> Scalar:
        """The probability of an end at an observation, by its features."""
        found = jax.nn.sigmoid(self._answer(features) + self.log_odds)
        return jnp.where(self.seen, found, jnp.zeros_like(found))

    def under(
        self, scale: Float[Array, " feature"], shift: Float[Array, " feature"]
    ) -> "LearnedEnd":
        r"""The same end, told by other features $x'$ of which $x = a x' + c$.

        A layer of $(x, x^2)$ with weights $(A, B)$ becomes one of $(x', x'^2)$, by
        $x^2 = a^2 x'^2 + 2ac\, x' + c^2$.

        Args:
            scale: $a$.
            shift: $c$.
        """
        first, bias = self.network.weights[0], self.network.biases[0]
        A, B = jnp.split(first, 2)
        a, c = scale[:, None], shift[:, None]
        first = jnp.concatenate([a * A + 2 * a * c * B, a**2 * B])
        bias = bias + shift @ A + shift**2 @ B
        return eqx.tree_at(
            lambda end: (end.network.weights[0], end.network.biases[0]),
            self,
            (first, bias),
        )

    def nats(
        self,
        features: Float[Array, "row feature"],
        ended: Bool[Array, " row"],
        chosen: Bool[Array, " row"],
    ) -> Scalar:
        """The mean negative log-likelihood of the chosen rows; less is better."""
        logits = jax.vmap(self._answer)(features) + self.log_odds
        losses = jax.nn.softplus(jnp.where(ended, -logits, logits))
        share = jnp.where(self.seen & chosen, jnp.ones_like(losses), 0)
        count = jnp.maximum(jnp.sum(chosen), 1).astype(losses.dtype)
        return jnp.sum(share * losses) / count

    def fit(
        self,
        features: Float[Array, "row feature"],
        ended: Bool[Array, " row"],
        valid: Bool[Array, " row"],
        counts: Float[Array, " row"],
        *,
        key: PRNGKeyArray,
    ) -> "LearnedEnd":
        """Learn from rows, each as often as it counts, beginning where it stands.

        Args:
            features: Of the observation that each row led to.
            ended: Whether the episode ended there.
            valid: Which rows hold data.
            counts: What each counts for this member. Where none of those that ended
                counts, all of them do, once: an end is too rare to be left out.
            key: Draws the minibatches.
        """
        sides = valid & ended, valid & ~ended
        sums = [jnp.cumsum(_weights(side, counts)) for side in sides]
        n1, n0 = (each[-1] for each in sums)
        # Half a row for each side keeps the odds finite where one is empty.
        log_odds = jnp.log((n1 + 0.5) / (n0 + 0.5)).astype(self.log_odds.dtype)
        rate = optax.cosine_decay_schedule(LEARNING_RATE, UPDATES)
        optimiser = optax.adamw(rate, weight_decay=WEIGHT_DECAY)

        seen = jax.vmap(_squared)(features)

        def loss(network, ends, others):
            def logits(rows):
                return jax.vmap(network)(seen[rows])[0][:, 0] + log_odds

            missed = jnp.mean(jax.nn.softplus(-logits(ends)))
            alarmed = jnp.mean(jax.nn.softplus(logits(others)))
            return (n1 * missed + n0 * alarmed) / jnp.maximum(n1 + n0, 1)

        def step(i, carry):
            network, state = carry
            keys = jax.random.split(jax.random.fold_in(key, i))
            rows = [_draw(each, key) for each, key in zip(sums, keys, strict=True)]
            grads = jax.grad(loss)(network, *rows)
            return take_step(optimiser, network, state, grads)

        network: Any = self.network
        network, _ = jax.lax.fori_loop(
            0, UPDATES, step, (network, optimiser.init(network))
        )
        return eqx.tree_at(
            lambda end: (end.network, end.log_odds, end.seen),
            self,
            (network, log_odds, n1 > 0),
        )

    def _answer(self, features: Array) -> Array:
        return self.network(_squared(features))[0][0]


def _squared(features: Array) -> Array:
    """What a network sees: where a number leaves an interval, its square tells."""
    return jnp.concatenate([features, features**2])


def _weights(chosen: Array, counts: Array) -> Array:
    """What the chosen rows count; once each where that is nothing at all."""
    weights = jnp.where(chosen, counts, 0)
    return jnp.where(jnp.any(weights > 0), weights, chosen.astype(counts.dtype))


def _draw(sums: Array, key: PRNGKeyArray) -> Array:
    """Half a minibatch of rows, each as probable as its step in the running sum."""
    aims = jax.random.uniform(key, (BATCH // 2,), sums.dtype) * sums[-1]
    found = jnp.searchsorted(sums, aims, side="right")
    return jnp.minimum(found, sums.shape[0] - 1)


class ClosedForm(eqx.Module):
    """An end that is known as a function of the observation.

    Args:
        ends: Whether an episode ends at an observation.
    """

    ends: Ends = eqx.field(static=True)


def begin_ends(
    who: str,
    termination: Ends | Literal["learned"] | None,
    features: int,
    size: int,
    *,
    key: PRNGKeyArray,
) -> LearnedEnd | ClosedForm | None:
    """Where a model's episodes end, before anything was seen.

    Args:
        who: Whose they are, for the message.
        termination: Nowhere, learned, or a function of the observation.
        features: How many numbers a learned end sees of an observation.
        size: How many samples learn it, each for itself.
        key: Draws their weights.

    Raises:
        ValueError: A word that is not 'learned'.
    """
    if termination is None:
        return None
    if not isinstance(termination, str):
        return ClosedForm(termination)
    if termination != "learned":
        raise ValueError(
            f"{who} needs a termination that is None, 'learned' or a function of "
            f"the observation, got {termination!r}."
        )
    return new_ends(features, size, key=key)


def new_ends(features: int, size: int, *, key: PRNGKeyArray) -> LearnedEnd:
    """Ends to be learned, leaves with a leading axis `[sample]`."""
    return eqx.filter_vmap(lambda key: LearnedEnd(features, key=key))(
        jax.random.split(key, size)
    )


def fit_ends(
    ends: LearnedEnd,
    features: Float[Array, "row feature"],
    ended: Bool[Array, " row"],
    valid: Bool[Array, " row"],
    counts: Float[Array, "sample row"],
    held: Bool[Array, " row"],
    *,
    key: PRNGKeyArray,
) -> tuple[LearnedEnd, Float[Array, " sample"]]:
    """Ends as samples learned them, and what each costs per hold-out row.

    Args:
        ends: Leaves with a leading axis `[sample]`.
        features: Of the observation that each row led to.
        ended: Whether the episode ended there.
        valid: Which rows hold data.
        counts: What each row counts for each sample.
        held: Which rows are held out.
        key: Draws the minibatches.
    """
    size = counts.shape[0]

    def learn_one(end, counts, key):
        end = end.fit(features, ended, valid, counts, key=key)
        return end, end.nats(features, ended, held)

    def learn(ends):
        return eqx.filter_vmap(learn_one)(ends, counts, jax.random.split(key, size))

    def skip(ends):
        return ends, jnp.zeros((size,), counts.dtype)

    return jax.lax.cond(jnp.any(valid & ended), learn, skip, ends)


def inverted_pendulum(obs: Float[Array, "4"]) -> Bool[Array, ""]:
    """The pole leans by more than 0.2 rad."""
    return ~jnp.all(jnp.isfinite(obs)) | (jnp.abs(obs[1]) > 0.2)


def inverted_double_pendulum(obs: Float[Array, "9"]) -> Bool[Array, ""]:
    """The tip of two poles of 0.6 m is at most 1 m high."""
    sin, cos = obs[1:3], obs[3:5]
    return 0.6 * (cos[0] + cos[0] * cos[1] - sin[0] * sin[1]) <= 1


def hopper(obs: Float[Array, "11"]) -> Bool[Array, ""]:
    """The torso is at most 0.7 m high, leans by 0.2 rad, or something is at ±100."""
    high, upright = obs[0] > 0.7, jnp.abs(obs[1]) < 0.2
    return ~(high & upright & jnp.all(jnp.abs(obs[1:]) < 100))


def walker2d(obs: Float[Array, "17"]) -> Bool[Array, ""]:
    """The torso is not between 0.8 m and 2 m high, or leans by 1 rad."""
    return ~((obs[0] > 0.8) & (obs[0] < 2) & (jnp.abs(obs[1]) < 1))


def ant(obs: Float[Array, "105"]) -> Bool[Array, ""]:
    """The torso leaves heights from 0.2 m to 1 m, or something seen is not finite."""
    return ~(jnp.all(jnp.isfinite(obs)) & (obs[0] >= 0.2) & (obs[0] <= 1))


def humanoid(obs: Float[Array, "348"]) -> Bool[Array, ""]:
    """The torso is not between 1 m and 2 m high."""
    return ~((obs[0] > 1) & (obs[0] < 2))


CLOSED_FORMS: dict[str, tuple[int, Ends]] = {
    "InvertedPendulum-v5": (4, inverted_pendulum),
    "InvertedDoublePendulum-v5": (9, inverted_double_pendulum),
    "Hopper-v5": (11, hopper),
    "Walker2d-v5": (17, walker2d),
    "Ant-v5": (105, ant),
    "Humanoid-v5": (348, humanoid),
}
"""Where Gymnasium's episodes end by default, and how many numbers are observed."""

Termination = Literal[
    "none",
    "learned",
    "InvertedPendulum-v5",
    "InvertedDoublePendulum-v5",
    "Hopper-v5",
    "Walker2d-v5",
    "Ant-v5",
    "Humanoid-v5",
]
"""No end, one that is learned, or a closed form by the name of its environment."""


def closed_form(name: str, observation: int) -> Ends:
    """The closed form of an environment's end.

    Args:
        name: Of the environment.
        observation: Dimension of the observations that it is wanted for.

    Raises:
        ValueError: No such form is known, or it reads other observations.
    """
    if name not in CLOSED_FORMS:
        raise unknown("termination", name, get_args(Termination))
    needed, ends = CLOSED_FORMS[name]
    if needed != observation:
        raise ValueError(
            f"The end of {name} is read from {needed} numbers, but observations have "
            f"{observation} here."
        )
    return ends
