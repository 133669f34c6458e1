r"""What a learned model is asked, and what its answer means.

A network should see numbers of about unit size and answer in them. The transform that
brings this about belongs to the model, because its answers mean nothing without it:

| | |
|---|---|
| inputs | observation and action, standardised |
| difference or absolute | most dimensions are predicted as what they change by |
| angles | pairs (cos, sin) are put back onto the unit circle after a step |
| outputs | standardised too, each dimension by itself, and so is the reward |

**Notation.** $o, u, r, o'$ observation, action, reward, next observation;
$\Delta = o' - o$ (or $o'$ where it is predicted as such); $y = (\Delta, r)$
standardised: $y_i = (\Delta_i - m_i) / s_i$.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar

FLOOR = 1e-6
"""A standard deviation below this, relative to the mean's size, counts as none."""


class Transform(eqx.Module):
    r"""From transitions to what a network learns, and back.

    $$x = \frac{(o, u) - m_x}{s_x}, \qquad
      o' = P\big(\mathbb 1_\Delta\, o + m_y + s_y\, y\big)$$

    with $P$ the projection of angle pairs onto the circle. The statistics are arrays,
    so that `fit` changes values and never shapes.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.models.transforms import Transform
    >>> transform = Transform(3, 1, circles=((0, 1),))
    >>> transform.restore(jnp.array([1.0, 0.0, 2.0]), jnp.array([0.0, 1.0, 0.5]))[0][2]
    Array(2.5, dtype=float32)

    ```

    Args:
        observation: Dimension of the observation.
        action: Dimension of the action.
        absolute: Dimensions of the observation that are predicted themselves, not as
            a difference.
        circles: Pairs of dimensions that hold the cosine and the sine of one angle.
        reward: Whether the model predicts the reward, as its last output.

    Raises:
        ValueError: A dimension lies outside the observation.

    Note:
        PETS standardises inputs alone; without standard outputs the dimension with
        the largest changes rules the likelihood.
    """

    observation: int = eqx.field(static=True)
    action: int = eqx.field(static=True)
    absolute: tuple[int, ...] = eqx.field(static=True)
    circles: tuple[tuple[int, int], ...] = eqx.field(static=True)
    reward: bool = eqx.field(static=True)
    input_mean: Float[Array, " input"]
    input_scale: Float[Array, " input"]
    output_mean: Float[Array, " output"]
    output_scale: Float[Array, " output"]

    def __init__(
        self,
        observation: int,
        action: int,
        *,
        absolute: tuple[int, ...] = (),
        circles: tuple[tuple[int, int], ...] = (),
        reward: bool = False,
    ):
        used = (*absolute, *(i for pair in circles for i in pair))
        if any(not 0 <= i < observation for i in used):
            raise ValueError(
                f"Transform needs dimensions in 0..{observation - 1}, got "
                f"absolute={absolute} and circles={circles}."
            )
        self.observation, self.action = observation, action
        self.absolute, self.circles, self.reward = absolute, circles, reward
        self.input_mean = jnp.zeros(observation + action)
        self.input_scale = jnp.ones(observation + action)
        self.output_mean = jnp.zeros(observation + reward)
        self.output_scale = jnp.ones(observation + reward)

    @property
    def inputs_shape(self) -> int:
        """How many numbers a network sees."""
        return self.observation + self.action

    @property
    def outputs_shape(self) -> int:
        """How many numbers a network answers."""
        return self.observation + self.reward

    def inputs(
        self, obs: Float[Array, " observation"], action: Float[Array, " action"]
    ) -> Float[Array, " input"]:
        """What a network sees of one observation and action."""
        dtype = self.input_mean.dtype
        x = jnp.concatenate([obs.astype(dtype), action.astype(dtype)])
        return (x - self.input_mean) / self.input_scale

    def targets(
        self,
        obs: Float[Array, " observation"],
        next_obs: Float[Array, " observation"],
        reward: Scalar,
    ) -> Float[Array, " output"]:
        """What a network should answer."""
        raw = self._raw(obs, next_obs, reward)
        return (raw - self.output_mean) / self.output_scale

    def restore(
        self, obs: Float[Array, " observation"], y: Float[Array, " output"]
    ) -> tuple[Float[Array, " observation"], Scalar]:
        """The next observation and the reward that an answer means; zero if none."""
        raw = self.output_mean + self.output_scale * y
        next_obs = self._base(obs) + raw[: self.observation]
        for cos, sin in self.circles:
            # The smallest square keeps the centre of the circle where it is.
            square = next_obs[cos] ** 2 + next_obs[sin] ** 2
            norm = jnp.sqrt(jnp.maximum(square, FLOOR**2))
            for i in (cos, sin):
                next_obs = next_obs.at[i].divide(norm)
        reward = raw[-1] if self.reward else jnp.zeros_like(raw[0])
        return next_obs, reward

    @property
    def variance_scale(self) -> Float[Array, " output"]:
        """What a variance of a network's answer is multiplied by, in squared units."""
        return self.output_scale**2

    def fit(
        self,
        obs: Float[Array, "row observation"],
        action: Float[Array, "row action"],
        next_obs: Float[Array, "row observation"],
        reward: Float[Array, " row"],
        valid: Bool[Array, " row"],
    ) -> "Transform":
        """The transform with the mean and the scale of the valid rows.

        Args:
            obs: Observations, shape `[row, observation]`.
            action: Actions, shape `[row, action]`.
            next_obs: What followed.
            reward: Rewards, shape `[row]`.
            valid: Which rows hold data.
        """
        inputs = jnp.concatenate([obs, action.astype(obs.dtype)], axis=1)
        outputs = jax.vmap(self._raw)(obs, next_obs, reward)
        statistics = (*_standard(inputs, valid), *_standard(outputs, valid))
        return eqx.tree_at(
            lambda t: (t.input_mean, t.input_scale, t.output_mean, t.output_scale),
            self,
            statistics,
        )

    def _base(self, obs: Array) -> Array:
        """What is added to a network's answer: nothing where it is absolute."""
        return obs.at[jnp.array(self.absolute)].set(0) if self.absolute else obs

    def _raw(self, obs: Array, next_obs: Array, reward: Array) -> Array:
        change = next_obs - self._base(obs)
        if not self.reward:
            return change
        return jnp.concatenate([change, reward.astype(change.dtype)[None]])


def _standard(values: Array, valid: Array) -> tuple[Array, Array]:
    """Mean and floored standard deviation of the valid rows; 0 and 1 without any."""
    values = jnp.where(valid[:, None], values, 0)
    count = jnp.maximum(jnp.sum(valid), 1).astype(values.dtype)
    mean = jnp.sum(values, axis=0) / count
    # The second pass keeps the digits that a difference of squares would lose.
    gaps = jnp.where(valid[:, None], values - mean[None, :], 0)
    std = jnp.sqrt(jnp.sum(gaps * gaps, axis=0) / count)
    constant = std < FLOOR * jnp.maximum(jnp.abs(mean), FLOOR)
    return mean, jnp.where(constant, jnp.ones_like(std), std)
