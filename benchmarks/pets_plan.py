"""A whole PETS plan side by side with mbrl-lib's, in one process, one core, one thread.

Both plan for mbrl-lib's own cart-pole with its PETS settings (horizon 15, 5 iterations,
20 particles that each follow one member, a tenth of the population as elites, momentum
0.1, noise clipped to the limits, the best sequence returned) in an ensemble of 5
networks of 3 × 200 SiLU units, population 500, float32. The networks are the same: ours
are copied from theirs, so that equal sequences must earn equal returns.

The floor is the arithmetic of the matrix products alone, at the best rate at which
PyTorch, NumPy or XLA computes a hidden layer's product, 2000 × 200 by 200 × 200, over
and over for as long as a plan takes, in the same turns.

It is a part of benchmarks/pets_speed.py.
"""

import math
from collections.abc import Callable
from types import SimpleNamespace

import equinox as eqx
import gymnasium
import jax
import jax.numpy as jnp
import mbrl.env.reward_fns
import mbrl.env.termination_fns
import numpy as np
import omegaconf
import torch
from mbrl.models import GaussianMLP, ModelEnv, OneDTransitionRewardModel
from mbrl.planning import create_trajectory_optim_agent_for_model

from forethought.core.spaces import Box
from forethought.models.learned.ensemble import Ensemble
from forethought.models.learned.transforms import Transform
from forethought.objectives.base import AbstractObjective
from forethought.planners import CEM
from forethought.problem import Problem, evaluate

MEMBERS, WIDTH, DEPTH = 5, 200, 3
POPULATION, PARTICLES, HORIZON, ITERATIONS = 500, 20, 15, 5
OBSERVATION, ACTION = 4, 1
START = (1.5, 1.0, 0.1, 0.5)
FLOPS = (
    2
    * (POPULATION * PARTICLES * HORIZON * ITERATIONS)
    * ((OBSERVATION + ACTION) * WIDTH + (DEPTH - 1) * WIDTH**2 + WIDTH * 2 * 4)
)


class Balance(AbstractObjective):
    """mbrl-lib's cart-pole: one a step while the pole stands and the cart is near."""

    def reward(self, x, action, next_x):
        return self._stands(next_x)

    def discount(self, x, action, next_x):
        return self._stands(next_x)

    def value(self, x):
        return jnp.zeros_like(x[0])

    def _stands(self, x):
        limit = 12 * 2 * math.pi / 360
        stands = (jnp.abs(x[0]) < 2.4) & (jnp.abs(x[2]) < limit)
        return stands.astype(x.dtype)


def peer():
    """mbrl-lib's model, environment and agent."""
    network = GaussianMLP(
        OBSERVATION + ACTION,
        OBSERVATION,
        "cpu",
        num_layers=DEPTH,
        ensemble_size=MEMBERS,
        hid_size=WIDTH,
        propagation_method="fixed_model",
        activation_fn_cfg={"_target_": "torch.nn.SiLU"},
    )
    with torch.no_grad():
        # Networks that move a little and see a little noise, as fitted ones do.
        network.mean_and_logvar.weight[..., :OBSERVATION] *= 0.1
        network.mean_and_logvar.bias[..., OBSERVATION:] -= 8.0
    wrapped = OneDTransitionRewardModel(
        network,
        target_is_delta=True,
        normalize=True,
        normalize_double_precision=True,
        learned_rewards=False,
    )
    spaces = SimpleNamespace(
        observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (OBSERVATION,)),
        action_space=gymnasium.spaces.Box(-1.0, 1.0, (ACTION,)),
    )
    model_env = ModelEnv(
        spaces,
        wrapped,
        mbrl.env.termination_fns.cartpole,
        mbrl.env.reward_fns.cartpole,
        generator=torch.Generator().manual_seed(0),
    )
    settings = omegaconf.OmegaConf.create(
        {
            "_target_": "mbrl.planning.TrajectoryOptimizerAgent",
            # mbrl-lib was written for a Hydra that left inner parts unbuilt.
            "_recursive_": False,
            "action_lb": "???",
            "action_ub": "???",
            "planning_horizon": HORIZON,
            "optimizer_cfg": {
                "_target_": "mbrl.planning.CEMOptimizer",
                "num_iterations": ITERATIONS,
                "elite_ratio": 0.1,
                "population_size": POPULATION,
                "alpha": 0.1,
                "device": "cpu",
                "lower_bound": "???",
                "upper_bound": "???",
                "return_mean_elites": False,
                "clipped_normal": True,
            },
            "replan_freq": 1,
            "verbose": False,
        }
    )
    agent = create_trajectory_optim_agent_for_model(model_env, settings, PARTICLES)
    return network, model_env, agent


def ours(network: GaussianMLP) -> Problem:
    """The same networks as our ensemble."""
    layers = [layer[0] for layer in network.hidden_layers] + [network.mean_and_logvar]
    ensemble = Ensemble(
        Transform(OBSERVATION, ACTION),
        size=MEMBERS,
        width=WIDTH,
        depth=DEPTH,
        key=jax.random.key(0),
    )
    members = eqx.tree_at(
        lambda members: (members.weights, members.biases),
        ensemble.members,
        (
            tuple(jnp.asarray(layer.weight.detach().numpy()) for layer in layers),
            tuple(jnp.asarray(layer.bias.detach().numpy()[:, 0]) for layer in layers),
        ),
    )
    ensemble = eqx.tree_at(lambda ensemble: ensemble.members, ensemble, members)
    box = Box([-1.0] * ACTION, [1.0] * ACTION)
    return Problem(ensemble, Balance(), box, ensemble.cloud)


PRODUCTS = 750
"""Of a hidden layer in one plan: 5 iterations, 15 steps, 5 members, 2 layers."""


def products(rows: int) -> dict[str, Callable[[], None]]:
    """All products of hidden layers in one plan, as three libraries compute them."""
    A = np.random.default_rng(0).normal(size=(rows, WIDTH)).astype(np.float32)
    B = np.random.default_rng(1).normal(size=(WIDTH, WIDTH)).astype(np.float32)
    torch_A, torch_B, out = torch.tensor(A), torch.tensor(B), torch.empty(rows, WIDTH)
    jax_A, jax_B = jnp.asarray(A), jnp.asarray(B)
    product = jax.jit(jnp.matmul)
    each = {
        "torch": lambda: torch.mm(torch_A, torch_B, out=out),
        "numpy": lambda: A @ B,
        "xla": lambda: product(jax_A, jax_B).block_until_ready(),
    }

    def many(call: Callable) -> Callable[[], None]:
        def run() -> None:
            for _ in range(PRODUCTS):
                call()

        return run

    return {name: many(call) for name, call in each.items()}


def minima(
    clock: Callable[[], float], calls: dict[str, Callable], repeats: int
) -> dict[str, float]:
    """Least seconds of each call, taken in turns, after one that is not counted."""
    times = {name: math.inf for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            began = clock()
            call()
            seconds = clock() - began
            if repeat:
                times[name] = min(times[name], seconds)
    return times


def measure(clock: Callable[[], float], repeats: int) -> dict:
    """Plans and predictions of both, against the floor."""
    network, _, agent = peer()
    problem = ours(network)
    planner = CEM.plain(
        HORIZON,
        population=POPULATION,
        elites=POPULATION // 10,
        iterations=ITERATIONS,
        momentum=0.1,
        initial_std=1.0,
        execute="best",
        particles=PARTICLES,
    )
    start = np.asarray(START, np.float32)
    model, key = problem.model, jax.random.key(0)
    belief = model.observe(model.init(key=key), jnp.asarray(start), key=key)
    state = planner.init(problem, belief, key=key)
    plan = jax.jit(
        lambda problem, belief, state, key: planner.plan(
            problem, belief, state, key=key
        )
    )
    predict = jax.jit(lambda model, x: model.grouped(x))
    keys = iter(jax.random.split(jax.random.key(1), repeats + 1))
    rows = POPULATION * PARTICLES // MEMBERS
    x = jax.random.normal(key, (MEMBERS, rows, OBSERVATION + ACTION))

    def plan_ours() -> None:
        jax.block_until_ready(plan(problem, belief, state, next(keys)))

    def plan_theirs() -> None:
        agent.reset()
        agent.plan(start)

    def predict_often() -> None:
        for _ in range(HORIZON * ITERATIONS):
            jax.block_until_ready(predict(model, x))

    calls = {
        "forethought": plan_ours,
        "mbrl-lib": plan_theirs,
        "prediction": predict_often,
        **products(rows),
    }
    times = minima(clock, calls, repeats)
    rates = {
        name: PRODUCTS * 2 * rows * WIDTH**2 / times[name] / 1e9
        for name in ("torch", "numpy", "xla")
    }
    floor = FLOPS / max(rates.values()) / 1e9
    return {
        "flops": FLOPS,
        "product_gflops": rates,
        "floor_s": floor,
        "forethought_s": times["forethought"],
        "mbrl_s": times["mbrl-lib"],
        "ratio": times["mbrl-lib"] / times["forethought"],
        "times_floor": times["forethought"] / floor,
        "times_floor_at_rate_of_xla": times["forethought"] * rates["xla"] * 1e9 / FLOPS,
        "prediction_share_of_rate": floor / times["prediction"],
        "repeats": repeats,
        **agreement(problem, belief, agent, start),
    }


def agreement(problem: Problem, belief, agent, start: np.ndarray) -> dict[str, float]:
    """Mean and worst difference of what both promise for the same sequences.

    Each is a mean over 2,000 particles of a return between 0 and 15.
    """
    actions = np.random.default_rng(2).uniform(-1, 1, (32, HORIZON, ACTION))
    actions = actions.astype(np.float32)
    theirs = np.mean(
        [
            agent.trajectory_eval_fn(start, torch.tensor(actions)).numpy()
            for _ in range(2_000 // PARTICLES)
        ],
        axis=0,
    )
    score = jax.jit(
        jax.vmap(
            lambda actions: evaluate(
                problem, belief, actions, key=jax.random.key(3), particles=2_000
            )
        )
    )
    gaps = np.asarray(score(jnp.asarray(actions))) - theirs
    return {
        "mean_promise": float(theirs.mean()),
        "mean_gap": float(gaps.mean()),
        "worst_gap": float(np.abs(gaps).max()),
    }
