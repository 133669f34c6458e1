"""Every claim that can be put to the test, under its name on the command line."""

from forethought.runs.claims.reproductions import Reproduction
from forethought.runs.claims.studies import Study
from forethought.runs.entries.mazes import MAZES
from forethought.runs.entries.nagabandi import NAGABANDI
from forethought.runs.entries.pets import PETS
from forethought.runs.entries.ppo import PPO

REPRODUCTIONS: dict[str, Reproduction] = {**PETS, **PPO, **NAGABANDI}
"""Training runs, each seed a folder."""
STUDIES: dict[str, Study] = {**MAZES}
"""Figures whose seeds run side by side."""
