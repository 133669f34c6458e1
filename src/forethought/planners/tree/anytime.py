"""Planning for as long as there is time, with the best found so far in the end.

A compiled plan cannot look at a clock, so the budget in milliseconds lives on the host:
pieces of a search are compiled once and run one after another, each going on with the
tree of the one before.
"""

import time

import equinox as eqx
import jax
from jaxtyping import PRNGKeyArray, PyTree

from forethought.core.given.settings import Positive, require
from forethought.planners.tree.mcts import MCTS, MCTSState
from forethought.problem import Plan, Problem


@eqx.filter_jit
def _piece(
    planner: MCTS, problem: Problem, belief: PyTree, state: MCTSState, key: PRNGKeyArray
) -> tuple[Plan, MCTSState]:
    return planner.plan(problem, belief, state, key=key)


@eqx.filter_jit
def _begin(
    planner: MCTS, problem: Problem, belief: PyTree, key: PRNGKeyArray
) -> MCTSState:
    return planner.init(problem, belief, key=key)


def plan_within(
    milliseconds: float,
    planner: MCTS,
    problem: Problem,
    belief: PyTree,
    state: MCTSState | None = None,
    *,
    key: PRNGKeyArray,
) -> tuple[Plan, MCTSState]:
    """Search until the time is over: on the host, not inside of compiled code.

    A piece of `planner.simulations` is done at least; another one is begun where the
    slowest so far would still fit. The first call for a problem compiles, and that
    counts as time. Under the same key it equals one search of all simulations done.

    ```python
    >>> import jax
    >>> from forethought import tasks
    >>> from forethought.planners import MCTS, Widening, plan_within
    >>> task, key = tasks.load("double-integrator"), jax.random.key(0)
    >>> planner = MCTS(20, simulations=64, widening=Widening(8))
    >>> start = task.system.start(key=key)
    >>> plan, state = plan_within(5.0, planner, task.problem, start, key=key)
    >>> int(plan.stats.numbers["simulations"]) % 64
    0

    ```

    Args:
        milliseconds: The budget.
        planner: Its `simulations` are those of one piece; it must reuse trees.
        problem: What to plan for.
        belief: Where to plan from.
        state: What an earlier plan left, shifted; nothing by default.
        key: Consumed.

    Returns:
        The plan, and what the next one may begin with.

    Raises:
        ValueError: The time is not positive, or the planner reuses nothing.
    """
    require("plan_within", Positive, milliseconds=milliseconds)
    if not planner.reuse:
        raise ValueError("plan_within needs a planner with reuse=True, got False.")
    began = last = time.perf_counter()
    memory = _begin(planner, problem, belief, key) if state is None else state
    slowest = 0.0
    while True:
        plan, memory = _piece(planner, problem, belief, memory, key)
        jax.block_until_ready(memory)
        now = time.perf_counter()
        slowest, last = max(slowest, now - last), now
        if now - began + slowest > milliseconds / 1e3:
            return plan, memory
