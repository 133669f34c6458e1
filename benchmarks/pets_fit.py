"""Fitting an ensemble of PETS side by side with mbrl-lib's trainer, in one process.

Both fit 5 probabilistic networks of 3 × 200 SiLU units to the same 5,000 transitions
of a task under random actions, on one core and one thread, float32. Each does it by
its own settings: ours are the defaults of `FitSettings`; mbrl-lib's are those of its
cart-pole (Adam 7.5e-4, decay 3e-5, minibatches of 256), with a tenth of the rows to
stop on and a patience of 5. Both are judged by the mean log-likelihood of their members
on 5,000 other transitions.

mbrl-lib does not standardise what is predicted, and its log-variance is bounded below,
so its likelihood would depend on units. It is given targets that are standardised
already: both then learn the same numbers, and a nat is the same for both.

Besides where each stops by itself, the time is reported that mbrl-lib's trainer takes
until it first reaches our score; the time spent on judging is not counted.

It is a part of benchmarks/pets_speed.py.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import torch
from mbrl.models import GaussianMLP, ModelTrainer, OneDTransitionRewardModel
from mbrl.util.common import get_basic_buffer_iterators
from mbrl.util.replay_buffer import ReplayBuffer

from forethought import tasks
from forethought.models.learned.ensemble import Ensemble
from forethought.models.learned.rows import Rows
from forethought.models.learned.transforms import Transform

MEMBERS, WIDTH, DEPTH = 5, 200, 3
ROWS = 5_000
EPISODE = 50
PATIENCE = 5


def transitions(name: str, count: int, noise: float, seed: int) -> Rows:
    """Transitions of a task under uniformly random actions, seen with noise.

    Args:
        name: Of the task.
        count: How many.
        noise: Standard deviation of what is added to the next observation, in units
            of the standard deviation of its change.
        seed: Of starts, actions and noise.
    """
    environment = tasks.load(name).environment
    space = environment.spec.action

    def episode(key):
        reset_key, key = jax.random.split(key)
        state, first = environment.reset(key=reset_key)

        def step(carry, key):
            state, obs = carry
            action_key, step_key = jax.random.split(key)
            action = space.sample((), key=action_key)
            state, moved = environment.step(state, action, key=step_key)
            return (state, moved.obs), (obs, action, moved.reward, moved.obs)

        return jax.lax.scan(step, (state, first.obs), jax.random.split(key, EPISODE))[1]

    noise_key, key = jax.random.split(jax.random.key(seed))
    found = jax.jit(jax.vmap(episode))(jax.random.split(key, count // EPISODE))
    obs, action, reward, next_obs = (
        part.reshape(count, *part.shape[2:]) for part in found
    )
    spread = jnp.std(next_obs - obs, axis=0)
    next_obs += noise * spread * jax.random.normal(noise_key, next_obs.shape)
    return Rows.pad(obs, action, reward, next_obs)


def nats(mean: np.ndarray, variance: np.ndarray, y: np.ndarray) -> float:
    """Mean negative log-likelihood of members, per dimension, without constants."""
    return float(np.mean(0.5 * ((mean - y) ** 2 / variance + np.log(variance))))


def fit_ours(
    clock: Callable[[], float], train: Rows, test: Rows, seed: int
) -> tuple[float, float, float]:
    """Seconds to its own stop, nats on the test rows, and mean epochs."""
    model = Ensemble(
        Transform(train.obs.shape[1], train.action.shape[1]),
        size=MEMBERS,
        width=WIDTH,
        depth=DEPTH,
        seed=seed + 1,
        key=jax.random.key(seed),
    )
    began = clock()
    model, metrics = model.fit(train, key=jax.random.key(seed))
    jax.block_until_ready(metrics)
    seconds = clock() - began
    x, y = standardised(model.transform, test)
    x = jnp.broadcast_to(x, (MEMBERS, *x.shape))
    answers = jax.jit(lambda model, x: model.grouped(x))(model, x)
    mean, variance = (np.asarray(part) for part in answers)
    return seconds, nats(mean, variance, np.asarray(y)), float(metrics["epochs"].mean())


def standardised(transform: Transform, rows: Rows) -> tuple[jax.Array, jax.Array]:
    """What networks see and should answer."""
    x = jax.vmap(transform.inputs)(rows.obs, rows.action)
    y = jax.vmap(transform.targets)(rows.obs, rows.next_obs, rows.reward)
    return x[: int(rows.valid.sum())], y[: int(rows.valid.sum())]


def fit_theirs(
    clock: Callable[[], float], train: Rows, test: Rows, seed: int, epochs: int
) -> tuple[list[float], list[float], int]:
    """Seconds and nats on the test rows after each epoch, and where it would stop."""
    torch.manual_seed(seed)
    transform = Transform(train.obs.shape[1], train.action.shape[1]).fit(
        train.obs, train.action, train.next_obs, train.reward, train.valid
    )
    (x, y), (test_x, test_y) = (
        tuple(np.array(part) for part in standardised(transform, rows))
        for rows in (train, test)
    )
    inputs, outputs, action = x.shape[1], y.shape[1], train.action.shape[1]
    network = GaussianMLP(
        inputs,
        outputs,
        "cpu",
        num_layers=DEPTH,
        ensemble_size=MEMBERS,
        hid_size=WIDTH,
        activation_fn_cfg={"_target_": "torch.nn.SiLU"},
    )
    model = OneDTransitionRewardModel(
        network, target_is_delta=False, normalize=False, learned_rewards=False
    )
    buffer = ReplayBuffer(
        len(x),
        (inputs - action,),
        (action,),
        rng=np.random.default_rng(seed),
    )
    for row, target in zip(x, y, strict=True):
        buffer.add(row[:-action], row[-action:], target, 0.0, False, False)
    learned, judged = get_basic_buffer_iterators(buffer, 256, 0.1, MEMBERS)
    trainer = ModelTrainer(model, optim_lr=7.5e-4, weight_decay=3e-5)
    seconds, found, best, stale, stop, judging = [], [], None, 0, None, 0.0
    began = clock()

    def judge(model, _, epoch, loss, score, best_score):
        nonlocal best, stale, stop, judging
        now = clock()
        seconds.append(now - began - judging)
        with torch.no_grad():
            mean, log_variance = network.forward(
                torch.tensor(test_x), use_propagation=False
            )
        found.append(nats(mean.numpy(), log_variance.exp().numpy(), test_y))
        # The trainer's own rule, which is kept from stopping it.
        if best is None or bool(((best - score) / best.abs() > 0.01).any()):
            best = score if best is None else torch.minimum(best, score)
            stale = 0
        else:
            stale += 1
        if stop is None and stale >= PATIENCE:
            stop = epoch
        judging += clock() - now

    trainer.train(learned, judged, num_epochs=epochs, callback=judge, silent=True)
    return seconds, found, epochs - 1 if stop is None else stop


def measure(clock: Callable[[], float], seeds: int, epochs: int) -> list[dict]:
    """Both fits of each seed, without noise in the data and with a tenth of it."""
    rows = []
    for noise in (0.0, 0.1):
        train, test = (transitions("pendulum", ROWS, noise, seed) for seed in (0, 1))
        fit_ours(clock, train, test, 0)  # compiles
        for seed in range(seeds):
            seconds, found, own = fit_ours(clock, train, test, seed)
            times, scores, stop = fit_theirs(clock, train, test, seed, epochs)
            equal = [i for i, score in enumerate(scores) if score <= found]
            rows.append(
                {
                    "noise": noise,
                    "seed": seed,
                    "forethought_s": seconds,
                    "forethought_nats": found,
                    "forethought_epochs": own,
                    "mbrl_s": times[stop],
                    "mbrl_nats": scores[stop],
                    "mbrl_epochs": stop + 1,
                    "mbrl_best_nats": min(scores),
                    "mbrl_s_to_equal": times[equal[0]] if equal else None,
                    "ratio_at_equal": times[equal[0]] / seconds if equal else None,
                }
            )
    return rows
