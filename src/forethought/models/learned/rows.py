r"""Data to fit members to, and which of them each member sees.

Each member sees a bootstrap of its own: row $i$ counts $c_{e,i} \sim
\mathrm{Poisson}(1)$ times, drawn from a key folded with the row's index alone. This is
resampling with replacement for data of unknown length: the multinomial counts of a
plain bootstrap tend to it, and unlike them it never changes what an old row counts
when new rows arrive. Which rows are held out is drawn in the same manner.

References:
    Oza and Russell, Online bagging and boosting, 2001.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PRNGKeyArray, Shaped

from forethought.core.linalg import as_float

# P(c <= k) of a Poisson variable of mean one, up to where single precision ends.
POISSON = (0.36787944, 0.73575888, 0.9196986, 0.98101184, 0.99634015, 0.99940582)
POISSON = (*POISSON, 0.99991676, 0.99998975, 0.99999887)

BLOCK = 256
"""Rows that are summed over at once."""


class Rows(eqx.Module):
    """Transitions, of which some rows may be padding.

    Args:
        obs: Shape `[row, observation]`.
        action: Shape `[row, action]`, or `[row]` where actions are discrete.
        reward: Shape `[row]`.
        next_obs: Shape `[row, observation]`.
        terminated: Whether the task ended there, shape `[row]`; truncation is no end.
        valid: Which rows hold data, shape `[row]`.
    """

    obs: Float[Array, "row observation"]
    action: Shaped[Array, "row *action"]
    reward: Float[Array, " row"]
    next_obs: Float[Array, "row observation"]
    terminated: Bool[Array, " row"]
    valid: Bool[Array, " row"]

    @staticmethod
    def pad(
        obs: ArrayLike,
        action: ArrayLike,
        reward: ArrayLike,
        next_obs: ArrayLike,
        terminated: ArrayLike | None = None,
    ) -> "Rows":
        """Rows padded with zeros to the next power of two, on the host.

        Args:
            obs: Shape `[row, observation]`; the others as fields of `Rows`.
            action: Shape `[row, action]`, or `[row]` where actions are discrete.
            reward: Shape `[row]`.
            next_obs: Shape `[row, observation]`.
            terminated: Shape `[row]`; nowhere unless it is given.

        Raises:
            ValueError: The arrays have different numbers of rows, or none.
        """
        if terminated is None:
            terminated = np.zeros(np.shape(reward), bool)
        arrays = [np.asarray(part) for part in (obs, action, reward, next_obs)]
        arrays.append(np.asarray(terminated, bool))
        counts = [part.shape[0] for part in arrays]
        count = counts[0]
        if len(set(counts)) > 1 or count == 0:
            raise ValueError(f"Rows needs as many of each part, got {counts} rows.")
        capacity = 1 << (count - 1).bit_length()

        def pad(part: np.ndarray) -> Array:
            padded = np.zeros((capacity, *part.shape[1:]), part.dtype)
            padded[:count] = part
            return jnp.asarray(padded) if part.dtype == bool else as_float(padded)

        obs, action, reward, next_obs, terminated = map(pad, arrays)
        valid = jnp.asarray(np.arange(capacity) < count)
        return Rows(obs, action, reward, next_obs, terminated, valid)


def bootstrap_counts(
    capacity: int, members: int, *, key: PRNGKeyArray
) -> Float[Array, "member row"]:
    """How often each row counts for each member; a row's never change.

    Args:
        capacity: How many rows.
        members: How many members.
        key: The same for all fits of one model, whatever the capacity.
    """
    return _counted(_chances(capacity, members, key=key))


def _chances(
    capacity: int, members: int, *, key: PRNGKeyArray
) -> Float[Array, "member row"]:
    """Numbers in [0, 1), drawn for each row by itself."""

    def draw(row):
        return jax.random.uniform(jax.random.fold_in(key, row), (members,))

    return jax.vmap(draw, out_axes=1)(jnp.arange(capacity))


def _counted(chances: Float[Array, "member row"]) -> Float[Array, "member row"]:
    """The Poisson variables of mean one that such numbers make."""
    steps = jnp.asarray(POISSON, chances.dtype)
    above = chances[:, :, None] >= steps[None, None, :]
    return jnp.sum(above, axis=2).astype(chances.dtype)


def split(
    valid: Bool[Array, " row"], members: int, holdout: float, *, key: PRNGKeyArray
) -> tuple[Float[Array, "member row"], Bool[Array, " row"]]:
    """What each row counts for each member, and which rows are held out from all.

    Where no row would be held out, or none be left, members are judged on all rows.

    Args:
        valid: Which rows hold data.
        members: How many members.
        holdout: Share of rows that no member learns from.
        key: The same for all fits of one model.
    """
    rows = valid.shape[0]
    # Both in one draw, which compiles sooner.
    holding, counting = jax.vmap(lambda key: _chances(rows, members, key=key))(
        jax.random.split(key)
    )
    held = valid & (holding[0] < holdout)
    possible = jnp.any(held) & jnp.any(valid & ~held)
    learned = jnp.where(possible, valid & ~held, valid)
    counts = _counted(counting)
    counts = jnp.where(learned[None, :], counts, 0)
    # A member to whom every row happens to count zero learns from each of them once.
    none = jnp.all(counts == 0, axis=1)
    alike = jnp.where(learned, 1.0, 0.0).astype(counts.dtype)[None, :]
    counts = jnp.where(none[:, None], alike, counts)
    return counts, jnp.where(possible, held, valid)


def summed(
    terms: Callable[[Array, Array], Float[Array, "term row output"]],
    x: Float[Array, "row input"],
    y: Float[Array, "row output"],
    count: Int[Array, ""],
    number: int,
) -> Float[Array, "term output"]:
    """Terms summed over the first `count` rows, without a look at all others.

    Args:
        terms: Of some inputs and targets, `number` of them for each row and output.
        x: Inputs.
        y: Targets.
        count: How many rows are there.
        number: How many terms.
    """
    block = min(BLOCK, x.shape[0])

    def add(i, total):
        rows = i * block + jnp.arange(block)
        found = terms(*(jnp.take(part, rows, axis=0, mode="clip") for part in (x, y)))
        return total + jnp.sum(jnp.where((rows < count)[None, :, None], found, 0), 1)

    blocks = (count + block - 1) // block
    start = jnp.zeros((number, y.shape[1]), y.dtype)
    return jax.lax.fori_loop(0, blocks, add, start)
