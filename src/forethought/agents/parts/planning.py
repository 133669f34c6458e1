"""Acting by planning in a model, known or learned: MPC, model-based RL v2, PETS.

One agent, made of three parts: where the model comes from (a `recipe`), what is wanted
(an `objective`), and who plans (a `planner`). What the literature gives names to are
settings of it:

| name | recipe | planner |
|---|---|---|
| model-predictive control | `Given`, a known model | any |
| model-based RL v2 (Nagabandi et al., 2018) | one deterministic network | any |
| PETS (Chua et al., 2018) | a bootstrap ensemble of Gaussians | CEM, particles |
"""

import abc
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent, Metrics, Mode
from forethought.core.results import Result
from forethought.core.spaces import Box
from forethought.core.types import Action
from forethought.data.replay import Replay, ReplayState
from forethought.environments.base import EnvironmentSpec
from forethought.models.base import AbstractCloud, AbstractModel, Independent
from forethought.models.learned.ensemble import Ensemble, Rule
from forethought.models.learned.fitting import FitSettings, Rows, fit
from forethought.models.learned.propagation import Propagation
from forethought.models.learned.termination import Ends, Termination, closed_form
from forethought.models.learned.transforms import Transform
from forethought.objectives.base import AbstractObjective
from forethought.planners.base import AbstractPlanner
from forethought.planners.mpc import MPC, MPCState
from forethought.problem import Plan, Problem


class AbstractRecipe(eqx.Module):
    """Where an agent's model comes from."""

    @abc.abstractmethod
    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> AbstractModel:
        """The model before anything was seen."""

    @abc.abstractmethod
    def fit(
        self, model: AbstractModel, data: PyTree, *, key: PRNGKeyArray
    ) -> tuple[AbstractModel, Metrics]:
        """The model once `data` was seen."""

    @abc.abstractmethod
    def cloud(self, model: AbstractModel) -> AbstractCloud:
        """How particles of its beliefs belong together."""


class Given(AbstractRecipe):
    """A model that is known: there is nothing to learn.

    Args:
        model: The model.
    """

    model: AbstractModel

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> AbstractModel:
        """The model itself."""
        return self.model

    def fit(
        self, model: AbstractModel, data: PyTree, *, key: PRNGKeyArray
    ) -> tuple[AbstractModel, Metrics]:
        """The model as it was."""
        return model, {}

    def cloud(self, model: AbstractModel) -> AbstractCloud:
        """Particles that have nothing to do with each other."""
        return Independent()


class Bootstrap(AbstractRecipe):
    """An `Ensemble` that is fitted to all that was seen, anew at each update.

    Args:
        members: How many networks; one is a plain network.
        width: Units of each hidden layer.
        depth: How many hidden layers.
        probabilistic: Whether networks predict their noise.
        propagation: How particles are carried through the ensemble.
        reward: Whether the reward is predicted as well.
        absolute: Dimensions of the observation that are predicted themselves.
        circles: Pairs of dimensions that hold cosine and sine of one angle.
        angles: Dimensions that hold a raw angle, in radians.
        termination: Where episodes end: nowhere, where it is learned that they do, or
            where the environment of that name is known to end them.
        fitting: How networks are fitted.
        seed: Of the bootstrap: how often a row counts never changes as data grow.
    """

    members: int = eqx.field(static=True, default=5)
    width: int = eqx.field(static=True, default=64)
    depth: int = eqx.field(static=True, default=2)
    probabilistic: bool = eqx.field(static=True, default=True)
    propagation: Rule = eqx.field(static=True, default="TSinf")
    reward: bool = eqx.field(static=True, default=False)
    absolute: tuple[int, ...] = eqx.field(static=True, default=())
    circles: tuple[tuple[int, int], ...] = eqx.field(static=True, default=())
    angles: tuple[int, ...] = eqx.field(static=True, default=())
    termination: Termination = eqx.field(static=True, default="none")
    fitting: FitSettings = eqx.field(static=True, default=FitSettings())
    seed: int = eqx.field(static=True, default=0)

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Ensemble:
        """Networks that have seen nothing.

        Raises:
            TypeError: Observations or actions are no vectors of numbers.
            ValueError: The known end is that of an environment of other observations.
        """
        if not (isinstance(spec.observation, Box) and isinstance(spec.action, Box)):
            observed, done = type(spec.observation), type(spec.action)
            raise TypeError(
                "An ensemble learns from boxes of numbers, but observations are "
                f"{observed.__name__} and actions {done.__name__} here."
            )
        observation, termination = spec.observation.shape[0], self.termination
        transform = Transform(
            observation,
            spec.action.shape[0],
            absolute=self.absolute,
            circles=self.circles,
            angles=self.angles,
            reward=self.reward,
        )
        ends: Ends | Literal["learned"] | None
        if termination == "none":
            ends = None
        elif termination == "learned":
            ends = "learned"
        else:
            ends = closed_form(termination, observation)
        return Ensemble(
            transform,
            size=self.members,
            width=self.width,
            depth=self.depth,
            probabilistic=self.probabilistic,
            propagation=self.propagation,
            termination=ends,
            key=key,
        )

    def fit(
        self, model: AbstractModel, data: PyTree, *, key: PRNGKeyArray
    ) -> tuple[AbstractModel, Metrics]:
        """Fit to transitions and a mask of those that are valid."""
        seen, valid = data
        rows = Rows(
            seen.obs, seen.action, seen.reward, seen.next_obs, seen.terminated, valid
        )
        assert isinstance(model, Ensemble)
        bootstrap = jax.random.key(self.seed)
        return fit(model, rows, key=key, bootstrap=bootstrap, settings=self.fitting)

    def cloud(self, model: AbstractModel) -> AbstractCloud:
        """The particles of an ensemble."""
        return Propagation()


class MPCCarry(eqx.Module):
    """What an episode carries: what is believed, and what was planned."""

    belief: PyTree
    controller: MPCState
    watched: Metrics
    """What `watch` tells: a controller that plans at every step keeps no plan."""


class ModelBased(AbstractAgent[Problem, MPCCarry]):
    """Plans in its model at every step, and refits the model to what it saw.

    Args:
        recipe: Where the model comes from.
        objective: What is wanted, of what the model reads out.
        planner: Who plans.
        replan_every: Steps from one plan to the next.

    References:
        Chua, Calandra, McAllister and Levine, Deep reinforcement learning in a handful
        of trials using probabilistic dynamics models, 2018, algorithm 1.
    """

    recipe: AbstractRecipe
    objective: AbstractObjective
    planner: AbstractPlanner
    replan_every: int = eqx.field(static=True, default=1)

    @property
    def controller(self) -> MPC:
        """The planner at work."""
        return MPC(self.planner, self.replan_every)

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> Problem:
        """The problem as it looks before anything was seen."""
        model = self.recipe.init(spec, key=key)
        return Problem(model, self.objective, spec.action, self.recipe.cloud(model))

    def reset(self, learner: Problem, *, key: PRNGKeyArray) -> MPCCarry:
        """Believe what the model believes beforehand, and remember no plan."""
        belief = learner.model.init(key=key)
        memory = self.controller.init(learner, belief, key=key)
        _, plan, _ = eqx.filter_eval_shape(
            self.controller.act, learner, belief, memory, key=key
        )
        nothing = {
            name: jnp.zeros(leaf.shape, leaf.dtype)
            for name, leaf in eqx.filter_eval_shape(_told, plan, memory.age).items()
        }
        return MPCCarry(belief, memory, nothing)

    def act(
        self,
        learner: Problem,
        carry: MPCCarry,
        obs: PyTree[Array],
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, MPCCarry]:
        """Observe, plan, and predict what the action will do.

        Exploring and exploiting are the same: uncertainty explores by itself.
        """
        observe_key, plan_key, predict_key = jax.random.split(key, 3)
        belief = learner.model.observe(carry.belief, obs, key=observe_key)
        action, plan, memory = self.controller.act(
            learner, belief, carry.controller, key=plan_key
        )
        belief = learner.model.predict(belief, action, key=predict_key)
        return action, MPCCarry(belief, memory, _told(plan, memory.age))

    def recall(self, memory: ReplayState, new: int) -> PyTree:
        """Everything: transitions, and which rows are valid."""
        return Replay(memory.capacity, memory.lanes).ordered(memory)

    def update(
        self, learner: Problem, batch: PyTree, *, key: PRNGKeyArray
    ) -> tuple[Problem, Metrics]:
        """Refit the model to all data."""
        model, metrics = self.recipe.fit(learner.model, batch, key=key)
        return eqx.tree_at(lambda learner: learner.model, learner, model), metrics

    def watch(self, carry: MPCCarry) -> Metrics:
        """What planning came to.

        `plan_value` is the return that the plan in force expected when it was made. A
        plan is counted at the step that made it: in `plan_failed` if its `Result` is
        worse than an iteration limit, and in `non_finite` with as many of its
        candidates as had no finite return, from planners that tell.
        """
        return carry.watched


def _told(plan: Plan, age: Int[Array, ""]) -> Metrics:
    """What there is to tell of a plan that so many actions were taken from."""
    new = age == 1
    usable = (plan.result == Result.successful) | (
        plan.result == Result.iteration_limit
    )
    told = {"plan_value": plan.value, "plan_failed": new & ~usable}
    if "non_finite" in plan.stats:
        count = jnp.sum(plan.stats["non_finite"])
        told["non_finite"] = jnp.where(new, count, jnp.zeros_like(count))
    return told
