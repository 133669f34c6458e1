"""Names for what Gymnasium environments let see: their spaces carry none."""

# mujoco is a compiled module without stubs: its names are unknown to the checker.
# pyright: reportAttributeAccessIssue=false

from typing import Any

import gymnasium
import mujoco

from forethought.environments.mujoco.names import coordinate_names

CLASSIC = {
    "Acrobot": (
        *("cos shoulder", "sin shoulder", "cos elbow", "sin elbow"),
        *("shoulder rate (rad/s)", "elbow rate (rad/s)"),
    ),
    "CartPole": (
        *("position (m)", "velocity (m/s)", "angle (rad)"),
        "angular velocity (rad/s)",
    ),
    "MountainCar": ("position", "velocity"),
    "MountainCarContinuous": ("position", "velocity"),
    "Pendulum": ("cos angle", "sin angle", "angular velocity (rad/s)"),
}
"""Of environments that say it in their documentation, by name without version."""


def observation_names(env: gymnasium.Env, size: int) -> list[str]:
    """A name for each number of an observation; its place where nothing is known.

    Args:
        env: The environment, in whatever wrappers; one of MuJoCo tells which
            coordinates it shows first.
        size: How many numbers an observation has.
    """
    names = [f"observation {i}" for i in range(size)]
    inner: Any = env.unwrapped
    known = CLASSIC.get(env.spec.id.rpartition("-")[0] if env.spec else "", ())
    model: Any = getattr(inner, "model", None)
    if isinstance(model, mujoco.MjModel) and (shown := _coordinates(inner)) is not None:
        known = coordinate_names(model)[shown : model.nq + model.nv]
    if len(known) <= size:
        names[: len(known)] = known
    return names


def _coordinates(inner: Any) -> int | None:
    """How many positions are left out, where positions and velocities come first."""
    told = getattr(inner, "observation_structure", None)
    if not isinstance(told, dict):
        return None
    skipped = int(told.get("skipped_qpos", 0))
    sizes = [told[name] for name in told if name != "skipped_qpos"][:2]
    return skipped if sizes == [inner.model.nq - skipped, inner.model.nv] else None
