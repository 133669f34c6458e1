"""A task as one sees it who learned a model of it, and was never told its dynamics."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from forethought.core.gaussian import Gaussian
from forethought.core.readout import AbstractJudge
from forethought.core.spaces import Box, Space
from forethought.core.types import Action
from forethought.environments.base import AbstractSystem, Capsules
from forethought.environments.functions import beads
from forethought.environments.plant import Shown, Told
from forethought.models.around.doubting import Doubting, DoubtingCloud
from forethought.models.base import AbstractLearned
from forethought.objectives.cautious import Cautious
from forethought.objectives.expected import Expected
from forethought.objectives.learned import Observed
from forethought.planners.registry import PLANNERS
from forethought.problem import Problem
from forethought.tasks.base import Task, whole


def believing(task: Task, model: AbstractLearned, *, caution: float = 0.0) -> Task:
    """The same world, for a planner that believes a model of its observations.

    It acts on what the world really is, is shown what one who learns is shown, and is
    judged by the task's own objective.

    Args:
        task: What is acted in; its observations tell its state.
        model: Fitted to its observations.
        caution: The price of doubt (`Cautious`); negative for a bonus.

    Raises:
        TypeError: Observations do not tell the state, so that the objective cannot
            judge them; or a sensor or a world hides the system.
        ValueError: The price is not finite.
    """
    if task.restore is None or task.sensor is not Told or task.world is not None:
        raise TypeError(
            f"A fitted model needs a task whose observations tell its state; those of "
            f"{task.name} do not."
        )
    if not isinstance(task.environment.spec.observation, Box):
        raise TypeError(
            f"A fitted model needs observations that are numbers; those of {task.name} "
            f"are {task.environment.spec.observation}."
        )
    problem = planned_in(
        model, Observed(task.objective, task.restore), task.problem.action, caution
    )
    return dataclasses.replace(
        task,
        problem=problem,
        sensor=Shown,
        wanted=task.objective,
        optimum=None,
        settings=_with_particles(task.settings, model),
    )


def _with_particles(
    settings: Mapping[str, Mapping[str, Any]], model: AbstractLearned, **more: Any
) -> dict[str, Mapping[str, Any]]:
    """Settings by which planners draw as many futures as samples can share evenly."""
    particles = model.cloud.enough(model, 1)
    found: dict[str, Mapping[str, Any]] = {}
    for name, entry in PLANNERS.items():
        known = {field.name for field in dataclasses.fields(entry.settings)}
        own = more | ({"particles": particles} if "particles" in known else {})
        found[name] = own | dict(settings.get(name, {}))
    return found


def planned_in(
    model: AbstractLearned, objective: AbstractJudge, action: Space, caution: float
) -> Problem:
    """What is planned for in a fitted model.

    Args:
        model: What would happen.
        objective: How good it would be, by what the model reads out; on average, where
            that is a distribution.
        action: What may be chosen.
        caution: The price of doubt; where it is zero, nobody asks the model for it.
    """
    seen = eqx.filter_eval_shape(
        lambda key: model.readout(model.init(key=key)), jax.random.key(0)
    )
    if isinstance(seen.x, Gaussian):
        objective = Expected(objective)
    if not caution:
        return Problem(model, objective, action, model.cloud)
    careful = Cautious(objective, caution)
    return Problem(Doubting(model), careful, action, DoubtingCloud(model.cloud))


class Imagined(AbstractSystem[Array]):
    """A fitted model as the only world there is: its states are observations.

    Args:
        model: What happens; each step is drawn anew.
        first: The observation to begin with.
        action: What may be applied.
        names: Of observations and of actions.
        usual: Mean and standard deviation of the data, for the drawing.
        dt: Seconds from one step to the next; data count steps.
    """

    model: AbstractLearned
    first: Float[Array, " observation"]
    action: Space  # pyright: ignore[reportIncompatibleVariableOverride]
    names: tuple[tuple[str, ...], tuple[str, ...]] = eqx.field(static=True)
    usual: tuple[Float[Array, " observation"], Float[Array, " observation"]]
    dt: float = eqx.field(static=True, default=1.0)  # pyright: ignore[reportIncompatibleVariableOverride]

    @property
    def state_names(self) -> tuple[str, ...]:
        """Of observations."""
        return self.names[0]

    @property
    def action_names(self) -> tuple[str, ...]:
        """Of actions."""
        return self.names[1]

    def start(self, *, key: PRNGKeyArray) -> Array:
        """The observation to begin with."""
        return self.first

    def step(self, state: Array, action: Action, *, key: PRNGKeyArray) -> Array:
        """What the model draws; of a distribution, a draw."""
        init_key, see_key, step_key, draw_key = jax.random.split(key, 4)
        belief = self.model.observe(self.model.init(key=init_key), state, key=see_key)
        mean, variance = self.model.expect(
            self.model.predict(belief, action, key=step_key)
        )
        noise = jax.random.normal(draw_key, mean.shape, mean.dtype)
        return (mean + jnp.sqrt(variance) * noise).astype(state.dtype)

    def observe(self, state: Array) -> Array:
        """The state."""
        return state

    def sketch(self, state: Array) -> Capsules:
        """A bead for each number, two deviations of the data from end to end."""
        middle, spread = (part.astype(state.dtype) for part in self.usual)
        return beads((state - middle) / (2 * spread))


def imagined(
    name: str, system: Imagined, objective: AbstractJudge, *, steps: int, caution: float
) -> Task:
    """A task whose only world is a fitted model, planned once as a whole.

    Args:
        name: Of the data.
        system: The model.
        objective: What is wanted of observations.
        steps: How far to plan.
        caution: As for `believing`.
    """
    return Task(
        name=name,
        summary="what a fitted model says would happen",
        system=system,
        problem=planned_in(system.model, objective, system.action, caution),
        steps=steps,
        settings=_with_particles({}, system.model, horizon=steps),
        replan_every=steps,
        restore=whole,
        sensor=Shown,
        wanted=objective,
    )
