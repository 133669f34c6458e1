"""Time-varying affine feedback: what the plans of LQR and iLQR are as policies."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from forethought.core.gaussian import Gaussian, Response
from forethought.core.linalg import matmul, matvec, solve_positive, symmetrise
from forethought.core.readout import Readout
from forethought.core.spaces import Box
from forethought.core.types import Action, Mode, ravel
from forethought.policies.base import AbstractResponsive


class TimeVarying(AbstractResponsive[PyTree]):
    r"""A linear-Gaussian policy for each step around a trajectory.

    $$u_t \sim \mathcal N\big(k_t + K_t (x_t - \hat x_t), \Sigma_t\big)$$

    States are `ravel` of what is seen. Beyond the last step the last one holds, so that
    a horizon of one is a policy that does not vary in time. With
    $\Sigma_t = Q_{uu,t}^{-1}$ it is the one of maximum entropy among those that earn as
    much: it explores most where that costs least.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.core.readout import Readout
    >>> from forethought.policies.affine import TimeVarying
    >>> policy = TimeVarying(
    ...     K=jnp.array([[[2.0]]]),
    ...     k=jnp.array([[0.5]]),
    ...     x=jnp.array([[1.0]]),
    ...     cov=jnp.array([[[0.1]]]),
    ... )
    >>> seen, key = Readout(jnp.array([1.5])), jax.random.key(0)
    >>> float(policy.act(seen, key=key, mode="exploit")[0][0])
    1.5

    ```

    Args:
        K: Gains, shape `[horizon, action, state]`.
        k: Actions $\hat u_t$ of the trajectory, shape `[horizon, action]`.
        x: States $\hat x_t$ of the trajectory, shape `[horizon, state]`.
        cov: Covariances $\Sigma_t$ for exploring, shape `[horizon, action, action]`,
            positive semidefinite.

    References:
        Levine and Koltun, Guided policy search, 2013, §4 (the covariance).
    """

    K: Float[Array, "horizon action state"]
    k: Float[Array, "horizon action"]
    x: Float[Array, "horizon state"]
    cov: Float[Array, "horizon action action"]

    def given(self, x: PyTree, time: Int[Array, ""] | int) -> Gaussian:
        """The distribution of the action in a state, at a step.

        Args:
            x: The state, or a belief of such coordinates.
            time: Steps since the trajectory began.
        """
        K, k, nominal, cov = self._at(time)
        return Gaussian(k + matvec(K, ravel(x)[0] - nominal), cov)

    def act(
        self, seen: Readout[PyTree], *, key: PRNGKeyArray, mode: Mode
    ) -> tuple[Action, PyTree]:
        """A draw and its log-probability, or the mean and None.

        Raises:
            TypeError: The policy varies in time, and the time is not told.
        """
        action = self.given(seen.x, self._time(seen))
        if mode == "exploit":
            return action.mean, None
        drawn = action.sample(key=key)
        return drawn, action.log_prob(drawn)

    def respond(self, seen: Readout[Gaussian], *, mode: Mode) -> Response:
        r"""For $x \sim \mathcal N(m, S)$: its covariance is $K S K^\top + \Sigma$.

        Raises:
            TypeError: The policy varies in time, and the time is not told.
            ValueError: It acts on coordinates other than the state.
        """
        state, size = seen.x, self.x.shape[1]
        if state.mean.shape != (size,):
            raise ValueError(
                f"TimeVarying needs a Gaussian over the {size} coordinates that it "
                f"acts on, got one over {state.mean.shape[0]}."
            )
        K, k, nominal, noise = self._at(self._time(seen))
        cross = matmul(state.cov, K.T)
        cov = symmetrise(matmul(K, cross))
        mean = k + matvec(K, state.mean - nominal)
        return Response(mean, cov + noise if mode == "explore" else cov, cross)

    def within(self, space: Box) -> bool:
        """Only where there are no limits."""
        return not space.bounded

    def _at(self, time: Int[Array, ""] | int) -> tuple[Array, Array, Array, Array]:
        """What holds at a step."""
        t = jnp.minimum(time, self.K.shape[0] - 1)
        return jax.tree.map(lambda each: each[t], (self.K, self.k, self.x, self.cov))

    def _time(self, seen: Readout) -> Int[Array, ""] | int:
        """The step, which does not matter where there is only one."""
        if seen.time is None and self.K.shape[0] > 1:
            raise TypeError(
                "TimeVarying needs to be told the time, but what it sees does not say "
                "it; give Readout(x, time=t)."
            )
        return 0 if seen.time is None else seen.time


def maximum_entropy(
    Q_uu: Float[Array, "horizon action action"],
) -> Float[Array, "horizon action action"]:
    r"""The covariance $Q_{uu}^{-1}$ of each step; zero where it is not positive.

    Around the best action it gives the density $\propto e^{-Q(x, u)}$, which maximises
    expected return plus entropy.

    Args:
        Q_uu: The Hessian of the cost to go in the action.

    References:
        Levine and Koltun, Guided policy search, 2013, §4.
    """

    def one(Q_uu):
        one = jnp.eye(Q_uu.shape[0], dtype=Q_uu.dtype)
        cov, positive = solve_positive(symmetrise(Q_uu), one)
        return jnp.where(positive, symmetrise(cov), jnp.zeros_like(cov))

    return jax.vmap(one)(Q_uu)
