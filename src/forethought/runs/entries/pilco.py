"""PILCO (Deisenroth and Rasmussen 2011): a swing-up from a handful of trials.

Experience is all that was done, the random trial first: 40 steps of 0.1 s each. After
each trial the policy that was found is evaluated from ten fresh starts.
"""

from forethought.runs.claims.outcomes import (
    cpu_seconds,
    first_success,
    last_evaluation,
    last_line,
    relative_gap,
)
from forethought.runs.claims.reproductions import Check, Reproduction

DT = 0.1
OFTEN = ("--evaluate.every", "1", "--evaluate-episodes", "10")
PENDULUM = Reproduction(
    claim="PILCO swings a rod up and keeps it there after 12 s of experience",
    variant=(
        "The pendulum of the authors' code: a rod of 1 kg and 1 m, 2.5 N·m, 4 s a "
        "trial, starts of standard deviation 0.1, observations off by 0.01."
    ),
    train=("pilco-pendulum", "--steps", "120", "--agent", "pilco", *OFTEN),
    checks=(
        Check(
            "9 of 10 fresh starts end in a last second within 0.2 m, by 12 s",
            first_success(0.9, DT),
            "≤",
            12.0,
            "success",
            (120, 0.9),
            share=0.8,
        ),
        Check(
            "a seed takes at most 30 s of all cores, compilation included",
            cpu_seconds,
            "≤",
            30.0,
            share=0.8,
        ),
    ),
    measured=0.2,
)
CARTPOLE = Reproduction(
    claim="PILCO swings a rod on a cart up after 17.5 s of experience, or after 24 s",
    variant=(
        "The cart-pole of the paper, which tells 17.5 s of experience: rod and cart of "
        "0.5 kg, 0.5 m, 10 N, 4 s a trial, starts of standard deviation 0.1, "
        "observations off by 0.01."
    ),
    train=("pilco-cartpole", "--steps", "240", "--agent", "pilco", *OFTEN),
    checks=(
        Check(
            "9 of 10 fresh starts end in a last second within 0.1 m, by 17.5 s",
            first_success(0.9, DT),
            "≤",
            17.5,
            "success",
            (175, 0.9),
            share=0.6,
        ),
        Check(
            "the same by 24 s",
            first_success(0.9, DT),
            "≤",
            24.0,
            "success",
            (240, 0.9),
            share=0.8,
        ),
        Check(
            "the return foreseen at the end lies within a tenth of that earned",
            relative_gap(last_line("foreseen"), last_evaluation()),
            "≤",
            0.1,
            share=0.8,
        ),
        Check(
            "a seed takes at most 300 s of all cores, compilation included",
            cpu_seconds,
            "≤",
            300.0,
            share=0.8,
        ),
    ),
)
PILCO = {"pilco-pendulum": PENDULUM, "pilco-cartpole": CARTPOLE}
"""Under their names on the command line."""
