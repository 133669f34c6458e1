"""Acting at random: what training begins with, and the floor of every return."""

from jaxtyping import Array, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Duty, Metrics
from forethought.core.spaces import Space
from forethought.core.types import Action, Mode
from forethought.data.memory import Memory
from forethought.environments.base import EnvironmentSpec


class Random(AbstractAgent[None, PyTree]):
    """Draws every action from a space.

    Args:
        action: The space.
    """

    action: Space

    @property
    def duties(self) -> tuple[Duty, ...]:
        """None: nothing is learned."""
        return ()

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

    def examined(self, learner: PyTree) -> None:
        """No model is learned."""

    def watch(self, carry: PyTree) -> Metrics:
        """Nothing is thought."""
        return {}

    def update(
        self, learner: None, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[None, Metrics]:
        """Nothing is learned."""
        return None, {}
