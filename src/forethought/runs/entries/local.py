"""Controllers around one trajectory, from a handful of roll-outs (Levine and Abbeel).

An iteration is five roll-outs and one improvement. What a controller costs is minus the
mean return of its five roll-outs, exploring as they do.
"""

from forethought.runs.claims.outcomes import cpu_seconds, last_planned
from forethought.runs.claims.reproductions import Check, Reproduction, Than

ROLLOUTS = 5
NOTHING = "1e-9"
"""Of how many roll-outs a prior is worth that is none."""


def steps(iterations: int, length: int) -> str:
    """Of so many improvements, and of the roll-outs after the last."""
    return str((iterations + 1) * ROLLOUTS * length)


COST = last_planned(ROLLOUTS)
POINTMASS = Reproduction(
    claim=(
        "Five roll-outs an iteration move a mass 16 m: a cost of 12,500 falls below "
        "1,400 in ten iterations with a mixture as the prior of the fit, and not below "
        "9,000 without it"
    ),
    variant=(
        "The 2-D point mass of the guided policy search code: start, goal, weights, "
        "five seconds in 100 steps, first actions of variance 5, at most one nat a "
        "step at first. There Box2D moves it and actions set its velocity; here they "
        "are forces on 1 kg. Nine numbers an output are fitted to five roll-outs of "
        "seven. The first two arms fit the next state itself, as that code does; the "
        "third, without a prior too, its change, which is our default."
    ),
    train=("reach", "--steps", steps(10, 100), "--agent", "local"),
    arms={
        "prior": ("--agent.absolute",),
        "no prior": ("--agent.absolute", "--agent.model.strength", NOTHING),
        "changes without prior": ("--agent.model.strength", NOTHING),
    },
    checks=(
        Check(
            "with the prior it costs less than 1,400 after ten iterations",
            COST,
            ">",
            -1400.0,
            mark=(5500, -1400.0),
            arm="prior",
            share=1.0,
        ),
        Check(
            "without it the median seed costs more than 9,000",
            COST,
            "<",
            -9000.0,
            mark=(5500, -9000.0),
            arm="no prior",
        ),
        Check(
            "and each seed more than ten times as much as with it",
            COST,
            "<",
            Than("prior", times=10.0),
            arm="no prior",
            share=1.0,
        ),
        Check(
            "a seed takes at most 30 s of all cores, compilation included",
            cpu_seconds,
            "≤",
            30.0,
            arm="prior",
        ),
    ),
    remarks=(
        Check(
            "where changes are fitted no prior costs at most a fifth more than one",
            COST,
            "≥",
            Than("prior", times=1.2),
            arm="changes without prior",
        ),
    ),
    measured=0.3,
)
PENDULUM = Reproduction(
    claim="Five roll-outs an iteration stand a rod up whose motor can hold it",
    variant=(
        "Gymnasium's pendulum at steps of 0.1 s, five seconds from hanging, with the "
        "reward of its angle unwrapped: 493 for hanging, 49.9 at the optimum. With "
        "5 N·m the motor holds the rod at any angle; with 2 N·m it has to be pumped, "
        "and a controller around one trajectory does not find that: near hanging all "
        "that it tries looks worse for swinging back first."
    ),
    train=(),
    arms={
        "5 Nm": ("lift", "--steps", steps(30, 50), "--agent", "local"),
        "2 Nm": ("pump", "--steps", steps(30, 50), "--agent", "local"),
    },
    checks=(
        Check(
            "5 N·m: it costs less than 56 after thirty iterations",
            COST,
            ">",
            -56.0,
            mark=(7750, -56.0),
            arm="5 Nm",
            share=0.95,
        ),
        Check(
            "2 N·m: it costs more than 200",
            COST,
            "<",
            -200.0,
            mark=(7750, -200.0),
            arm="2 Nm",
            share=0.95,
        ),
        Check(
            "a seed takes at most 30 s of all cores, compilation included",
            cpu_seconds,
            "≤",
            30.0,
            arm="5 Nm",
        ),
    ),
    measured=0.3,
)
LOCAL = {"gps-pointmass": POINTMASS, "local-pendulum": PENDULUM}
"""Under their names on the command line."""
