"""A MuJoCo model as capsules, for drawing without a renderer. Host only."""

# mujoco is a compiled module without stubs: its names are unknown to the checker.
# pyright: reportAttributeAccessIssue=false

import threading

import mujoco
import numpy as np
from numpy.typing import NDArray

from forethought.environments.analytic.drawing import GOAL, MOVING, STILL

_TYPE = mujoco.mjtGeom
_FLAT = (_TYPE.mjGEOM_PLANE.value, _TYPE.mjGEOM_HFIELD.value)
_ROUND = (_TYPE.mjGEOM_CAPSULE.value, _TYPE.mjGEOM_CYLINDER.value)
_GOAL_WORDS = ("goal", "target")
VISIBLE_GROUPS = 3
"""Geom groups that MuJoCo's viewer shows: 0, 1 and 2."""


class Outline:
    """The capsules of a model: which geoms, how long, how thick, what colour.

    Capsules and spheres are exact, cylinders have round ends, and what has another
    shape is drawn along the longest side of its bounding box. Planes and height
    fields are left out.

    Args:
        model: A compiled model.
    """

    def __init__(self, model: mujoco.MjModel):
        self._model, self._data = model, mujoco.MjData(model)
        self._lock = threading.Lock()
        solid = [i for i in range(model.ngeom) if model.geom_type[i] not in _FLAT]
        shown = [i for i in solid if model.geom_group[i] < VISIBLE_GROUPS]
        self._geoms = np.asarray(shown or solid, int)
        ends = np.zeros((self._geoms.size, 2, 3))
        self.radius = np.zeros(self._geoms.size)
        self.kind = np.zeros(self._geoms.size, np.int32)
        for row, geom in enumerate(shown or solid):
            ends[row], self.radius[row] = _capsule(model, geom)
            self.kind[row] = _kind(model, geom)
        self._ends = ends

    def place(self, qpos: NDArray) -> NDArray:
        """The two ends of every capsule in the world, `[..., capsule, 2, 3]`."""
        rows = qpos.reshape(-1, self._model.nq)
        out = np.empty((rows.shape[0], *self._ends.shape), qpos.dtype)
        with self._lock:
            for row, position in enumerate(rows):
                self._data.qpos[:] = position
                mujoco.mj_kinematics(self._model, self._data)
                frames = self._data.geom_xmat[self._geoms].reshape(-1, 3, 3)
                turned = np.einsum("cij,cej->cei", frames, self._ends)
                out[row] = turned + self._data.geom_xpos[self._geoms, None]
        return out.reshape(*qpos.shape[:-1], *self._ends.shape)


def _capsule(model: mujoco.MjModel, geom: int) -> tuple[NDArray, float]:
    """Ends in the geom's own frame `[2, 3]`, and the radius."""
    size = model.geom_size[geom]
    if model.geom_type[geom] == _TYPE.mjGEOM_SPHERE.value:
        return np.zeros((2, 3)), float(size[0])
    if model.geom_type[geom] in _ROUND:
        half = np.array([0.0, 0.0, size[1]])
        if model.geom_type[geom] == _TYPE.mjGEOM_CYLINDER.value:
            half[2] = max(size[1] - size[0], 0.0)
        return np.stack([-half, half]), float(size[0])
    centre, sides = model.geom_aabb[geom, :3], model.geom_aabb[geom, 3:]
    longest = int(np.argmax(sides))
    radius = float(np.delete(sides, longest).mean())
    half = np.zeros(3)
    half[longest] = max(sides[longest] - radius, 0.0)
    return np.stack([centre - half, centre + half]), radius


def _kind(model: mujoco.MjModel, geom: int) -> int:
    """A goal by its name, still where it is fixed to the world, else moving."""
    body = model.geom_bodyid[geom]
    names = (model.geom(geom).name + " " + model.body(body).name).lower()
    if any(word in names for word in _GOAL_WORDS):
        return GOAL
    return STILL if model.body_weldid[body] == 0 else MOVING
