r"""A small camera in pure JAX: capsules become pixels, inside compiled loops.

How much of a pixel a capsule covers is told by how far its middle is from the line
that the capsule is thick around, as if the edge were straight there:

$$\alpha = \operatorname{clip}\!\Big(\frac{r - d}{w} + \tfrac12\Big)
  - \operatorname{clip}\!\Big(\frac{-r - d}{w} + \tfrac12\Big)$$

Capsules are put over each other, the first at the bottom, or in space the farthest.

**Notation.** $d$ is the distance of a pixel's middle from the line, $r$ the radius,
both in pixels; $w$ over how many pixels an edge fades; clip keeps to $[0, 1]$.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray, UInt8

from forethought.core.given.settings import (
    AbstractSettings,
    Count,
    Finite,
    Nonnegative,
    Positive,
)
from forethought.environments.base import AbstractSystem, Capsules

GREYS = ((1.0,), (0.3,), (0.6,))
"""How bright on black: what moves, what stands still, a goal."""
COLOURS = ((0.34, 0.71, 0.91), (0.58, 0.62, 0.67), (0.0, 0.62, 0.45))
"""The same in red, green and blue (Okabe and Ito's palette)."""

Row = tuple[Finite, ...]


class Lens(AbstractSettings):
    """Where a camera looks, and how fine it sees.

    ```python
    >>> from forethought.environments.analytic import Pendulum
    >>> from forethought.environments.camera import Lens
    >>> import jax.numpy as jnp
    >>> lens = Lens(16, reach=1.25)
    >>> lens.photograph(Pendulum().sketch(jnp.zeros(2))).shape
    (16, 16, 1)

    ```

    Args:
        size: Pixels across, and from top to bottom.
        reach: Metres from the middle of the picture to each of its sides.
        centre: What lies in the middle, in metres: rightwards and upwards.
        axes: Which directions of the drawing point right and up and, in space, towards
            the camera: rows of as many numbers.
        thin: The least radius of what is drawn, in pixels: what is thinner hides how
            it moves.
        fade: Over how many pixels an edge fades; one is what a pixel's area says.
        colour: Whether pixels are red, green and blue in the place of one grey.

    Raises:
        ValueError: A number is out of its range, or `axes` do not fit each other.
    """

    size: Count = eqx.field(static=True, default=32)
    reach: Positive = eqx.field(static=True, default=1.0)
    centre: tuple[Finite, Finite] = eqx.field(static=True, default=(0.0, 0.0))
    axes: tuple[Row, ...] = eqx.field(static=True, default=((1.0, 0.0), (0.0, 1.0)))
    thin: Nonnegative = eqx.field(static=True, default=0.0)
    fade: Positive = eqx.field(static=True, default=1.0)
    colour: bool = eqx.field(static=True, default=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of a picture: rows, columns, channels."""
        return self.size, self.size, 3 if self.colour else 1

    def photograph(self, drawing: Capsules) -> UInt8[Array, "row column channel"]:
        """The picture of a drawing.

        What is nowhere, because a state is no number, is not seen.

        Args:
            drawing: In as many dimensions as `axes` have numbers.

        Raises:
            ValueError: It has another number of dimensions.
        """
        start, end = (each.astype(jnp.float32) for each in (drawing.start, drawing.end))
        axes = jnp.asarray(self.axes, jnp.float32)
        if start.shape[-1] != axes.shape[-1]:
            raise ValueError(
                f"A Lens whose axes have {axes.shape[-1]} numbers needs drawings in as "
                f"many dimensions, got {start.shape[-1]}."
            )
        radius, kind = drawing.radius.astype(jnp.float32), drawing.kind
        if len(axes) == 3:  # what is nearer hides what is farther
            order = jnp.argsort((start + end) @ axes[2])
            start, end, radius, kind = (
                each[order] for each in (start, end, radius, kind)
            )
        unit = self.size / (2 * self.reach)
        middle = jnp.asarray(self.centre, jnp.float32)
        start, end = (
            (each @ axes[:2].T - middle[None]) * unit for each in (start, end)
        )
        radius = jnp.maximum(radius * unit, self.thin)
        shades = jnp.asarray(COLOURS if self.colour else GREYS, jnp.float32)
        shade = shades[jnp.clip(kind, 0, 2)]
        across = jnp.arange(self.size, dtype=jnp.float32) + (0.5 - self.size / 2)
        x, y = across[None, :], -across[:, None]

        def over(picture: Array, stroke: tuple[Array, ...]) -> tuple[Array, None]:
            a, b, radius, shade = stroke
            along = b - a
            length = jnp.maximum(along @ along, 1e-12)
            part = ((x - a[0]) * along[0] + (y - a[1]) * along[1]) / length
            part = jnp.clip(part, 0, 1)
            far = jnp.sqrt(
                (x - a[0] - part * along[0]) ** 2 + (y - a[1] - part * along[1]) ** 2
            )
            inner, outer = (
                jnp.clip((edge - far) / self.fade + 0.5, 0, 1)
                for edge in (radius, -radius)
            )
            covered = jnp.where(jnp.isfinite(far), inner - outer, 0)[..., None]
            return picture + covered * (shade[None, None] - picture), None

        # Few strokes are written down one by one, which is faster by far than a loop.
        black = jnp.zeros(self.shape, jnp.float32)
        strokes = start, end, radius, shade
        picture = jax.lax.scan(over, black, strokes, unroll=min(len(radius), 16))[0]
        return jnp.round(picture * 255).astype(jnp.uint8)


def aimed(
    system: AbstractSystem, size: int = 32, *, key: PRNGKeyArray, **settings: Any
) -> Lens:
    """A lens that sees all of a machine, from where it starts and where chance leads.

    In space a machine that moves in one plane is looked at from the side or from
    above, any other one from the side.

    Args:
        system: What is looked at.
        size: Pixels across.
        key: Consumed, by starts and random actions.
        **settings: Others of `Lens`.
    """
    drawings = _wandered(system, key)
    kind = np.asarray(drawings.kind).ravel()
    ends = np.stack([drawings.start, drawings.end], axis=-2)
    ends = ends.reshape(-1, *ends.shape[-2:])
    radius = np.asarray(drawings.radius).ravel()
    kept = np.isfinite(ends).all(axis=(1, 2)) & ((kind != 1) | (kind == 1).all())
    ends, radius = ends[kept], radius[kept]
    axes = np.eye(2)
    if ends.shape[-1] == 3:
        flat = np.ptp(ends[:, :, 2]) < 1e-3 * np.ptp(ends)
        axes = np.eye(3) if flat else np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]])
    points = ends @ axes[:2].T
    low = (points - radius[:, None, None]).min(axis=(0, 1))
    high = (points + radius[:, None, None]).max(axis=(0, 1))
    middle = (low + high) / 2
    return Lens(
        size,
        reach=float(0.55 * (high - low).max()),
        centre=(float(middle[0]), float(middle[1])),
        axes=tuple(tuple(float(each) for each in row) for row in axes),
        **settings,
    )


@eqx.filter_jit
def _wandered(system: AbstractSystem, key: PRNGKeyArray) -> Capsules:
    """Drawings of several random walks, leaves of shape `[walk, step, ...]`."""

    def walk(key: PRNGKeyArray) -> Capsules:
        start_key, key = jax.random.split(key)

        def once(state: Array, key: PRNGKeyArray) -> tuple[Array, Capsules]:
            act_key, step_key = jax.random.split(key)
            action = system.action.sample(key=act_key)
            after = system.step(state, action, key=step_key)
            return after, system.sketch(state)

        state = system.start(key=start_key)
        return jax.lax.scan(once, state, jax.random.split(key, 50))[1]

    return jax.vmap(walk)(jax.random.split(key, 16))
