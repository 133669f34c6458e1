"""A system that is pushed about: its equations, and noise of the given size."""

import jax
import numpy as np

from forethought.environments.analytic import Pendulum
from forethought.environments.disturbed import Disturbed


def test_the_noise_is_added_to_what_the_system_does():
    system = Pendulum()
    pushed = Disturbed(system, (0.0, 0.5))
    state, action = np.float32([0.3, -0.2]), np.float32([1.0])

    @jax.jit
    def steps(key, state, action):
        keys = jax.random.split(key, 4000)
        after = jax.vmap(lambda key: pushed.step(state, action, key=key))(keys)
        return after, system.step(state, action, key=key)

    after, calm = map(np.asarray, steps(jax.random.key(0), state, action))
    np.testing.assert_allclose(after[:, 0], calm[0], rtol=1e-6)
    off = after[:, 1] - calm[1]
    # Four standard errors of a mean and of a standard deviation.
    assert abs(off.mean()) < 4 * 0.5 / 4000**0.5
    assert abs(off.std() - 0.5) < 4 * 0.5 / 8000**0.5
    assert pushed.state_names == system.state_names and pushed.dt == system.dt
