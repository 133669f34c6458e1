"""The table of models names every model, and says truly what serves what."""

import pytest

from forethought.agents.registry import AGENTS
from forethought.cli.commands import COMMANDS
from forethought.models.around.distorted import Distorted
from forethought.models.base import AbstractModel
from forethought.models.registry import MODELS


@pytest.mark.parametrize("name", MODELS)
def test_a_model_serves_a_command_an_agent_or_python(name):
    assert set(MODELS[name].serves) <= {*COMMANDS, *AGENTS, "Python"}


def below(kind):
    """All classes under one."""
    for each in kind.__subclasses__():
        yield each
        yield from below(each)


def test_every_model_that_wraps_no_other_is_named():
    rooms = ("gp", "known", "learned", "linear", "tables")
    kinds = {
        kind
        for kind in below(AbstractModel)
        if kind.__module__.startswith(tuple(f"forethought.models.{r}" for r in rooms))
        and not kind.__name__.startswith("Abstract")
    }
    assert kinds == {entry.kind for entry in MODELS.values()} - {Distorted}
