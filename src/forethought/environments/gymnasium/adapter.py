"""Gymnasium's environments for us: any registered one, several at once, on the host.

The way back, `ToGymnasium`, is in `export.py` beside this file.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces
from jaxtyping import PyTree

from forethought.core.given.settings import Count, require
from forethought.core.spaces import Box, Discrete
from forethought.environments.base import EnvironmentSpec, TimeStep
from forethought.environments.gymnasium.border import Broken, bordered
from forethought.environments.gymnasium.named import (
    length_of,
    registered,
    require_options,
    unmade,
)
from forethought.environments.gymnasium.names import observation_names

Wrap = Callable[[gymnasium.Env], gymnasium.Wrapper]


class GymnasiumEnvironment:
    """Any registered Gymnasium environment, in as many copies as wanted.

    Observations are copies of what the environment returned, which may go on to change
    it, and actions for a box of whole numbers are rounded to the nearest of them.

    Where an episode ends, its copy begins the next one within the same step. `step`
    therefore returns two observations: the true successor of each action, which is the
    last one of its episode where that ended, and the one to act on next.

    ```python
    >>> import numpy as np
    >>> from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
    >>> with GymnasiumEnvironment("CartPole-v1", count=2) as environment:
    ...     obs = environment.reset(seed=0)
    ...     after, obs = environment.step(np.array([0, 1]))
    >>> after.reward.tolist(), after.terminated.tolist()
    ([1.0, 1.0], [False, False])

    ```

    Args:
        name: Its id, such as `"HalfCheetah-v5"`, or `"module:Id-v0"` for one that a
            module registers when it is imported.
        count: How many copies.
        parallel: Whether each copy runs in a process of its own.
        options: Arguments of `gymnasium.make`: those of the environment's own
            constructor, and `max_episode_steps`.
        wrappers: Gymnasium wrappers for each copy, innermost first.

    Raises:
        ValueError: There is no such environment, or it has no such option (the
            message names the nearest); it cannot be made; or `count` is below one.
        ImportError: It needs a package that is not installed.
        TypeError: Its spaces are none that planners and agents here can read.
    """

    def __init__(
        self,
        name: str,
        count: int = 1,
        *,
        parallel: bool = False,
        options: Mapping[str, Any] | None = None,
        wrappers: Sequence[Wrap] = (),
    ):
        require(name, Count, count=count)
        self.name, self.count, self._time = name, count, 0
        self._envs = _make(name, count, parallel, dict(options or {}), wrappers)
        try:
            self._spec = _spec_of(name, self._envs, dict(options or {}))
        except TypeError:
            self.close()
            raise

    @property
    def spec(self) -> EnvironmentSpec:
        """The spaces of one copy, and the steps after which it is truncated."""
        return self._spec

    def names(self, size: int) -> list[str]:
        """A name for each of so many numbers of an observation."""
        envs = getattr(self._envs, "envs", None)  # those of processes are out of reach
        if envs is None:
            return [f"observation {i}" for i in range(size)]
        return observation_names(envs[0], size)

    @property
    def dt(self) -> float:
        """Seconds of a step, where the environment tells them, else 1."""
        envs = getattr(self._envs, "envs", None)
        told: Any = None if envs is None else getattr(envs[0].unwrapped, "dt", None)
        real = isinstance(told, int | float | np.number) and 0 < told < np.inf
        return float(told) if real else 1.0

    def reset(self, *, seed: int | None = None) -> PyTree:
        """Begin an episode in every copy.

        Args:
            seed: Copy `i` is seeded with `seed + i`; None leaves it to chance.

        Returns:
            The observations, NumPy leaves with a leading axis of copies.

        Raises:
            FloatingPointError: An observation is not finite.
            TypeError, ValueError: The environment is broken; it is named, and how.
        """
        obs, _ = self._envs.reset(seed=seed)
        self._time = 0
        obs = _read(self._envs.single_observation_space, obs)
        self._require_finite("observation", obs)
        return obs

    def step(self, actions: Any) -> tuple[TimeStep, PyTree]:
        """Act once in every copy; one whose episode ended begins the next.

        Args:
            actions: One for each copy, `[count, action]`, or `[count]` if discrete.

        Returns:
            What came of it, its `obs` the true successors, and the observations to go
            on from. They differ where an episode ended. All leaves are NumPy arrays
            with a leading axis of copies. Where an episode is terminated and truncated
            at once, it counts as terminated.

        Raises:
            ValueError: The actions have the wrong shape, or are not finite.
            TypeError, ValueError: The environment is broken; it is named, and how.
            FloatingPointError: A reward or an observation is not finite; the message
                names the step and the copy.
        """
        result = self._envs.step(self._written(actions))
        onward, reward, terminated, truncated, info = result
        self._time += 1
        space = self._envs.single_observation_space
        onward = _read(space, onward)
        obs = jax.tree.map(np.copy, onward)
        for i in np.flatnonzero(terminated | truncated):
            final = _read(space, info["final_obs"][i])
            for leaf, value in zip(
                jax.tree.leaves(obs), jax.tree.leaves(final), strict=True
            ):
                leaf[i] = value
        self._require_finite("reward", reward)
        self._require_finite("observation", (obs, onward))
        return _batch(obs, reward, terminated, truncated & ~terminated), onward

    def read(self, obs: Any) -> PyTree:
        """An observation of one such environment, as `reset` returns those of all."""
        return _read(self._envs.single_observation_space, obs)

    def write(self, action: Any) -> Any:
        """An action for one such environment."""
        space = self._envs.single_action_space
        action = np.asarray(action)
        if isinstance(space, spaces.Discrete):
            action = action + space.start
        elif isinstance(space, spaces.Box) and space.dtype.kind in "biu":
            action = np.clip(np.rint(action), space.low, space.high)
        return action.astype(space.dtype)

    def close(self) -> None:
        """Let go of the copies and their processes."""
        self._envs.close()

    def __enter__(self) -> "GymnasiumEnvironment":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _written(self, actions: Any) -> np.ndarray:
        """Actions as the environment wants them."""
        actions = np.asarray(actions)
        shape = (self.count, *self.spec.action.shape)
        if actions.shape != shape:
            raise ValueError(
                f"{self.name} needs actions of shape {list(shape)}, got "
                f"{list(actions.shape)}."
            )
        if not np.isfinite(actions).all():
            raise ValueError(
                f"{self.name} needs finite actions, got {actions.tolist()} at step "
                f"{self._time}."
            )
        return self.write(actions)

    def _require_finite(self, what: str, tree: PyTree) -> None:
        for leaf in jax.tree.leaves(tree):
            fine = np.isfinite(leaf).reshape(self.count, -1).all(axis=1)
            if not fine.all():
                raise FloatingPointError(
                    f"{self.name} gave a {what} that is not finite, in copy "
                    f"{int(fine.argmin())} at step {self._time}."
                )


def _make(
    name: str,
    count: int,
    parallel: bool,
    options: dict[str, Any],
    wrappers: Sequence[Wrap],
) -> gymnasium.vector.VectorEnv:
    """The copies, with Gymnasium's errors in one sentence each."""
    spec = registered(name)
    require_options(name, options)
    settings: dict[str, Any] = {
        "autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP
    }
    if parallel:
        # JAX has threads, which a forked process would inherit in a broken state.
        settings["context"] = "spawn"
    try:
        return gymnasium.make_vec(
            bordered(name, spec),
            num_envs=count,
            vectorization_mode="async" if parallel else "sync",
            vector_kwargs=settings,
            wrappers=list(wrappers),
            **options,
        )
    except (gymnasium.error.DependencyNotInstalled, ImportError) as error:
        raise ImportError(
            f"{name} needs a package that is not installed: {error}"
        ) from error
    except Exception as error:  # whatever a person's constructor raises
        if isinstance(error.__cause__, Broken):  # Gymnasium says more around it
            raise error.__cause__ from error
        raise unmade(name, options, error) from error


def _batch(
    obs: PyTree, reward: np.ndarray, terminated: np.ndarray, truncated: np.ndarray
) -> TimeStep:
    """A batch of time steps; the constructor would refuse the leading axis."""
    zero, no = jnp.zeros(()), jnp.asarray(False)
    one = TimeStep(jax.tree.map(lambda _: zero, obs), zero, no, no)
    leaves = [*jax.tree.leaves(obs), reward, terminated, truncated]
    return jax.tree.unflatten(jax.tree.structure(one), leaves)


def _spec_of(
    name: str, envs: gymnasium.vector.VectorEnv, options: Mapping[str, Any]
) -> EnvironmentSpec:
    action = _our_space(name, "action", envs.single_action_space)
    if not isinstance(action, Box | Discrete):
        raise _unreadable(name, "action", envs.single_action_space)
    length = length_of(registered(name), options)
    observation = _our_space(name, "observation", envs.single_observation_space)
    return EnvironmentSpec(observation, action, length)


def _our_space(name: str, role: str, space: spaces.Space) -> PyTree:
    """One of our spaces, or a pytree of them, for one of Gymnasium's."""
    if isinstance(space, spaces.Box) and len(space.shape) == 1:
        return Box(space.low.astype(float), space.high.astype(float))
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n))
    if isinstance(space, spaces.Dict):
        return {key: _our_space(name, role, part) for key, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_our_space(name, role, part) for part in space)
    raise _unreadable(name, role, space)


def _unreadable(name: str, role: str, space: spaces.Space) -> TypeError:
    if role == "observation":
        reads = "vectors (Box with one axis), Discrete, and Dict and Tuple of these"
        hint = "gymnasium.wrappers.FlattenObservation makes a vector of most spaces"
    else:
        reads = "vectors (Box with one axis) and Discrete"
        hint = "gymnasium.wrappers.TransformAction takes it a vector, reshaped"
    if role == "action" and isinstance(
        space, spaces.MultiDiscrete | spaces.MultiBinary
    ):
        sizes = getattr(space, "nvec", np.full(space.shape, 2))
        hint = (
            "gymnasium.wrappers.TransformAction counts all of its combinations as one "
            f"Discrete({np.prod(sizes, dtype=object)}) (numpy.unravel_index)"
        )
    return TypeError(
        f"{name} has the {role} space {space}, but forethought reads {reads}; {hint}."
    )


def _read(space: spaces.Space, obs: Any) -> PyTree:
    """Observations as a pytree of plain containers, whose integers begin at zero."""
    if isinstance(space, spaces.Dict):
        return {key: _read(part, obs[key]) for key, part in space.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_read(part, o) for part, o in zip(space, obs, strict=True))
    return np.asarray(obs) - space.start if isinstance(space, spaces.Discrete) else obs
