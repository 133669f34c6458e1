"""A few starts that come again and again, in Gymnasium."""

from typing import Any

import gymnasium


class Starts(gymnasium.Wrapper):
    """An environment whose episodes begin in one of a few ways, in turn.

    They are those of consecutive seeds, from the one that it was last reset with.

    Args:
        env: What is acted in.
        count: How many starts.
    """

    def __init__(self, env: gymnasium.Env, count: int):
        super().__init__(env)
        self._count, self._first, self._episode = count, 0, -1

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """The first start where a seed is given, else the next one."""
        if seed is not None:
            self._first, self._episode = seed, -1
        self._episode += 1
        own = self._first + self._episode % self._count
        return self.env.reset(seed=own, options=options)
