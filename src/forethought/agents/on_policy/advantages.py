r"""How much better an action was than what is usual: generalised advantages.

**Notation.** $r_t$ reward, $V$ value, $o_t$ observation and $o'_t$ the one after it,
$\gamma$ discount, $\lambda$ how far errors of later steps count.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float


def advantages(
    reward: Float[Array, " time"],
    value: Float[Array, " time"],
    next_value: Float[Array, " time"],
    terminated: Bool[Array, " time"],
    ended: Bool[Array, " time"],
    *,
    gamma: ArrayLike,
    lam: ArrayLike,
) -> Float[Array, " time"]:
    r"""Generalised advantage estimates of consecutive steps of one lane.

    $$\hat A_t = \delta_t + \gamma \lambda \hat A_{t+1}, \qquad
      \delta_t = r_t + \gamma V(o'_t) - V(o_t)$$

    Where the task ended, nothing follows: $V(o'_t)$ counts as zero. Where an episode
    was only cut off, its future still counts, by $V(o'_t)$; but in both cases errors of
    the next episode do not reach back, $\hat A_{t+1}$ counts as zero.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.agents.on_policy.advantages import advantages
    >>> one, no = jnp.ones(3), jnp.zeros(3, bool)
    >>> advantages(one, 0 * one, 0 * one, no, no, gamma=1.0, lam=1.0).tolist()
    [3.0, 2.0, 1.0]

    ```

    Args:
        reward: Of each step.
        value: Of what was seen before it.
        next_value: Of what was seen after it, in the same episode.
        terminated: Whether the task ended there.
        ended: Whether the next row belongs to another episode, for whatever reason.
        gamma: $\gamma$.
        lam: $\lambda$; 1 is the return less the value, 0 the error of one step.

    References:
        Schulman et al., High-dimensional continuous control using generalized
        advantage estimation, 2016, arXiv:1506.02438, equation 16.
    """
    error = reward + gamma * jnp.where(terminated, 0, next_value) - value

    def back(later: Array, row: tuple[Array, Array]) -> tuple[Array, Array]:
        error, ended = row
        found = error + gamma * lam * jnp.where(ended, 0, later)
        return found, found

    none = jnp.zeros((), error.dtype)
    return jax.lax.scan(back, none, (error, ended), reverse=True)[1]
