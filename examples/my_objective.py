"""A reward for `my_robot.xml`, in ten lines: bring the hand to a place, gently.

    forethought plan examples/my_robot.xml --objective my_objective:MyObjective

Everything of MuJoCo's state can be read: `qpos`, `qvel`, `act`, and `sensordata` in the
order of the model's sensors. Rewards are maximised. Use `jax.numpy`, so that planners
can run thousands of futures at once and differentiate them.
"""

import jax.numpy as jnp

from forethought.objectives.base import AbstractObjective, constant


class MyObjective(AbstractObjective):
    def reward(self, x, action, next_x):
        distance = next_x.sensordata[:2] - jnp.asarray((0.2, 0.7), next_x.qpos.dtype)
        return -jnp.sum(distance**2) - 0.001 * jnp.sum(action**2)

    def discount(self, x, action, next_x):
        return constant(x, 1)  # zero would end the episode

    def value(self, x):
        return constant(x, 0)  # nothing is known beyond the horizon
