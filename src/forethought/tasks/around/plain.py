r"""The gallery for other libraries: plain functions and NumPy arrays.

Nothing of this library's vocabulary is needed to use a problem:

```python
>>> from forethought.tasks.around.plain import export
>>> problem = export("acrobot-goal")
>>> x, cost = problem.start, 0.0
>>> for u in problem.actions:
...     cost += problem.cost(x, u)
...     x = problem.dynamics(x, u)
>>> round(float(cost + problem.final_cost(x)), 6), round(problem.optimum, 6)
(44.410684, 44.410684)
>>> bool(abs(problem.final_equality(x)).max() < 1e-9)
True

```

The functions are also what other JAX libraries want: given JAX arrays they can be
traced, batched and differentiated. `forethought.tasks.gallery.GALLERY` holds the names.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from forethought.core.readout import Readout
from forethought.core.spaces import require_box
from forethought.objectives.constrained import Constrained
from forethought.tasks import gallery
from forethought.tasks.base import Task
from forethought.tasks.optima import optimum

Function = Callable[..., np.ndarray]


@dataclasses.dataclass(frozen=True)
class ControlProblem:
    r"""A problem of optimal control in discrete time.

    $$\min_u \sum_{t < T} c(x_t, u_t) + c_T(x_T), \qquad x_{t+1} = f(x_t, u_t), \qquad
      g(x_t, u_t) \le 0, \; g_T(x_T) \le 0, \; h_T(x_T) = 0$$

    A function that is given NumPy arrays or lists returns NumPy arrays in float64,
    however JAX is configured; one that is given JAX arrays returns those.

    Args:
        name: As in the gallery.
        dynamics: $f$, from `[state]` and `[action]` to `[state]`.
        cost: $c$, a number.
        final_cost: $c_T$, a number.
        inequality: $g$, from state and action to `[constraint]`; None where there is
            none.
        equality: Likewise, zero where it is met.
        final_inequality: $g_T$, from the last state.
        final_equality: $h_T$, likewise.
        low: Least actions, shape `[action]`; may be infinite.
        high: Largest actions.
        start: $x_0$, shape `[state]`.
        horizon: $T$.
        optimum: The lowest cost known, None where nobody knows.
        actions: Those that cost it, shape `[horizon, action]`, if stored.
    """

    name: str
    dynamics: Function
    cost: Function
    final_cost: Function
    inequality: Function | None
    equality: Function | None
    final_inequality: Function | None
    final_equality: Function | None
    low: np.ndarray
    high: np.ndarray
    start: np.ndarray
    horizon: int
    optimum: float | None
    actions: np.ndarray | None


def export(source: str | Callable[[], Task]) -> ControlProblem:
    """A problem of the gallery, or a task that is planned once, as plain functions.

    Args:
        source: A name in the gallery, or what builds a task, such as
            `lambda: gallery.random_lq(7, 3)`.

    Raises:
        ValueError: The gallery has no such name, or the task discounts, ends early, or
            is planned more than once.
        TypeError: The task's actions are discrete.
    """
    key = jax.random.key(0)
    with jax.enable_x64(True):  # or the problem's constants are rounded
        task = gallery.load(source).task if isinstance(source, str) else source()
        box = require_box(task.problem.action, "A plain control problem")
        start = task.system.start(key=key)
        low, high = (np.asarray(end, np.float64) for end in (box.low, box.high))
        start, model = np.asarray(start, np.float64), task.problem.model
        middle = box.centre_and_scale(jnp.float64)[0]
        factor = task.problem.step(jnp.asarray(start), middle, key=key)[2]
    if task.replan_every < task.steps or float(factor) != 1:
        raise ValueError(
            "A plain control problem needs a task that is planned once and not "
            f"discounted; {task.name} is planned every {task.replan_every} of "
            f"{task.steps} steps, at discount {float(factor):.4g}."
        )
    objective = task.problem.objective
    held = objective if isinstance(objective, Constrained) else None
    wanted = objective if held is None else held.objective

    def dynamics(x, u):
        return model.predict(x, u, key=key)

    def cost(x, u):
        return -wanted.judge(Readout.of(x), u, Readout.of(dynamics(x, u)))[0]

    def constraint(name: str) -> Function | None:
        found = None if held is None else getattr(held, name)
        return None if found is None else _either(found)

    return ControlProblem(
        name=task.name,
        dynamics=_either(dynamics),
        cost=_either(cost),
        final_cost=_either(lambda x: -wanted.beyond(Readout.of(x))),
        inequality=constraint("inequality"),
        equality=constraint("equality"),
        final_inequality=constraint("final_inequality"),
        final_equality=constraint("final_equality"),
        low=np.broadcast_to(low, box.shape),
        high=np.broadcast_to(high, box.shape),
        start=start,
        horizon=task.steps,
        optimum=None if task.optimum is None else -task.optimum,
        actions=optimum(task.name).actions if isinstance(source, str) else None,
    )


def _either(function: Callable) -> Function:
    """The function on JAX arrays as it is; on anything else NumPy's, in float64."""
    compiled = jax.jit(lambda *arguments: function(*arguments))  # noqa: PLW0108

    def call(*arguments):
        if any(isinstance(each, jax.Array) for each in arguments):
            return function(*arguments)
        with jax.enable_x64(True):
            numbers = [np.asarray(each, np.float64) for each in arguments]
            return np.asarray(compiled(*numbers))

    return call
