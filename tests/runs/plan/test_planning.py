from typing import Any

import pytest

from forethought import tasks
from forethought.planners import CEM, ILQR, PLANNERS, AugmentedLagrangian, Polished
from forethought.planners.base import looking_ahead
from forethought.planners.registry import assemble, name_of
from forethought.runs.plan.control import controller_for
from forethought.runs.plan.planning import make_planner


def test_a_planner_made_of_others_has_the_tasks_settings_for_each():
    task = tasks.load("pendulum")
    made: Any = make_planner(task, "polished")
    alone = make_planner(task, "cem"), make_planner(task, "ilqr")
    assert made.first == alone[0]
    # The two look ahead as far as the first, whatever the task says of the second.
    assert made.second == looking_ahead(alone[1], alone[0].horizon) != alone[1]
    held = make_planner(task, "augmented-lagrangian", rounds=3)
    assert held == AugmentedLagrangian(alone[1], rounds=3)


def test_a_horizon_is_set_in_all_parts():
    planner = Polished(CEM(5), AugmentedLagrangian(ILQR(5)))
    assert looking_ahead(planner, 7) == Polished(CEM(7), AugmentedLagrangian(ILQR(7)))
    controller, _ = controller_for(
        tasks.load("acrobot"), Polished(CEM(5), ILQR(5)), 9, open_loop=True
    )
    assert controller.planner == Polished(CEM(9), ILQR(9))


@pytest.mark.parametrize("name", PLANNERS)
def test_every_name_can_be_assembled_from_a_horizon(name):
    planner = assemble(name, lambda each: {"horizon": 3})
    assert type(planner) is PLANNERS[name].settings
    assert name_of(planner) == name


def test_an_unknown_name_or_field_is_refused_with_the_nearest():
    task = tasks.load("pendulum")
    with pytest.raises(ValueError, match="did you mean 'polished'"):
        make_planner(task, "polishd")
    with pytest.raises(ValueError, match="field of Polished"):
        make_planner(task, "polished", horizon=3)
