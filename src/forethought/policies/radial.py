r"""Radial basis functions as a policy: bumps in the space of states, added up.

$$u_a(x) = \sum_i w_{ai} \exp\Big(-\tfrac12 \sum_d
  \frac{(\bar x_d - c_{id})^2}{\ell_{ad}^2}\Big)$$

It is the mean of a Gaussian process that was told what to do at some places, so that
under a Gaussian state its moments are those of `forethought.models.gp.moments`.

**Notation.** $\bar x$ are the numbers of the state that are no angles, then sines and
then cosines of those that are; $c_i$ centres, $\ell_a$ lengths, $w_a$ weights.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.gaussian import Gaussian, Response
from forethought.core.linalg import symmetrise
from forethought.core.readout import Readout
from forethought.core.spaces import Box
from forethought.core.types import Action, Mode, ravel
from forethought.models.gp.moments import exponents, means
from forethought.models.gp.turns import with_turns
from forethought.policies.base import AbstractResponsive

NOISE = 1e-4
"""Variance of the noise of what the process was told."""


class Radial(AbstractResponsive[PyTree]):
    """Bumps with weights.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.core.readout import Readout
    >>> from forethought.policies.radial import Radial
    >>> policy = Radial(jnp.zeros((1, 1)), jnp.array([[2.0]]), jnp.zeros((1, 1)))
    >>> seen, key = Readout(jnp.array([1.0])), jax.random.key(0)
    >>> round(float(policy.act(seen, key=key, mode="exploit")[0][0]), 4)
    1.2131

    ```

    Args:
        centres: $c$, shape `[basis, feature]`.
        weights: $w$, shape `[action, basis]`.
        log_lengths: Logarithms of the lengths, shape `[action, feature]`.
        angles: Numbers of the state that are angles, in radians.

    References:
        Deisenroth, Fox and Rasmussen, Gaussian processes for data-efficient learning in
        robotics and control, 2015, doi:10.1109/TPAMI.2013.218, section 4.2.

    Note:
        Under a Gaussian state, sines and cosines are taken to be jointly normal with
        the rest, by their exact moments.
    """

    centres: Float[Array, "basis feature"]
    weights: Float[Array, "action basis"]
    log_lengths: Float[Array, "action feature"]
    angles: tuple[int, ...] = eqx.field(static=True, default=())

    def act(
        self, seen: Readout[PyTree], *, key: PRNGKeyArray, mode: Mode
    ) -> tuple[Action, PyTree]:
        """The sum of bumps, and None: nothing is drawn, exploring or not."""
        x = features(ravel(seen.x)[0], self.angles)
        gaps = (x[None, :] - self.centres)[None] * jnp.exp(-self.log_lengths)[:, None]
        bumps = jnp.exp(-0.5 * jnp.sum(gaps * gaps, axis=2))
        return jnp.sum(self.weights * bumps, axis=1), None

    def respond(self, seen: Readout[Gaussian], *, mode: Mode) -> Response:
        """Mean and covariance of the action, and that of state and action: exact."""
        state = seen.x
        size = state.mean.shape[0]
        wide = with_turns(state, self.angles) if self.angles else state
        at = jnp.array(_places(size, self.angles))
        m, S = wide.mean[at], wide.cov[at][:, at]
        nu, w = self.centres - m[None], self.weights
        one = jnp.zeros((), m.dtype)
        mean, slope = jax.vmap(means, (0, None, 0, None, None))(
            self.log_lengths, one, w, nu, S
        )

        def both(a: tuple[Array, Array], b: tuple[Array, Array]) -> Array:
            e, f, r, z = exponents(a[0], one, b[0], one, nu, S)
            return a[1] @ jnp.exp(e[:, None] + f[None, :] + r @ z.T) @ b[1]

        pairs = jax.vmap(jax.vmap(both, (None, 0)), (0, None))
        each = self.log_lengths, w
        cov = symmetrise(pairs(each, each) - mean[:, None] * mean[None, :])
        # Rounding may take more off a variance than there is.
        cov = cov + jnp.diag(jnp.maximum(-jnp.diag(cov), 0))
        return Response(mean, cov, wide.cov[:size][:, at] @ slope.T)

    def within(self, space: Box) -> bool:
        """Only where there are no limits."""
        return not space.bounded


def taught(
    centres: Float[Array, "basis feature"],
    targets: Float[Array, "action basis"],
    log_lengths: Float[Array, "action feature"],
    angles: tuple[int, ...] = (),
) -> Radial:
    r"""The policy that does about what it was told at the centres.

    $$w_a = (K_a + \sigma^2 I)^{-1} y_a$$

    Args:
        centres: Where it is told.
        targets: $y$: what it is told, which bounds what it does far better than weights
            would.
        log_lengths: Logarithms of lengths.
        angles: Numbers of the state that are angles.
    """

    def one(y: Array, logs: Array) -> Array:
        z = centres * jnp.exp(-logs)[None]
        square = jnp.sum(z * z, axis=1)
        K = jnp.exp(z @ z.T - 0.5 * (square[:, None] + square[None, :]))
        L = jnp.linalg.cholesky(K + NOISE * jnp.eye(len(z), dtype=z.dtype))
        return jax.scipy.linalg.cho_solve((L, True), y)

    return Radial(centres, jax.vmap(one)(targets, log_lengths), log_lengths, angles)


def features(
    x: Float[Array, " state"], angles: tuple[int, ...]
) -> Float[Array, " feature"]:
    """What the policy sees of a state."""
    turned = x[jnp.array(angles, int)]
    wide = jnp.concatenate([x, jnp.sin(turned), jnp.cos(turned)])
    return wide[jnp.array(_places(x.shape[0], angles))]


def _places(size: int, angles: tuple[int, ...]) -> list[int]:
    """Which numbers of a state with sines and cosines behind are features."""
    return [i for i in range(size + 2 * len(angles)) if i not in angles]
