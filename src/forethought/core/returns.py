r"""Risk measures: one number for a cloud of returns.

A plan's return is random when the model is: each particle of a belief earns its own.
A planner ranks plans by a risk measure $\rho$ of the *return*, never of single
rewards, so that "the worst tenth" means the worst tenth of the futures.

| measure | $\rho(R)$ |
|---|---|
| mean | $\mathbb E[R]$ |
| cvar | $\mathbb E[R \mid R \text{ among the worst share } \alpha]$ |
| entropic | $-\frac1\theta \log \mathbb E[e^{-\theta R}]$ |
| worst | $\min R$ |
"""

from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from forethought.core.given.settings import AbstractSettings, Part, Positive, require

Measure = Literal["mean", "cvar", "entropic", "worst"]


class Risk(AbstractSettings):
    r"""A risk measure over returns.

    The conditional value at risk of a sample of size $n$ is the average of its
    $\alpha n$ lowest returns, the last of them counted by its fraction, so that
    $\alpha = 1$ is the mean and $\alpha \to 0$ the worst case (Rockafellar and
    Uryasev, Conditional value-at-risk for general loss distributions, 2002, eq. 25).

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.core.returns import Risk
    >>> float(Risk("cvar", 0.5)(jnp.array([4.0, 1.0, 3.0, 2.0])))
    1.5

    ```

    Args:
        measure: Which measure.
        level: The share $\alpha \in (0, 1]$ for "cvar"; the risk aversion
            $\theta > 0$ for "entropic", in units of one over return; unused otherwise.

    Raises:
        ValueError: The level lies outside its range, or the measure is unknown.
    """

    measure: Measure = eqx.field(static=True, default="mean")
    level: Positive = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        if self.measure == "cvar":
            require("CVaR", Part, level=self.level)

    def __call__(self, returns: Float[Array, " particle"]) -> Scalar:
        """The measure of a sample of returns; any infinite loss stays infinite."""
        count = returns.shape[0]
        if self.measure == "mean":
            return jnp.mean(returns)
        if self.measure == "worst":
            return jnp.min(returns)
        if self.measure == "entropic":
            worst = jax.nn.logsumexp(-self.level * returns)
            return -(worst - jnp.log(jnp.asarray(count, returns.dtype))) / self.level
        tail = self.level * count
        weights = jnp.clip(tail - jnp.arange(count, dtype=returns.dtype), 0, 1)
        kept = weights > 0
        ordered = jnp.where(kept, jnp.sort(returns), 0)
        return jnp.sum(weights * ordered) / tail
