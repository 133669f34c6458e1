"""PPO by itself: a pendulum in pure JAX, and a cart-pole of Gymnasium."""

from forethought.runs.claims.outcomes import (
    Outcome,
    last_evaluation,
    steps_to_evaluation,
)
from forethought.runs.claims.reproductions import Check, Reproduction

SOLVED, BALANCED = -200.0, 475.0


def seconds_to_solve(run: Outcome) -> float:
    """CPU seconds until an evaluation first solved it, but for the first interval.

    The first one compiles whatever a run needs.
    """
    steps = steps_to_evaluation(SOLVED)(run)
    return sum(row["cpu"] for row in run.rows[1:] if row["step"] <= steps)


PENDULUM = Reproduction(
    claim="PPO swings Pendulum-v1 up in 35,000 steps and 3 CPU-seconds",
    variant=(
        "Gymnasium's Pendulum-v1, equation by equation, in pure JAX: 16 copies of 200 "
        "steps. Solved is the first evaluation of 20 episodes without noise that earns "
        "−200 or more."
    ),
    train=(
        *("pendulum", "--steps", "61440", "--agent", "ppo", "--count", "16"),
        *("--evaluate.every", "2048", "--evaluate.unit", "steps"),
        *("--evaluate-episodes", "20"),
    ),
    checks=(
        Check(
            "an evaluation earns at least −200 within 35,000 steps",
            steps_to_evaluation(SOLVED),
            "≤",
            35_000.0,
            "evaluation",
            (35_000, SOLVED),
        ),
        Check(
            "that takes at most 3 CPU-seconds, evaluated and once compiled",
            seconds_to_solve,
            "≤",
            3.0,
            "evaluation",
        ),
        Check(
            "it stays solved: the last five evaluations earn at least −200",
            last_evaluation(5),
            "≥",
            SOLVED,
            "evaluation",
        ),
    ),
    published=(),
    measured=0.4,
)

CARTPOLE_V1 = Reproduction(
    claim="PPO solves CartPole-v1: 475 of 500 on every seed",
    variant=(
        "Gymnasium's CartPole-v1 on the host, 8 copies: two choices, reward 1 a step, "
        "at most 500 steps. Evaluations are 20 episodes without noise."
    ),
    train=(
        *("CartPole-v1", "--steps", "40960", "--agent", "ppo", "--count", "8"),
        *("--evaluate.every", "8192", "--evaluate.unit", "steps"),
        *("--evaluate-episodes", "20"),
    ),
    checks=(
        Check(
            "the last evaluation earns at least 475, on every seed",
            last_evaluation(),
            "≥",
            BALANCED,
            "evaluation",
            (40_960, BALANCED),
            share=1.0,
        ),
    ),
    published=(),
    measured=1.0,
)

PPO = {"ppo-pendulum": PENDULUM, "ppo-cartpole-v1": CARTPOLE_V1}
