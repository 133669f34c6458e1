"""Guided policy search: one policy for several starts, and for any goal.

What a policy costs is told at each improvement: minus the mean return of its roll-outs
from the starts that it is taught from, exploring as they do. Evaluations are episodes
without exploring, from any start.
"""

from forethought.runs.claims.outcomes import last_evaluation, last_line
from forethought.runs.claims.reproductions import Check, Reproduction, Than

LIFT = Reproduction(
    claim=(
        "One policy stands a rod up from four starts at no more than 1.2 times what "
        "controllers of each of them cost"
    ),
    variant=(
        "Gymnasium's pendulum at steps of 0.1 s with a motor of 5 N·m that can hold "
        "it, five seconds from four starts that were drawn of any angle; they are the "
        "same for all seeds. An iteration is ten roll-outs from each. The controllers "
        "are improved alike and alone: that is BADMM whose weight is nothing."
    ),
    train=(
        *("lift-anywhere", "--steps", "16000", "--agent", "gps"),
        *("--evaluate.every", "40", "--evaluate-episodes", "20"),
    ),
    arms={
        "policy": (),
        "controllers": ("--agent.method", "badmm", "--agent.weight", "0"),
        "BADMM": ("--agent.method", "badmm"),
    },
    checks=(
        Check(
            "after seven improvements the policy costs at most 1.2 times what the "
            "controllers do, on every seed",
            last_line("cost"),
            "≤",
            Than("controllers", times=1.2),
            arm="policy",
            share=1.0,
        ),
        Check(
            "from starts that it was never taught from it costs 60 or less on average",
            last_evaluation(1),
            "≥",
            -60.0,
            "evaluation",
            (16000, -60.0),
            arm="policy",
        ),
    ),
    remarks=(
        Check(
            "BADMM's policy earns no less there than that of mirror descent does",
            last_evaluation(1),
            "≥",
            Than("policy"),
            "evaluation",
            arm="BADMM",
        ),
        Check(
            "nor does one that imitates controllers which do not know of it",
            last_evaluation(1),
            "≥",
            Than("policy"),
            "evaluation",
            arm="controllers",
        ),
    ),
    measured=1.0,
)

REACHER = Reproduction(
    claim="One policy for any goal of an arm, beside PETS after as many steps",
    variant=(
        "Gymnasium's Reacher-v5 with its reward written down. Guided policy search is "
        "taught from eight starts, each with a goal of its own, and evaluated with "
        "any; PETS plans. An arm that stands still earns −11.9 on average."
    ),
    train=(
        *("reacher", "--steps", "6400"),
        *("--evaluate.every", "32", "--evaluate-episodes", "20"),
    ),
    arms={
        "GPS": (
            *("--agent", "gps", "--agent.conditions", "8"),
            *("--agent.local.rollouts", "8", "--agent.local.spread", "0.08"),
            *("--agent.local.bound", "1"),
        ),
        "PETS": ("--agent", "pets", "--learn.every", "16"),
    },
    checks=(
        Check(
            "guided policy search earns more than standing still",
            last_evaluation(1),
            ">",
            -11.9,
            "evaluation",
            (6400, -11.9),
            arm="GPS",
        ),
        Check(
            "and no less than PETS does",
            last_evaluation(1),
            "≥",
            Than("PETS"),
            "evaluation",
            arm="GPS",
        ),
    ),
    measured=3.0,
)

GUIDED: dict[str, Reproduction] = {"gps-pendulum": LIFT, "gps-reacher": REACHER}
"""Under their names on the command line."""
