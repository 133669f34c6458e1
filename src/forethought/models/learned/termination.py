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

**Notation.** $n_1, n_0$ rows that ended and rows that did not; $f_e$ what member $e$
answers.
"""

import math
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

# Measured where a cart leaves its rail or its pole leans too far. Ends just beyond the
# rail, of which there were 3 among 26 in 6,500 rows, are foreseen with 0.20 by one
# network of all numbers, and with 0.41 where each number has one of its own as well;
# minibatches of 512 in place of 64 make that much, because rows that nearly ended are
# few. Rates that fall to zero halve what is missed.
WIDTH, OWN_WIDTH, DEPTH = 32, 16, 2
UPDATES, BATCH, LEARNING_RATE, WEIGHT_DECAY = 1000, 512, 1e-2, 0.1
LATER = 4.0
"""By so much the network of all numbers begins below those of one: it explains what
they cannot."""


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

    Most ends are where one number leaves an interval. So each feature has a network of
    its own beside the one of all of them, and they are joined as an *or*:

    $$f(x) = \log \Big( \sum_i e^{f_i(x_i)} + e^{f_{\text{all}}(x)} \Big)$$

    Networks see features and their squares, so that one side teaches the other.

    Args:
        features: How many numbers it sees of an observation.
        key: Draws the weights.

    Note:
        A network of its own, and not one more output of the one that predicts: what
        ends an episode is a function of where it got to, whatever led there; and
        ends, however rare, leave the fit of the Gaussians as it is.
    """

    own: MLP
    """Leaves with a leading axis `[feature]`."""
    network: MLP
    log_odds: Scalar
    seen: Bool[Array, ""]

    def __init__(self, features: int, *, key: PRNGKeyArray):
        key, own_key = jax.random.split(key)
        self.own = eqx.filter_vmap(
            lambda key: MLP(2, 1, OWN_WIDTH, DEPTH, probabilistic=False, key=key)
        )(jax.random.split(own_key, features))
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
        a, c = scale[:, None], shift[:, None]

        def told(A: Array, B: Array) -> tuple[Array, Array, Array]:
            """Both weights for other features, and what each adds to the bias."""
            return a * A + 2 * a * c * B, a**2 * B, c * A + c**2 * B

        first, added = self.network.weights[0], self.network.biases[0]
        *layer, more = told(*jnp.split(first, 2))
        of_all = jnp.concatenate(layer), added + jnp.sum(more, axis=0)
        *layer, more = told(*jnp.moveaxis(self.own.weights[0], 1, 0))
        of_each = jnp.stack(layer, axis=1), self.own.biases[0] + more
        return eqx.tree_at(
            lambda end: (
                *(end.network.weights[0], end.network.biases[0]),
                *(end.own.weights[0], end.own.biases[0]),
            ),
            self,
            (*of_all, *of_each),
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
            counts: What each counts for this member. Those that ended count once at
                least: an end is too rare to be left out.
            key: Draws the minibatches.
        """
        ends = jnp.where(valid & ended, jnp.maximum(counts, 1), 0)
        sums = [jnp.cumsum(ends), jnp.cumsum(_weights(valid & ~ended, counts))]
        n1, n0 = (each[-1] for each in sums)
        # Half a row for each side keeps the odds finite where one is empty.
        log_odds = jnp.log((n1 + 0.5) / (n0 + 0.5)).astype(self.log_odds.dtype)
        rate = optax.cosine_decay_schedule(LEARNING_RATE, UPDATES)
        optimiser = optax.adamw(rate, weight_decay=WEIGHT_DECAY)

        def loss(networks, ends, others):
            own, network = networks

            def logits(rows):
                return jax.vmap(lambda x: _joined(own, network, x))(features[rows])

            missed = jnp.mean(jax.nn.softplus(-logits(ends) - log_odds))
            alarmed = jnp.mean(jax.nn.softplus(logits(others) + log_odds))
            return (n1 * missed + n0 * alarmed) / jnp.maximum(n1 + n0, 1)

        def step(i, carry):
            networks, state = carry
            keys = jax.random.split(jax.random.fold_in(key, i))
            rows = [_draw(each, key) for each, key in zip(sums, keys, strict=True)]
            grads = jax.grad(loss)(networks, *rows)
            return take_step(optimiser, networks, state, grads)

        networks: Any = (self.own, self.network)
        networks, _ = jax.lax.fori_loop(
            0, UPDATES, step, (networks, optimiser.init(networks))
        )
        return eqx.tree_at(
            lambda end: (end.own, end.network, end.log_odds, end.seen),
            self,
            (*networks, log_odds, n1 > 0),
        )

    def _answer(self, features: Array) -> Array:
        return _joined(self.own, self.network, features)


def _joined(own: MLP, network: MLP, features: Array) -> Array:
    """What all networks answer together: that any of them sees an end."""
    pairs = jnp.stack([features, features**2], axis=1)
    each = eqx.filter_vmap(lambda network, pair: network(pair)[0][0])(own, pairs)
    both = network(jnp.concatenate([features, features**2]))[0] - LATER
    found = jax.nn.logsumexp(jnp.concatenate([each, both]))
    return found - math.log(features.shape[0] + math.exp(-LATER))


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


def ends_of(
    who: str,
    termination: Ends | Literal["learned"] | None,
    features: int,
    samples: int,
    *,
    key: PRNGKeyArray,
) -> LearnedEnd | ClosedForm | None:
    """Where episodes end, for each of several samples of a model.

    Args:
        who: Whose ends they are, for the message.
        termination: Nowhere, where it is learned, or a function of the observation.
        features: How many numbers are seen of an observation.
        samples: How many samples; what is learned has a leading axis of them.
        key: Draws the weights of what is learned.

    Raises:
        ValueError: It is none of these.
    """
    if termination is None:
        return None
    if not isinstance(termination, str):
        return ClosedForm(termination)
    if termination == "learned":
        return eqx.filter_vmap(lambda key: LearnedEnd(features, key=key))(
            jax.random.split(key, samples)
        )
    raise ValueError(
        f"{who} needs a termination that is None, 'learned' or a function of the "
        f"observation, got {termination!r}."
    )


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
