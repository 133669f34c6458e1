"""From pictures to actions: a latent model that is planned in."""

from forethought.runs.claims.outcomes import cpu_seconds, last_evaluation
from forethought.runs.claims.reproductions import Check, Reproduction

PENDULUM = Reproduction(
    claim="A pendulum is swung up from pictures of 32 by 32 pixels in 3,200 steps",
    variant=(
        "Gymnasium's pendulum, each action taken twice, seen by our own camera, whose "
        "lines are at least three pixels wide. 800 decisions are random and held for a "
        "while, 800 are planned."
    ),
    train=(
        *("pixels-pendulum", "--steps", "1600", "--agent", "latent-mpc"),
        *("--evaluate.every", "4", "--evaluate.unit", "episodes"),
        *("--evaluate-episodes", "10"),
    ),
    arms={"": ()},
    checks=(
        Check(
            "what was learned earns −250 or more: the last evaluation of ten episodes",
            last_evaluation(1),
            "≥",
            -250.0,
            "evaluation",
            (1600, -250.0),
        ),
        Check(
            "a seed takes at most 150 s of all cores, compilation included",
            cpu_seconds,
            "≤",
            150.0,
        ),
    ),
    measured=2.0,
)

PIXELS: dict[str, Reproduction] = {"pixels-pendulum": PENDULUM}
"""Under their names on the command line."""
