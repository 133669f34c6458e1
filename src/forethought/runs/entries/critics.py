"""Actor–critics: without a model, and what a model adds to them.

Solved is the first evaluation of 20 episodes without noise whose mean is above −200.
After that an agent may get worse again, so that its last evaluation is told as well.
"""

from forethought.runs.claims.outcomes import (
    last_evaluation,
    last_line,
    steps_to_evaluation,
)
from forethought.runs.claims.reproductions import (
    Check,
    Reproduction,
    Than,
)

SOLVED, SWUNG = -200.0, 800.0
"""Of a pendulum, and of a cart-pole that can earn 1,000."""
VARIANT = (
    "Gymnasium's Pendulum-v1, equation by equation, in pure JAX. Solved is the first "
    "evaluation of 20 episodes without noise that earns −200 or more."
)
NAMES = ("sac", "ddpg", "naf")
"""Agents without a model; in the others the critic is a part."""


COLD = (
    *("--agent.every", "200", "--agent.model.fitting.no-warm"),
    *("--agent.model.fitting.epochs", "200"),
)
"""Fits from new weights until they stop by themselves: targets need good models."""
LOCAL = ("--model", "local-linear", "--agent.model.samples", "1")
"""Linear maps of the places that an agent has come to, refitted as it goes."""
DISTORTED = ("--model", "distorted")
"""A model that is wrong whatever is seen, each member in its own way."""
EARLY = 200
"""Steps before critics learn where a model does, too, and for who is beside."""


def train(steps: int, evaluate: int) -> tuple[str, ...]:
    """A run on the pendulum that is evaluated every so many steps."""
    return (
        *("pendulum", "--steps", str(steps)),
        *("--evaluate.every", str(evaluate), "--evaluate.unit", "steps"),
        *("--evaluate-episodes", "20"),
    )


def arm(agent: str, updates: int, **settings: float | int) -> tuple[str, ...]:
    """An agent with so many updates of its critics a step, and other settings."""
    alone = agent in NAMES
    own = {} if alone else {"reward_scale": 0.1}
    words = ["--agent", agent]
    for name, value in ({"updates": updates} | own | settings).items():
        flag = name.replace("_", "-")
        words += [f"--agent.{flag}" if alone else f"--agent.critic.{flag}", str(value)]
    return tuple(words)


def solves(arm: str, steps: int, words: str) -> Check:
    """The median seed solves it within so many steps."""
    return Check(
        f"{words} solves it within {steps:,} steps",
        steps_to_evaluation(SOLVED),
        "≤",
        float(steps),
        "evaluation",
        (steps, SOLVED),
        arm=arm,
    )


def times(arm: str, share: float, other: str, words: str) -> Check:
    """The median seed needs at most so much of another arm's steps."""
    goal = Than(other, times=share)
    return Check(words, steps_to_evaluation(SOLVED), "≤", goal, "evaluation", arm=arm)


def stays(arm: str, words: str) -> Check:
    """It is still solved at the end."""
    return Check(
        f"{words} is still solved at the end: the last three evaluations",
        last_evaluation(3),
        "≥",
        SOLVED,
        "evaluation",
        arm=arm,
    )


SAC = Reproduction(
    claim="SAC swings a pendulum up in 3,000 steps, with 20 updates a step in 800",
    variant=VARIANT,
    train=train(5000, 200),
    arms={
        "1 update": arm("sac", 1),
        "20 updates": (*arm("sac", 20), "--steps", "1600", "--evaluate.every", "100"),
    },
    checks=(
        solves("1 update", 3000, "one update a step"),
        solves("20 updates", 800, "with 20 updates a step it"),
        stays("1 update", "one update a step"),
        stays("20 updates", "with 20 it"),
    ),
    measured=0.2,
)

DDPG = Reproduction(
    claim="DDPG swings a pendulum up in 3,200 steps, with four updates in 1,800",
    variant=VARIANT,
    train=train(4000, 200),
    arms={"1 update": arm("ddpg", 1), "4 updates": arm("ddpg", 4)},
    checks=(
        solves("1 update", 3200, "one update a step"),
        solves("4 updates", 1800, "with four updates a step it"),
        stays("1 update", "one update a step"),
        stays("4 updates", "with four it"),
    ),
    measured=0.1,
)

NAF = Reproduction(
    claim="NAF swings a pendulum up in 4,000 steps with five updates a step",
    variant=VARIANT,
    train=train(5000, 200),
    arms={"": arm("naf", 5)},
    checks=(solves("", 4000, "NAF"), stays("", "NAF")),
    measured=0.1,
)

MBA = Reproduction(
    claim="NAF needs 1.3 times as many steps as with imagined steps beside (MBA)",
    variant=f"{VARIANT} All arms have five updates a step, from step 400 on.",
    train=train(3000, 100),
    arms={
        "networks": arm("mba", 5),
        "local linear": (*arm("mba", 5), *LOCAL),
        "NAF": arm("naf", 5),
    },
    checks=(
        solves("networks", 2600, "MBA with a network"),
        times("networks", 1 / 1.3, "NAF", "that is 1.3 times fewer than NAF"),
        solves("local linear", 2600, "MBA with local linear models"),
    ),
    remarks=(
        times("local linear", 1 / 1.3, "NAF", "that is 1.3 times fewer than NAF"),
    ),
    measured=0.3,
)

MBPO = Reproduction(
    claim="MBPO swings a pendulum up in 1,000 steps, half of what SAC needs",
    variant=(
        f"{VARIANT} SAC with as many updates a step as MBPO stands beside: there a "
        "model gains nothing that more updates do not."
    ),
    train=train(1200, 100),
    arms={
        "MBPO": arm("mbpo", 20, start=EARLY),
        "SAC with 1": (*arm("sac", 1, start=EARLY), "--steps", "3600"),
        "SAC with 20": arm("sac", 20, start=EARLY),
    },
    checks=(
        solves("MBPO", 1000, "MBPO"),
        times("MBPO", 0.5, "SAC with 1", "that is half of SAC's steps, or fewer"),
        times(
            *("SAC with 20", 1.0, "MBPO"),
            "SAC with as many updates needs no more steps than MBPO",
        ),
    ),
    measured=0.4,
)

OFTEN = ("--interval.every", "100", "--interval.unit", "steps")
"""Evaluated at the same steps whether a model is refitted or not."""
AHEAD = {"start": 250, "reward_scale": 0.1}
FUTURES = (
    *("--agent.source.longest", "20", "--agent.source.fits", "8"),
    *("--agent.source.starts", "2000", "--agent.source.share", "0.1"),
    *("--agent.model.fitting.updates", "60"),
)
"""Futures as long as a swing-up: with those of 5 steps critics learned too little of
where the policy had not been, and of seeds 101 to 103 one hung for 3,000 steps."""

MBPO_CARTPOLE = Reproduction(
    claim="MBPO swings a cart-pole up in fewer steps than SAC with ten updates a step",
    variant=(
        "dm_control's cartpole-swingup from its state, each action repeated 8 times: "
        "125 decisions an episode, the reward summed over the 1,000 frames, and known "
        "to MBPO, which makes 20 updates a step; an arm with ten, as SAC makes, "
        "stands beside. Solved is the first evaluation of 5 episodes without noise "
        "that earns 800 or more."
    ),
    train=(
        *("cartpole-swingup", "--steps", "2000", *OFTEN),
        *("--evaluate.every", "100", "--evaluate.unit", "steps"),
    ),
    arms={
        "MBPO": (*arm("mbpo", 20, **AHEAD), *FUTURES),
        "MBPO with 10": (*arm("mbpo", 10, **AHEAD), *FUTURES),
        "SAC with 10": (*arm("sac", 10, **AHEAD), "--steps", "3500"),
    },
    checks=(
        Check(
            "MBPO swings it up within 2,000 steps",
            steps_to_evaluation(SWUNG),
            "≤",
            2000.0,
            "evaluation",
            (2000, SWUNG),
            arm="MBPO",
        ),
        Check(
            "that is fewer than SAC needs",
            steps_to_evaluation(SWUNG),
            "<",
            Than("SAC with 10"),
            "evaluation",
            arm="MBPO",
        ),
        Check(
            "and with ten updates a step it needs fewer than SAC, too",
            steps_to_evaluation(SWUNG),
            "<",
            Than("SAC with 10"),
            "evaluation",
            arm="MBPO with 10",
        ),
    ),
    measured=1.5,
    bound_seconds=400.0,
)

STEVE = Reproduction(
    claim="STEVE finds a model out that is wrong, and needs 1.3 times DDPG's steps",
    variant=f"{VARIANT} All arms have four updates a step, and DDPG the settings of "
    "STEVE's critics. A model that is distorted has members each of which is bent by a "
    "map of its own, half a standard deviation off, however much is seen.",
    train=train(1600, 200),
    arms={
        "STEVE": (*arm("steve", 4, start=EARLY), *COLD),
        "MVE": (*arm("mve", 4, start=EARLY), *COLD),
        "DDPG": arm("ddpg", 4, start=EARLY, critics=4, saturation=1e-3),
        "STEVE distorted": (*arm("steve", 4, start=EARLY), *DISTORTED, *COLD),
        "MVE distorted": (
            *(*arm("mve", 4, start=EARLY), *DISTORTED, *COLD),
            *("--agent.model.members", "1"),
        ),
    },
    checks=(
        times("STEVE", 1.3, "DDPG", "STEVE needs at most 1.3 times DDPG's steps"),
        times("STEVE distorted", 1.3, "DDPG", "and so it does with a distorted model"),
        Check(
            "of which it believes no step: above 0.9 of the weight is on none",
            last_line("weight_0"),
            ">",
            0.9,
            "evaluation",
            arm="STEVE distorted",
        ),
        Check(
            "MVE, which believes it, needs more than that",
            steps_to_evaluation(SOLVED),
            ">",
            Than("DDPG", times=1.3),
            "evaluation",
            arm="MVE distorted",
        ),
    ),
    remarks=(times("MVE", 1.3, "DDPG", "MVE needs at most 1.3 times DDPG's steps"),),
    measured=1.0,
)

CRITICS: dict[str, Reproduction] = {
    "sac-pendulum": SAC,
    "ddpg-pendulum": DDPG,
    "naf-pendulum": NAF,
    "mba-pendulum": MBA,
    "mbpo-pendulum": MBPO,
    "mbpo-cartpole-swingup": MBPO_CARTPOLE,
    "steve-pendulum": STEVE,
}
