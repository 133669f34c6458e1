r"""Targets that look some imagined steps ahead before they ask the critics.

From a step that happened, $(o_0, u_0, r_0, o_1)$, an actor is followed for $H$ steps in
a model. Wherever it stops, the critics say what lies beyond:

$$T_i = \sum_{j=0}^{i} c_j\, r_j + c_{i+1}\, Q'(o_{i+1}, \mu'(o_{i+1})), \qquad
  c_j = \prod_{l<j} \gamma_l, \quad i = 0, \dots, H$$

with $\gamma_0$ of what happened and the others of the model, so that what ends there
has no future. $T_0$ is the usual target. Which of them is believed differs:

| target | believes |
|---|---|
| `Expanded` (MVE) | the last; by `tdk` its tails are aims at each step as well |
| `Stochastic` (STEVE) | each by how well samples of the model and critics agree on it |
| `Lambda` | each by $\lambda^i$ |

**Notation.** $H$ horizon, $\mu'$ the actor that is followed, $Q'$ slow copies of
critics, $w_i$ weights.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from forethought.agents.base import Metrics
from forethought.agents.critics.base import Aims
from forethought.agents.critics.targets import AbstractTarget, Judge, Steps
from forethought.core.given.settings import Count, Nonnegative, Positive, Share, Whole
from forethought.policies.follow import Sampled
from forethought.problem import Problem, imagine_cloud


class Future(NamedTuple):
    """Where samples of a model go from one observation, and what that is worth."""

    obs: Float[Array, "sample here obs"]
    """Observations $o_1, \\dots, o_{H+1}$."""
    action: Float[Array, "sample step action"]
    """What was done in all of them but the last."""
    reward: Float[Array, "sample step"]
    discount: Float[Array, "sample step"]
    value: Float[Array, "sample here critic"]
    """What each critic expects from each of them on."""

    carried: Float[Array, "sample here"]
    r"""$\gamma_1 \cdots \gamma_i$ on arrival at each observation."""
    returns: Float[Array, "sample here critic"]
    """What is earned until each observation, and expected from there on."""


def ahead(
    judge: Judge,
    world: Problem,
    obs: Float[Array, " obs"],
    horizon: int,
    samples: int,
    noise: float = 0.0,
    *,
    key: PRNGKeyArray,
) -> Future:
    """Follow the actor in several samples of a model, each of them to the end.

    Args:
        judge: Whom to follow, and who says what lies beyond.
        world: What would happen.
        obs: Where to start.
        horizon: How many steps.
        samples: How many samples; as many more as the model's own share evenly.
        noise: Added to what the actor does, in half widths of the limits.
        key: Consumed.
    """
    init_key, see_key, spread_key, value_key, key = jax.random.split(key, 5)
    policy, mode = judge.follower(noise)
    belief = world.model.init(key=init_key)
    belief = world.model.observe(belief, obs, key=see_key)
    samples = world.cloud.enough(world.model, samples)
    cloud = world.cloud.spread(world.model, belief, samples, key=spread_key)
    keys = jax.random.split(key, samples)
    rollouts = imagine_cloud(
        world, policy, cloud, horizon, follow=Sampled(mode), keys=keys
    )
    beliefs = rollouts.beliefs
    before = jax.tree.map(lambda leaf: leaf[:, :-1], beliefs)
    after = jax.tree.map(lambda leaf: leaf[:, 1:], beliefs)
    each = jax.vmap(jax.vmap(world.judge))
    reward, discount = each(before, rollouts.actions, after)
    there = jax.vmap(jax.vmap(lambda belief: world.model.readout(belief).x))(beliefs)
    keys = jax.random.split(value_key, there.shape[:2])
    value = jax.vmap(jax.vmap(lambda obs, key: judge.bootstrap(obs, key=key)))(
        there, keys
    )
    one = jnp.ones_like(value[:, :1, 0])
    carried = jnp.cumprod(jnp.concatenate([one, discount], axis=1), axis=1)
    earned = jnp.cumsum(carried[:, :-1] * reward, axis=1)
    earned = jnp.concatenate([jnp.zeros_like(one), earned], axis=1)
    returns = earned[..., None] + carried[..., None] * value
    return Future(there, rollouts.actions, reward, discount, value, carried, returns)


class Expanded(AbstractTarget):
    """Model-based value expansion: the whole imagined future counts.

    Args:
        horizon: $H$; none is the usual target.
        tdk: Whether each step of the future is a row as well, whose aim is what comes
            after it; it counts as much as it is likely to be reached.
        noise: Standard deviation of what is added to the actor's actions in the future,
            in half widths of the limits.

    References:
        Feinberg et al., Model-based value expansion for efficient model-free
        reinforcement learning, 2018, arXiv:1803.00101, equations 3 and 4.

    Note:
        The paper has no noise in its futures. Without, the rows of `tdk` have the
        actor's own actions, which tell critics nothing of any other: with three steps
        three rows of four, and an actor that climbs such critics is lost.
    """

    horizon: Whole = eqx.field(static=True, default=3)
    tdk: bool = eqx.field(static=True, default=True)
    noise: Nonnegative = eqx.field(static=True, default=0.5)

    def aims(
        self, judge: Judge, world: Problem | None, steps: Steps, *, key: PRNGKeyArray
    ) -> tuple[Aims, Metrics]:
        """One aim for each step that happened, or one for each of all steps."""
        future = futures(judge, world, steps, self.horizon, 1, key, self.noise)
        pool = jax.vmap(jax.vmap(judge.critic.pool))
        # One sample: [row, 1, here, critic].
        returns, carried = pool(future.returns[:, 0]), future.carried[:, 0]
        value = steps.reward + steps.discount * returns[:, -1]
        aims = Aims(steps.obs, steps.action, value, steps.obs)
        if not self.tdk:
            return aims, {}
        # Backwards from the last: what is worth being at each step of the future.
        worth = [pool(future.value[:, 0])[:, -1]]
        for j in reversed(range(self.horizon)):
            reward, discount = future.reward[:, 0, j], future.discount[:, 0, j]
            worth.insert(0, reward + discount * worth[0])
        alive = steps.discount[:, None] * carried / gammas(judge, self.horizon)[None]
        obs = jnp.moveaxis(future.obs[:, 0, :-1], 1, 0)
        action = jnp.moveaxis(future.action[:, 0], 1, 0)
        rows = Aims(
            jnp.concatenate([steps.obs, *obs]),
            jnp.concatenate([steps.action, *action]),
            jnp.concatenate([value, *worth[:-1]]),
            steps.obs,
            jnp.concatenate([jnp.ones_like(value), *alive.T[:-1]]),
        )
        return rows, {"reached": jnp.mean(alive)}


class Stochastic(AbstractTarget):
    r"""Stochastic ensemble value expansion: each horizon by how sure it is.

    $$y = \frac{\sum_i w_i \bar T_i}{\sum_i w_i}, \qquad
      w_i = \frac{1}{\operatorname{Var}(T_i) + \epsilon}$$

    with mean and variance over all samples of the model and all critics.

    Args:
        horizon: $H$.
        samples: Of the model, each followed to the end.
        least: $\epsilon$.

    References:
        Buckman et al., Sample-efficient reinforcement learning with stochastic ensemble
        value expansion, 2018, arXiv:1807.01675, equations 5 to 7.

    Note:
        The paper combines ensembles of transitions with others of rewards. Here a
        sample of the model has its own rewards, where they are learned.
    """

    horizon: Whole = eqx.field(static=True, default=3)
    samples: Count = eqx.field(static=True, default=4)
    least: Positive = 1e-8

    def aims(
        self, judge: Judge, world: Problem | None, steps: Steps, *, key: PRNGKeyArray
    ) -> tuple[Aims, Metrics]:
        """One aim for each step, and the mean weight of each horizon."""
        future = futures(judge, world, steps, self.horizon, self.samples, key)
        value, weight = jax.vmap(lambda total: agreed(total, self.least))(
            whole(steps, future)
        )
        told = {f"weight_{i}": jnp.mean(weight[:, i]) for i in range(weight.shape[1])}
        return Aims(steps.obs, steps.action, value, steps.obs), told


class Lambda(AbstractTarget):
    r"""The return of all horizons, the nearer ones more: $(1 - \lambda) \lambda^i$.

    The last has what is left, $\lambda^H$.

    Args:
        horizon: $H$.
        share: $\lambda$; zero is the usual target, one that of MVE.
        samples: Of the model, over which is averaged.
    """

    horizon: Whole = eqx.field(static=True, default=3)
    share: Share = 0.9
    samples: Count = eqx.field(static=True, default=1)

    def aims(
        self, judge: Judge, world: Problem | None, steps: Steps, *, key: PRNGKeyArray
    ) -> tuple[Aims, Metrics]:
        """One aim for each step."""
        future = futures(judge, world, steps, self.horizon, self.samples, key)
        pool = jax.vmap(jax.vmap(jax.vmap(judge.critic.pool)))
        total = jnp.mean(pool(whole(steps, future)), axis=1)
        last = jnp.arange(total.shape[1]) == self.horizon
        power = self.share ** jnp.arange(total.shape[1]).astype(total.dtype)
        weight = jnp.where(last, power, (1 - self.share) * power)
        value = jnp.sum(weight[None] * total, axis=1)
        return Aims(steps.obs, steps.action, value, steps.obs), {}


def futures(
    judge: Judge,
    world: Problem | None,
    steps: Steps,
    horizon: int,
    samples: int,
    key: PRNGKeyArray,
    noise: float = 0.0,
) -> Future:
    """Those after each step, leaves `[row, sample, ...]`.

    Raises:
        ValueError: There is nothing to imagine in.
    """
    if world is None:
        raise ValueError("A target that looks ahead needs a model, got none.")
    keys = jax.random.split(key, steps.reward.shape[0])
    return jax.vmap(
        lambda obs, key: ahead(judge, world, obs, horizon, samples, noise, key=key)
    )(steps.next_obs, keys)


def whole(steps: Steps, future: Future) -> Float[Array, "row sample here critic"]:
    """$T_i$ of each step, sample and critic."""
    reward, discount = (
        each[:, None, None, None] for each in (steps.reward, steps.discount)
    )
    return reward + discount * future.returns


def agreed(
    total: Float[Array, "sample here critic"], least: float
) -> tuple[Scalar, Float[Array, " here"]]:
    """STEVE's value of one step, and the weight of each horizon in it."""
    mean, variance = jnp.mean(total, axis=(0, 2)), jnp.var(total, axis=(0, 2))
    weight = 1 / (variance + least)
    weight = weight / jnp.sum(weight)
    return jnp.sum(weight * mean), weight


def gammas(judge: Judge, horizon: int) -> Float[Array, " here"]:
    r"""$\gamma^{i+1}$: what discounts would be if nothing ended."""
    gamma = max(judge.critic.gamma, 1e-30)
    return jnp.stack([jnp.asarray(gamma ** (i + 1)) for i in range(horizon + 1)])
