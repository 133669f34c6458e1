"""MuJoCo on the host: many simulations of one model as one call on NumPy rows.

Compiled code calls in here through `jax.pure_callback`, so nothing in this file may
call JAX. One simulation is one row of numbers,

    [time | qpos qvel act | history warmstart | ctrl | rest],

MuJoCo's integration state in its own order without the applied forces (which stay
zero), so that a row travels into `mujoco.batch.Batch` and back by a single copy and a
step equals `mj_step` bit for bit. After a step, `ctrl` has left the row and the
sensor readings of the step are appended to it.

Rows in float64 cross the border as pairs of 32-bit words: JAX would round them where
the callback runs on a thread that does not know of `jax.enable_x64`.

A simulation that diverges must say so: MuJoCo would silently reset it, so that is
switched off on a private copy of the model, and rows in which MuJoCo counts a bad
state come back as NaN.
"""

# mujoco is a compiled module without stubs: its names are unknown to the checker.
# pyright: reportAttributeAccessIssue=false

import collections
import copy
import os
import threading

import mujoco
import numpy as np
from mujoco import batch
from numpy.typing import ArrayLike, NDArray

from forethought.environments.mujoco.sketch import Outline

KEPT_BATCHES = 16
"""Batches kept per model; a plan uses a few sizes over and over."""

PER_THREAD = 2
"""Simulations from which another thread pays, even for a step of 4 µs."""

_State = mujoco.mjtState
_PHYSICS = (_State.mjSTATE_QPOS, _State.mjSTATE_QVEL, _State.mjSTATE_ACT)
_BEFORE = (_State.mjSTATE_HISTORY, _State.mjSTATE_WARMSTART)
_AFTER = (
    _State.mjSTATE_EQ_ACTIVE,
    _State.mjSTATE_MOCAP_POS,
    _State.mjSTATE_MOCAP_QUAT,
    _State.mjSTATE_USERDATA,
    _State.mjSTATE_PLUGIN,
)
_BAD = slice(
    mujoco.mjtWarning.mjWARN_BADQPOS.value, mujoco.mjtWarning.mjWARN_BADCTRL.value + 1
)
"""The warnings of a bad position, velocity, acceleration and control."""


def _component(
    model: mujoco.MjModel, data: mujoco.MjData, part: mujoco.mjtState
) -> NDArray:
    """One part of the state of a simulation."""
    out = np.empty(mujoco.mj_stateSize(model, int(part)))
    mujoco.mj_getState(model, data, out, int(part))
    return out


def _cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _decode(words: ArrayLike) -> NDArray:
    """Numbers from what compiled code sends: words of float64, or float32 itself."""
    array = np.asarray(words)
    return array.view(np.float64)[..., 0] if array.dtype == np.uint32 else array


def _encode(numbers: NDArray) -> NDArray:
    """What is sent back for numbers: words of float64, or float32 itself."""
    if numbers.dtype != np.float64:
        return numbers
    return np.ascontiguousarray(numbers)[..., None].view(np.uint32)


class Engine:
    """Steps rows of simulations of one model; compared and hashed by identity.

    Args:
        model: Copied; later changes to it have no effect here.
        data: A simulation of it, in the start state.
        frame_skip: Physics steps per call.
        epsilon: Half the width of a central difference.

    Raises:
        ValueError: MuJoCo's batch engine cannot run the model.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        data: mujoco.MjData,
        frame_skip: int,
        epsilon: float,
    ):
        self.model = copy.copy(model)
        self.model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
        self.frame_skip = frame_skip
        self.epsilon = epsilon
        self.physics = model.nq + model.nv + model.na
        self.before = sum(mujoco.mj_stateSize(model, int(part)) for part in _BEFORE)
        self.after = sum(mujoco.mj_stateSize(model, int(part)) for part in _AFTER)
        self.sensors = model.nsensordata
        self.control = 1 + self.physics + self.before
        self.inputs = self.control + model.nu + self.after
        self.outputs = self.control + self.after + self.sensors
        self._tail = self.control + model.nu + model.nv + 6 * model.nbody
        clamped = not model.opt.disableflags & mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL
        limited = model.actuator_ctrllimited.astype(bool) & clamped
        self.low = np.where(limited, model.actuator_ctrlrange[:, 0], -np.inf)
        self.high = np.where(limited, model.actuator_ctrlrange[:, 1], np.inf)
        self._batches: collections.OrderedDict[
            int, tuple[batch.Batch, NDArray, NDArray]
        ] = collections.OrderedDict()
        self._lock = threading.Lock()
        parts = (_State.mjSTATE_TIME, *_PHYSICS, *_BEFORE, *_AFTER)
        self.start = np.concatenate([_component(model, data, part) for part in parts])
        self.start_sensors = self.readings(self.start)
        self.outline = Outline(self.model)

    def _batch(self, size: int) -> tuple[batch.Batch, NDArray, NDArray]:
        """A batch of the given size with its state rows and sensor readings."""
        if size in self._batches:
            self._batches.move_to_end(size)
            return self._batches[size]
        threads = min(_cores(), max(1, size // PER_THREAD))
        simulations = batch.Batch(self.model, size, threads)
        # MuJoCo prints a warning, and writes a log file, when it counts the first.
        simulations.warning[..., 1] = 1
        sensors = (
            simulations.bind("sensordata") if self.sensors else np.zeros((size, 0))
        )
        self._batches[size] = (simulations, simulations.state, sensors)
        if len(self._batches) > KEPT_BATCHES:
            self._batches.popitem(last=False)
        return self._batches[size]

    def _run(self, rows: NDArray, *, advance: bool = True) -> NDArray:
        """Step every row, or only evaluate its sensors; `[size, outputs]`."""
        size = rows.shape[0]
        head, control, physics = self.control + self.model.nu, self.control, 1
        finite = np.isfinite(rows)
        bad = np.zeros(size, bool)
        out = np.empty((size, self.outputs), rows.dtype)
        with self._lock:
            simulations, state, sensors = self._batch(size)
            state[:, :head] = rows[:, :head]
            if self.after:
                state[:, self._tail :] = rows[:, head:]
            if not finite.all():
                # What is not finite is not simulated: a resting machine stands in.
                bad |= ~finite.all(axis=1)
                state[bad] = 0
                state[bad, physics : physics + self.model.nq] = self.model.qpos0
            try:
                if advance:
                    simulations.step(nstep=self.frame_skip)
                else:
                    simulations.forward()
            except batch.SimulationError as error:
                bad[error.ids] = True
            counts = simulations.warning[:, _BAD, 1]
            if counts.max() > 1:
                bad |= (counts > 1).any(axis=1)
                simulations.warning[..., 1] = 1
            out[:, :control] = state[:, :control]
            if self.after:
                out[:, control : control + self.after] = state[:, self._tail :]
            if self.sensors:
                out[:, control + self.after :] = sensors
        if bad.any():
            out[bad] = np.nan
        return out

    def step(self, words: ArrayLike) -> NDArray:
        """Advance rows `[..., inputs]` by `frame_skip` steps to `[..., outputs]`."""
        rows = _decode(words)
        out = self._run(rows.reshape(-1, self.inputs))
        return _encode(out.reshape(*rows.shape[:-1], self.outputs))

    def sense(self, words: ArrayLike) -> NDArray:
        """Sensor readings `[..., sensor]` in the states of rows without controls."""
        rows = _decode(words)
        return _encode(self.readings(rows))

    def place(self, words: ArrayLike) -> NDArray:
        """The capsules `[..., capsule, 2, 3]` of positions `[..., position]`."""
        return _encode(self.outline.place(_decode(words)))

    def readings(self, rows: NDArray) -> NDArray:
        """What `sense` sends, as numbers of numbers."""
        flat = rows.reshape(-1, self.control + self.after)
        resting = np.zeros((flat.shape[0], self.inputs), rows.dtype)
        resting[:, : self.control] = flat[:, : self.control]
        resting[:, self.control + self.model.nu :] = flat[:, self.control :]
        readings = self._run(resting, advance=False)[:, self.control + self.after :]
        return readings.reshape(*rows.shape[:-1], self.sensors)

    def linearise(self, words: ArrayLike) -> tuple[NDArray, NDArray]:
        """Step rows and differentiate the step, all in one batch.

        Central differences in float64 whatever the dtype of the rows. At a limit of
        a control the difference is taken on the inner side.

        Args:
            words: Rows of shape `[..., inputs]`.

        Returns:
            The step `[..., outputs]`, and its Jacobian `[..., y, x]`: what is moved,
            x, is (qpos, qvel, act, ctrl); what is watched, y, is (qpos, qvel, act,
            sensordata).
        """
        rows = _decode(words)
        flat = rows.reshape(-1, self.inputs).astype(np.float64)
        count, control, controls = flat.shape[0], self.control, self.model.nu
        moved = np.r_[1 : 1 + self.physics, control : control + controls]
        watched = np.r_[1 : 1 + self.physics, control + self.after : self.outputs]
        size = moved.size
        all_rows = np.repeat(flat[:, None], 1 + 2 * size, axis=1)
        index = np.arange(size)
        all_rows[:, 1 + index, moved] += self.epsilon
        all_rows[:, 1 + size + index, moved] -= self.epsilon
        actions = all_rows[:, 1:, control : control + controls]
        np.clip(actions, self.low, self.high, out=actions)
        width = all_rows[:, 1 + index, moved] - all_rows[:, 1 + size + index, moved]
        out = self._run(all_rows.reshape(-1, self.inputs))
        out = out.reshape(count, 1 + 2 * size, self.outputs)
        rise = out[:, 1 : 1 + size, watched] - out[:, 1 + size :, watched]
        slope = rise / np.where(width == 0, 1, width)[..., None]
        slope[np.isnan(out[:, 0]).any(axis=1)] = np.nan
        lead = rows.shape[:-1]
        after = out[:, 0].reshape(*lead, self.outputs)
        jacobian = np.swapaxes(slope, 1, 2).reshape(*lead, watched.size, size)
        return (
            _encode(after.astype(rows.dtype, copy=False)),
            _encode(jacobian.astype(rows.dtype, copy=False)),
        )
