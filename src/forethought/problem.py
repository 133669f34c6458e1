"""The one problem that every planner solves, and what they all return.

A `Problem` is a model (what would happen), an objective (how good would it be) and an
action space (what may be chosen). `rollout` imagines one sequence of actions, `imagine`
what a policy would do, and `evaluate` gives a sequence a score, over many particles
where the future is uncertain.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray, PyTree, Scalar

from forethought.core.given.code import kind_of, line_of
from forethought.core.readout import AbstractJudge, Readout, one_number
from forethought.core.results import Result, Stats
from forethought.core.returns import Risk
from forethought.core.spaces import Space
from forethought.models.base import AbstractCloud, AbstractModel, Independent
from forethought.policies.affine import TimeVarying
from forethought.policies.base import AbstractPolicy
from forethought.policies.follow import AbstractFollow, Sampled

Belief = TypeVar("Belief")


class Problem(eqx.Module, Generic[Belief]):
    """What a planner is given.

    Args:
        model: What would happen.
        objective: How good it would be.
        action: What may be chosen at each step.
        cloud: How particles are drawn and carried, where there are several.
        legal: Which discrete actions a belief allows, shape `[choice]`; all by default.
            A sequence with one that is not allowed scores minus infinity.
    """

    model: AbstractModel[Belief]
    objective: AbstractJudge
    action: Space
    cloud: AbstractCloud = Independent()
    legal: Callable[[Belief], Bool[Array, " choice"]] | None = None

    def step(
        self, belief: Belief, action: PyTree, *, key: PRNGKeyArray
    ) -> tuple[Belief, Scalar, Scalar]:
        """Imagine one step: the next belief, its reward, and the discount after it.

        The action is one, or a `Response` where model and objective take it.
        """
        next_belief = self.model.predict(belief, action, key=key)
        return next_belief, *self.judge(belief, action, next_belief)

    def judge(
        self, belief: Belief, action: PyTree, next_belief: Belief
    ) -> tuple[Scalar, Scalar]:
        """The reward of a transition, and the discount after it."""
        before, after = self.model.readout(belief), self.model.readout(next_belief)
        reward, discount = self.objective.judge(before, action, after)
        return (
            one_number("reward", reward, self.objective),
            one_number("discount", discount, self.objective),
        )

    def value(self, belief: Belief) -> Scalar:
        """The return to expect beyond the horizon."""
        beyond = self.objective.beyond(self.model.readout(belief))
        return one_number("value", beyond, self.objective)


def _require_alike(problem: Problem, before: PyTree, after: PyTree) -> None:
    """Refuse a model whose next belief is of another kind than the one before.

    Raises:
        ValueError: Naming the line where it is written, and both kinds.
    """
    kinds = [
        (jax.tree.structure(each), [kind_of(leaf) for leaf in jax.tree.leaves(each)])
        for each in (before, after)
    ]
    if kinds[0] != kinds[1]:
        model: Any = problem.model
        while isinstance(getattr(model, "model", None), AbstractModel):
            model = model.model
        system = getattr(model, "system", None)
        step = type(model).predict if system is None else type(system).step
        old, new = (", ".join(leaves) or "nothing" for _, leaves in kinds)
        raise ValueError(
            f"A step should lead to a state of the same kind, but that of "
            f"{line_of(step)} leads from {old} to {new}."
        )


class Feedback(eqx.Module):
    r"""A plan as a controller, with its local value expansion.

    $$V(\hat x_t + \delta) \approx V_t + V_{x,t}^\top \delta
      + \tfrac12 \delta^\top V_{xx,t} \delta$$

    Values are returns (they are maximised), states are `ravel(belief)`. The policy
    explores as $Q_{uu,t}^{-1}$ says, with $Q$ the cost to go of state and action;
    limits of the action play no part in it, and it is zero where there is none.
    """

    policy: TimeVarying
    V: Float[Array, " horizon"]
    V_x: Float[Array, "horizon state"]
    V_xx: Float[Array, "horizon state state"]

    @property
    def gains(self) -> Float[Array, "horizon action state"]:
        """How the action answers a deviation of the state."""
        return self.policy.K

    @property
    def states(self) -> Float[Array, "horizon state"]:
        """The states of the plan."""
        return self.policy.x


class Plan(eqx.Module):
    """What a planner returns.

    `stats` holds what is only looked at, such as the best of each iteration. A plan
    whose `result` is not successful still holds the best finite actions found.
    """

    actions: Array
    """Shape `[horizon, action]`, or `[horizon]` for discrete actions."""
    beliefs: PyTree
    """What the model expects to happen: leaves of shape `[horizon + 1, ...]`."""
    value: Scalar
    """Expected return under the model."""
    feedback: Feedback | None
    result: Result
    stats: Stats


class Rollout(eqx.Module):
    """One imagined future, under a sequence of actions or a policy."""

    beliefs: PyTree
    """Leaves of shape `[horizon + 1, ...]`, the first being where it started."""
    actions: PyTree
    """Leaves of shape `[horizon, ...]`."""
    rewards: Float[Array, " horizon"]
    """Each discounted, so that they add up."""
    final: Scalar
    """Discounted value of what lies beyond the horizon."""
    kept: PyTree = None
    """What the policy kept of each action; leaves of shape `[horizon, ...]`."""

    @property
    def value(self) -> Scalar:
        """The return: all rewards and what lies beyond."""
        return jnp.sum(self.rewards) + self.final


def rollout(
    problem: Problem, belief: PyTree, actions: Array, *, key: PRNGKeyArray
) -> Rollout:
    """Imagine what a sequence of actions would do.

    Args:
        problem: Model and objective.
        belief: Where to start.
        actions: Shape `[horizon, action]`, or `[horizon]` for discrete actions.
        key: Consumed by a stochastic model; the same key gives the same future.

    Returns:
        Beliefs, discounted rewards, and the value beyond the horizon.

    Raises:
        ValueError: The actions do not have the shape of the problem's action space.
    """
    shape = problem.action.shape
    if actions.ndim != 1 + len(shape) or actions.shape[1:] != shape:
        raise ValueError(
            f"A rollout needs actions of shape [horizon, {', '.join(map(str, shape))}]"
            f", got {list(actions.shape)}."
        )
    keys = jax.random.split(key, actions.shape[0])
    beliefs, rewards, final, _ = _ahead(
        problem, belief, lambda belief, action: (action, None), actions, keys
    )
    return Rollout(beliefs, actions, rewards, final)


def imagine(
    problem: Problem,
    policy: AbstractPolicy,
    belief: PyTree,
    horizon: int,
    *,
    follow: AbstractFollow = Sampled(),  # noqa: B008  (a frozen setting)
    truncate: int | None = None,
    key: PRNGKeyArray,
) -> Rollout:
    """Imagine what a policy would do.

    The policy looks at what the model reads out, and at the number of steps since this
    began. Without chance in the model and in the policy, gradients of the return are
    those of back-propagation through time.

    Args:
        problem: Model and objective.
        policy: Who acts.
        belief: Where to start.
        horizon: How many steps.
        follow: How policy and model step together: by an action that is drawn, or by
            the joint distribution of state and action (`Moments`).
        truncate: Derivatives end at every so many steps: there the belief counts as
            given, for the policy, the model and the reward of the step that begins.
            The discount that was carried on does not. None for never.
        key: Consumed; under it the model's noise is that of a `rollout`.

    Returns:
        What a `rollout` of the policy's actions returns, these actions, and what the
        policy kept of each.

    Raises:
        TypeError: Policy, model and `follow` do not go together.
    """

    def choose(belief, inputs):
        chosen = _chosen(problem, policy, follow, belief, *inputs)
        return chosen[0], chosen

    keys, policy_keys = _keys(key, horizon)
    times = jnp.arange(horizon)
    cut = None if truncate is None else times % truncate == 0
    beliefs, rewards, final, (actions, kept) = _ahead(
        problem, belief, choose, (times, policy_keys), keys, cut
    )
    return Rollout(beliefs, actions, rewards, final, kept)


def imagine_cloud(
    problem: Problem,
    policy: AbstractPolicy,
    cloud: PyTree,
    horizon: int,
    *,
    follow: AbstractFollow = Sampled(),  # noqa: B008  (a frozen setting)
    keys: Key[Array, " particle"],
) -> Rollout:
    """Imagine what a policy would do, in particles that belong together.

    Of a model that has samples each particle's own is computed, no other. Where
    particles are independent this is `imagine` of each.

    Args:
        problem: Model, objective and how particles are carried.
        policy: Who acts, in each particle by itself.
        cloud: Particles, as `Problem.cloud` spreads them; they may be anywhere.
        horizon: How many steps.
        follow: As in `imagine`.
        keys: One per particle, each as `imagine` takes it.

    Returns:
        As `imagine`, leaves `[particle, ...]`.
    """
    predict, split = problem.cloud.predict, jax.vmap(_keys, (0, None), 1)

    def step(carry, inputs):
        cloud, discounts = carry
        time, keys, own = inputs
        actions, kept = jax.vmap(
            lambda belief, key: _chosen(problem, policy, follow, belief, time, key)
        )(cloud, own)
        after = predict(problem.model, cloud, actions, keys=keys, own=True)
        _require_alike(problem, cloud, after)
        rewards, factors = jax.vmap(problem.judge)(cloud, actions, after)
        told = after, actions, discounts * rewards, kept
        return (after, discounts * factors), told

    ones = jnp.ones_like(jax.vmap(problem.value)(cloud))
    (last, discounts), told = jax.lax.scan(
        step, (cloud, ones), (jnp.arange(horizon), *split(keys, horizon))
    )
    told = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, 1), told)
    beliefs, actions, rewards, kept = told
    final = discounts * jax.vmap(problem.value)(last)
    beliefs = jax.vmap(_whole)(cloud, beliefs)
    return jax.vmap(Rollout)(beliefs, actions, rewards, final, kept)


def _keys(key: PRNGKeyArray, horizon: int) -> tuple[Array, Array]:
    """Those of the model and of the policy, at each step."""
    keys = jax.random.split(key, horizon)
    return keys, jax.random.split(jax.random.fold_in(key, horizon), horizon)


def _chosen(
    problem: Problem,
    policy: AbstractPolicy,
    follow: AbstractFollow,
    belief: PyTree,
    time: Array,
    key: PRNGKeyArray,
) -> tuple[PyTree, PyTree]:
    """What a policy does in a belief, and what it keeps of that."""
    seen = Readout.of(problem.model.readout(belief), time)
    return follow.act(policy, seen, problem.action, key=key)


def _ahead(
    problem: Problem,
    belief: PyTree,
    choose: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    inputs: PyTree,
    keys: Key[Array, " horizon"],
    cut: Bool[Array, " horizon"] | None = None,
) -> tuple[PyTree, Array, Scalar, PyTree]:
    """Step on, by what is chosen in each belief, and gather what is told of it."""

    def still(cut, leaf):
        real = eqx.is_inexact_array(leaf)
        return jnp.where(cut, jax.lax.stop_gradient(leaf), leaf) if real else leaf

    def step(carry, here):
        belief, discount = carry
        here, key, cut = here
        if cut is not None:
            belief = jax.tree.map(lambda leaf: still(cut, leaf), belief)
        action, told = choose(belief, here)
        next_belief, reward, factor = problem.step(belief, action, key=key)
        _require_alike(problem, belief, next_belief)
        return (next_belief, discount * factor), (next_belief, discount * reward, told)

    one = jnp.ones_like(problem.value(belief))
    (last, discount), (beliefs, rewards, told) = jax.lax.scan(
        step, (belief, one), (inputs, keys, cut)
    )
    return _whole(belief, beliefs), rewards, discount * problem.value(last), told


def _whole(first: PyTree, rest: PyTree) -> PyTree:
    """Beliefs from the first on."""
    return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, rest)


def evaluate(
    problem: Problem,
    belief: PyTree,
    actions: Array,
    *,
    key: PRNGKeyArray,
    particles: int = 1,
    risk: Risk = Risk(),  # noqa: B008  (a frozen setting)
) -> Scalar:
    """The score of a sequence of actions: a risk measure of its return.

    Candidates that are compared must be evaluated under the same key: they then face
    the same noise (common random numbers), and differ by their actions alone.

    Args:
        problem: Model and objective.
        belief: Where to start.
        actions: Shape `[horizon, action]`, or `[horizon]` for discrete actions.
        key: Consumed; one key is one set of futures.
        particles: How many futures to draw.
        risk: How their returns become one number.

    Returns:
        The score; minus infinity where any return is not finite.
    """
    horizon = actions.shape[0]
    keys = jax.vmap(lambda key: jax.random.split(key, horizon), out_axes=1)(
        jax.random.split(key, particles)
    )

    def step(carry, inputs):
        cloud, returns, discounts = carry
        action, keys = inputs
        if problem.legal is not None:
            legal = jax.vmap(problem.legal)(cloud)[:, action]
            returns = jnp.where(legal | (discounts == 0), returns, -jnp.inf)
        after = problem.cloud.predict(problem.model, cloud, action, keys=keys)
        _require_alike(problem, cloud, after)
        rewards, factors = jax.vmap(
            lambda belief, next_belief: problem.judge(belief, action, next_belief)
        )(cloud, after)
        return (after, returns + discounts * rewards, discounts * factors), None

    cloud = problem.cloud.spread(
        problem.model, belief, particles, key=jax.random.fold_in(key, particles)
    )
    ones = jnp.ones_like(jax.vmap(problem.value)(cloud))
    (cloud, returns, discounts), _ = jax.lax.scan(
        step, (cloud, 0 * ones, ones), (actions, keys)
    )
    returns = returns + discounts * jax.vmap(problem.value)(cloud)
    score = risk(returns)
    finite = jnp.all(jnp.isfinite(returns)) & jnp.isfinite(score)
    return jnp.where(finite, score, -jnp.inf)
