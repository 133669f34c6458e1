r"""The expectation of any objective, where the state is known as a distribution.

**Notation.** $x \sim \mathcal N(m, S)$, $S = L L^\top$; $\xi_i$ are $2 d$ points whose
mean is zero and whose covariance is the identity (`sigma_points`).
"""

from typing import cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Scalar

from forethought.core.gaussian import (
    Gaussian,
    Response,
    joint_moments,
    moments,
    sigma_points,
)
from forethought.core.readout import AbstractJudge, Readout
from forethought.core.types import Action


class AbstractExpecting(AbstractJudge):
    """A judge that takes the expectation over a `Gaussian` itself, in closed form."""


def expected(judge: AbstractJudge) -> AbstractJudge:
    """A judge of distributions: itself where it is one, inside `Expected` otherwise."""
    return judge if isinstance(judge, AbstractExpecting) else Expected(judge)


class Expected(AbstractExpecting):
    r"""What an objective gives on average over a `Gaussian` that is read out.

    $$\mathbb E\, r(x, u, x') \approx
      \frac1{2d} \sum_{i=1}^{2d} r(m + L \xi_i,\; u,\; m' + L' \xi_i)$$

    It is exact for polynomials of third order. An action that is a `Response` is
    averaged over with the state. A state that is known exactly is judged as it is.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.core.gaussian import Gaussian
    >>> from forethought.core.readout import Readout
    >>> from forethought.objectives.expected import Expected
    >>> from forethought.objectives.task import Regulate
    >>> goal = Expected(Regulate([0.0], [2.0], [1.0], [4.0]))
    >>> seen = Readout(Gaussian(jnp.array([3.0]), jnp.array([[0.25]])))
    >>> [float(x) for x in (goal.judge(seen, jnp.zeros(1), seen)[0], goal.beyond(seen))]
    [-9.25, -18.5]

    ```

    Args:
        objective: What is wanted of a state, which is a vector; of all that is read
            out it is shown state and time. What takes its expectation itself, in
            closed form, is an `AbstractExpecting`.

    Note:
        A readout does not say how a state and the one before it are correlated. Both
        move along the same $\xi_i$ here, which is right where the reward is a sum of a
        function of $(x, u)$ and one of $x'$. The discount is averaged alike, so that a
        chance to end counts as if it were independent from step to step.
    """

    objective: AbstractJudge

    def judge(
        self, before: Readout, action: Action | Response, after: Readout
    ) -> tuple[Scalar, Scalar]:
        """Mean reward of a transition, and mean discount after it."""
        mean, cov = joint_moments(before.x, action)
        next_mean, next_cov = moments(after.x)
        if cov is None or next_cov is None:
            return self.objective.judge(before, cast(Action, action), after)
        xi, unsure = sigma_points(cov.shape[0], mean.dtype), cov.shape[0]
        sure = jnp.broadcast_to(mean[unsure:], (len(xi), len(mean) - unsure))
        uncertain = Gaussian(mean[:unsure], cov).unwhiten(xi)
        both, n = jnp.concatenate([uncertain, sure], axis=1), len(next_mean)
        next_x = Gaussian(next_mean, next_cov).unwhiten(xi[:, :n])
        x, u = both[:, :n], both[:, n:]

        def judge(x: Array, u: Array, next_x: Array) -> tuple[Scalar, Scalar]:
            seen = Readout(x, time=before.time), Readout(next_x, time=after.time)
            return self.objective.judge(seen[0], u, seen[1])

        rewards, discounts = jax.vmap(judge)(x, u, next_x)
        return jnp.mean(rewards), jnp.mean(discounts)

    def beyond(self, seen: Readout) -> Scalar:
        """The mean value of what was read out."""
        mean, cov = moments(seen.x)
        if cov is None:
            return self.objective.beyond(seen)
        points = Gaussian(mean, cov).unwhiten(sigma_points(len(mean), mean.dtype))
        return jnp.mean(
            jax.vmap(lambda x: self.objective.beyond(Readout(x, time=seen.time)))(
                points
            )
        )
