"""Our environments as Gymnasium environments, for any library that speaks it."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from jaxtyping import PyTree

from forethought.core.spaces import Box, Discrete
from forethought.environments.base import AbstractEnvironment


class ToGymnasium(gymnasium.Env):
    """One of our environments, as a Gymnasium environment.

    Observations are float32 arrays, or uint8 where they are pictures, boxes are
    float32, an action beyond its limits is clipped to them, as an actuator saturates.
    The episode is truncated by the environment itself, so no time limit needs to be
    wrapped around it. It runs on the CPU: a single small environment is slower anywhere
    else.

    ```python
    >>> from forethought.environments.analytic import Pendulum
    >>> from forethought.environments.gymnasium.export import ToGymnasium
    >>> from forethought.environments.simulated import Simulated
    >>> from forethought.objectives.task import PendulumReward
    >>> env = ToGymnasium(Simulated(Pendulum(), PendulumReward(), 200))
    >>> env.observation_space.shape, env.action_space.high.tolist()
    ((3,), [2.0])

    ```

    Args:
        environment: Any environment in pure JAX.
        render_mode: None; it draws nothing by itself.

    Raises:
        ValueError: A render mode was asked for.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium's own declaration)

    def __init__(
        self, environment: AbstractEnvironment, render_mode: str | None = None
    ):
        if render_mode is not None:
            raise ValueError(
                f"This environment needs render_mode=None, got {render_mode!r}: it "
                "draws nothing by itself."
            )
        spec = environment.spec
        self.action_space = _their_space(spec.action)
        key = jax.eval_shape(lambda: jax.random.key(0))
        seen = jax.eval_shape(lambda key: environment.reset(key=key)[1].obs, key)
        self.observation_space = _their_space(spec.observation, seen)
        self._action = spec.action
        self._cpu = jax.local_devices(backend="cpu")[0]
        self._jit_reset = jax.jit(lambda key: environment.reset(key=key))
        self._jit_step = jax.jit(
            lambda state, action, key: environment.step(state, action, key=key)
        )
        self._state: Any = None
        self._keys: Any = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; the same seed begins the same one."""
        super().reset(seed=seed)
        with jax.default_device(self._cpu):
            key = jax.random.key(int(self.np_random.integers(2**31)))
            reset_key, self._keys = jax.random.split(key)
            self._state, first = self._jit_reset(reset_key)
        return self._written(first.obs), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Act once.

        Raises:
            gymnasium.error.ResetNeeded: No episode has begun.
        """
        if self._state is None:
            raise gymnasium.error.ResetNeeded("Call reset before the first step.")
        with jax.default_device(self._cpu):
            if isinstance(self._action, Box):
                action = self._action.clip(jnp.asarray(action, float))
            else:
                action = jnp.asarray(action)
            key, self._keys = jax.random.split(self._keys)
            self._state, after = self._jit_step(self._state, action, key)
        obs, ended = self._written(after.obs), bool(after.terminated)
        return obs, float(after.reward), ended, bool(after.truncated), {}

    def _written(self, obs: PyTree) -> Any:
        """Fresh NumPy arrays of the declared types; a single number is no array."""
        return jax.tree.map(
            lambda leaf: np.array(
                leaf,
                np.float32
                if jnp.issubdtype(leaf.dtype, jnp.floating)
                else leaf.dtype
                if leaf.ndim
                else int,
            )[()],
            obs,
        )


def _their_space(space: PyTree, seen: PyTree = None) -> spaces.Space:
    """One of Gymnasium's spaces for one of ours, or for a pytree of them.

    Args:
        space: Ours.
        seen: What is observed, by shape and dtype; pictures are `uint8`.
    """
    if isinstance(space, Box):
        whole = seen is not None and seen.dtype == jnp.uint8
        kind = np.uint8 if whole else np.float32
        low, high = (np.asarray(bound, kind) for bound in (space.low, space.high))
        return spaces.Box(low, high, dtype=kind)
    if isinstance(space, Discrete):
        return spaces.Discrete(space.n)
    if isinstance(space, Mapping):
        parts = {key: _their_space(part, seen[key]) for key, part in space.items()}
        return spaces.Dict(parts)
    if isinstance(space, Sequence):
        return spaces.Tuple(
            [_their_space(part, one) for part, one in zip(space, seen, strict=True)]
        )
    raise TypeError(
        "Gymnasium needs an observation that is an array, a dictionary or a tuple of "
        f"arrays, got the space {space}."
    )
