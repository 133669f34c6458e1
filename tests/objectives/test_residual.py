import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.environments.mujoco.system import MuJoCo
from forethought.objectives.residual import (
    L2,
    Cosh,
    Power,
    Quadratic,
    Rectify,
    Residual,
    SmoothAbs,
    Term,
)
from forethought.tasks.physics import asset

R = np.array([0.3, -0.4])


@pytest.fixture(scope="module")
def system():
    return MuJoCo(asset("cartpole"), keyframe="hanging")


@pytest.mark.parametrize(
    ("norm", "expected"),
    [
        (Quadratic(), 0.5 * (0.09 + 0.16)),
        (L2(1.2), np.sqrt(0.25 + 1.44) - 1.2),
        (SmoothAbs(0.4), 0.5 - 0.4 + np.sqrt(0.32) - 0.4),
        (Cosh(0.5), 0.25 * (np.cosh(0.6) - 1 + np.cosh(0.8) - 1)),
        (Power(3.0), 0.027 + 0.064),
        (Rectify(0.2), 0.2 * (np.log1p(np.exp(1.5)) + np.log1p(np.exp(-2.0)))),
    ],
)
def test_norms_are_those_of_mujoco_mpc(precision, norm, expected):
    r = jnp.asarray(R)
    assert norm(r).dtype == r.dtype
    np.testing.assert_allclose(norm(r), expected, rtol=1e-5)
    at_zero = jnp.zeros_like(r)
    assert jnp.isfinite(jax.hessian(norm)(at_zero)).all()
    np.testing.assert_allclose(norm(at_zero) >= 0, True)


def test_a_reward_is_minus_the_weighted_sum_over_sensors_state_and_action(
    precision, system
):
    objective = Residual(
        system,
        [
            Term("sensor", "tip", 2.0, target=[0.0, 0.0, -1.0]),
            Term("qpos", "hinge", 0.5, L2(0.1), target=3.0),
            Term("qvel", None, 0.1),
            Term("sensor", "tip", 1.0, entry=2),
            Term("action", None, 0.3),
        ],
        final=4.0,
    )
    state = system.at(jnp.array([0.2, jnp.pi]), jnp.array([1.0, -2.0]))
    action = jnp.array([0.5])
    # The tip hangs 1 m under the cart, which rides 1 m under the goal.
    tip = 0.5 * (0.2**2 + 0 + (-2.0 + 1.0) ** 2)
    hinge = np.sqrt((np.pi - 3) ** 2 + 0.01) - 0.1
    still = 2 * tip + 0.5 * hinge + 0.1 * 0.5 * 5 + 0.5 * 4
    reward = objective.reward(state, action, state)
    np.testing.assert_allclose(reward, -still - 0.3 * 0.5 * 0.25, rtol=1e-5)
    np.testing.assert_allclose(objective.value(state), -4 * still, rtol=1e-5)
    assert objective.discount(state, action, state) == 1
    assert reward.dtype == state.qpos.dtype
    parts = objective.costs(state, action)
    assert set(parts) == {"sensor tip", "qpos hinge", "qvel", "action"}
    np.testing.assert_allclose(sum(parts.values()), -reward, rtol=1e-5)


def test_risk_transforms_the_cost_as_its_formula_says(x64, system):
    state, action = system.start(key=jax.random.key(0)), jnp.array([0.5])

    def reward(risk):
        terms = [Term("qpos", "hinge", 0.2), Term("action")]
        return Residual(system, terms, risk=risk).reward(state, action, state)

    cost = -reward(0.0)
    for risk in (0.5, -0.5, 1e-7):
        expected = -np.expm1(risk * cost) / risk
        np.testing.assert_allclose(reward(risk), expected, rtol=1e-12)
    np.testing.assert_allclose(reward(1e-7), -cost, rtol=1e-6)


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        ([], "at least one term"),
        ([Term("sensor", "tipp")], "no sensor named 'tipp'; did you mean 'tip'"),
        ([Term("qpos", "hinj")], "no joint named 'hinj'; did you mean 'hinge'"),
        ([Term("action", "psuh")], "no actuator named 'psuh'; did you mean 'push'"),
        ([Term("sensor", "tip", target=[0.0])], r"target of shape \[3\], got \[1\]"),
        ([Term("sensor", "tip", entry=3)], "an entry below 3, got 3"),
        ([Term("action", weight=-1.0)], "weight >= 0, got -1.0"),
    ],
)
def test_terms_that_the_model_cannot_serve_are_refused(system, terms, message):
    with pytest.raises(ValueError, match=message):
        Residual(system, terms)


@pytest.mark.parametrize("norm", [L2, SmoothAbs, Cosh, Power, Rectify])
def test_a_norm_needs_a_positive_parameter(norm):
    with pytest.raises(ValueError, match=f"{norm.__name__} needs p > 0, got 0"):
        norm(0.0)
