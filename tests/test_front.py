"""The front page: every name is there, and none costs anything before it is used."""

import ast
import importlib
import pathlib
import subprocess
import sys

import pytest

import forethought as ft
from forethought import tasks

LIST = ast.parse(pathlib.Path(ft.__file__).with_suffix(".pyi").read_text())
HEAVY = {
    "equinox",
    "gymnasium",
    "imageio_ffmpeg",
    "jax",
    "matplotlib",
    "mujoco",
    "numpy",
    "optax",
    "rich",
    "scipy",
    "tyro",
}


def said(code):
    """What a Python of its own prints."""
    program = [sys.executable, "-c", code]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def packages(code):
    """The packages that are imported once some code has run."""
    loaded = said(f"{code}; import sys; print(*sys.modules)")
    return {name.split(".")[0] for name in loaded}


def test_importing_the_library_imports_nothing_heavy():
    assert packages("import forethought") & HEAVY == set()


def test_planning_on_equations_of_motion_needs_no_simulator_and_no_plots():
    code = "import forethought as ft; ft.make_planner('pendulum', 'mppi'); ft.control"
    needed = packages(code)
    assert "equinox" in needed
    assert needed & {"gymnasium", "imageio_ffmpeg", "matplotlib", "mujoco"} == set()


@pytest.mark.parametrize("name", ft.__all__)
def test_a_public_name_is_what_its_home_has(name):
    homes = {
        alias.name: node.module
        for node in LIST.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert getattr(ft, name) is getattr(importlib.import_module(homes[name]), name)
    assert name in dir(ft)


def test_type_checkers_are_told_the_same_names():
    (told,) = [node.value for node in LIST.body if isinstance(node, ast.Assign)]
    assert ast.literal_eval(told) == sorted(
        ft.__all__, key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )


def test_a_room_is_there_by_its_name_and_a_wrong_name_is_an_attribute_error():
    assert ft.planners.DefaultPolicy is not None
    assert "acrobot-goal" in ft.tasks.gallery.GALLERY
    with pytest.raises(AttributeError, match="no attribute 'contrl'") as error:
        _ = ft.contrl
    assert (error.value.name, error.value.obj) == ("contrl", ft)
    with pytest.raises(AttributeError, match="no attribute 'Tusk'"):
        _ = tasks.Tusk


def test_tasks_are_listed_as_their_files_have_them():
    listed = {name for names in tasks._FILES.values() for name in names}
    assert list(tasks.TASKS) == [each for each in tasks.TASKS if each in listed]
    for file, names in tasks._FILES.items():
        home = importlib.import_module(f"forethought.tasks.{file}")
        assert tuple(home.TASKS) == names


ORDERS = [
    "forethought, gymnasium",
    "gymnasium, forethought",
    # Whoever asks only whether it is there imports nothing.
    "importlib.util, forethought; importlib.util.find_spec('gymnasium')"
    "; import gymnasium",
]


@pytest.mark.parametrize("order", ORDERS)
def test_gymnasium_finds_every_task_whichever_is_imported_first(order):
    found = said(f"import {order}; print(*gymnasium.registry)")
    assert {f"forethought/{name}-v0" for name in tasks.TASKS} <= set(found)


def test_a_task_that_is_built_already_is_loaded_as_it_is():
    task = tasks.load("pendulum")
    assert tasks.load(task) is task
    assert isinstance(task, ft.Task)
