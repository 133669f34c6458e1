"""Names with units for the coordinates of a MuJoCo model."""

# mujoco is a compiled module without stubs: its names are unknown to the checker.
# pyright: reportAttributeAccessIssue=false

import mujoco

_FREE, _BALL, _SLIDE = (
    mujoco.mjtJoint.mjJNT_FREE.value,
    mujoco.mjtJoint.mjJNT_BALL.value,
    mujoco.mjtJoint.mjJNT_SLIDE.value,
)
_TURN = ("w", "x", "y", "z")
_SPIN = ("x (rad/s)", "y (rad/s)", "z (rad/s)")


def coordinate_names(model: mujoco.MjModel) -> tuple[str, ...]:
    """A name for each of qpos, qvel, act and sensordata, in this order."""
    positions, velocities = [], []
    for i in range(model.njnt):
        name, kind = model.joint(i).name or f"joint {i}", model.jnt_type[i]
        if kind == _FREE:
            positions += [f"{name} {axis} (m)" for axis in "xyz"]
            velocities += [f"{name} velocity {axis} (m/s)" for axis in "xyz"]
        if kind in (_FREE, _BALL):
            positions += [f"{name} quaternion {part}" for part in _TURN]
            velocities += [f"{name} angular velocity {part}" for part in _SPIN]
            continue
        unit = "m" if kind == _SLIDE else "rad"
        rate = "velocity" if kind == _SLIDE else "angular velocity"
        positions.append(f"{name} ({unit})")
        velocities.append(f"{name} {rate} ({unit}/s)")
    activations = [f"activation {i}" for i in range(model.na)]
    readings = []
    for i in range(model.nsensor):
        name, size = model.sensor(i).name or f"sensor {i}", model.sensor_dim[i]
        readings += [name] if size == 1 else [f"{name} {j}" for j in range(size)]
    return tuple(positions + velocities + activations + readings)


def quaternions(model: mujoco.MjModel) -> tuple[int, ...]:
    """Where in qpos the quaternions of free and ball joints begin."""
    return tuple(
        int(model.jnt_qposadr[i]) + (3 if model.jnt_type[i] == _FREE else 0)
        for i in range(model.njnt)
        if model.jnt_type[i] in (_FREE, _BALL)
    )
