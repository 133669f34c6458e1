"""Studies of gradients through time: how they grow or vanish with the horizon."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from forethought.agents.gradients.through_time import growth
from forethought.policies.base import AbstractPolicy
from forethought.problem import Problem
from forethought.runs.claims.studies import AbstractStudy, Curves, timed


@dataclasses.dataclass(frozen=True)
class Chain:
    """A system with a policy in its loop, and what of it is measured.

    Args:
        problem: Its model says where a future begins.
        policy: Who acts.
        of: Whether derivatives are of the last state in the first, or of the return in
            the policy's parameters.
        rate: What the logarithm of their size grows by at each step, exactly; None
            where it does not grow so.
    """

    problem: Callable[[], Problem]
    policy: Callable[[], AbstractPolicy]
    of: Literal["state", "policy"] = "state"
    rate: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GradientStudy(AbstractStudy):
    """The size of derivatives by the number of steps that they go through.

    Args:
        measure: What is drawn: the natural logarithm of their size.
        horizon: The most steps.
        arms: Chains by name.
    """

    measure: str = "ln of the gradient's size"
    horizon: int
    arms: Mapping[str, Chain]

    @property
    def axis(self) -> str:
        """The horizon."""
        return "horizon (steps)"

    @property
    def at(self) -> np.ndarray:
        """Every horizon."""
        return np.arange(1, self.horizon + 1)

    @property
    def longest(self) -> int:
        """The longest horizon."""
        return self.horizon

    def kept(self, values: np.ndarray) -> np.ndarray:
        """All of them."""
        return values

    def curves(self, label: str, seeds: Sequence[int]) -> Curves:
        """One chain, from a start of its own for each seed."""
        chain = self.arms[label]
        problem, policy = chain.problem(), chain.policy()

        def seed(seed: Array) -> Array:
            start_key, key = jax.random.split(jax.random.key(seed))
            belief = problem.model.init(key=start_key)
            found = growth(problem, policy, belief, self.horizon, key=key)
            return jnp.log(getattr(found, chain.of))

        logs, seconds = timed(seed, seeds)
        return np.asarray(logs, float), seconds

    def told(self, label: str) -> dict[str, Any]:
        """What is measured, and the line of the exact rate through the origin."""
        chain = self.arms[label]
        known: tuple[tuple[int, float], ...] = ()
        if chain.rate is not None:
            places = range(10, self.horizon + 1, 10)
            known = tuple((step, step * chain.rate) for step in places)
        settings = {"of": chain.of, "rate": chain.rate}
        return {"settings": settings, "known": known}
