import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.tasks import gallery, load
from forethought.tasks.around.plain import export


def total(problem, actions):
    """Cost of actions, and the states, by nothing but the problem's functions."""
    states = [problem.start]
    for u in actions:
        states.append(problem.dynamics(states[-1], u))
    running = sum(problem.cost(x, u) for x, u in zip(states, actions, strict=False))
    return running + problem.final_cost(states[-1]), states


@pytest.mark.parametrize("name", ["acrobot-goal", "obstacle-unicycle", "lq-6-2"])
def test_stored_actions_cost_the_optimum_in_plain_numpy_whatever_jax_is_set_to(name):
    problem = export(name)
    found, states = total(problem, problem.actions)
    assert found == pytest.approx(problem.optimum, rel=1e-9)
    assert isinstance(states[-1], np.ndarray) and states[-1].dtype == np.float64
    assert np.all((problem.low <= problem.actions) & (problem.actions <= problem.high))
    if problem.inequality is not None:
        pairs = zip(states, problem.actions, strict=False)
        assert max(problem.inequality(x, u).max() for x, u in pairs) < 1e-9
    if problem.final_equality is not None:
        assert np.abs(problem.final_equality(states[-1])).max() < 1e-9


def test_jax_traces_batches_and_differentiates_the_same_functions(precision):
    problem = export("pendulum-swing-up")
    x, u = jnp.ones((3, 2)), jnp.ones((3, 1))
    A = jax.jit(jax.vmap(jax.jacobian(problem.dynamics)))(x, u)
    assert A.shape == (3, 2, 2) and A.dtype == x.dtype
    h = 1e-6
    plus, minus = (problem.dynamics([1, 1 + e], [1]) for e in (h, -h))
    np.testing.assert_allclose(A[0, :, 1], (plus - minus) / (2 * h), rtol=1e-4)


def test_random_problems_of_any_size_are_exported_with_their_optimum():
    problem = export(lambda: gallery.random_lq(3, 2, steps=4, seed=5))
    assert problem.actions is None and problem.horizon == 4
    assert problem.start.shape == (3,) and problem.low.shape == (2,)
    assert total(problem, np.zeros((4, 2)))[0] > problem.optimum > 0


def test_what_cannot_be_exported_is_refused():
    with pytest.raises(ValueError, match="did you mean 'acrobot'"):
        export("acrobatt")
    with pytest.raises(ValueError, match="planned every 1 of 200 steps"):
        export(lambda: load("pendulum"))
