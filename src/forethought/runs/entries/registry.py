"""Every claim that can be put to the test, under its name on the command line."""

from forethought.runs.claims.reproductions import Reproduction
from forethought.runs.claims.studies import AbstractStudy
from forethought.runs.entries.critics import CRITICS
from forethought.runs.entries.guided import GUIDED
from forethought.runs.entries.local import LOCAL
from forethought.runs.entries.locomotion import LOCOMOTION
from forethought.runs.entries.nagabandi import NAGABANDI
from forethought.runs.entries.naive import NAIVE
from forethought.runs.entries.pets import PETS
from forethought.runs.entries.pilco import PILCO
from forethought.runs.entries.pixels import PIXELS
from forethought.runs.entries.ppo import PPO
from forethought.runs.entries.studies.chain import CHAINS
from forethought.runs.entries.studies.gradients import GRADIENTS
from forethought.runs.entries.studies.mazes import MAZES
from forethought.runs.entries.studies.planning import PLANNING

REPRODUCTIONS: dict[str, Reproduction] = {
    **PETS,
    **NAIVE,
    **PILCO,
    **LOCAL,
    **NAGABANDI,
    **PPO,
    **CRITICS,
    **LOCOMOTION,
    **GUIDED,
    **PIXELS,
}
"""Training runs, each seed a folder."""
STUDIES: dict[str, AbstractStudy] = {
    **MAZES,
    **PLANNING,
    **GRADIENTS,
    **CHAINS,
}
"""Figures whose seeds run side by side."""
