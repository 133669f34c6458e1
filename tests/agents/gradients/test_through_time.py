"""Gradients through time, against what linear algebra and finite differences say."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from forethought.agents.gradients.through_time import growth
from forethought.policies.affine import TimeVarying
from forethought.problem import imagine
from forethought.runs.entries.studies.gradients import chaotic, idle, turning

KEY = jax.random.key(3)


def test_jacobians_of_a_linear_loop_are_the_loop_itself():
    policy = eqx.tree_at(lambda p: p.K, idle(), jnp.array([[[0.1, -0.3]]]))
    problem, x = turning(0.9), jnp.array([1.0, -0.5])
    found = growth(problem, policy, x, 6, key=KEY)
    F = np.asarray(problem.model.linear.F)
    loop = F[:, :2] + F[:, 2:] @ np.asarray(policy.K[0])
    exact = np.linalg.svd(loop, compute_uv=False)
    np.testing.assert_allclose(found.singular, np.tile(exact, (6, 1)), rtol=1e-5)
    np.testing.assert_allclose(
        found.radius, np.full(6, np.abs(np.linalg.eigvals(loop)).max()), rtol=1e-5
    )
    powers = [np.linalg.norm(np.linalg.matrix_power(loop, t), 2) for t in range(1, 7)]
    np.testing.assert_allclose(found.state, powers, rtol=1e-5)


def test_the_gradient_of_each_return_is_that_of_finite_differences(x64):
    policy = TimeVarying(*(leaf.astype(float) for leaf in jax.tree.leaves(idle())))
    problem = chaotic()
    x = problem.model.init(key=KEY)
    found = growth(problem, policy, x, 5, key=KEY).policy

    @jax.jit
    def earned(K, k):
        acting = eqx.tree_at(lambda p: (p.K, p.k), policy, (K, k))
        return jnp.cumsum(imagine(problem, acting, x, 5, key=KEY).rewards)

    slopes, small = [], 1e-6
    for way in np.eye(3) * small:
        K, k = jnp.asarray(way[None, None, :2]), jnp.asarray(way[None, 2:])
        slopes.append((earned(K, k) - earned(-K, -k)) / (2 * small))
    # The place x is a parameter, too, which does nothing while gains are zero.
    np.testing.assert_allclose(found, np.linalg.norm(slopes, axis=0), rtol=1e-5)


def test_the_area_shrinks_by_as_much_as_henons_map_says():
    problem = chaotic()
    found = growth(problem, idle(), problem.model.init(key=KEY), 20, key=KEY)
    np.testing.assert_allclose(np.prod(found.singular, axis=1), 0.3, rtol=1e-4)
    assert found.state[-1] > 50 * found.state[0]
