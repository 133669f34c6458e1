r"""Local models: one linear fit for each step of roll-outs that are repeated.

$$p(x_{t+1} \mid x_t, u_t) = \mathcal N(A_t x_t + B_t u_t + f_t, \Sigma_t), \qquad
  A_t = \frac{df}{dx_t}, \quad B_t = \frac{df}{du_t}$$

Around the trajectory that a controller follows again and again, bent dynamics are
nearly straight at each step, and a few roll-outs tell their slope; that is all that a
controller of the LQR family asks of a model, to be improved and rolled out again.

A regression wants more roll-outs than there are states and actions. So the moments of
step $t$ begin at a prior that all steps of all roll-outs teach: a mixture of Gaussians
over $(x, u, x')$, each cluster of which is a place where dynamics are about straight
(`forethought.models.linear.mixture`). Its strength is one roll-out by default, so that
where there are many it does not matter.

**Notation.** $z = [x; u]$ and $y$, what follows, standardised by the model's own
transform; $N$ roll-outs at a step, with mean $\bar z, \bar y$ and scatter $S$ (summed);
$\mu_0, \Phi$ the mixture's moments there, $m$ the prior's strength.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from forethought.core.gaussian import Gaussian, Response
from forethought.core.given.settings import (
    AbstractSettings,
    Count,
    Nonnegative,
    Positive,
    Steps,
    require,
)
from forethought.core.linalg import matmul, symmetrise
from forethought.core.readout import Readout
from forethought.core.types import Action, Stamped
from forethought.models.base import AbstractCloud, AbstractLearned, Independent
from forethought.models.learned.transforms import Transform
from forethought.models.linear.dynamics import Linear, at
from forethought.models.linear.kalman import LinearGaussian
from forethought.models.linear.mixture import fit_mixture
from forethought.models.linear.posterior import Regression, require_affine
from forethought.models.linear.rollouts import Rollouts


class LocalSettings(AbstractSettings):
    """How a local model is fitted.

    Args:
        strength: $m$, of how many roll-outs the prior is worth at each step.
        clusters: The most clusters of the mixture.
        share: There is one for each so many steps of all roll-outs, but at least two.
        floor: The least variance of anything, in squared standard deviations of the
            data; what stays constant would have none.

    Note:
        Clusters and their share are those of the authors' code, whose clusters are at
        most 20 and have 40 points each.
    """

    strength: Positive = eqx.field(static=True, default=1.0)
    clusters: Count = eqx.field(static=True, default=20)
    share: Count = eqx.field(static=True, default=40)
    floor: Nonnegative = eqx.field(static=True, default=1e-6)


class Local(AbstractLearned[Stamped[Gaussian]]):
    r"""A linear-Gaussian model for each step, learned from `Rollouts`.

    $$\Psi_t = S + m \Phi + \tfrac{N m}{N + m} (\bar{\cdot} - \mu_0)
      (\bar{\cdot} - \mu_0)^\top, \qquad
      W_t = \Psi_{yz} \Psi_{zz}^{-1}, \qquad
      \Sigma_t \propto \Psi_{yy} - \Psi_{yz} \Psi_{zz}^{-1} \Psi_{zy}$$

    The belief is the normal distribution of the state, and the time. It widens by noise
    and by what is not known of $W_t$, whose posterior given $\Sigma_t$ is matrix
    normal: both are $\Sigma_t$, times $1 + \frac1N + (z - \bar z)^\top \Psi_{zz}^{-1}
    (z - \bar z)$. `linear` is the mean model, a `LinearGaussian` whose arrays vary in
    time; `LQR` reads it by itself, and `linear.dynamics` is it without noise.

    Args:
        transform: What is seen and answered: affine, so no angles, no circles, and
            actions that are vectors. What does not change by a step's length is better
            told as a difference, the default.
        steps: How many steps roll-outs have; beyond the last one the last fit holds.
        settings: How it is fitted.

    Raises:
        TypeError: The transform is not affine.
        ValueError: There are no steps.

    References:
        Levine and Abbeel, Learning neural network policies with guided policy search
        under unknown dynamics, 2014, §3 and appendix A (the mixture as a prior of the
        dynamics); Finn et al., the authors' code, `gauss_fit_joint_prior`, from which
        mean and strength are.

    Note:
        As there, the mean is that of the roll-outs and the prior's is not used for it.
        There $\Sigma_t$ is divided by $N + m$; here by $N + m - \gamma$ with $\gamma$
        the weights that roll-outs determine, $1 + \operatorname{tr}(S_{zz}
        \Psi_{zz}^{-1})$: five roll-outs that fix five weights leave nothing over to
        measure noise by, and the quotient would say that there is none.
    """

    posterior: Regression
    """With a leading axis `[time]`."""
    transform: Transform
    start: Gaussian
    """Of the first observations."""
    settings: LocalSettings
    cloud: AbstractCloud

    def __init__(
        self,
        transform: Transform,
        steps: int,
        *,
        settings: LocalSettings = LocalSettings(),  # noqa: B008  (a frozen setting)
    ):
        require("Local", Steps, steps=steps)
        require_affine("Local", transform)
        n, d = transform.observation, transform.outputs_shape
        p = transform.inputs_shape + 1
        self.transform, self.settings, self.cloud = transform, settings, Independent()
        self.start = Gaussian(jnp.zeros(n), jnp.zeros((n, n)))
        one = jnp.ones((steps, 1, 1))
        self.posterior = Regression(
            jnp.zeros((steps, d, p)),
            one * jnp.eye(p)[None],
            one * jnp.eye(d)[None],
            jnp.zeros(steps) + (d + 2),
        )

    @property
    def steps(self) -> int:
        """How many steps have a fit of their own."""
        return self.posterior.M.shape[0]

    @property
    def linear(self) -> LinearGaussian:
        r"""The mean model: $F_t = [A_t, B_t]$, $f_t$ and $W_t = \Sigma_t$."""
        F, f, W = jax.vmap(lambda each: each.unscaled(self.transform))(self.posterior)
        return LinearGaussian(Linear(F, f), W, start=self.start)

    def fit(
        self, data: Rollouts, *, key: PRNGKeyArray
    ) -> tuple["Local", dict[str, Array]]:
        """The model of all valid steps.

        Where no roll-out reached a step, the mixture alone says what happens there.

        Returns:
            The model, and as metrics `mixture`, the mean log-likelihood of the mixture
            in nats a point, before each step of its fit, and `mixture_steps`.

        Raises:
            ValueError: The roll-outs have another number of steps.
        """
        if data.action.shape[1] != self.steps:
            raise ValueError(
                f"Local needs roll-outs of {self.steps} steps, as it has a fit for "
                f"each, got {data.action.shape[1]}."
            )
        return _fit(self, data, key)

    def init(self, *, key: PRNGKeyArray) -> Stamped[Gaussian]:
        """Where roll-outs began, at time zero."""
        return Stamped(self.start, jnp.asarray(0))

    def predict(
        self,
        belief: Stamped[Gaussian],
        action: Action | Response,
        *,
        key: PRNGKeyArray,
    ) -> Stamped[Gaussian]:
        r"""Mean and covariance one step later, exactly.

        $$F S F^\top + \Sigma_t \big(1 + \mathbb E[z^\top V z]\big)$$
        """
        here, x = self._at(belief.time), belief.value
        F, f, W = (part.astype(x.mean.dtype) for part in here.unscaled(self.transform))
        z = _joint(x, action)
        after = z.affine(F, f, symmetrise((1 + self._reach(here, z)) * W))
        return Stamped(after, belief.time + 1)

    def observe(
        self,
        belief: Stamped[Gaussian],
        obs: Float[Array, " observation"],
        *,
        key: PRNGKeyArray,
    ) -> Stamped[Gaussian]:
        """The state that was seen, exactly; the time stays."""
        x = belief.value
        seen = Gaussian(obs.astype(x.mean.dtype), jnp.zeros_like(x.cov))
        return Stamped(seen, belief.time)

    def readout(self, belief: Stamped[Gaussian]) -> Readout[Gaussian]:
        """Mean and covariance, and the time."""
        return Readout.of(belief)

    def expect(
        self, belief: Stamped[Gaussian]
    ) -> tuple[Float[Array, " observation"], Float[Array, " observation"]]:
        """The belief's own mean and variances."""
        return belief.value.mean, jnp.diag(belief.value.cov)

    def doubt(
        self, belief: Stamped[Gaussian], action: Action
    ) -> tuple[Float[Array, " output"], Float[Array, " output"]]:
        r"""$\Sigma_{ii}$ and $\Sigma_{ii}\, \mathbb E[z^\top V z]$, standardised."""
        here = self._at(belief.time)
        noise = jnp.diag(here.noise)
        return noise, noise * self._reach(here, _joint(belief.value, action))

    def _at(self, time: Array) -> Regression:
        """What was fitted to a step."""
        return jax.tree.map(lambda leaf: at(leaf, leaf.ndim - 1, time), self.posterior)

    def _reach(self, here: Regression, z: Gaussian) -> Array:
        r"""The expectation of $z^\top V z$, standardised."""
        scale, dtype = self.transform.input_scale, here.root.dtype
        seen = (z.mean - self.transform.input_mean.astype(z.mean.dtype)).astype(dtype)
        pulled = here.root[:-1] / scale[:, None]
        spread = jnp.sum(pulled * matmul(z.cov.astype(dtype), pulled))
        return (here.reach(seen / scale) + spread).astype(z.mean.dtype)


@eqx.filter_jit
def _fit(
    model: Local, data: Rollouts, key: PRNGKeyArray
) -> tuple[Local, dict[str, Array]]:
    rollouts, steps = data.valid.shape
    before, after = data.obs[:, :-1], data.obs[:, 1:]
    flat = [
        part.reshape(rollouts * steps, *part.shape[2:])
        for part in (before, data.action, after, data.valid)
    ]
    obs, action, next_obs, valid = flat
    reward = jnp.zeros_like(obs[:, 0])
    transform = model.transform.fit(obs, action, next_obs, reward, valid)
    z = jax.vmap(transform.inputs)(obs, action)
    y = jax.vmap(transform.targets)(obs, next_obs, reward)
    points = jnp.where(valid[:, None], jnp.concatenate([z, y], axis=1), 0)
    settings = model.settings
    clusters = min(settings.clusters, rollouts * steps // settings.share)
    mixture, record = fit_mixture(
        points, valid, max(2, clusters), floor=settings.floor, key=key
    )
    shares = jnp.where(valid[None], mixture.responsibilities(points), 0)
    shares = shares.reshape(-1, rollouts, steps).sum(1)
    points = points.reshape(rollouts, steps, -1)

    def step(points, valid, shares):
        count = jnp.sum(valid).astype(points.dtype)
        shares = jnp.where(count > 0, shares / jnp.maximum(count, 1), mixture.weights)
        return condition(
            points,
            valid,
            mixture.moments(shares),
            z.shape[1],
            strength=settings.strength,
            floor=settings.floor,
        )

    posterior = jax.vmap(step, (1, 1, 1))(points, data.valid, shares)
    return eqx.tree_at(
        lambda m: (m.posterior, m.transform, m.start),
        model,
        (posterior, transform, _moments(data.obs[:, 0], data.valid[:, 0])),
    ), {"mixture": record.padded()[:, 0], "mixture_steps": record.count}


def condition(
    points: Float[Array, "rollout both"],
    valid: Bool[Array, " rollout"],
    prior: Gaussian,
    inputs: int,
    *,
    strength: float = 1.0,
    floor: float = 1e-6,
) -> Regression:
    r"""The regression of $y$ on $z$, from points $[z; y]$ and a prior of their moments.

    Args:
        points: At one step, shape `[rollout, input + output]`.
        valid: Which of them hold data.
        prior: $\mu_0$ and $\Phi$.
        inputs: How many numbers $z$ has.
        strength: $m$.
        floor: Added to the variances.

    References:
        The conditional of a normal distribution under a normal inverse-Wishart prior:
        Gelman et al., Bayesian Data Analysis, 2013, §3.6, and for the partition of an
        inverse Wishart matrix Bilodeau and Brenner, Theory of Multivariate Statistics,
        1999, proposition 7.9.
    """
    dtype, size = points.dtype, points.shape[1]
    outputs = size - inputs
    count = jnp.sum(valid).astype(dtype)
    seen = _moments(points, valid)
    scatter, gap = count * seen.cov, seen.mean - prior.mean
    mean = jnp.where(count > 0, seen.mean, prior.mean)
    pull = count * strength / (count + strength)
    psi = scatter + strength * prior.cov + pull * gap[:, None] * gap[None]
    psi = psi + (count + strength) * floor * jnp.eye(size, dtype=dtype)
    # The factor of the whole holds those of all parts: no inverse, and no difference.
    L = jnp.linalg.cholesky(symmetrise(psi))
    L_z, L_yz, L_y = L[:inputs, :inputs], L[inputs:, :inputs], L[inputs:, inputs:]
    one = jnp.eye(inputs, dtype=dtype)
    C = jax.scipy.linalg.solve_triangular(L_z, one, lower=True).T
    M = L_yz @ C.T
    m_z, m_y = mean[:inputs], mean[inputs:]
    taken = jnp.sum(C * (scatter[:inputs, :inputs] @ C))
    rest = strength + count - taken - jnp.where(count > 0, 1, 0).astype(dtype)
    top = jnp.concatenate([C, jnp.zeros((inputs, 1), dtype)], axis=1)
    known = jnp.where(count > 0, count, jnp.asarray(strength, dtype))
    last = jnp.concatenate([-(m_z @ C), 1 / jnp.sqrt(known)[None]])
    return Regression(
        M=jnp.concatenate([M, (m_y - M @ m_z)[:, None]], axis=1),
        root=jnp.concatenate([top, last[None]]),
        noise=L_y @ L_y.T / rest,
        freedom=rest + (outputs + 1),
    )


def _joint(x: Gaussian, action: Action | Response) -> Gaussian:
    """State and action together; an action that is known has no variance."""
    if isinstance(action, Response):
        return action.joint(x)
    n, m, dtype = x.mean.shape[0], action.shape[0], x.mean.dtype
    still = jnp.zeros((m, m), dtype), jnp.zeros((n, m), dtype)
    return Response(action.astype(dtype), *still).joint(x)


def _moments(points: Array, valid: Array) -> Gaussian:
    """Mean and covariance of the valid points; zero where there are none."""
    count = jnp.maximum(jnp.sum(valid), 1).astype(points.dtype)
    mean = jnp.sum(jnp.where(valid[:, None], points, 0), axis=0) / count
    gaps = jnp.where(valid[:, None], points - mean[None], 0)
    return Gaussian(mean, gaps.T @ gaps / count)
