"""One table: every policy keeps the same promises."""

import dataclasses
import io

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.readout import Readout
from forethought.core.spaces import Box, free_box
from forethought.policies.affine import TimeVarying
from forethought.policies.gaussian import GaussianPolicy
from forethought.policies.looking import Looking
from forethought.policies.mlp import MLPPolicy
from forethought.policies.radial import taught
from forethought.policies.shaken import Shaken
from forethought.policies.squashed import Squashed

STATE = 3


def mlp(box):
    """A network on three numbers."""
    return lambda key: MLPPolicy(STATE, box, width=8, depth=1, key=key)


def gaussian(box):
    """The same, with a spread that depends on nothing."""
    return lambda key: GaussianPolicy(STATE, box, width=8, depth=1, key=key)


def affine(key):
    """Feedback over four steps, each of another noise."""
    keys = jax.random.split(key, 3)
    noise = jnp.stack([size * jnp.eye(2) for size in (1.0, 2.0, 3.0, 4.0)])
    shapes = ((4, 2, STATE), (4, 2), (4, STATE))
    draws = (jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True))
    return TimeVarying(*draws, noise)


def radial(key):
    """Six bumps, one number of three an angle."""
    one, two, key = jax.random.split(key, 3)
    centres = jax.random.normal(one, (6, STATE + 1))
    targets = jax.random.normal(two, (2, 6))
    return taught(centres, targets, jax.random.normal(key, (2, STATE + 1)), (1,))


def squashed(box):
    """The same within limits."""
    return lambda key: Squashed(radial(key), box)


def shaken(box):
    """A network shaken by noise."""
    return lambda key: Shaken(mlp(box)(key), jnp.array([0.3, 0.1]))


def looking(box):
    """A network that is shown halves."""
    return lambda key: Looking(mlp(box)(key), Half())


class Half(eqx.Module):
    """A view without numbers of its own, which would count as parameters."""

    def __call__(self, x):
        """Half of it."""
        return 0.5 * x


LIMITS = Box([-2.0, 1.0], [2.0, 1.5])
HALF_FREE = Box([-2.0, -np.inf], [2.0, np.inf])
ROWS = {
    "mlp": (mlp(LIMITS), LIMITS),
    "mlp-half-free": (mlp(HALF_FREE), HALF_FREE),
    "gaussian": (gaussian(LIMITS), LIMITS),
    "gaussian-half-free": (gaussian(HALF_FREE), HALF_FREE),
    "looking": (looking(LIMITS), LIMITS),
    "shaken": (shaken(free_box(2)), free_box(2)),
    "time-varying": (affine, free_box(2)),
    "radial": (radial, free_box(2)),
    "squashed": (squashed(LIMITS), LIMITS),
}
STILL = ("radial", "squashed")
"""Those that draw nothing, exploring or not."""


@dataclasses.dataclass
class Row:
    """A policy, compiled once for all tests of the row."""

    make: object
    box: Box
    policy: object
    act: object
    seen: Readout
    still: bool


@pytest.fixture(scope="module", params=ROWS)
def row(request):
    """One policy."""
    make, box = ROWS[request.param]

    @eqx.filter_jit
    def act(policy, seen, key, mode="explore"):
        return policy.act(seen, key=key, mode=mode)

    seen = Readout(jnp.array([0.3, -1.0, 2.0]), time=jnp.asarray(1))
    still = request.param in STILL
    return Row(make, box, make(jax.random.key(0)), act, seen, still)


@pytest.mark.parametrize("bits", [32, 64])
def test_actions_have_the_dtype_of_the_parameters_and_the_shape_of_the_space(row, bits):
    with jax.enable_x64(bits == 64):
        for mode in ("explore", "exploit"):

            def act(key, mode=mode):
                seen = Readout(jnp.zeros(STATE), time=jnp.asarray(1))
                return row.make(key).act(seen, key=key, mode=mode)

            action, kept = jax.eval_shape(act, jax.random.key(0))
            assert action.shape == row.box.shape
            assert action.dtype == f"float{bits}"
            assert (kept is None) == (row.still or mode == "exploit")
            assert kept is None or (kept.shape, kept.dtype) == ((), action.dtype)


def test_the_same_key_draws_the_same_action_and_another_key_another(row):
    draws = [
        np.asarray(row.act(row.policy, row.seen, jax.random.key(k))[0])
        for k in (1, 1, 2)
    ]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert ((draws[0] == draws[2]) == row.still).all()


def test_exploiting_ignores_the_key(row):
    one, two = (
        row.act(row.policy, row.seen, jax.random.key(k), "exploit")[0] for k in (1, 2)
    )
    np.testing.assert_array_equal(one, two)


def test_acting_in_a_batch_equals_acting_in_a_loop(row):
    keys = jax.random.split(jax.random.key(3), 3)
    places = np.asarray(row.seen.x) * np.array([[1.0], [2.0], [-1.0]], np.float32)
    batch = jax.jit(
        jax.vmap(
            lambda x, time, key: row.policy.act(
                Readout(x, time=time), key=key, mode="explore"
            )
        )
    )(places, np.arange(3), keys)
    for i, place in enumerate(places):
        seen = Readout(jnp.asarray(place), time=jnp.asarray(i))
        one = row.act(row.policy, seen, keys[i])
        pairs = zip(jax.tree.leaves(batch), jax.tree.leaves(one), strict=True)
        for found, expected in pairs:
            np.testing.assert_allclose(found[i], expected, rtol=2e-6, atol=2e-6)


def test_other_parameters_and_another_state_compile_nothing(row, compilations):
    row.act(row.policy, row.seen, jax.random.key(0))
    other = row.make(jax.random.key(7))
    seen, key = Readout(row.seen.x + 1, time=jnp.asarray(2)), jax.random.key(5)
    before = compilations.count
    row.act(other, seen, key)
    assert compilations.count == before


def test_a_policy_is_a_pytree_of_parameters_that_can_be_saved(row):
    leaves, structure = jax.tree.flatten(row.policy)
    assert all(eqx.is_inexact_array(leaf) for leaf in leaves)
    assert jax.tree.structure(jax.tree.unflatten(structure, leaves)) == structure
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, row.policy)
    file.seek(0)
    loaded = eqx.tree_deserialise_leaves(file, row.make(jax.random.key(9)))
    assert eqx.tree_equal(loaded, row.policy)


def test_gradients_by_every_parameter_are_finite_far_out_too(row):
    @jax.jit
    @jax.grad
    def slope(policy, seen):
        action, kept = policy.act(seen, key=jax.random.key(1), mode="explore")
        return jnp.sum(action) + (0 if kept is None else kept)

    for far in (1.0, 1e3):
        seen = Readout(far * row.seen.x, time=row.seen.time)
        found = jax.tree.leaves(slope(row.policy, seen))
        assert all(np.isfinite(leaf).all() for leaf in found)
        # Far from all centres of bumps there is none.
        if far == 1.0 or not row.still:
            assert any((leaf != 0).any() for leaf in found)


def test_actions_lie_within_the_space(row):
    keys = jax.random.split(jax.random.key(4), 200)
    draws = jax.jit(
        jax.vmap(lambda key: row.policy.act(row.seen, key=key, mode="explore")[0])
    )(keys)
    draws, low, high = (np.asarray(each) for each in (draws, row.box.low, row.box.high))
    assert ((low <= draws) & (draws <= high)).all()
    assert ((draws.std(axis=0) > 0.01) != row.still).all()
