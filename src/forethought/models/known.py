"""Known dynamics: the simulator itself as a model."""

from typing import Generic, TypeVar

from jaxtyping import PRNGKeyArray

from forethought.core.readout import Readout
from forethought.core.types import Action
from forethought.environments.base import AbstractSystem
from forethought.models.base import AbstractModel

State = TypeVar("State")


class Known(AbstractModel[State], Generic[State]):
    """A system's own equations, with its state as the belief.

    Observing replaces the belief by the state that was seen, and an objective looks
    at the state itself.

    Args:
        system: Equations of motion, from `forethought.environments`.
    """

    system: AbstractSystem[State]

    def init(self, *, key: PRNGKeyArray) -> State:
        """A start state of the system."""
        return self.system.start(key=key)

    def predict(self, belief: State, action: Action, *, key: PRNGKeyArray) -> State:
        """One step of the system."""
        return self.system.step(belief, action, key=key)

    def observe(self, belief: State, obs: State, *, key: PRNGKeyArray) -> State:
        """The state that was seen."""
        return obs

    def readout(self, belief: State) -> Readout:
        """The state."""
        return Readout.of(belief)
