r"""Costs as weighted norms of residuals, in the manner of MuJoCo MPC.

$$l(x, u) = \rho_R\Big(\sum_i w_i\, n_i(r_i(x, u))\Big), \qquad
  \rho_R(l) = \frac{e^{R l} - 1}{R}, \qquad \rho_0(l) = l$$

A residual $r_i$ is a vector that is small when the task is solved: a sensor of the
MJCF file, positions, velocities or the action, minus a target. A norm $n_i$ says what
small means. So a task is a list of terms, and a model's own sensors are its vocabulary.
"""

# mujoco is a compiled module without stubs: its names are unknown to the checker.
# pyright: reportAttributeAccessIssue=false

import abc
from collections.abc import Sequence
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Scalar

from forethought.core.given.settings import AbstractSettings, Positive
from forethought.core.linalg import Values
from forethought.core.types import Action
from forethought.core.words import unknown
from forethought.environments.mujoco.system import MuJoCo, MuJoCoState
from forethought.objectives.base import AbstractObjective, constant

Source = Literal["sensor", "qpos", "qvel", "action"]


class AbstractNorm(AbstractSettings):
    """A nonnegative number for a residual, smallest at zero."""

    @abc.abstractmethod
    def __call__(self, r: Float[Array, " residual"]) -> Scalar:
        """The norm of one residual."""


class Quadratic(AbstractNorm):
    r"""$n(r) = \tfrac12 r^\top r$."""

    def __call__(self, r: Float[Array, " residual"]) -> Scalar:
        """The norm of one residual."""
        return 0.5 * jnp.sum(r**2)


class L2(AbstractNorm):
    r"""$n(r) = \sqrt{r^\top r + p^2} - p$: a distance, smooth within $p$ of zero."""

    p: Positive = 0.1

    def __call__(self, r: Float[Array, " residual"]) -> Scalar:
        """The norm of one residual."""
        return jnp.sqrt(jnp.sum(r**2) + self.p**2) - self.p


class SmoothAbs(AbstractNorm):
    r"""$n(r) = \sum_j \sqrt{r_j^2 + p^2} - p$: `L2` of each entry."""

    p: Positive = 0.1

    def __call__(self, r: Float[Array, " residual"]) -> Scalar:
        """The norm of one residual."""
        return jnp.sum(jnp.sqrt(r**2 + self.p**2) - self.p)


class Cosh(AbstractNorm):
    r"""$n(r) = p^2 \sum_j (\cosh(r_j / p) - 1)$: quadratic, then exponential."""

    p: Positive = 1.0

    def __call__(self, r: Float[Array, " residual"]) -> Scalar:
        """The norm of one residual."""
        return self.p**2 * jnp.sum(jnp.cosh(r / self.p) - 1)


class Power(AbstractNorm):
    r"""$n(r) = \sum_j |r_j|^p$."""

    p: Positive = 2.0

    def __call__(self, r: Float[Array, " residual"]) -> Scalar:
        """The norm of one residual."""
        return jnp.sum(jnp.abs(r) ** self.p)


class Rectify(AbstractNorm):
    r"""$n(r) = p \sum_j \log(1 + e^{r_j / p})$: a smooth $\max(r_j, 0)$."""

    p: Positive = 0.1

    def __call__(self, r: Float[Array, " residual"]) -> Scalar:
        """The norm of one residual."""
        return self.p * jnp.sum(jax.nn.softplus(r / self.p))


class Term(eqx.Module):
    """One weighted norm of one residual.

    Args:
        source: "sensor", "qpos", "qvel" or "action".
        name: Of the sensor, of the joint, or of the actuator; none for all of them.
        weight: Its share in the cost.
        norm: What small means.
        target: What is subtracted from the reading: a number, or one for each entry.
        entry: Which entry of the reading; none for all of them.
    """

    source: Source = eqx.field(static=True)
    name: str | None = eqx.field(static=True, default=None)
    weight: float | Scalar = 1.0
    norm: AbstractNorm = Quadratic()
    target: Values = 0.0
    entry: int | None = eqx.field(static=True, default=None)


class Residual(AbstractObjective):
    r"""The sum of weighted norms of residuals, as a reward of opposite sign.

    Sensors are read as evaluated during the step (as MuJoCo MPC does), positions and
    velocities after it.

    ```python
    >>> from forethought.environments.mujoco.system import MuJoCo
    >>> from forethought.objectives.residual import L2, Residual, Term
    >>> system = MuJoCo('''<mujoco><worldbody><body name="b">
    ...   <joint name="slide" type="slide"/><geom size=".1"/></body></worldbody>
    ... <actuator><motor joint="slide"/></actuator>
    ... <sensor><framepos name="place" objtype="body" objname="b"/></sensor>
    ... </mujoco>''')
    >>> Residual(system, [Term("sensor", "plaice")])
    Traceback (most recent call last):
    ValueError: There is no sensor named 'plaice'; did you mean 'place'?

    ```

    Args:
        system: Whose sensors, joints and actuators the terms name.
        terms: What should be small.
        risk: $R$; positive makes large costs count more, negative less.
        final: How many steps' worth of cost the last state of a plan counts; terms of
            the action are left out there.

    Raises:
        ValueError: A term names what the model does not have, its target has another
            shape than its reading, or its weight is negative.

    References:
        Howell, Gileadi, Tunyasuvunakool, Zakka, Erez and Tassa, Predictive sampling:
        real-time behaviour synthesis with MuJoCo, 2022, arXiv:2212.00541, §3.1
        (cost, risk); the norms are those of its software, MuJoCo MPC.
    """

    terms: tuple[Term, ...]
    parts: tuple[tuple[int, int], ...] = eqx.field(static=True)
    """Where each term's reading begins and ends."""
    risk: float | Scalar
    final: float | Scalar

    def __init__(
        self,
        system: MuJoCo,
        terms: Sequence[Term],
        *,
        risk: float | Scalar = 0.0,
        final: float | Scalar = 0.0,
    ):
        if not terms:
            raise ValueError("Residual needs at least one term, got none.")
        self.terms = tuple(terms)
        self.parts = tuple(_part(system.mj_model, term) for term in terms)
        self.risk = risk
        self.final = final

    def reward(self, x: MuJoCoState, action: Action, next_x: MuJoCoState) -> Scalar:
        """The cost of the step, its sign turned."""
        return -self._transform(self.costs(next_x, action), next_x)

    def costs(self, x: MuJoCoState, action: Action | None) -> dict[str, Scalar]:
        """What each term contributes in a state; without an action, as at the end."""
        costs = {}
        for term, (begin, end) in zip(self.terms, self.parts, strict=True):
            if term.source == "action" and action is None:
                continue
            reading = {
                "sensor": x.sensordata,
                "qpos": x.qpos,
                "qvel": x.qvel,
                "action": action,
            }[term.source]
            residual = reading[begin:end].astype(x.qpos.dtype)
            residual = residual - jnp.asarray(term.target, residual.dtype)
            label = f"{term.source} {term.name}" if term.name else term.source
            costs[label] = costs.get(label, 0) + term.weight * term.norm(residual)
        return costs

    def discount(self, x: MuJoCoState, action: Action, next_x: MuJoCoState) -> Scalar:
        """One: no step ends the episode."""
        return constant(x, 1)

    def value(self, x: MuJoCoState) -> Scalar:
        """The last state, as `final` says."""
        return -self.final * self._transform(self.costs(x, None), x)

    def _transform(self, costs: dict[str, Scalar], x: MuJoCoState) -> Scalar:
        r"""$\rho_R$ of the sum, exact at $R = 0$ too."""
        cost = sum(costs.values(), constant(x, 0))
        R = jnp.asarray(self.risk, cost.dtype)
        safe = jnp.where(R == 0, 1, R)
        return jnp.where(R == 0, cost, jnp.expm1(safe * cost) / safe)


def _part(model: mujoco.MjModel, term: Term) -> tuple[int, int]:
    """Where a term's reading lies, its shapes checked."""
    begin, end = _place(model, term)
    if term.entry is not None:
        if not 0 <= term.entry < end - begin:
            raise ValueError(
                f"The term on {term.source} {term.name or ''} needs an entry below "
                f"{end - begin}, got {term.entry}."
            )
        begin, end = begin + term.entry, begin + term.entry + 1
    shape = np.shape(term.target)
    if shape not in ((), (end - begin,)):
        raise ValueError(
            f"The term on {term.source} {term.name or ''} needs a target of shape "
            f"[{end - begin}], got {list(shape)}."
        )
    weight = term.weight
    if not isinstance(weight, Tracer) and not float(weight) >= 0:
        raise ValueError(
            f"The term on {term.source} {term.name or ''} needs a weight >= 0, "
            f"got {weight}."
        )
    return begin, end


def _place(model: mujoco.MjModel, term: Term) -> tuple[int, int]:
    """First and last index of a term's reading in its source."""
    if term.source not in ("sensor", "qpos", "qvel", "action"):
        raise ValueError(
            f"A term's source is sensor, qpos, qvel or action, got {term.source!r}."
        )
    kind, count, begins, size = {
        "sensor": ("sensor", model.nsensor, model.sensor_adr, model.nsensordata),
        "qpos": ("joint", model.njnt, model.jnt_qposadr, model.nq),
        "qvel": ("joint", model.njnt, model.jnt_dofadr, model.nv),
        "action": ("actuator", model.nu, np.arange(model.nu), model.nu),
    }[term.source]
    if term.name is None:
        return 0, size
    names = [getattr(model, kind)(i).name for i in range(count)]
    if term.name not in names:
        raise unknown(kind, term.name, [name for name in names if name])
    ends = [*(int(begin) for begin in begins), size]
    index = names.index(term.name)
    return ends[index], ends[index + 1]
