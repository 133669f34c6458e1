"""What planning will cost, told before it begins.

The work of one plan is counted without compiling anything: `agent.act` is traced on
shapes, and the operations of what comes out are summed.

| operation | counted as |
|---|---|
| matrix products | two for each multiply and add, exactly |
| Cholesky, LU, triangular solves | their leading term |
| loops of known length | the body, times the length |
| loops until something holds | one pass: nobody knows how many there will be |
| branches | the costliest |
| elementwise, reductions, sorting, random words | one for each element |
| moving data | nothing |
| calls of the host (MuJoCo) | nothing |

Divided by the rate at which this machine multiplies matrices, that is a time below
which no plan can be. How long a plan takes indeed is measured once it is compiled.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jaxtyping import PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent
from forethought.core.spaces import Box, Discrete
from forethought.core.words import duration, scientific
from forethought.environments.base import EnvironmentSpec
from forethought.training.host import act, fresh_carries

FILE = "cost.json"
"""Where a run folder keeps it."""
MOVES = frozenset(
    """
    bitcast_convert_type broadcast_in_dim concatenate convert_element_type copy copy_p
    device_put dynamic_slice dynamic_update_slice expand_dims gather iota
    optimization_barrier pad random_seed random_unwrap random_wrap reshape rev scatter
    slice split squeeze stop_gradient transpose
    """.split()
)
"""Primitives that only move or relabel data."""

MEASURED = 0.1
"""Seconds that each of the two measurements goes on for, at least."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What one plan, and all plans of a run, will cost.

    Args:
        flops: Floating-point operations of one plan; a lower bound where it loops
            until something holds.
        rate: FLOP/s of this machine's matrix products.
        plans: How many plans the whole run makes.
        seconds: Of one plan, measured; None before that.
    """

    flops: float
    rate: float
    plans: int
    seconds: float | None = None

    @property
    def floor(self) -> float:
        """Seconds below which no plan can be on this machine."""
        return self.flops / self.rate

    def __str__(self) -> str:
        """The cost in one sentence: a floor, or once it is measured an estimate."""
        steps = f"{self.plans:,} planned step{'' if self.plans == 1 else 's'}"
        if self.seconds is None:
            return (
                f"a plan needs {scientific(self.flops)} FLOP, at least "
                f"{duration(self.floor)} here; {steps} take at least "
                f"{duration(self.plans * self.floor)}"
            )
        return (
            f"a plan takes {duration(self.seconds)} (measured); {steps} take about "
            f"{duration(self.plans * self.seconds)}"
        )


def foresee(agent: AbstractAgent, spec: EnvironmentSpec, plans: int) -> Cost:
    """Count what one plan needs, compiling nothing of it, and how fast this machine is.

    Args:
        agent: Who plans.
        spec: Of the environment that is acted in.
        plans: How many plans the whole run makes.

    Raises:
        ValueError: Settings of the agent do not fit together.
        TypeError: The agent cannot act in this environment.
    """
    start = eqx.filter_eval_shape(_start, agent, spec, jax.random.key(0))
    return Cost(flops(_act, agent, *start, jax.random.key(0)), matrix_rate(), plans)


def measured(
    cost: Cost, agent: AbstractAgent, spec: EnvironmentSpec, *, count: int = 1
) -> Cost:
    """The cost once one plan of a learner that has seen nothing is compiled and timed.

    What is compiled is what `HostTraining` acts by, so that it serves there again.

    Args:
        cost: What `foresee` found.
        agent: Who plans.
        spec: Of the environment that is acted in.
        count: How many environments are acted in side by side.
    """
    key = jax.random.key(0)
    learner, _, obs = _start(agent, spec, key)
    carries = fresh_carries(agent, learner, count, key)
    seen = jax.tree.map(lambda leaf: np.stack([leaf] * count), obs)
    begun = np.ones(count, bool)
    seconds = _seconds(lambda: act(agent, learner, carries, seen, begun, key))
    return dataclasses.replace(cost, seconds=seconds / count)


def _start(agent: AbstractAgent, spec: EnvironmentSpec, key: PRNGKeyArray) -> Any:
    """A fresh learner, a fresh carry, and an observation of zeros."""
    learner = agent.init(spec, key=key)
    obs = jax.tree.map(
        lambda space: jnp.zeros(space.shape, float if isinstance(space, Box) else int),
        spec.observation,
        is_leaf=lambda node: isinstance(node, Box | Discrete),
    )
    return learner, agent.reset(learner, key=key), obs


def _act(
    agent: AbstractAgent, learner: PyTree, carry: PyTree, obs: PyTree, key: PRNGKeyArray
) -> Any:
    return agent.act(learner, carry, obs, key=key)


def matrix_rate() -> float:
    """FLOP/s of this machine's matrix products, in the precision in use: a measurement.

    The best of several is taken, since what it is for is a floor in time.
    """
    n = 1024 if jax.default_backend() == "cpu" else 4096
    x = jnp.ones((n, n))
    product = jax.jit(jnp.matmul)
    return 2 * n**3 / _seconds(lambda: product(x, x), best=True)


def _seconds(call: Callable[[], Any], *, best: bool = False) -> float:
    """Wall time of a call that was made once before: the mean, or the best."""
    jax.block_until_ready(call())
    spent = []
    while sum(spent) < MEASURED:
        began = time.perf_counter()
        jax.block_until_ready(call())
        spent.append(time.perf_counter() - began)
    return min(spent) if best else sum(spent) / len(spent)


def flops(function: Callable, *arguments: Any) -> float:
    """Floating-point operations of one call, counted on its jaxpr.

    ```python
    >>> import jax.numpy as jnp
    >>> from forethought.runs.train.cost import flops
    >>> flops(jnp.matmul, jnp.ones((3, 4)), jnp.ones((4, 5)))
    120.0

    ```

    Args:
        function: In JAX. What it maps over an axis is counted for the whole axis.
        *arguments: Arrays, or their shapes as `jax.ShapeDtypeStruct`, and anything
            else, which is static.
    """
    jaxpr, _, _ = eqx.filter_make_jaxpr(function)(*arguments)
    return _sum(jaxpr)


def _sum(jaxpr: Jaxpr | ClosedJaxpr) -> float:
    inner = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
    return sum((_count(equation) for equation in inner.eqns), 0.0)


def _count(equation: JaxprEqn) -> float:
    """Operations of one equation, and of all that it calls."""
    name, params = equation.primitive.name, equation.params
    ins = [_shape(variable) for variable in equation.invars]
    out = sum(math.prod(_shape(variable)) for variable in equation.outvars)
    if name in MOVES:
        return 0.0
    if name == "dot_general":
        (contracted, _), _ = params["dimension_numbers"]
        return 2.0 * out * math.prod(ins[0][axis] for axis in contracted)
    if name == "conv_general_dilated":
        kernel = math.prod(ins[1]) / ins[1][params["dimension_numbers"].rhs_spec[0]]
        return 2.0 * out * kernel
    if name in ("cholesky", "lu"):
        share = 1 / 3 if name == "cholesky" else 2 / 3
        return share * math.prod(ins[0]) * ins[0][-1]
    if name == "triangular_solve":
        return float(math.prod(ins[1]) * ins[0][-1])
    if name == "scan":
        return params["length"] * _sum(params["jaxpr"])
    if name == "cond":
        return max(_sum(branch) for branch in params["branches"])
    if name == "custom_linear_solve":
        return _sum(params["jaxprs"].solve)
    called = [] if name.startswith(("reduce", "scatter")) else _called(params)
    if called:
        return sum((_sum(jaxpr) for jaxpr in called), 0.0)
    if name.startswith(("reduce", "arg", "scatter")):
        return float(math.prod(ins[-1] if name.startswith("scatter") else ins[0]))
    return 0.0 if "callback" in name else float(out)


def _shape(variable: Any) -> tuple[int, ...]:
    return getattr(variable.aval, "shape", ())


def _called(params: Mapping[str, Any]) -> list[Jaxpr | ClosedJaxpr]:
    values = params.values()
    return [value for value in values if isinstance(value, Jaxpr | ClosedJaxpr)]
