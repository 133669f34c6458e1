r"""PPO: a policy that is improved by what it did itself, a little at a time.

**Notation.** $\pi_\theta$ policy, $\rho_t(\theta)$ ratio of its probability of an
action to that of the policy which drew it, $\hat A_t$ generalised advantage,
$V_\phi$ value, $\hat R_t = \hat A_t + V(o_t)$, $\epsilon$ how far ratios may go.
"""

from typing import Annotated, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, PRNGKeyArray, PyTree, Scalar

from forethought.agents.base import AbstractAgent, Duty, Metrics
from forethought.agents.on_policy.actor_critic import (
    ActorCritic,
    Batch,
    Kept,
    clipped_surrogate,
    drawn,
    judged,
    mean,
    minibatches,
    normalised,
    since,
)
from forethought.agents.on_policy.trust_region import natural_step
from forethought.agents.schedule import Schedule
from forethought.core.given.settings import (
    LARGEST,
    Count,
    Depth,
    Nonnegative,
    Positive,
    Range,
    Share,
)
from forethought.core.readout import Readout
from forethought.core.spaces import Box
from forethought.core.types import Action, Mode
from forethought.data.memory import Memory
from forethought.data.transitions import Transition
from forethought.environments.base import EnvironmentSpec
from forethought.models.learned.mlp import MLP
from forethought.policies.base import AbstractStochastic
from forethought.policies.categorical import policy_for

P = TypeVar("P", bound=AbstractStochastic)
RADIUS = 0.01
"""Of a trust region, in nats."""


class PPO(AbstractAgent[ActorCritic, None]):
    r"""Proximal policy optimisation.

    Minimised over minibatches of what the policy drew since the last time is

    $$-\overline{\min\bigl(\rho \hat A,
      \mathrm{clip}(\rho, 1 - \epsilon, 1 + \epsilon) \hat A\bigr)}
      + c_v \overline{(V_\phi - \hat R)^2} - c_h \overline{H[\pi_\theta]}$$

    ```python
    >>> from forethought.agents.on_policy.ppo import PPO
    >>> PPO(clip=0.1).clip
    0.1

    ```

    With `step="trust-region"` the policy takes TRPO's step instead, one for all rows,
    and only the value goes down its error in minibatches.

    Args:
        rollout: Environment steps between two updates, over all environments.
        epochs: Passes over them.
        batch: Rows of a minibatch.
        learning_rate: Adam's step.
        decay: Environment steps in which the learning rate falls to zero, in a
            straight line; it stays what it is if None.
        gamma: What a reward one step later is worth, $\gamma$.
        lam: How far errors of later steps count in advantages, $\lambda$.
        clip: How far from 1 a ratio of probabilities counts, $\epsilon$.
        entropy: What uncertainty of the policy is worth, $c_h$.
        value_weight: What errors of the value cost beside the policy's, $c_v$.
        max_norm: The largest norm of a gradient; infinity for none.
        target_kl: An update ends where the policy has gone farther than one and a half
            times this, in nats; None for wherever it goes. Of a trust region it is the
            radius, 0.01 if None.
        scale: Whether values are learned in units of the returns that were met.
        width: Units of each hidden layer of both networks.
        depth: How many hidden layers.
        std: Spread of the first policy's actions, in half widths of their limits.
        step: How the policy moves: by gradients of clipped ratios, or TRPO's.

    Raises:
        ValueError: A number is out of its range, or a minibatch larger than a rollout.

    References:
        Schulman, Wolski, Dhariwal, Radford and Klimov, Proximal policy optimization
        algorithms, 2017, arXiv:1707.06347, equation 9 and algorithm 1.
        Schulman et al., Trust region policy optimization, 2015, arXiv:1502.05477.
    """

    rollout: Count = eqx.field(static=True, default=2048)
    epochs: Count = eqx.field(static=True, default=10)
    batch: Count = eqx.field(static=True, default=64)
    learning_rate: Positive = 1e-3
    decay: Count | None = eqx.field(static=True, default=None)
    gamma: Share = 0.99
    lam: Share = 0.95
    clip: Positive = 0.2
    entropy: Nonnegative = 0.0
    value_weight: Nonnegative = 0.5
    max_norm: Annotated[float, Range(above=0, endless=True)] = 0.5
    target_kl: Positive | None = None
    scale: bool = eqx.field(static=True, default=True)
    width: Count = eqx.field(static=True, default=64)
    depth: Depth = eqx.field(static=True, default=2)
    std: Positive = 1.0
    step: Literal["clip", "trust-region"] = eqx.field(static=True, default="clip")

    def __check_init__(self):
        """Check that an update has a minibatch to learn from."""
        if self.batch > self.rollout:
            raise ValueError(
                f"PPO needs batch of at most rollout={self.rollout}, got {self.batch}."
            )

    @property
    def duties(self) -> tuple[Duty, ...]:
        """To improve the policy by what it did since the last time."""
        return (Duty("policy", Schedule(self.rollout, "steps"), on_policy=True),)

    @property
    def optimiser(self) -> optax.GradientTransformation:
        """Adam on clipped gradients."""
        rate = self.learning_rate
        if self.decay is not None:
            steps = min(max(1, self.epochs * self.decay // self.batch), LARGEST)
            rate = optax.linear_schedule(self.learning_rate, 0.0, steps)
        # One long vector is clipped and scaled faster than many small arrays.
        step = optax.chain(
            optax.clip_by_global_norm(self.max_norm), optax.scale_by_adam(eps=1e-5)
        )
        return optax.chain(optax.flatten(step), optax.scale_by_learning_rate(rate))

    def init(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> ActorCritic:
        """A policy that acts around the middle of its limits, or as it happens.

        Raises:
            TypeError: Observations are no vectors of numbers.
        """
        seen, space = spec.observation, spec.action
        if not isinstance(seen, Box) or len(seen.shape) != 1:
            raise TypeError(
                "PPO needs observations that are vectors of numbers, but they are "
                f"{seen} here."
            )
        policy_key, key = jax.random.split(key)
        inputs = seen.shape[0]
        policy = policy_for(
            inputs, space, self.width, self.depth, self.std, key=policy_key
        )
        return self.begin(policy, inputs, key=key)

    def begin(self, policy: P, inputs: int, *, key: PRNGKeyArray) -> ActorCritic[P]:
        """What is known of a policy that was come by elsewhere.

        Args:
            policy: Where improving begins.
            inputs: Dimension of what it sees.
            key: Draws the critic.
        """
        critic = MLP(
            inputs,
            1,
            self.width,
            self.depth,
            probabilistic=False,
            units="tanh",
            key=key,
        )
        moving = eqx.filter((policy, critic), eqx.is_inexact_array)
        memory = self.optimiser.init(moving)
        return ActorCritic(
            policy, critic, jnp.zeros(()), memory, jnp.zeros((), jnp.int32)
        )

    def reset(self, learner: ActorCritic, *, key: PRNGKeyArray) -> None:
        """Nothing is carried."""

    def act(
        self,
        learner: ActorCritic,
        carry: None,
        obs: Array,
        *,
        key: PRNGKeyArray,
        mode: Mode = "explore",
    ) -> tuple[Action, None, Kept]:
        """A draw of the policy, or its mode."""
        policy = learner.policy
        kept = drawn(policy, obs, key=key)
        best = policy.distribution(Readout(obs)).mode
        draw = kept.draw if mode == "explore" else best
        return policy.realise(draw), None, kept

    def update(
        self, learner: ActorCritic, memory: Memory, *, duty: Duty, key: PRNGKeyArray
    ) -> tuple[ActorCritic, Metrics]:
        """Improve the policy by the rows that it drew since the last time.

        Raises:
            ValueError: It is to be done by something else than steps.
        """
        if duty.every.unit != "steps":
            raise ValueError(
                "PPO learns from all steps since it learned last, for which its "
                f"schedule needs to be by steps, got one by {duty.every.unit}."
            )
        return self._update(learner, memory, key)

    @eqx.filter_jit
    def _update(
        self, learner: ActorCritic, memory: Memory, key: PRNGKeyArray
    ) -> tuple[ActorCritic, Metrics]:
        rows, valid = since(memory, learner.seen)
        learner, metrics = self.improve(learner, rows, valid, key=key)
        steps = memory.state.steps
        return eqx.tree_at(lambda learner: learner.seen, learner, steps), metrics

    def improve(
        self,
        learner: ActorCritic[P],
        rows: Transition,
        valid: Bool[Array, "time lane"],
        *,
        key: PRNGKeyArray,
    ) -> tuple[ActorCritic[P], Metrics]:
        """Improve a policy by rows that it drew.

        Args:
            learner: The policy and its value.
            rows: Leaves `[time, lane, ...]`, the steps of a lane one after another,
                with `Kept` of each; a lane may hold any number of episodes.
            valid: Which of them count; fewer than one minibatch teach nothing.
            key: Draws minibatches.

        Returns:
            The learner, and means over all steps of Adam: `kl` from the policy that
            drew the rows; `clipped`, the share of ratios beyond the clip; `entropy`;
            `value_loss`, in units of the returns. Beside them `explained`, the share of
            the returns' variance that the critic foresaw; `rows` that counted; `steps`
            of Adam; `skipped`, those that were not finite; and, of a trust region,
            `halved`, how often its step was, 10 where it was not taken.
        """
        learner, batch, explained = judged(
            learner, rows, valid, gamma=self.gamma, lam=self.lam, scaled=self.scale
        )
        flat, policy = valid.reshape(-1), learner.policy
        far = None if self.target_kl is None else 1.5 * self.target_kl
        halved = jnp.zeros((), jnp.int32)
        if self.step == "trust-region":
            weight, far = flat.astype(explained.dtype), None
            policy, halved = natural_step(
                policy,
                batch,
                normalised(batch.advantage, weight),
                weight,
                RADIUS if self.target_kl is None else self.target_kl,
            )
        params, memory, tally = minibatches(
            self._loss,
            (policy, learner.critic),
            learner.memory,
            batch,
            flat,
            self.optimiser,
            epochs=self.epochs,
            size=self.batch,
            most=far,
            key=key,
        )
        learner = eqx.tree_at(
            lambda learner: (learner.policy, learner.critic, learner.memory),
            learner,
            (*params, memory),
        )
        kind = explained.dtype
        count = jnp.maximum(tally.steps, 1).astype(kind)
        told = {name: total / count for name, total in tally.sums.items()}
        return learner, told | {
            "explained": explained,
            "rows": jnp.sum(flat).astype(kind),
            "steps": tally.steps.astype(kind),
            "skipped": tally.skipped.astype(kind),
        } | ({"halved": halved.astype(kind)} if self.step == "trust-region" else {})

    def _loss(
        self, params: tuple[AbstractStochastic, MLP], rows: Batch
    ) -> tuple[Scalar, Metrics]:
        policy, critic = params

        def of(obs: Array, draw: Array) -> tuple[Scalar, Scalar, Scalar]:
            found = policy.distribution(Readout(obs))
            return found.log_prob(draw), found.entropy(), critic(obs)[0][0]

        log_prob, entropy, value = jax.vmap(of)(rows.obs, rows.draw)
        one = jnp.ones_like(value)
        advantage = normalised(rows.advantage, one)
        log_ratio = log_prob - rows.log_prob
        gain = jnp.mean(clipped_surrogate(log_ratio, advantage, self.clip))
        error = jnp.mean((value - rows.target) ** 2)
        spread = jnp.mean(entropy)
        ratio = jnp.exp(log_ratio)
        met = {
            # Never negative, and of less variance than the mean of the logarithm.
            "kl": jnp.mean(ratio - 1 - log_ratio),
            "clipped": mean((jnp.abs(ratio - 1) > self.clip).astype(one.dtype), one),
            "entropy": spread,
            "value_loss": error,
        }
        if self.step == "trust-region":
            return error, met
        return -gain + self.value_weight * error - self.entropy * spread, met

    def examined(self, learner: ActorCritic) -> None:
        """No model is learned."""

    def watch(self, carry: PyTree) -> Metrics:
        """Nothing is told of single actions."""
        return {}
