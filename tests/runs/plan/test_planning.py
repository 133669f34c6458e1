import dataclasses
import inspect
from typing import Any

import pytest

from forethought import tasks
from forethought.planners import CEM, ILQR, PLANNERS, AugmentedLagrangian, Polished
from forethought.planners.base import looking_ahead
from forethought.planners.registry import assemble, name_of
from forethought.runs.plan.control import control, controller_for
from forethought.runs.plan.controller import controller
from forethought.runs.plan.planning import make_planner, plan


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
    with pytest.raises(ValueError, match="setting of polished"):
        make_planner(task, "polished", horizon=3)


def test_a_setting_is_said_by_keyword_and_a_wrong_one_gets_the_nearest():
    assert make_planner("pendulum", "cem", population=200) == dataclasses.replace(
        make_planner("pendulum", "cem"), population=200
    )
    with pytest.raises(ValueError, match="did you mean 'population'"):
        make_planner("pendulum", "cem", populatoin=200)
    with pytest.raises(ValueError, match="did you mean 'pendulum'"):
        make_planner("pendulm", "cem")


def test_a_planner_that_was_told_no_horizon_looks_ahead_as_the_task_says():
    task = tasks.load("pendulum")
    assert make_planner(task, CEM()) == CEM(30)
    assert make_planner(task, ILQR(iterations=3)) == ILQR(40, iterations=3)
    assert make_planner(task, Polished(CEM(), ILQR())) == Polished(CEM(30), ILQR(30))
    assert make_planner(task, CEM.pets()).horizon == 30
    assert make_planner(task, CEM(50)).horizon == 50
    assert CEM().horizon == 50


def test_who_plans_by_default_can_plan_for_these_actions():
    assert name_of(make_planner("pendulum")) == "cem"
    assert name_of(make_planner("maze")) == "mcts"


def test_what_is_no_planner_or_has_its_own_settings_is_refused(unchecked):
    with pytest.raises(ValueError, match="set population there"):
        make_planner("pendulum", CEM(), population=3)
    wrong: Any = CEM
    with pytest.raises(TypeError, match=r"such as CEM\(\), or the name"):
        make_planner("pendulum", wrong)
    wrong = 3
    with pytest.raises(TypeError, match="a Task or the name of one, got int"):
        make_planner(wrong, "cem")


def test_settings_have_other_names_than_the_arguments_of_those_who_act():
    """But for tree search in open loop, which is not said by keyword."""
    acting = {
        name
        for each in (control, plan, controller, make_planner)
        for name in inspect.signature(each).parameters
    } - {"settings"}
    settings = {
        field.name
        for entry in PLANNERS.values()
        for field in dataclasses.fields(entry.settings)
    }
    assert settings & acting == {"open_loop"}
