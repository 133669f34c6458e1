r"""Imitation: a policy is fitted to what a teacher would do.

What is learned from is pairs of what was seen and what the teacher did, or would have
done, there. Where such pairs come from is no concern of the fit: the teacher's own
episodes (behaviour cloning), the student's (`forethought.agents.imitation.dagger`), or
a file.

**Notation.** $o$ what was seen, $z$ the draw that stands for the teacher's action,
$\pi(z \mid o)$ the density by which the student draws, $\mu(o)$ its likeliest draw.
"""

import dataclasses
from typing import Annotated, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, PyTree, Scalar, Shaped

from forethought.agents.base import Metrics
from forethought.core.given.settings import (
    Count,
    Nonnegative,
    Positive,
    Range,
    check_ranges,
)
from forethought.core.linalg import dot, matvec
from forethought.core.optimise import early_stopping, take_step
from forethought.core.readout import Readout
from forethought.core.spaces import Box, Space
from forethought.core.types import Action
from forethought.policies.base import AbstractStochastic

Policy = TypeVar("Policy", bound=AbstractStochastic)
TINY = 1e-12
"""Errors below the root of this are none."""
JUDGED = 1024
"""The most held-out rows that are looked at after each epoch."""


@dataclasses.dataclass(frozen=True)
class ImitationSettings:
    """How a policy is fitted to a teacher.

    Args:
        epochs: The most passes over the data.
        patience: The fit stops after this many epochs without improvement.
        threshold: What counts as one, in nats on hold-out rows.
        holdout: Share of rows that are not learned from.
        batch: Rows in a minibatch.
        updates: The fewest minibatches of an epoch.
        learning_rate: Adam's step.
        clip: The largest norm of a gradient; infinity for none.

    Raises:
        ValueError: A setting lies outside its range.
    """

    epochs: Count = 100
    patience: Count = 10
    threshold: Nonnegative = 0.005
    holdout: Annotated[float, Range(at_least=0, below=1)] = 0.1
    batch: Count = 128
    updates: Count = 30
    learning_rate: Positive = 1e-3
    clip: Annotated[float, Range(above=0, endless=True)] = 10.0

    def __post_init__(self):
        """Check the numbers."""
        check_ranges(self)


class Demonstrations(eqx.Module):
    """What a teacher does where.

    Args:
        obs: What was seen, leaves of shape `[row, ...]`.
        action: What the teacher does there, shape `[row, action]`.
        valid: Which rows hold any of this, shape `[row]`.
        precision: How exactly the teacher's draw is meant in each row, shape
            `[row, action, action]`; for the loss `weighted`.
    """

    obs: PyTree[Array]
    action: Shaped[Array, "row *action"]
    valid: Bool[Array, " row"]
    precision: Float[Array, "row action action"] | None = None


Loss = Literal["squared", "likelihood", "weighted"]
"""How far the student's likeliest draw lies from the teacher's; how unlikely the
student is to draw that; or the first, weighted by how exactly the teacher means it."""


def squared_error(
    policy: AbstractStochastic, obs: PyTree, action: Action, precision: Array | None
) -> Scalar:
    r"""$\overline{(\mu(o) - z)^2}$, averaged over the action's dimensions.

    Draws are compared, and not actions: these are cut off at limits, beyond which they
    have no slope.
    """
    draw = policy.draw_of(action)
    return jnp.mean((policy.distribution(Readout(obs)).mode - draw) ** 2)


def surprise(
    policy: AbstractStochastic, obs: PyTree, action: Action, precision: Array | None
) -> Scalar:
    r"""$-\log \pi(z \mid o)$."""
    return -policy.distribution(Readout(obs)).log_prob(policy.draw_of(action))


def weighted_error(
    policy: AbstractStochastic, obs: PyTree, action: Action, precision: Array | None
) -> Scalar:
    r"""$(\mu(o) - z)^\top P (\mu(o) - z)$.

    With $P$ the inverse of the teacher's covariance it is, but for a factor and what
    does not depend on $\mu$, the divergence of the student from the teacher.
    """
    gap = policy.distribution(Readout(obs)).mode - policy.draw_of(action)
    return dot(gap, gap if precision is None else matvec(precision, gap))


LOSSES = {
    "squared": squared_error,
    "likelihood": surprise,
    "weighted": weighted_error,
}


def usual_loss(space: Space) -> Loss:
    """The square where actions are numbers, the likelihood where they are choices."""
    return "squared" if isinstance(space, Box) else "likelihood"


def imitate(
    policy: Policy,
    shown: Demonstrations,
    settings: ImitationSettings,
    *,
    loss: Loss = "squared",
    key: PRNGKeyArray,
) -> tuple[Policy, Metrics]:
    r"""Fit a policy to a teacher, from the weights that it has.

    $$\min_\pi\; \overline{(\mu(o) - z)^2}, \quad
      \min_\pi\; -\overline{\log \pi(z \mid o)} \quad\text{or}\quad
      \min_\pi\; \overline{(\mu(o) - z)^\top P (\mu(o) - z)}$$

    by Adam on minibatches drawn with replacement. The weights that were best on the
    hold-out rows are kept; the same rows are held out each time.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.agents.imitation.imitate import (
    ...     Demonstrations,
    ...     ImitationSettings,
    ...     imitate,
    ... )
    >>> from forethought.core.spaces import free_box
    >>> from forethought.policies.gaussian import GaussianPolicy
    >>> key = jax.random.key(0)
    >>> obs = jax.random.normal(key, (256, 2))
    >>> shown = Demonstrations(obs, -obs[:, :1], jnp.ones(256, bool))
    >>> student = GaussianPolicy(2, free_box(1), depth=0, key=key)
    >>> student, told = imitate(student, shown, ImitationSettings(), key=key)
    >>> bool(told["imitation_loss"] < 0.05)
    True

    ```

    Args:
        policy: The student; its inexact arrays are what is fitted.
        shown: What the teacher does where. Without a valid row nothing is learned.
        settings: How.
        loss: What a row costs.
        key: Draws the minibatches.

    Returns:
        The student; and of hold-out rows, of 1,024 at most, `imitation_loss`: the root
        of the mean square, or the mean of nats. `imitation_epochs` is how many the fit
        took.

    References:
        Ross, Gordon and Bagnell, A reduction of imitation learning and structured
        prediction to no-regret online learning, 2011, arXiv:1011.0686, algorithm 3.1
        (the step that trains a classifier on all labels).
    """
    return _fit(policy, shown, settings, loss, key)


@eqx.filter_jit
def _fit(
    policy: Policy,
    shown: Demonstrations,
    settings: ImitationSettings,
    loss: Loss,
    key: PRNGKeyArray,
) -> tuple[Policy, Metrics]:
    weights, rest = eqx.partition(policy, eqx.is_inexact_array)
    rows = shown.valid.shape[0]
    # Held out by index, so that a later fit is judged on what none has learned from.
    held = shown.valid & (
        jax.random.uniform(jax.random.key(0), (rows,)) < (settings.holdout)
    )
    possible = jnp.any(held) & jnp.any(shown.valid & ~held)
    learned = jnp.where(possible, shown.valid & ~held, shown.valid)
    held = jnp.where(possible, held, shown.valid)
    places, judged = jnp.argsort(~learned), jnp.argsort(~held)[:JUDGED]
    number = jnp.sum(learned)
    optimiser = optax.chain(
        optax.clip_by_global_norm(settings.clip), optax.adam(settings.learning_rate)
    )

    of_one = LOSSES[loss]

    def losses(weights: PyTree, chosen: Array) -> Array:
        student = eqx.combine(weights, rest)
        rows = (shown.obs, shown.action, shown.precision)
        rows = jax.tree.map(lambda leaf: leaf[chosen], rows)
        return jax.vmap(lambda *row: of_one(student, *row))(*rows)

    def epoch(weights: PyTree, memory: PyTree, t: Array) -> tuple[PyTree, PyTree]:
        def step(i: Array, carry: tuple[PyTree, PyTree]) -> tuple[PyTree, PyTree]:
            draw = jax.random.fold_in(jax.random.fold_in(key, t), i)
            drawn = jax.random.randint(
                draw, (settings.batch,), 0, jnp.maximum(number, 1)
            )
            chosen = places[drawn]
            grads = jax.grad(lambda weights: jnp.mean(losses(weights, chosen)))(
                carry[0]
            )
            return take_step(optimiser, *carry, grads)

        passes = jnp.maximum(-(-number // settings.batch), settings.updates)
        steps = jnp.where(number > 0, passes, jnp.zeros_like(passes))
        return jax.lax.fori_loop(0, steps, step, (weights, memory))

    def error(weights: PyTree) -> Scalar:
        each, counted = losses(weights, judged), held[judged]
        total = jnp.sum(jnp.where(counted, each, jnp.zeros_like(each)))
        return total / jnp.maximum(jnp.sum(counted), 1).astype(total.dtype)

    def score(weights: PyTree) -> Scalar:
        # Nats either way, so that one threshold serves both.
        found = error(weights)
        return found if loss == "likelihood" else 0.5 * jnp.log(found + TINY)

    found = early_stopping(
        epoch,
        score,
        weights,
        optimiser.init(weights),
        limit=settings.epochs,
        patience=settings.patience,
        threshold=settings.threshold,
    )
    last = error(found.best)
    told = {
        "imitation_loss": last if loss == "likelihood" else jnp.sqrt(last),
        "imitation_epochs": found.epochs,
    }
    return eqx.combine(found.best, rest), told
