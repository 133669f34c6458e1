"""The border to Gymnasium: what an environment says, copied and looked at once.

Everything that a foreign environment returns passes a `Border` before anybody keeps it.
An environment that does not keep Gymnasium's promises is told so by name, instead of
breaking something far away; one that says the same in other words is understood.
"""

import copy
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.envs import registration

RESET = ("obs", "info")
STEP = ("obs", "reward", "terminated", "truncated", "info")
"""What Gymnasium's environments return."""


def bordered(name: str, spec: registration.EnvSpec) -> registration.EnvSpec:
    """How to make an environment with a `Border` right around it.

    Args:
        name: What it is called where it breaks a promise.
        spec: How to make it without one.
    """
    spec = copy.copy(spec)
    if spec.entry_point is not None:
        spec.entry_point = _Maker(name, spec.entry_point)
    return spec


class Broken(TypeError):
    """What was made is no environment."""


class _Maker:
    """Makes an environment and its border; a class, so that it travels to a process."""

    def __init__(self, name: str, entry_point: Callable | str):
        self.name, self.entry_point = name, entry_point
        made = self._creator
        if hasattr(made, "metadata"):
            self.metadata = made.metadata

    @property
    def _creator(self) -> Any:
        made = self.entry_point
        return registration.load_env_creator(made) if isinstance(made, str) else made

    def __call__(self, **settings: Any) -> gymnasium.Env:
        env = self._creator(**settings)
        if not isinstance(env, gymnasium.Env):
            raise Broken(
                f"{self.name} should be a gymnasium.Env, got {type(env).__module__}."
                f"{type(env).__name__}: is it written for the older gym?"
            )
        return Border(env, self.name)


class Border(gymnasium.Wrapper):
    """An environment whose observations are copies, and that keeps its promises.

    Args:
        env: Any environment.
        name: What it is called in errors.
    """

    def __init__(self, env: gymnasium.Env, name: str):
        super().__init__(env)
        self.name = name
        for role in ("observation_space", "action_space"):
            space = getattr(env, role, None)
            if not isinstance(space, spaces.Space):
                raise self._broken(
                    Broken, f"its {role} is {_what(space)}, not a space of gymnasium"
                )

    @property
    def spec(self) -> Any:
        """That of the environment, which knows of no border."""
        return self.env.spec

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Begin an episode.

        Raises:
            TypeError: It does not return what it should.
            ValueError: The observation is none of its space.
        """
        try:
            told = self.env.reset(seed=seed, options=options)
        except TypeError as error:
            if "unexpected keyword argument" not in str(error):
                raise
            raise self._broken(
                TypeError, "its reset should take seed and options, as keywords"
            ) from error
        obs, info = self._unpacked("reset", told, RESET)
        return self._seen(self.observation_space, obs, "observation"), info

    def step(self, action: Any) -> Any:
        """Act once.

        Raises:
            TypeError: It does not return what it should.
            ValueError: The observation is none of its space.
        """
        told = self._unpacked("step", self.env.step(action), STEP)
        obs, reward, terminated, truncated, info = told
        return (
            self._seen(self.observation_space, obs, "observation"),
            self._number("reward", reward),
            bool(self._number("terminated", terminated)),
            bool(self._number("truncated", truncated)),
            info,
        )

    def _broken(self, kind: type[Exception], what: str) -> Exception:
        return kind(f"The environment {self.name} is broken: {what}.")

    def _unpacked(self, verb: str, told: Any, names: tuple[str, ...]) -> tuple:
        """What a verb returned, if it is as many things as it should be."""
        if not isinstance(told, tuple) or len(told) != len(names):
            count = f"{len(told)} values" if isinstance(told, tuple) else _what(told)
            raise self._broken(
                TypeError,
                f"{verb} should return ({', '.join(names)}), got {count}; one that is "
                "written for the older gym needs the wrappers of shimmy",
            )
        if not isinstance(told[-1], dict):
            raise self._broken(
                TypeError,
                f"{verb} should return a dictionary as its info, got {_what(told[-1])}",
            )
        return told

    def _number(self, role: str, value: Any) -> float:
        """A number, or an array of one."""
        array = np.asarray(value)
        if array.size != 1 or array.dtype.kind not in "biuf":
            raise self._broken(
                TypeError, f"its {role} should be a number, got {_what(value)}"
            )
        return float(array.item())

    def _seen(self, space: spaces.Space, obs: Any, role: str) -> Any:
        """An observation of its own, of the kind that its space says."""
        if isinstance(space, spaces.Dict):
            if not isinstance(obs, dict) or set(obs) != set(space.spaces):
                found = sorted(map(str, obs)) if isinstance(obs, dict) else _what(obs)
                raise self._broken(
                    TypeError,
                    f"its {role} should be a dictionary with the keys "
                    f"{sorted(space.spaces)}, got {found}",
                )
            parts = space.spaces.items()
            return {k: self._seen(p, obs[k], f"{role} {k!r}") for k, p in parts}
        if isinstance(space, spaces.Tuple):
            if not isinstance(obs, tuple | list) or len(obs) != len(space.spaces):
                raise self._broken(
                    TypeError,
                    f"its {role} should be {len(space.spaces)} parts, got {_what(obs)}",
                )
            parts = enumerate(zip(space.spaces, obs, strict=True))
            return tuple(self._seen(p, o, f"{role} {i}") for i, (p, o) in parts)
        if not isinstance(space, spaces.Box | spaces.Discrete):
            return copy.deepcopy(obs)
        given = np.asarray(obs)
        shape = space.shape or ()
        if given.shape != shape:
            raise self._broken(
                ValueError,
                f"its {role} should have the shape {list(shape)} of its space, "
                f"got {list(given.shape)}",
            )
        if given.dtype.kind not in "biuf":
            raise self._broken(
                TypeError, f"its {role} should be numbers, got {_what(obs)}"
            )
        with np.errstate(invalid="ignore", over="ignore"):
            kept = np.array(given, space.dtype)
        whole = given.dtype != space.dtype and kept.dtype.kind in "biu"
        if whole and not np.array_equal(kept, given):
            raise self._broken(
                ValueError,
                f"its {role} should be whole numbers of {space.dtype}, got "
                f"{given.tolist()}",
            )
        if isinstance(space, spaces.Discrete):
            first, last = int(space.start), int(space.start + space.n) - 1
            if not first <= kept.item() <= last:
                raise self._broken(
                    ValueError,
                    f"its {role} should lie in [{first}, {last}], got {kept.item()}",
                )
            return kept[()]
        return kept


def _what(value: Any) -> str:
    """What somebody handed over, in a few words."""
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} and shape {list(value.shape)}"
    if isinstance(value, tuple | list | dict | set):
        return f"a {type(value).__name__} of {len(value)}"
    return "None" if value is None else f"{value!r}"[:60]
