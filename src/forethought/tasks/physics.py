"""Tasks on MuJoCo physics: what is controlled, what is wanted, settings that work.

Machines are our own MJCF files, or those that the gymnasium package brings along.
"""

# mujoco is a compiled module without stubs: its names are unknown to the checker.
# pyright: reportAttributeAccessIssue=false

import importlib.resources
import pathlib
import re
from collections.abc import Callable

import mujoco

from forethought.environments.mujoco.system import MuJoCo
from forethought.models.known import Known
from forethought.objectives.physics import Run
from forethought.objectives.residual import L2, Quadratic, Residual, SmoothAbs, Term
from forethought.problem import Problem
from forethought.tasks.base import Task
from forethought.tasks.user import user_task

__all__ = ["TASKS", "asset", "gymnasium_model", "user_task"]


def asset(name: str) -> str:
    """The path of one of our own MJCF files."""
    return str(importlib.resources.files("forethought") / "assets" / f"{name}.xml")


def gymnasium_model(
    name: str, *, timestep: float | None = None, sensors: str = ""
) -> mujoco.MjModel:
    """A machine from the MJCF files that the gymnasium package brings along.

    Args:
        name: Of the file, without its ending.
        timestep: Seconds of a physics step, then integrated implicitly and solved by
            Newton's method, which allows a longer step than the file has; by default
            everything is left as it is in the file.
        sensors: MJCF elements to add to its sensors.
    """
    folder = importlib.resources.files("gymnasium") / "envs" / "mujoco" / "assets"
    text = pathlib.Path(str(folder / f"{name}.xml")).read_text(encoding="utf-8")
    # MuJoCo warns of this attribute, on the terminal and in a log file.
    mass = re.search(r'settotalmass="([^"]+)"', text)
    text = re.sub(r'settotalmass="[^"]+"', "", text)
    text = text.replace("</mujoco>", f"<sensor>{sensors}</sensor></mujoco>")
    model = mujoco.MjModel.from_xml_string(text)
    if mass:
        mujoco.mj_setTotalmass(model, float(mass.group(1)))
        mujoco.mj_setConst(model, mujoco.MjData(model))
    if timestep is not None:
        model.opt.timestep = timestep
        model.opt.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
        model.opt.solver = mujoco.mjtSolver.mjSOL_NEWTON
        model.opt.iterations = 100
    return model


def cartpole() -> Task:
    """Swing a pole up by pushing its cart, and balance it in the middle."""
    system = MuJoCo(asset("cartpole"), 2, keyframe="hanging", start_noise=0.01)
    objective = Residual(
        system,
        [
            Term("sensor", "tip", 1.0, L2(0.2)),
            Term("sensor", "hinge velocity", 0.02, Quadratic()),
            Term("action", None, 0.02, Quadratic()),
        ],
    )
    return Task(
        name="mujoco-cartpole",
        summary="swing up a pole on a cart and balance it",
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=250,
        settings={
            "random-shooting": {"horizon": 30, "population": 256, "hold": 4},
            "cem": {"horizon": 30, "population": 64, "elites": 8, "iterations": 3},
            "ilqr": {"horizon": 30, "iterations": 20},
        },
    )


def acrobot() -> Task:
    """Swing two links up by the motor in their elbow, and balance them."""
    system = MuJoCo(asset("acrobot"), 2, keyframe="hanging", start_noise=0.01)
    objective = Residual(
        system,
        [
            Term("sensor", "middle", 1.0, L2(0.5)),
            Term("sensor", "tip", 0.5, L2(0.5)),
            Term("qvel", None, 0.002, Quadratic()),
            Term("action", None, 0.01, Quadratic()),
        ],
    )
    return Task(
        name="mujoco-acrobot",
        summary="swing up two links by the elbow",
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=250,
        settings={
            "random-shooting": {"horizon": 40, "population": 256, "hold": 5},
            "cem": {
                "horizon": 40,
                "population": 128,
                "initial_std": 1.0,
                "noise_beta": 1.5,
            },
            "ilqr": {"horizon": 50, "iterations": 5},
        },
    )


def reacher() -> Task:
    """Bring the tip of a two-link arm to a target that is elsewhere each time."""
    model = gymnasium_model(
        "reacher",
        timestep=0.005,
        sensors="""<framepos name="tip" objtype="body" objname="fingertip"
          reftype="body" refname="target"/>""",
    )
    system = MuJoCo(model, 4, start_noise=0.1)
    objective = Residual(
        system,
        [Term("sensor", "tip", 10.0, L2(0.01)), Term("action", None, 0.1)],
    )
    return Task(
        name="mujoco-reacher",
        summary="bring an arm's tip to a random target",
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=50,
        settings={
            "random-shooting": {"horizon": 10, "population": 256},
            "cem": {"horizon": 10, "population": 64, "elites": 8, "iterations": 3},
            "ilqr": {"horizon": 15, "iterations": 5},
        },
    )


def hopper() -> Task:
    """Stand upright on one leg, from a disturbed posture."""
    system = MuJoCo(gymnasium_model("hopper", timestep=0.004), 5, start_noise=0.1)
    objective = Residual(
        system,
        [
            Term("qpos", "rootz", 2.0, L2(0.1), target=1.25),
            Term("qpos", "rooty", 1.0, L2(0.1)),
            Term("qvel", None, 0.02, SmoothAbs(0.2)),
            Term("action", None, 0.02, Quadratic()),
        ],
    )
    return Task(
        name="mujoco-hopper",
        summary="stand upright on one leg",
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=200,
        settings={
            "random-shooting": {"horizon": 20, "population": 256, "hold": 3},
            "cem": {"horizon": 25, "population": 64, "elites": 8, "iterations": 3},
            "ilqr": {"horizon": 25, "iterations": 5},
        },
    )


def cheetah() -> Task:
    """Run as fast as possible: Gymnasium's HalfCheetah-v5, physics and reward."""
    system = MuJoCo(gymnasium_model("half_cheetah"), 5, start_noise=0.1)
    return Task(
        name="mujoco-cheetah",
        summary="run as fast as possible (HalfCheetah-v5)",
        system=system,
        problem=Problem(Known(system), Run(system.dt), system.action),
        steps=200,
        settings={
            "random-shooting": {"horizon": 15, "population": 256, "hold": 2},
            "cem": {
                "horizon": 20,
                "population": 96,
                "iterations": 4,
                "initial_std": 1.0,
                "noise_beta": 1.0,
            },
            "ilqr": {"horizon": 20, "iterations": 5},
        },
    )


def walker() -> Task:
    """Walk upright at one metre a second."""
    system = MuJoCo(gymnasium_model("walker2d_v5", timestep=0.004), 5, start_noise=0.01)
    objective = Residual(
        system,
        [
            Term("qpos", "rootz", 3.0, L2(0.1), target=1.2),
            Term("qpos", "rooty", 1.0, L2(0.1)),
            Term("qvel", "rootx", 1.0, L2(0.2), target=1.0),
            Term("action", None, 0.02, Quadratic()),
        ],
    )
    return Task(
        name="mujoco-walker",
        summary="walk upright at one metre a second",
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=250,
        settings={
            "random-shooting": {"horizon": 20, "population": 256, "hold": 3},
            "cem": {"horizon": 25, "population": 96, "elites": 10, "iterations": 3},
            "ilqr": {"horizon": 25, "iterations": 5},
        },
    )


def humanoid() -> Task:
    """Stand up from lying on the back."""
    model = gymnasium_model(
        "humanoidstandup",
        timestep=0.005,
        sensors="""<framepos name="torso" objtype="body" objname="torso"/>
          <framezaxis name="torso upright" objtype="body" objname="torso"/>""",
    )
    system = MuJoCo(model, 4, start_noise=0.01)
    objective = Residual(
        system,
        [
            Term("sensor", "torso", 2.0, L2(0.1), target=1.3, entry=2),
            Term("sensor", "torso upright", 0.5, L2(0.2), target=[0.0, 0.0, 1.0]),
            Term("qvel", None, 0.002, SmoothAbs(0.5)),
            Term("action", None, 0.02, Quadratic()),
        ],
    )
    return Task(
        name="mujoco-humanoid",
        summary="stand up from lying on the back",
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=200,
        settings={
            "random-shooting": {"horizon": 20, "population": 128, "hold": 4},
            "cem": {"horizon": 25, "population": 96, "elites": 10, "iterations": 3},
            "ilqr": {"horizon": 25, "iterations": 5},
        },
    )


TASKS: dict[str, Callable[[], Task]] = {
    "mujoco-cartpole": cartpole,
    "mujoco-acrobot": acrobot,
    "mujoco-reacher": reacher,
    "mujoco-hopper": hopper,
    "mujoco-cheetah": cheetah,
    "mujoco-walker": walker,
    "mujoco-humanoid": humanoid,
}
