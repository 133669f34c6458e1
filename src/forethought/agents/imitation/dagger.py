r"""DAgger: a student acts, its teacher says what it would have done, all of it is kept.

Who learns from the teacher's own episodes alone has never seen where its own mistakes
lead, and they add up. Here the student's episodes are what is learned from:

    act      by the student, or with probability $\beta_i$ by the teacher
    label    what the teacher would do there, whoever acted
    fit      after each episode, the student to all labels so far

The teacher is any agent: a planner at work (`agents.planning.mpc.Planning`), a feedback
policy (`Reactive`), what a training run has learned.

**Notation.** $i$ fits so far, $\beta_i = \beta^i$ the teacher's share of the actions.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, PyTree, Shaped

from forethought.agents.base import AbstractAgent, AbstractFixed, Duty, Metrics
from forethought.agents.imitation.imitate import (
    Demonstrations,
    ImitationSettings,
    Loss,
    imitate,
)
from forethought.core.given.settings import Count, Share, Whole
from forethought.core.readout import Readout
from forethought.core.spaces import Box
from forethought.core.types import Action, Mode
from forethought.data.memory import Memory
from forethought.environments.base import EnvironmentSpec
from forethought.planners.base import AbstractPlanner
from forethought.policies.base import AbstractPolicy, AbstractStochastic
from forethought.policies.categorical import policy_for
from forethought.problem import Problem

IMITATE = Duty("student")
"""To fit the student to all labels after each episode."""


class Label(eqx.Module):
    """What a teacher says of a step, kept with it."""

    action: Shaped[Array, "*action"]
    """What it would have done."""
    there: Bool[Array, ""]
    """Whether it was asked: random steps come without a label."""


class Pupil(eqx.Module):
    """What DAgger has learned."""

    student: AbstractStochastic
    fits: Int[Array, ""]
    """How often the student was fitted."""


class DAgger(AbstractAgent[Pupil, PyTree]):
    r"""A student that acts, and learns what its teacher would have done.

    $$u_t = \begin{cases} \pi^*(o_t) & \text{with probability } \beta^i \\
      \hat\pi_i(o_t) & \text{otherwise} \end{cases}$$

    Before the first fit the teacher acts alone. The student explores by its best
    action: where it errs, the labels are that it needs.

    Args:
        teacher: Who is imitated. It is asked at every step of training, and never
            where the student does its best. Without one the student acts by what it
            has learned, and learns nothing more.
        knowledge: What the teacher has learned, or always knew; its learner. It is no
            part of what the student has learned.
        width: Units of each hidden layer of the student.
        depth: How many hidden layers; none is a linear student.
        mixing: $\beta$, whose powers are the teacher's share of the actions; at 0 the
            student acts alone from the first fit on, at 1 the teacher always does
            (behaviour cloning).
        loss: What of an error is made least; if not given, `squared` for numbers and
            `likelihood` for choices.
        fitting: How the student is fitted; each fit goes on from the last one's
            weights.

    References:
        Ross, Gordon and Bagnell, A reduction of imitation learning and structured
        prediction to no-regret online learning, 2011, arXiv:1011.0686, algorithm 3.1.

    Note:
        A planner's memory of its last plan is that of what it would have done, though
        the student acted; a model that observes all of the state forgives that.
    """

    teacher: AbstractAgent | None = None
    knowledge: PyTree = None
    width: Count = eqx.field(static=True, default=64)
    depth: Whole = eqx.field(static=True, default=2)
    mixing: Share = 0.0
    loss: Loss | None = eqx.field(static=True, default=None)
    fitting: ImitationSettings = eqx.field(static=True, default=ImitationSettings())

    @property
    def duties(self) -> tuple[Duty, ...]:
        """To fit the student after each episode."""
        return (IMITATE,)

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Pupil:
        """A student that knows nothing.

        Raises:
            TypeError: Observations are no vectors of numbers.
            ValueError: Actions are choices, whose squared error means nothing.
        """
        if not isinstance(spec.observation, Box) or len(spec.observation.shape) != 1:
            raise TypeError(
                "DAgger needs observations that are vectors of numbers, but they are "
                f"{spec.observation} here."
            )
        if self.loss == "squared" and not isinstance(spec.action, Box):
            raise ValueError(
                'DAgger needs loss="likelihood" where actions are choices, got '
                f'"squared" for {spec.action}.'
            )
        student = policy_for(
            spec.observation.shape[0], spec.action, self.width, self.depth, key=key
        )
        return Pupil(student, jnp.zeros((), jnp.int32))

    def reset(self, learner: Pupil, *, key: PRNGKeyArray) -> PyTree:
        """What the teacher carries."""
        teacher = self.teacher
        return None if teacher is None else teacher.reset(self.knowledge, key=key)

    def act(
        self,
        learner: Pupil,
        carry: PyTree,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, PyTree, Label]:
        """The student's action, or now and then the teacher's, and its label."""
        ask_key, act_key, mix_key = jax.random.split(key, 3)
        best, _ = learner.student.act(Readout(obs), key=act_key, mode="exploit")
        if mode == "exploit" or self.teacher is None:
            return best, carry, Label(best, jnp.asarray(False))
        wanted, carry, _ = self.teacher.act(
            self.knowledge, carry, obs, key=ask_key, mode="exploit"
        )
        wanted = wanted.astype(best.dtype)
        action = jnp.where(self._leads(learner, mix_key), wanted, best)
        return action, carry, Label(wanted, jnp.asarray(True))

    def update(
        self, learner: Pupil, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[Pupil, Metrics]:
        """Fit the student to all labels."""
        shown = labelled(memory, lambda kept: kept)
        real = jnp.issubdtype(shown.action.dtype, jnp.inexact)
        loss = self.loss or ("squared" if real else "likelihood")
        student, told = imitate(
            learner.student, shown, self.fitting, loss=loss, key=key
        )
        return Pupil(student, learner.fits + 1), told

    def examined(self, learner: Pupil) -> tuple[Problem, AbstractPlanner] | None:
        """The student has no model."""

    def watch(self, carry: PyTree) -> Metrics:
        """What the teacher tells of its own actions."""
        return {} if self.teacher is None else self.teacher.watch(carry)

    def _leads(self, learner: Pupil, key: PRNGKeyArray) -> Bool[Array, ""]:
        """Whether the teacher acts."""
        share = jnp.asarray(self.mixing, float) ** learner.fits.astype(float)
        return jax.random.uniform(key, (), share.dtype) < share


def labelled(memory: Memory, label: Callable[[Any], Label]) -> Demonstrations:
    """All steps whose labels are known.

    Args:
        memory: What was seen.
        label: The label, of what was kept with a step.
    """
    seen, valid = memory.everything()
    found = label(seen.kept)
    return Demonstrations(seen.obs, found.action, valid & found.there)


class Reactive(AbstractFixed[AbstractPolicy, Int[Array, ""]]):
    """A policy as an agent: it acts on what is observed, and learns nothing.

    Args:
        policy: What is followed.
    """

    policy: AbstractPolicy

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> AbstractPolicy:
        """The policy."""
        return self.policy

    def reset(self, learner: AbstractPolicy, *, key: PRNGKeyArray) -> Int[Array, ""]:
        """The time."""
        return jnp.zeros((), jnp.int32)

    def act(
        self,
        learner: AbstractPolicy,
        carry: Int[Array, ""],
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, Int[Array, ""], None]:
        """What the policy does."""
        action, _ = learner.act(Readout(obs, time=carry), key=key, mode=mode)
        return action, carry + 1, None
