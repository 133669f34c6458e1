r"""What a learned model is asked, and what its answer means.

A network should see numbers of about unit size and answer in them. The transform that
brings this about belongs to the model, because its answers mean nothing without it:

| | |
|---|---|
| inputs | observation and action, standardised |
| choices | an action that is one of $n$ is seen as $n$ numbers, one of them 1 |
| difference or absolute | most dimensions are predicted as what they change by |
| circles | pairs (cos, sin) of an angle are put back onto the unit circle |
| angles | raw angles are seen as (sin, cos); their difference is the shorter way |
| outputs | standardised too, each dimension by itself, and so is the reward |

**Notation.** $o, u, r, o'$ observation, action, reward, next observation;
$\Delta = o' - o$ (or $o'$ where it is predicted as such); $y = (\Delta, r)$
standardised: $y_i = (\Delta_i - m_i) / s_i$.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Scalar, Shaped

from forethought.core.types import Action

FLOOR = 1e-6
"""A standard deviation below this, relative to the mean's size, counts as none."""


class Transform(eqx.Module):
    r"""From transitions to what a network learns, and back.

    $$x = \frac{(o, u) - m_x}{s_x}, \qquad
      o' = P\big(\mathbb 1_\Delta\, o + m_y + s_y\, y\big)$$

    with $P$ the projection of angle pairs onto the circle; $x$ holds the sine and
    the cosine of a raw angle in its place. The statistics are arrays, so that `fit`
    changes values and never shapes.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.models.learned.transforms import Transform
    >>> transform = Transform(3, 1, circles=((0, 1),))
    >>> transform.restore(jnp.array([1.0, 0.0, 2.0]), jnp.array([0.0, 1.0, 0.5]))[0][2]
    Array(2.5, dtype=float32)

    ```

    Args:
        observation: Dimension of the observation.
        action: Dimension of the action; of a discrete one, how many there are.
        absolute: Dimensions of the observation that are predicted themselves, not as
            a difference.
        circles: Pairs of dimensions that hold the cosine and the sine of one angle.
        angles: Dimensions that hold a raw angle, in radians. A turn more or less is
            the same to the model; a step turns them by less than half a turn.
        reward: Whether the model predicts the reward, as its last output.
        discrete: Whether an action is a number out of `action` choices.

    Raises:
        ValueError: A dimension lies outside the observation, or is named twice.

    References:
        Chua et al., Deep reinforcement learning in a handful of trials using
        probabilistic dynamics models, 2018, arXiv:1805.12114, appendix A.1 (raw
        angles as sine and cosine, predicted as differences).

    Note:
        PETS standardises inputs alone; without standard outputs the dimension with
        the largest changes rules the likelihood. It takes the difference of raw
        angles as it is, which jumps where an environment wraps them.
    """

    observation: int = eqx.field(static=True)
    action: int = eqx.field(static=True)
    absolute: tuple[int, ...] = eqx.field(static=True)
    circles: tuple[tuple[int, int], ...] = eqx.field(static=True)
    angles: tuple[int, ...] = eqx.field(static=True)
    reward: bool = eqx.field(static=True)
    discrete: bool = eqx.field(static=True)
    input_mean: Float[Array, " input"]
    input_scale: Float[Array, " input"]
    output_mean: Float[Array, " output"]
    output_scale: Float[Array, " output"]
    fitted: Bool[Array, ""]
    """Whether the statistics are those of data."""

    def __init__(
        self,
        observation: int,
        action: int,
        *,
        absolute: tuple[int, ...] = (),
        circles: tuple[tuple[int, int], ...] = (),
        angles: tuple[int, ...] = (),
        reward: bool = False,
        discrete: bool = False,
    ):
        used = (*absolute, *(i for pair in circles for i in pair), *angles)
        inside = all(0 <= i < observation for i in used)
        if not inside or len(set(used)) < len(used):
            raise ValueError(
                f"Transform needs dimensions in 0..{observation - 1}, each named "
                f"once, got absolute={absolute}, circles={circles} and "
                f"angles={angles}."
            )
        self.observation, self.action = observation, action
        self.absolute, self.circles, self.angles = absolute, circles, angles
        self.reward, self.discrete = reward, discrete
        self.input_mean = jnp.zeros(self.inputs_shape)
        self.input_scale = jnp.ones(self.inputs_shape)
        self.output_mean = jnp.zeros(observation + reward)
        self.output_scale = jnp.ones(observation + reward)
        self.fitted = jnp.asarray(False)

    @property
    def inputs_shape(self) -> int:
        """How many numbers a network sees."""
        return self.features_shape + self.action

    @property
    def features_shape(self) -> int:
        """How many of them tell the observation."""
        return self.observation + len(self.angles)

    @property
    def outputs_shape(self) -> int:
        """How many numbers a network answers."""
        return self.observation + self.reward

    def inputs(
        self, obs: Float[Array, " observation"], action: Action
    ) -> Float[Array, " input"]:
        """What a network sees of one observation and action."""
        seen, n = self.features(obs), self.features_shape
        done = self._done(action, seen.dtype) - self.input_mean[n:]
        return jnp.concatenate([seen, done / self.input_scale[n:]])

    def features(self, obs: Float[Array, " observation"]) -> Float[Array, " feature"]:
        """What a network sees of one observation alone: the first of its inputs."""
        n = self.features_shape
        seen = self._seen(obs.astype(self.input_mean.dtype))
        return (seen - self.input_mean[:n]) / self.input_scale[:n]

    @property
    def mean(self) -> Float[Array, " observation"]:
        """The mean observation of the data; of an angle, the mean direction."""
        plain = self.input_mean[: self.observation]
        if not self.angles:
            return plain
        cos = self.input_mean[self.observation : self.features_shape]
        angles = jnp.array(self.angles)
        return plain.at[angles].set(jnp.arctan2(plain[angles], cos))

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
        action: Shaped[Array, "row *action"],
        next_obs: Float[Array, "row observation"],
        reward: Float[Array, " row"],
        valid: Bool[Array, " row"],
    ) -> "Transform":
        """The transform with the mean and the scale of the valid rows.

        Args:
            obs: Observations, shape `[row, observation]`.
            action: Actions, shape `[row, action]`, or `[row]` if discrete.
            next_obs: What followed.
            reward: Rewards, shape `[row]`.
            valid: Which rows hold data.
        """
        seen = jax.vmap(self._seen)(obs)
        done = jax.vmap(lambda each: self._done(each, obs.dtype))(action)
        inputs = jnp.concatenate([seen, done], axis=1)
        outputs = jax.vmap(self._raw)(obs, next_obs, reward)
        statistics = (*_standard(inputs, valid), *_standard(outputs, valid))
        return eqx.tree_at(
            lambda t: (
                *(t.input_mean, t.input_scale, t.output_mean, t.output_scale),
                t.fitted,
            ),
            self,
            (*statistics, jnp.any(valid)),
        )

    def _base(self, obs: Array) -> Array:
        """What is added to a network's answer: nothing where it is absolute."""
        return obs.at[jnp.array(self.absolute)].set(0) if self.absolute else obs

    def _seen(self, obs: Array) -> Array:
        """An observation with sines for its angles, and their cosines behind it."""
        if not self.angles:
            return obs
        angles = jnp.array(self.angles)
        turns = obs[angles]
        return jnp.concatenate([obs.at[angles].set(jnp.sin(turns)), jnp.cos(turns)])

    def _done(self, action: Array, dtype: Any) -> Array:
        """An action in numbers: the vector that it is, or a one among zeros."""
        if self.discrete:
            return jax.nn.one_hot(action.astype(int), self.action, dtype=dtype)
        return action.astype(dtype)

    def _raw(self, obs: Array, next_obs: Array, reward: Array) -> Array:
        change = next_obs - self._base(obs)
        if self.angles:
            angles = jnp.array(self.angles)
            # Whole turns are taken off; a modulus would cost small changes digits.
            turns = jnp.round(change[angles] / (2 * jnp.pi))
            change = change.at[angles].add(-2 * jnp.pi * turns)
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
