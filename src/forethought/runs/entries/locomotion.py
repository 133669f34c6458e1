"""An actor–critic on a body of MuJoCo, with and without a model beside it.

A cart balances two poles, one on top of the other, in Gymnasium: the environment is
stepped on the host, updates are compiled. Nothing is told of it, so that reward and end
are learned with the dynamics. Solved is the first evaluation above 9,000 of 9,360.
"""

from forethought.runs.claims.outcomes import last_evaluation, steps_to_evaluation
from forethought.runs.claims.reproductions import Check, Reproduction, Than
from forethought.runs.entries.critics import arm

BALANCED = 9000.0
EVERY = 500
"""Steps between fits, before critics learn, and between evaluations."""


def within(name: str, steps: int, words: str) -> Check:
    """The median seed balances within so many steps."""
    return Check(
        f"{words} balances within {steps:,} steps",
        steps_to_evaluation(BALANCED),
        "≤",
        float(steps),
        "evaluation",
        (steps, BALANCED),
        arm=name,
    )


DOUBLE = Reproduction(
    claim="MBPO balances a double pendulum in 3,500 steps, and SAC in no more",
    variant=(
        "Gymnasium's InvertedDoublePendulum-v5 on the host, reward and end learned. "
        "Half of each batch is real; the 5 % that are usual elsewhere were worse on "
        "seed 0. SAC with as many updates a step stands beside, and with one. Solved "
        "is the first evaluation of 3 episodes without noise that earns 9,000 or more "
        "of 9,360."
    ),
    train=(
        *("InvertedDoublePendulum-v5", "--steps", "4000"),
        *("--random-steps", str(EVERY)),
        *("--interval.every", str(EVERY), "--interval.unit", "steps"),
        *("--evaluate.every", str(EVERY), "--evaluate.unit", "steps"),
        *("--evaluate-episodes", "3"),
    ),
    arms={
        "MBPO": (
            *arm("mbpo", 5, start=EVERY),
            *("--agent.every", str(EVERY), "--agent.source.share", "0.5"),
            *("--agent.source.starts", "10000"),
        ),
        "SAC with 5": arm("sac", 5, start=EVERY, reward_scale=0.1),
        "SAC with 1": (
            *arm("sac", 1, start=EVERY, reward_scale=0.1),
            *("--steps", "8000", "--evaluate.every", "1000"),
        ),
    },
    checks=(
        within("MBPO", 3500, "MBPO"),
        Check(
            "that is less than SAC with one update a step needs",
            steps_to_evaluation(BALANCED),
            "<",
            Than("SAC with 1"),
            "evaluation",
            arm="MBPO",
        ),
        Check(
            "SAC with as many updates needs no more steps than MBPO",
            steps_to_evaluation(BALANCED),
            "≤",
            Than("MBPO"),
            "evaluation",
            arm="SAC with 5",
        ),
        Check(
            "MBPO still balances at the end: the last three evaluations",
            last_evaluation(3),
            "≥",
            BALANCED,
            "evaluation",
            arm="MBPO",
        ),
    ),
    measured=1.6,
    paper=("--steps", "25000"),
    paper_note=(
        "25,000 steps, as far as curves of others usually go: that takes about nine "
        "minutes of one core a seed, most of them for MBPO."
    ),
)

LOCOMOTION = {"mbpo-double-pendulum": DOUBLE}
"""Every claim that can be put to the test, under its name on the command line."""
