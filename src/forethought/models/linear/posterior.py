r"""What is known of a linear map, once noisy pairs of it were seen.

$$y = W x + \epsilon, \quad \epsilon \sim \mathcal N(0, \Sigma), \qquad
  W \mid \Sigma \sim \mathcal{MN}(M, \Sigma, V), \quad
  \Sigma \sim \mathcal{IW}(\Psi, \nu)$$

The matrix-normal inverse-Wishart distribution is conjugate: a prior of this form stays
one of this form. What it says of $Wx$ has covariance $\Sigma\, x^\top V x$: it grows
with the square of the distance from the data, and falls as their number grows. A
global fit and each step of a local one end in the same `Regression`.

**Notation.** $x$ ends with a one, whose column of $W$ is the offset; $p$ is its size
and $d$ that of $y$. $V = U U^\top$.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Scalar

from forethought.core.linalg import dot, matmul, matvec
from forethought.models.learned.transforms import Transform


class Regression(eqx.Module):
    r"""The distribution of $(W, \Sigma)$.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.models.linear.posterior import Regression
    >>> x = jnp.linspace(-1.0, 1.0, 64)[:, None]
    >>> known = Regression.fit(x, 2.0 * x + 1.0, jnp.ones(64, bool))
    >>> [round(float(entry), 3) for entry in known.M[0]]
    [2.0, 1.0]

    ```

    Args:
        M: The mean of $W$, shape `[output, input + 1]`.
        root: $U$, shape `[input + 1, input + 1]`.
        noise: The mean of $\Sigma$, which is $\Psi / (\nu - d - 1)$, shape
            `[output, output]`.
        freedom: $\nu$, above $d + 1$.
    """

    M: Float[Array, "*time output both"]
    root: Float[Array, "*time both both"]
    noise: Float[Array, "*time output output"]
    freedom: Float[Array, "*time"]

    @staticmethod
    def fit(
        x: Float[Array, "row input"],
        y: Float[Array, "row output"],
        valid: Bool[Array, " row"],
        *,
        ridge: float | Scalar = 1e-4,
        noise: float | Scalar = 1e-2,
        share: Float[Array, " row"] | None = None,
    ) -> "Regression":
        r"""The posterior once rows were seen, from a prior with $M_0 = 0$.

        $$V^{-1} = X^\top X + \lambda I, \quad M^\top = V X^\top Y, \quad
          \Psi = \sigma_0^2 I + (Y - X M^\top)^\top (Y - X M^\top) + \lambda M M^\top$$

        All three are blocks of one triangular factor: with

        $$\begin{bmatrix} X & Y \\ \sqrt\lambda I & 0 \\ 0 & \sigma_0 I \end{bmatrix}
          = Q \begin{bmatrix} R_{xx} & R_{xy} \\ 0 & R_{yy} \end{bmatrix}$$

        they are $U = R_{xx}^{-1}$, $M^\top = R_{xx}^{-1} R_{xy}$ and $\Psi =
        R_{yy}^\top R_{yy}$. Nothing is squared, which is what float32 needs.

        Args:
            x: Inputs without the one, standardised, shape `[row, input]`.
            y: Outputs, standardised, shape `[row, output]`.
            valid: Which rows hold data.
            ridge: $\lambda$: of how many rows the prior on each weight is worth.
            noise: $\sigma_0$, the noise before anything was seen.
            share: As how many rows each counts; as one if not given.

        References:
            Murphy, Machine Learning: A Probabilistic Perspective, 2012, §7.6.3, and
            for several outputs Rossi, Allenby and McCulloch, Bayesian Statistics and
            Marketing, 2005, §2.8.5.

        Note:
            There, $\nu = \nu_0 + n$. Here it is $d + 2 + n - \gamma$ with $\gamma = p
            - \lambda \operatorname{tr} V$, the number of weights that data determine
            (MacKay, Bayesian interpolation, 1992, eq. 4.9): a weak prior expects
            weights of any size, and $\Psi$ is then short of what fitting them took.
            As $\lambda \to 0$ the mean of $\Sigma$ is the unbiased estimate of least
            squares, up to the prior's one row.
        """
        p, d, dtype = x.shape[1] + 1, y.shape[1], y.dtype
        seen = jnp.concatenate([x, jnp.ones_like(x[:, :1]), y], axis=1)
        ridge, noise = jnp.asarray(ridge, dtype), jnp.asarray(noise, dtype)
        counts = valid.astype(dtype) * (1 if share is None else share)
        before = jnp.zeros(p + d, dtype).at[:p].set(jnp.sqrt(ridge)).at[p:].set(noise)
        seen = jnp.where(valid[:, None], seen, 0)
        if share is not None:
            seen = jnp.sqrt(share)[:, None] * seen
        stacked = [seen, jnp.diag(before)]
        R = jnp.linalg.qr(jnp.concatenate(stacked), mode="r")
        R_xx, R_xy, R_yy = R[:p, :p], R[:p, p:], R[p:, p:]
        root = _solve_upper(R_xx, jnp.eye(p, dtype=dtype))
        taken = p - ridge * jnp.sum(root * root)
        rest = 1 + jnp.sum(counts) - taken
        return Regression(
            M=_solve_upper(R_xx, R_xy).T,
            root=root,
            noise=matmul(R_yy.T, R_yy) / rest,
            freedom=rest + (d + 1),
        )

    def reach(self, x: Float[Array, " input"]) -> Scalar:
        r"""How uncertain the mean is, as a share of the noise: $x^\top V x$."""
        pulled = matvec(self.root.T, jnp.concatenate([x, jnp.ones_like(x[:1])]))
        return dot(pulled, pulled)

    def draws(
        self, count: int, *, key: PRNGKeyArray
    ) -> tuple[Float[Array, "draw output both"], Float[Array, "draw output"]]:
        r"""Maps and noise variances that are drawn, and matched to their moments.

        The draws' mean is $M$, and their mean variance that of $\Sigma$. With more than
        $p$ draws their covariance is the posterior's, too: for every $x$ the draws of
        each output disagree by $\mathbb E[\Sigma_{ii}]\, x^\top V x$ exactly, so that
        what a mixture of them says of noise and of doubt owes nothing to luck. A
        single draw is the mean itself.

        Args:
            count: How many.
            key: Consumed.
        """
        d, p = self.M.shape
        deviations, variances = jax.vmap(self._draw)(jax.random.split(key, count))
        if count == 1:
            return self.M[None], jnp.diag(self.noise)[None]
        variances = variances * (jnp.diag(self.noise) / jnp.mean(variances, 0))[None]
        deviations = deviations - jnp.mean(deviations, axis=0)[None]
        if count > p:
            deviations = jax.vmap(_whiten, 1, 1)(deviations)
            deviations = deviations * jnp.sqrt(jnp.diag(self.noise))[None, :, None]
        else:
            deviations = deviations * (count / (count - 1)) ** 0.5
        apart = deviations.reshape(count * d, p) @ self.root.T
        return self.M[None] + apart.reshape(count, d, p), variances

    def _draw(self, key: PRNGKeyArray) -> tuple[Array, Array]:
        r"""What stands before $U^\top$ in a draw of $W - M$, and its noise variances.

        By Bartlett: $\Sigma = L A^{-\top} A^{-1} L^\top$, where $\Psi = L L^\top$ and
        the squares of the triangular $A$'s diagonal are chi-square.
        """
        d, p = self.M.shape
        dtype, (size_key, side_key, key) = self.M.dtype, jax.random.split(key, 3)
        freedom = self.freedom - jnp.arange(d, dtype=dtype)
        squares = 2 * jax.random.gamma(size_key, freedom / 2, dtype=dtype)
        A = jnp.tril(jax.random.normal(side_key, (d, d), dtype), -1)
        A = A + jnp.diag(jnp.sqrt(squares))
        L = jnp.linalg.cholesky(self.noise * (self.freedom - d - 1))
        C = jax.scipy.linalg.solve_triangular(A, L.T, lower=True).T
        return C @ jax.random.normal(key, (d, p), dtype), jnp.sum(C * C, axis=1)

    def unscaled(
        self, transform: Transform
    ) -> tuple[
        Float[Array, "state both"], Float[Array, " state"], Float[Array, "state state"]
    ]:
        r"""The mean map in the data's own units: $o' \approx F [o; u] + f$, and $W$.

        Args:
            transform: One that is affine (`require_affine`).

        Returns:
            $F$, $f$, and the covariance $W$ of the noise.
        """
        n, s = transform.observation, transform.output_scale[: transform.observation]
        F = s[:, None] * self.M[:n, :-1] / transform.input_scale[None]
        f = transform.output_mean[:n] + s * self.M[:n, -1]
        f = f - matvec(F, transform.input_mean)
        own = jnp.ones_like(s)
        own = own.at[jnp.array(transform.absolute, int)].set(0)
        F = F.at[:, :n].add(jnp.diag(own))
        return F, f, s[:, None] * self.noise[:n, :n] * s[None]


def require_affine(who: str, transform: Transform) -> None:
    """Refuse a transform by which a linear answer is no linear map of what was seen.

    Raises:
        TypeError: Naming what of it is bent.
    """
    bent = {
        "raw angles": transform.angles,
        "angles on circles": transform.circles,
        "discrete actions": transform.discrete,
    }
    for what, there in bent.items():
        if there:
            raise TypeError(
                f"{who} is a linear map of observation and action, but the model has "
                f"{what}, which it sees or answers by a function that is not linear."
            )


def _solve_upper(R: Array, B: Array) -> Array:
    return jax.scipy.linalg.solve_triangular(R, B, lower=False)


def _whiten(z: Float[Array, "draw both"]) -> Float[Array, "draw both"]:
    """Draws of mean zero, turned and scaled so that their covariance is one."""
    L = jnp.linalg.cholesky(z.T @ z / z.shape[0])
    return jax.scipy.linalg.solve_triangular(L, z.T, lower=True).T
