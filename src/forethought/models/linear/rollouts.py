"""Roll-outs from about the same start: what a local model is fitted to."""

from collections.abc import Sequence

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from forethought.core.linalg import as_float


class Rollouts(eqx.Module):
    """Trajectories from about the same start, of one controller or of alike ones.

    Args:
        obs: Shape `[rollout, time + 1, observation]`.
        action: Shape `[rollout, time, action]`.
        valid: Which steps were taken, shape `[rollout, time]`.
    """

    obs: Float[Array, "rollout look observation"]
    action: Float[Array, "rollout time action"]
    valid: Bool[Array, "rollout time"]

    @staticmethod
    def pad(
        obs: Sequence[ArrayLike] | Array | np.ndarray,
        action: Sequence[ArrayLike] | Array | np.ndarray,
        steps: int | None = None,
    ) -> "Rollouts":
        """Roll-outs of any lengths, padded to a power of two, on the host.

        Args:
            obs: Of each roll-out, shape `[time + 1, observation]`.
            action: Of each roll-out, shape `[time, action]`.
            steps: The length to pad to; by default that of the longest.

        Raises:
            ValueError: There are none, or one of them does not have an observation
                more than actions, or more than `steps`.
        """
        seen, done = ([np.asarray(one) for one in each] for each in (obs, action))
        lengths = [len(each) for each in done]
        if not lengths or [len(each) for each in seen] != [n + 1 for n in lengths]:
            raise ValueError(
                "Rollouts needs one observation more than actions of each roll-out, "
                f"got {[len(each) for each in seen]} observations and {lengths} "
                "actions."
            )
        steps = max(lengths) if steps is None else steps
        if max(lengths) > steps:
            raise ValueError(
                f"Rollouts needs at most {steps} actions of each roll-out, got "
                f"{max(lengths)}."
            )
        capacity = 1 << (len(lengths) - 1).bit_length()
        valid = np.zeros((capacity, steps), bool)
        padded = [
            np.zeros((capacity, length, parts[0].shape[1]), parts[0].dtype)
            for parts, length in ((seen, steps + 1), (done, steps))
        ]
        for i, length in enumerate(lengths):
            valid[i, :length] = True
            padded[0][i, : length + 1], padded[1][i, :length] = seen[i], done[i]
        seen, done = map(as_float, padded)
        return Rollouts(seen, done, jnp.asarray(valid))
