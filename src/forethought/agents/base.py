"""The protocol of agents: how do I get better?

An agent keeps what it learns apart from what it carries through an episode. The
*learner* (parameters, optimisers, data statistics) is large and shared by all
environments that are acted in; the *carry* (belief, plan state) is small, and each
episode has its own, so that `act` can be vmapped over environments.

When it learns is decided outside: between two stretches of acting, or step by step
within one compiled loop. Of what was seen it takes what it wants (`recall`).
"""

import abc
from typing import Generic, Literal, TypeVar

import equinox as eqx
from jaxtyping import Array, PRNGKeyArray, PyTree

from forethought.core.types import Action
from forethought.data.replay import ReplayState
from forethought.environments.base import EnvironmentSpec
from forethought.planners.base import AbstractPlanner
from forethought.problem import Problem

Learner = TypeVar("Learner")
Carry = TypeVar("Carry")
Mode = Literal["explore", "exploit"]
Metrics = dict[str, Array]
"""Numbers by name; vectors where there is one for each member."""


class AbstractAgent(eqx.Module, Generic[Learner, Carry]):
    """Acts in one environment at a time; several by `jax.vmap` over the carry."""

    @abc.abstractmethod
    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Learner:
        """What is known before anything was seen."""

    @abc.abstractmethod
    def reset(self, learner: Learner, *, key: PRNGKeyArray) -> Carry:
        """What is carried through an episode that begins now."""

    @abc.abstractmethod
    def act(
        self,
        learner: Learner,
        carry: Carry,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, Carry]:
        """The action to take once `obs` was seen."""

    @abc.abstractmethod
    def recall(self, memory: ReplayState, new: int) -> PyTree:
        """What `update` learns from: everything, or the newest rows.

        Args:
            memory: What was seen, as far as there is room for it.
            new: How many transitions came since the last update; where updates are far
                apart, at least so many.
        """

    @abc.abstractmethod
    def update(
        self, learner: Learner, batch: PyTree, *, key: PRNGKeyArray
    ) -> tuple[Learner, Metrics]:
        """Learn from what `recall` gave.

        Metrics of agents that learn at every few steps are real numbers.
        """

    @abc.abstractmethod
    def examined(self, learner: Learner) -> tuple[Problem, AbstractPlanner] | None:
        """A problem whose model is `AbstractLearned`, and who plans in it.

        The model's forecasts can then be compared with what happened. None if the
        agent has no such model.
        """

    @abc.abstractmethod
    def watch(self, carry: Carry) -> Metrics:
        """Numbers about the last action, for whoever looks on.

        Real numbers are averaged over time, counts and truths are added up, so that
        which of the two a number is, its dtype says.
        """
