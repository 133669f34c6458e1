"""What planning will cost in time and memory, told before it begins.

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

The largest array that such a program keeps is the least memory that it needs. What is
larger than the memory that there is will not be begun.
"""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypedDict

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn
from jaxtyping import PRNGKeyArray, PyTree

from forethought.agents.base import AbstractAgent
from forethought.core.given.code import is_refusal, place_of
from forethought.core.spaces import Box, Discrete
from forethought.core.tracing import is_program
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

LARGE = 100_000
"""A setting above it may be why a program cannot be traced."""
KEPT = frozenset(
    """
    concatenate dot_general fft gather random_bits scan scatter sort top_k while
    """.split()
)
"""Primitives whose results are arrays in memory; others may be fused."""
MEASURED = 0.1
"""Seconds that each of the two measurements goes on for, at least."""


class Price(TypedDict):
    """What reports read of `cost.json`."""

    flops: float
    seconds: float


@dataclasses.dataclass(frozen=True)
class Cost:
    """What acting once, and all acting of a run, will cost.

    Args:
        flops: Floating-point operations of one action, planned or not; a lower bound
            where it loops until something holds.
        rate: FLOP/s of this machine's matrix products.
        plans: How many actions the whole run takes.
        seconds: Of one of them, measured; None before that.
    """

    flops: float
    rate: float
    plans: int
    seconds: float | None = None

    @property
    def floor(self) -> float:
        """Seconds below which no action can be on this machine."""
        return self.flops / self.rate

    def __str__(self) -> str:
        """The cost in one sentence: a floor, or once it is measured an estimate."""
        steps = f"{self.plans:,} step{'' if self.plans == 1 else 's'}"
        if self.seconds is None:
            return (
                f"acting needs {scientific(self.flops)} FLOP a step, at least "
                f"{duration(self.floor)} here; {steps} take at least "
                f"{duration(self.plans * self.floor)}"
            )
        return (
            f"acting takes {duration(self.seconds)} a step (measured); {steps} take "
            f"about {duration(self.plans * self.seconds)}"
        )


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a program needs at least.

    Args:
        flops: Floating-point operations.
        bytes: Memory, for the largest of its arrays.
        array: The type of that array.
    """

    flops: float
    bytes: float
    array: str


def foresee(agent: AbstractAgent, spec: EnvironmentSpec, plans: int) -> Cost:
    """Count what acting needs, compiling nothing of it, and how fast this machine is.

    Args:
        agent: Who acts.
        spec: Of the environment that is acted in.
        plans: How many actions the whole run takes.

    Raises:
        ValueError: Settings of the agent do not fit together.
        TypeError: The agent cannot act in this environment.
    """
    # By closure: limits of actions are numbers to whoever makes a policy for them.
    start = eqx.filter_eval_shape(
        lambda key: _start(agent, spec, key), jax.random.key(0)
    )
    return Cost(flops(_act, agent, *start, jax.random.key(0)), matrix_rate(), plans)


def measured(
    cost: Cost, agent: AbstractAgent, spec: EnvironmentSpec, *, count: int = 1
) -> Cost:
    """The cost once a learner that has seen nothing is compiled and timed.

    What is compiled is what `HostTraining` acts by, so that it serves there again.

    Args:
        cost: What `foresee` found.
        agent: Who acts.
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
    >>> from forethought.runs.cost import flops
    >>> flops(jnp.matmul, jnp.ones((3, 4)), jnp.ones((4, 5)))
    120.0

    ```

    Args:
        function: In JAX. What it maps over an axis is counted for the whole axis.
        *arguments: Arrays, or their shapes as `jax.ShapeDtypeStruct`, and anything
            else, which is static.
    """
    return needs(function, *arguments).flops


def needs(function: Callable, *arguments: Any) -> Needs:
    """What a program needs, asked of its jaxpr.

    Args:
        function: As for `flops`.
        *arguments: As for `flops`.
    """
    jaxpr, _, _ = eqx.filter_make_jaxpr(function)(*arguments)
    return Needs(_sum(jaxpr), *_largest(jaxpr))


def needs_of(who: str, settings: Any, function: Callable, *arguments: Any) -> Needs:
    """What a program of these settings needs, if it can be written down at all.

    Args:
        who: Whose settings they are, for the message.
        settings: A dataclass.
        function: As for `flops`.
        *arguments: As for `flops`.

    Raises:
        ValueError: Some of its arrays are larger than can be indexed.
    """
    try:
        return needs(function, *arguments)
    except Exception as error:
        large = ", ".join(f"{name}={n:,}" for name, n in _whole(settings) if n > LARGE)
        if not large or place_of(error) is not None or is_refusal(error):
            raise
        raise ValueError(
            f"{who} needs larger arrays than can be indexed with {large}."
        ) from error


def require_memory(who: str, bytes: int | float, array: str = "") -> None:
    """Refuse what needs more memory than there is.

    Args:
        who: What needs it, for the message.
        bytes: How many, at least.
        array: Of what type the array is that needs them.

    Raises:
        ValueError: Naming both figures.
    """
    there = memory()
    if bytes > there:
        alone = f" for one array of numbers alone ({array})" if array else ""
        raise ValueError(
            f"{who} needs {gigabytes(bytes)} of memory{alone}, and there are "
            f"{gigabytes(there)} here."
        )


def memory() -> float:
    """Bytes of memory where arrays are kept."""
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return float((device.memory_stats() or {}).get("bytes_limit", math.inf))
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (ValueError, OSError, AttributeError):  # a system that does not say
        return math.inf


def gigabytes(bytes: int | float) -> str:
    """A size of memory to two digits."""
    return f"{bytes / 1e9:,.2g} GB" if bytes < 1e11 else f"{bytes / 1e9:,.0f} GB"


def _whole(settings: Any, prefix: str = "") -> Iterator[tuple[str, int]]:
    """The whole numbers among settings, those of parts too, by their names."""
    for field in dataclasses.fields(settings):
        value, name = getattr(settings, field.name), f"{prefix}{field.name}"
        if dataclasses.is_dataclass(value):
            yield from _whole(value, f"{name}.")
        elif isinstance(value, int):
            yield name, value


def _largest(jaxpr: Jaxpr | ClosedJaxpr) -> tuple[float, str]:
    """Bytes and type of the largest array that is kept, in loops and branches too."""
    inner = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
    found = (0.0, "")
    for equation in inner.eqns:
        kept = equation.outvars if equation.primitive.name in KEPT else []
        for variable in kept:
            size = math.prod(_shape(variable)) * _bytes(variable)
            found = max(found, (float(size), str(variable.aval)))
        for part in jax.tree.leaves(equation.params, is_leaf=is_program):
            if is_program(part):
                found = max(found, _largest(part))
    return found


def _bytes(variable: Any) -> int:
    dtype = getattr(variable.aval, "dtype", None)
    return getattr(dtype, "itemsize", 0)


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
