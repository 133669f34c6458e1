r"""A policy within limits, whose moments stay in closed form.

$$u = c + s\, \tfrac18 (9 \sin z + \sin 3z)$$

goes from one limit to the other as $z$ goes from $-\pi/2$ to $\pi/2$, with no slope and
no curvature at either end. Sines of Gaussians have exact moments
(`forethought.models.gp.turns`).

**Notation.** $z$ is what the policy inside does, $c, s$ are the middle and the half
width of the limits.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from forethought.core.gaussian import Gaussian, Response
from forethought.core.linalg import symmetrise
from forethought.core.readout import Readout
from forethought.core.spaces import Box
from forethought.core.types import Action, Mode
from forethought.models.gp.turns import with_turns
from forethought.policies.base import AbstractResponsive


class Squashed(AbstractResponsive[PyTree]):
    """Any policy that answers distributions, held within a box by sines.

    Args:
        policy: What is squashed.
        box: Limits of the action; they are kept as numbers, because they are not
            learned.

    Raises:
        ValueError: A limit is missing, or is being traced.

    References:
        Deisenroth, Fox and Rasmussen, Gaussian processes for data-efficient learning in
        robotics and control, 2015, doi:10.1109/TPAMI.2013.218, equations 26 and 27.

    Note:
        Other $z$ lead to the same action, so that no log-probability is told.
    """

    policy: AbstractResponsive
    centre: tuple[float, ...] = eqx.field(static=True)
    scale: tuple[float, ...] = eqx.field(static=True)

    def __init__(self, policy: AbstractResponsive, box: Box):
        if isinstance(box.low, Tracer) or isinstance(box.high, Tracer):
            raise ValueError(
                "Squashed needs limits that are numbers, but these are being traced; "
                "pass the Box into jax.jit by closure."
            )
        low, high = np.asarray(box.low, float), np.asarray(box.high, float)
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ValueError(
                "Squashed needs two limits for each side of the action, got "
                f"low={low.tolist()} and high={high.tolist()}."
            )
        self.policy = policy
        self.centre = tuple(((low + high) / 2).tolist())
        self.scale = tuple(((high - low) / 2).tolist())

    def around(self, policy: AbstractResponsive) -> "Squashed":
        """The same limits around another policy."""
        return eqx.tree_at(
            lambda each: each.policy, self, policy, is_leaf=lambda node: node is None
        )

    def act(
        self, seen: Readout[PyTree], *, key: PRNGKeyArray, mode: Mode
    ) -> tuple[Action, PyTree]:
        """What the policy does, squashed, and None."""
        z, _ = self.policy.act(seen, key=key, mode=mode)
        centre, scale = self._limits(z)
        return centre + scale / 8 * (9 * jnp.sin(z) + jnp.sin(3 * z)), None

    def respond(self, seen: Readout[Gaussian], *, mode: Mode) -> Response:
        """Exact moments, if the policy's action is jointly normal with the state."""
        z = self.policy.respond(seen, mode=mode)
        n = z.mean.shape[0]
        centre, scale = self._limits(z.mean)
        thrice = jnp.concatenate([jnp.ones_like(scale), jnp.full_like(scale, 3)])
        both = jnp.concatenate([z.mean, z.mean]) * thrice
        spread = jnp.tile(z.cov, (2, 2)) * thrice[:, None] * thrice[None, :]
        turned = with_turns(Gaussian(both, spread), tuple(range(2 * n)))
        sines, cosines = turned.mean[2 * n : 4 * n], turned.mean[4 * n :]
        share = jnp.concatenate([9 * scale, scale]) / 8
        add = jnp.tile(jnp.eye(n, dtype=share.dtype), (1, 2)) * share[None, :]
        inner = turned.cov[2 * n : 4 * n, 2 * n : 4 * n]
        slope = add @ (thrice * cosines)
        cov = symmetrise(add @ inner @ add.T)
        return Response(centre + add @ sines, cov, z.cross * slope[None, :])

    def within(self, space: Box) -> bool:
        """Whether its limits are no wider than those of a space."""
        if isinstance(space.low, Tracer) or isinstance(space.high, Tracer):
            return True  # limits of one size were checked where they were numbers
        low, high = np.asarray(space.low), np.asarray(space.high)
        centre, scale = np.array(self.centre), np.array(self.scale)
        slack = 1e-6 * np.maximum(scale, 1)
        return bool(
            (centre - scale >= low - slack).all()
            and (centre + scale <= high + slack).all()
        )

    def _limits(
        self, z: Float[Array, " action"]
    ) -> tuple[Float[Array, " action"], Float[Array, " action"]]:
        return jnp.asarray(self.centre, z.dtype), jnp.asarray(self.scale, z.dtype)
