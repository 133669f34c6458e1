"""Tree search side by side with mctx and gymcts, in one process, on one core.

- mctx: the same game on both sides, a number that actions turn into another one, with a
  reward, a value and logits read from tables; 16 actions. Its searches are
  `muzero_policy` and `gumbel_muzero_policy`; ours is PUCT with the same priors and
  values, whole plans with principal line and statistics. All run under the same
  compiler flags.
- gymcts: FrozenLake 4 × 4 without slipping, one random roll-out for each simulation,
  from the first state.

    python benchmarks/mcts.py       needs benchmarks/peers.txt
"""

# ruff: noqa: E402
import common

common.pin()

import argparse
import contextlib
import io
import time
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import mctx
import numpy as np
from gymcts.gymcts_agent import GymctsAgent
from gymcts.gymcts_deepcopy_wrapper import DeepCopyMCTSGymEnvWrapper
from jaxtyping import Array, PRNGKeyArray

from forethought.core.readout import Readout
from forethought.core.spaces import Discrete
from forethought.environments.tables import grids
from forethought.models.base import AbstractModel
from forethought.objectives.base import AbstractObjective
from forethought.planners import MCTS, DefaultPolicy, TreePolicy
from forethought.problem import Problem
from forethought.tasks.grids import table_task

ACTIONS, STATES, GAMMA, HORIZON = 16, 997, 0.95, 20


class Jumps(AbstractModel[Array]):
    """From one number to another."""

    def init(self, *, key: PRNGKeyArray) -> Array:
        return jnp.zeros((), jnp.int32)

    def predict(self, belief: Array, action: Array, *, key: PRNGKeyArray) -> Array:
        return jump(belief, action)

    def observe(self, belief: Array, obs: Array, *, key: PRNGKeyArray) -> Array:
        return obs

    def readout(self, belief: Array) -> Readout[Array]:
        return Readout(belief)


def jump(state: Array, action: Array) -> Array:
    return (state * ACTIONS + action + 1) % STATES


class Read(AbstractObjective):
    """Rewards and values from tables."""

    rewards: Array
    values: Array

    def reward(self, x: Array, action: Array, next_x: Array) -> Array:
        return self.rewards[next_x]

    def discount(self, x: Array, action: Array, next_x: Array) -> Array:
        return jnp.full((), GAMMA)

    def value(self, x: Array) -> Array:
        return self.values[x]


def game() -> dict[str, Array]:
    """Tables of both sides."""
    rng = np.random.default_rng(0)
    return {
        "rewards": jnp.asarray(rng.uniform(size=STATES), jnp.float32),
        "values": jnp.asarray(rng.uniform(size=STATES) * 5, jnp.float32),
        "logits": jnp.asarray(rng.normal(size=(STATES, ACTIONS)), jnp.float32),
    }


def ours(tables: dict[str, Array], simulations: int) -> Any:
    """Whole plans of a batch."""
    objective = Read(tables["rewards"], tables["values"])
    problem = Problem(Jumps(), objective, Discrete(ACTIONS))
    policy = TreePolicy(1.25, "puct", prior=lambda belief: tables["logits"][belief])
    planner = MCTS(HORIZON, simulations, policy, DefaultPolicy(0), reuse=False)

    def plan(belief: Array, key: PRNGKeyArray) -> Any:
        state = planner.init(problem, belief, key=key)
        return planner.plan(problem, belief, state, key=key)[0]

    return jax.jit(jax.vmap(plan))


def theirs(tables: dict[str, Array], simulations: int, name: str) -> Any:
    """One of mctx's policies on a batch."""

    def recurrent(parameters: Any, key: PRNGKeyArray, action: Array, state: Array):
        after = jump(state, action)
        output = mctx.RecurrentFnOutput(
            reward=tables["rewards"][after],
            discount=jnp.full(after.shape, GAMMA),
            prior_logits=tables["logits"][after],
            value=tables["values"][after],
        )
        return output, after

    def plan(beliefs: Array, key: PRNGKeyArray) -> Any:
        root = mctx.RootFnOutput(
            prior_logits=tables["logits"][beliefs],
            value=tables["values"][beliefs],
            embedding=beliefs,
        )
        return getattr(mctx, name)(
            None, key, root, recurrent, simulations, max_depth=HORIZON
        )

    return jax.jit(plan)


def beside_mctx(batch: int, simulations: int, repeats: int) -> dict[str, Any]:
    """Medians of all three on one game."""
    tables = game()
    beliefs = (jnp.arange(batch) * 7 + 3).astype(jnp.int32)
    key = jax.random.key(0)
    keys = jax.random.split(key, batch)
    plan = ours(tables, simulations)
    peers = {
        name: theirs(tables, simulations, name)
        for name in ("muzero_policy", "gumbel_muzero_policy")
    }
    calls = {"forethought": lambda: jax.block_until_ready(plan(beliefs, keys))}
    for name, peer in peers.items():
        calls[name] = lambda peer=peer: jax.block_until_ready(peer(beliefs, key))
    times = common.medians(calls, repeats=repeats)
    return {
        "batch": batch,
        "simulations": simulations,
        **{f"{name}_ms": 1e3 * seconds for name, seconds in times.items()},
        "ratio_muzero": times["muzero_policy"] / times["forethought"],
        "ratio_gumbel": times["gumbel_muzero_policy"] / times["forethought"],
        "mean_depth": float(jnp.mean(plan(beliefs, keys).stats.numbers["depth"])),
    }


def beside_gymcts(simulations: int, repeats: int) -> dict[str, Any]:
    """Simulations a second on FrozenLake without slipping."""
    name = "FrozenLake-v1"
    system = grids.from_gymnasium(name, is_slippery=False)
    problem = table_task("lake", "", system, 100, {}, gamma=0.99).problem
    planner = MCTS(100, simulations, reuse=False)

    def plan(belief: Any, key: PRNGKeyArray) -> Any:
        state = planner.init(problem, belief, key=key)
        return planner.plan(problem, belief, state, key=key)[0]

    compiled, key = jax.jit(plan), jax.random.key(0)
    belief = system.start(key=key)
    seconds = common.medians(
        {"forethought": lambda: jax.block_until_ready(compiled(belief, key))},
        repeats=repeats,
    )["forethought"]
    env = DeepCopyMCTSGymEnvWrapper(gymnasium.make(name, is_slippery=False))
    times = []
    for _ in range(3):
        env.reset(seed=0)
        agent = GymctsAgent(
            env=env, clear_mcts_tree_after_step=False, render_tree_after_step=False
        )
        began = time.perf_counter()
        with contextlib.redirect_stdout(io.StringIO()):
            agent.vanilla_mcts_search(num_simulations=simulations)
        times.append(time.perf_counter() - began)
    peer = sorted(times)[1]
    return {
        "simulations": simulations,
        "forethought_ms": 1e3 * seconds,
        "gymcts_ms": 1e3 * peer,
        "ratio": peer / seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=20)
    repeats = parser.parse_args().repeats
    rows = [
        beside_mctx(batch, simulations, repeats)
        for batch in (1, 64)
        for simulations in (64, 256)
    ]
    for row in rows:
        print(
            f"batch {row['batch']:3d} simulations {row['simulations']:4d}   "
            f"forethought {row['forethought_ms']:9.3f} ms   "
            f"muzero {row['muzero_policy_ms']:9.3f} ms ({row['ratio_muzero']:.1f}x)   "
            f"gumbel {row['gumbel_muzero_policy_ms']:9.3f} ms "
            f"({row['ratio_gumbel']:.1f}x)   depth {row['mean_depth']:.1f}"
        )
    lake = beside_gymcts(400, repeats)
    print(
        f"FrozenLake, {lake['simulations']} simulations   forethought "
        f"{lake['forethought_ms']:.3f} ms   gymcts {lake['gymcts_ms']:.1f} ms   "
        f"ratio {lake['ratio']:.0f}"
    )
    packages = ("jax", "mctx", "gymcts", "gymnasium")
    results = {
        "seed": 0,
        "versions": common.versions(*packages),
        "mctx": rows,
        "gymcts": lake,
    }
    print(common.write_results("mcts", results))


if __name__ == "__main__":
    main()
