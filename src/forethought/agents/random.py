"""Acting at random: what training begins with, and the floor of every return."""

from jaxtyping import Array, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractFixed
from forethought.core.spaces import Space
from forethought.core.types import Action, Mode
from forethought.environments.base import EnvironmentSpec


class Random(AbstractFixed[None, PyTree]):
    """Draws every action from a space.

    Args:
        action: The space.
    """

    action: Space

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> None:
        """Nothing is known."""

    def reset(self, learner: None, *, key: PRNGKeyArray) -> None:
        """Nothing is carried."""

    def act(
        self,
        learner: PyTree,
        carry: PyTree,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, PyTree, None]:
        """Any action; what another agent carries stays as it is."""
        return self.action.sample(key=key), carry, None
