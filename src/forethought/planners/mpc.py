"""Model-predictive control: any planner, replanned while acting.

Three ways to act on plans differ only in how often one is made and in what is done
with it in between:

- *closed loop, replanned*: plan every `replan_every` steps from the state that was
  met, warm-started from the last plan shifted in time;
- *closed loop by feedback*: between two plans, a planner that returns gains (LQR,
  iLQR) corrects its actions by u = û_t + K_t (x − x̂_t);
- *open loop*: plan once for the whole episode and act with closed eyes.

`closed_loop` runs system and planner together as one `lax.scan`.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, PyTree, Scalar

from forethought.core.results import Result
from forethought.core.spaces import require_box
from forethought.core.types import Action
from forethought.environments.base import AbstractSystem
from forethought.planners.base import AbstractPlanner, require_positive
from forethought.problem import Plan, Problem


class MPCState(eqx.Module):
    """What acting carries: the planner's memory, the plan in force, and its age."""

    planner: PyTree
    plan: Plan | None
    """None where every step plans anew; then no plan outlives its step."""
    age: Int[Array, ""]


class MPC(eqx.Module):
    """A controller made of a planner.

    Args:
        planner: Any planner.
        replan_every: Steps from one plan to the next, at most the planner's horizon.
        feedback: Whether a plan that has gains is followed by them between plans.

    Raises:
        ValueError: `replan_every` is below one or beyond the planner's horizon.

    References:
        Rawlings, Mayne and Diehl, Model Predictive Control, 2nd ed., 2017, §1.3.
    """

    planner: AbstractPlanner
    replan_every: int = eqx.field(static=True, default=1)
    feedback: bool = eqx.field(static=True, default=True)

    def __check_init__(self):
        require_positive("MPC", replan_every=self.replan_every)
        if self.replan_every > self.planner.horizon:
            raise ValueError(
                "MPC needs a plan that lasts until the next one: replan_every is "
                f"{self.replan_every}, the planner's horizon {self.planner.horizon}."
            )

    def init(self, problem: Problem, belief: PyTree, *, key: PRNGKeyArray) -> MPCState:
        """Remember nothing yet; the first `act` plans."""
        state = self.planner.init(problem, belief, key=key)
        age = jnp.asarray(self.replan_every)
        if self.replan_every == 1:
            return MPCState(state, None, age)
        blank = blank_plan(self.planner, problem, belief, state, key=key)
        return MPCState(state, blank, age)

    def act(
        self, problem: Problem, belief: PyTree, state: MPCState, *, key: PRNGKeyArray
    ) -> tuple[Action, Plan, MPCState]:
        """The action to take in `belief`, the plan it is from, and what to carry on."""

        def replan() -> tuple[Plan, PyTree, Array]:
            plan, memory = self.planner.plan(problem, belief, state.planner, key=key)
            return plan, memory, jnp.zeros_like(state.age)

        if state.plan is None:
            plan, memory, age = replan()
        else:
            plan, memory, age = jax.lax.cond(
                state.age >= self.replan_every,
                replan,
                lambda: (state.plan, state.planner, state.age),
            )
        action = plan.actions[age]
        if self.feedback and plan.feedback is not None:
            box = require_box(problem.action, "Feedback")
            action = box.clip(plan.feedback(age, belief))
        memory = self.planner.shift(problem, memory)
        kept = None if state.plan is None else plan
        return action, plan, MPCState(memory, kept, age + 1)


def blank_plan(
    planner: AbstractPlanner,
    problem: Problem,
    belief: PyTree,
    state: PyTree,
    *,
    key: PRNGKeyArray,
) -> Plan:
    """Zeros where a plan will be."""
    plan, _ = eqx.filter_eval_shape(planner.plan, problem, belief, state, key=key)
    return jax.tree.map(
        lambda leaf: (
            jnp.zeros(leaf.shape, leaf.dtype)
            if isinstance(leaf, jax.ShapeDtypeStruct)
            else leaf
        ),
        plan,
    )


class Episode(eqx.Module):
    """What happened: states, actions, rewards, and what the planner thought.

    Every leaf has a leading time axis of the number of steps, `states` one more.
    """

    states: PyTree
    actions: Array
    rewards: Float[Array, " time"]
    """Discounted as the objective says; zero once the episode ended."""
    alive: Bool[Array, " time"]
    """Whether the step was still part of the episode."""
    planned: Float[Array, " time"]
    """Return that the plan in force expected, over its horizon, when it was made."""
    result: Result
    """How the plan in force ended."""
    stats: dict[str, Array]
    """The plan's statistics that are a number, or one number per iteration."""
    final: Scalar
    """Discounted value of the last state: what lies beyond the episode."""

    @property
    def value(self) -> Scalar:
        """The realised return: all rewards and what lies beyond."""
        return jnp.sum(self.rewards) + self.final


class Loop(eqx.Module):
    """Where a closed loop stands, so that it can be run in pieces."""

    state: PyTree
    discount: Scalar
    controller: MPCState


def begin(
    controller: MPC, problem: Problem, state: PyTree, *, key: PRNGKeyArray
) -> Loop:
    """The closed loop before its first step, from a state of the system."""
    belief = problem.model.observe(state, state, key=key)
    one = jnp.ones_like(problem.value(belief))
    return Loop(state, one, controller.init(problem, belief, key=key))


def closed_loop(
    controller: MPC,
    problem: Problem,
    system: AbstractSystem,
    loop: Loop,
    *,
    keys: Key[Array, " time"],
) -> tuple[Loop, Episode]:
    """Let a controller act on a system, for as many steps as there are keys.

    The controller sees the true state (known dynamics); the system may differ from
    the problem's model. One compiled scan; pieces may be joined by passing the
    returned `Loop` on.

    Args:
        controller: Planner and how it is used.
        problem: What the planner believes and wants.
        system: What is acted in.
        loop: Where to go on, from `begin` or an earlier call.
        keys: One key a step, shape `[time]`.

    Returns:
        Where it stands now, and what happened.
    """

    def step(loop: Loop, key: PRNGKeyArray):
        observe_key, act_key, step_key = jax.random.split(key, 3)
        belief = problem.model.observe(loop.state, loop.state, key=observe_key)
        action, plan, memory = controller.act(
            problem, belief, loop.controller, key=act_key
        )
        state = system.step(loop.state, action, key=step_key)
        after = problem.model.observe(state, state, key=observe_key)
        x, next_x = problem.model.readout(belief), problem.model.readout(after)
        reward = loop.discount * problem.objective.reward(x, action, next_x)
        discount = loop.discount * problem.objective.discount(x, action, next_x)
        stats = {name: stat for name, stat in plan.stats.items() if stat.ndim <= 1}
        alive = loop.discount > 0
        out = (state, action, reward, alive, plan.value, plan.result, stats)
        return Loop(state, discount, memory), out

    start = loop.state
    loop, (states, actions, rewards, alive, planned, result, stats) = jax.lax.scan(
        step, loop, keys
    )
    states = jax.tree.map(
        lambda first, rest: jnp.concatenate([first[None], rest]), start, states
    )
    belief = problem.model.observe(loop.state, loop.state, key=keys[0])
    final = loop.discount * problem.value(belief)
    return loop, Episode(states, actions, rewards, alive, planned, result, stats, final)
