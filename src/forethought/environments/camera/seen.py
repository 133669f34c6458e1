"""A system that shows itself as pictures."""

from typing import Generic, TypeVar

from jaxtyping import Array, PRNGKeyArray, UInt8

from forethought.core.spaces import Space
from forethought.core.types import Action
from forethought.environments.base import AbstractAround, AbstractSystem, Capsules
from forethought.environments.camera.lens import Lens

State = TypeVar("State")


class Seen(AbstractAround[State], Generic[State]):
    """A system before a camera: all is as it was, but what a sensor sees of it.

    Whatever goes around a system or its environment (`Simulated`, `Repeat`,
    `Disturbed`) goes around it. Rewards are of states, so none is read off a picture.

    Args:
        system: What is looked at; its `sketch` is what is seen.
        lens: The camera.
    """

    system: AbstractSystem[State]
    lens: Lens

    action: Space
    dt: float

    def __init__(self, system: AbstractSystem[State], lens: Lens):
        self.system, self.lens = system, lens
        self.action, self.dt = system.action, system.dt

    def start(self, *, key: PRNGKeyArray) -> State:
        """Where the system starts."""
        return self.system.start(key=key)

    def step(self, state: State, action: Action, *, key: PRNGKeyArray) -> State:
        """The system's next state."""
        return self.system.step(state, action, key=key)

    def observe(self, state: State) -> UInt8[Array, "row column channel"]:
        """A picture."""
        return self.lens.photograph(self.system.sketch(state))

    def sketch(self, state: State) -> Capsules:
        """As the system does."""
        return self.system.sketch(state)
