r"""Observations as coordinates in which dynamics are smooth: angles, unwrapped.

A linear model of the cosine and the sine of an angle bends along a swing, and one of a
wrapped angle jumps. So an angle that is observed either way is followed through an
episode: of all the angles that look the same, the one nearest to the last.

**Notation.** $o$ what is observed, $x$ its coordinates: as many, but one for each pair
of cosine and sine, in the place of the cosine.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Scalar

from forethought.core.readout import AbstractJudge, Readout
from forethought.core.types import Action


class Coordinates(eqx.Module):
    """How observations and coordinates belong together.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.agents.local.coordinates import Coordinates
    >>> swing = Coordinates(3, circles=((0, 1),))
    >>> before = jnp.array([3.1, 0.0])
    >>> after = swing.onward(jnp.array([-1.0, -0.1, 2.0]), before)
    >>> [round(float(each), 2) for each in after]
    [3.24, 2.0]

    ```

    Args:
        observation: How many numbers are observed.
        circles: Pairs of them that hold cosine and sine of one angle.
        angles: Those that are angles themselves, in radians.
    """

    observation: int = eqx.field(static=True)
    circles: tuple[tuple[int, int], ...] = eqx.field(static=True, default=())
    angles: tuple[int, ...] = eqx.field(static=True, default=())

    @property
    def size(self) -> int:
        """How many coordinates there are."""
        return self.observation - len(self.circles)

    @property
    def _kept(self) -> tuple[int, ...]:
        """Which observed number stands for each coordinate."""
        sines = {sine for _, sine in self.circles}
        return tuple(i for i in range(self.observation) if i not in sines)

    @property
    def turning(self) -> tuple[int, ...]:
        """Which coordinates are angles."""
        found = {*self.angles, *(cosine for cosine, _ in self.circles)}
        return tuple(at for at, i in enumerate(self._kept) if i in found)

    def onward(
        self, obs: Float[Array, " observation"], last: Float[Array, " coordinate"]
    ) -> Float[Array, " coordinate"]:
        """Coordinates of an observation, next to those of the last one."""
        sines = dict(self.circles)
        x = jnp.stack(
            [
                jnp.arctan2(obs[sines[i]], obs[i]) if i in sines else obs[i]
                for i in self._kept
            ]
        )
        for at in self.turning:
            turns = jnp.round((last[at] - x[at]) / (2 * math.pi))
            x = x.at[at].add(2 * math.pi * turns)
        return x

    def along(
        self, obs: Float[Array, "look observation"], first: Float[Array, " coordinate"]
    ) -> Float[Array, "look coordinate"]:
        """Coordinates of an episode's observations.

        Args:
            obs: In order.
            first: Coordinates that those of the first one are next to.
        """

        def step(last, obs):
            x = self.onward(obs, last)
            return x, x

        return jax.lax.scan(step, first.astype(obs.dtype), obs)[1]

    def seen(self, x: Float[Array, " coordinate"]) -> Float[Array, " observation"]:
        """What is observed there."""
        obs = [x[0]] * self.observation
        sines = dict(self.circles)
        for at, i in enumerate(self._kept):
            if i in sines:
                obs[i], obs[sines[i]] = jnp.cos(x[at]), jnp.sin(x[at])
            else:
                obs[i] = x[at]
        return jnp.stack(obs)


class Unwound(AbstractJudge):
    """An objective of observations that judges coordinates.

    Args:
        objective: Who judges observations.
        coordinates: Which coordinates.
    """

    objective: AbstractJudge
    coordinates: Coordinates

    def judge(
        self, before: Readout, action: Action, after: Readout
    ) -> tuple[Scalar, Scalar]:
        """Reward and discount of what is observed there."""
        return self.objective.judge(self._seen(before), action, self._seen(after))

    def beyond(self, seen: Readout) -> Scalar:
        """The value of what is observed there."""
        return self.objective.beyond(self._seen(seen))

    def _seen(self, readout: Readout) -> Readout:
        return Readout(self.coordinates.seen(readout.x), time=readout.time)
