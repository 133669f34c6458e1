"""MB-MF (Nagabandi et al. 2018): a planner, imitated, and improved without a model."""

import numpy as np

from forethought.agents.imitation.mb_mf import MODEL, POLICY, STUDENT
from forethought.runs.claims.outcomes import Measure, Outcome, last_planned
from forethought.runs.claims.reproductions import Check, Reproduction, Than

ROUND = 8
"""Episodes of one round: one in each copy."""


def earned_in(phase: int, count: int | None = None) -> Measure:
    """The mean return of a phase's episodes, or of the last of them."""

    def measure(run: Outcome) -> float:
        returns = [
            value
            for row in run.rows
            if row.get("phase") == phase
            for value in row["returns"]
        ]
        return float(np.mean(returns if count is None else returns[-count:]))

    return measure


def ratio(one: Measure, other: Measure) -> Measure:
    """A number as a multiple of another one."""
    return lambda run: one(run) / other(run)


PLANNED = earned_in(MODEL)
SWIMMER = Reproduction(
    claim="MB-MF on Swimmer-v5: plans are imitated to 80 %, then left far behind",
    variant=(
        "Gymnasium's Swimmer-v5 at reduced length: 400 of its 1,000 steps, each action "
        "taken four times, so that an episode is 100 decisions. Returns are those of "
        "Swimmer-v5. The reward is learned. Eight copies side by side: 800 random "
        "decisions, 2,400 planned ones, 2,400 of a student that the planner labels, "
        "then PPO, whose draws are part of its returns."
    ),
    train=("swimmer", "--steps", "40000", "--count", str(ROUND)),
    arms={"MB-MF": ("--agent", "mb-mf"), "PPO alone": ("--agent", "ppo")},
    checks=(
        Check(
            "the student's last eight episodes earn at least 0.8 times what planned "
            "episodes earned on average",
            ratio(earned_in(STUDENT, ROUND), PLANNED),
            "≥",
            0.8,
            arm="MB-MF",
        ),
        Check(
            "the last sixteen episodes earn more than planned ones, on every seed",
            ratio(earned_in(POLICY, 2 * ROUND), PLANNED),
            ">",
            1.0,
            arm="MB-MF",
            share=1.0,
        ),
    ),
    remarks=(
        Check(
            "the last sixteen episodes earn more than those of PPO that begins from "
            "nothing",
            last_planned(2 * ROUND),
            ">",
            Than("PPO alone"),
            arm="MB-MF",
        ),
    ),
    measured=0.7,
    bound_seconds=450.0,  # an episode takes up to 250 s
)
NAGABANDI = {"nagabandi-swimmer": SWIMMER}
"""Entries by name."""
