"""MuJoCo as a system: any MJCF file inside compiled planners.

A step leaves compiled code for MuJoCo's own batch engine and comes back: a population
under `jax.vmap` becomes one multi-threaded call. The derivative of a step is a central
difference over one batch, so that planners that differentiate work on any model too;
`jax.vmap(jax.jacfwd(step))` over a trajectory is one call as well, and reverse mode
transposes the Jacobian that the call returned.
"""

# mujoco is a compiled module without stubs: its names are unknown to the checker.
# pyright: reportAttributeAccessIssue=false

import difflib
import functools
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import mujoco
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from forethought.core.given.settings import Count, Nonnegative, Positive, require
from forethought.core.linalg import Values, matvec
from forethought.core.spaces import Box, Space
from forethought.core.types import Opaque
from forethought.core.words import unknown
from forethought.environments.base import AbstractSystem, Capsules
from forethought.environments.mujoco.engine import Engine
from forethought.environments.mujoco.names import coordinate_names, quaternions


class MuJoCoState(eqx.Module):
    """The integration state of a simulation, and what its sensors said.

    `memory` is what MuJoCo carries besides (the clock, the solver's warm start, delay
    buffers, mocap poses, plugin state). It makes a step exact and is no coordinate of
    the state: nothing is differentiated with respect to it.
    """

    qpos: Float[Array, " position"]
    qvel: Float[Array, " velocity"]
    act: Float[Array, " activation"]
    sensordata: Float[Array, " sensor"]
    """As MuJoCo evaluated them during the step that led here, so one physics step
    behind `qpos`; at a start state, in that state."""
    memory: Opaque


def _call(
    host: Callable, numbers: Float[Array, " number"], *shapes: tuple[int, ...]
) -> list[Array]:
    """Ask the host; float64 travels as 32-bit words (see `mujoco_engine`)."""
    wide = numbers.dtype == jnp.float64
    word = jnp.dtype(jnp.uint32) if wide else numbers.dtype
    words = jax.lax.bitcast_convert_type(numbers, word)
    replies = jax.pure_callback(
        host,
        [jax.ShapeDtypeStruct((*s, 2) if wide else s, word) for s in shapes],
        words,
        vmap_method="broadcast_all",
    )
    return [jax.lax.bitcast_convert_type(reply, numbers.dtype) for reply in replies]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _step(engine: Engine, row: Float[Array, " input"]) -> Float[Array, " output"]:
    (out,) = _call(engine.step, row, (engine.outputs,))
    return out


@_step.defjvp
def _step_jvp(engine: Engine, primals: Any, tangents: Any) -> tuple[Array, Array]:
    (row,), (tangent,) = primals, tangents
    physics, control, sensors = engine.physics, engine.control, engine.sensors
    moved = jnp.concatenate(
        [tangent[1 : 1 + physics], tangent[control : control + engine.model.nu]]
    )
    out, jacobian = _call(
        engine.linearise,
        row,
        (engine.outputs,),
        (physics + sensors, moved.shape[0]),
    )
    change = matvec(jacobian, moved)
    still = jnp.zeros(engine.outputs - physics - sensors, row.dtype)
    return out, jnp.concatenate(
        [still[:1], change[:physics], still[1:], change[physics:]]
    )


class MuJoCo(AbstractSystem[MuJoCoState]):
    r"""A MuJoCo model as a system.

    $$x_{t+1} = \text{mj\_step}^{\text{frame\_skip}}(x_t, u_t), \qquad
      \frac{\partial f}{\partial z_i} \approx
      \frac{f(z + \epsilon e_i) - f(z - \epsilon e_i)}{2 \epsilon}$$

    In float64 a step equals `mj_step` bit for bit. Actions beyond `ctrlrange` are
    clipped by MuJoCo where the model says so. A simulation that diverges, or is fed
    what is not finite, is NaN from there on, while its neighbours go on.

    ```python
    >>> import jax, jax.numpy as jnp
    >>> from forethought.environments.mujoco.system import MuJoCo
    >>> system = MuJoCo('''<mujoco><worldbody><body>
    ...   <joint name="slide" type="slide" axis="1 0 0"/><geom size=".1" mass="2"/>
    ... </body></worldbody>
    ... <actuator><motor joint="slide"/></actuator></mujoco>''')
    >>> key = jax.random.key(0)
    >>> state = system.start(key=key)
    >>> system.step(state, jnp.array([1.0]), key=key).qvel
    Array([0.001], dtype=float32)

    ```

    Args:
        model: The path of an MJCF file, its text, or a compiled model (copied: later
            changes to it have no effect on the physics).
        frame_skip: Physics steps in each step.
        keyframe: Name or number of the keyframe to start from; by default the
            model's `qpos0` at rest. Its `ctrl`, if not all zero, is what planners
            begin with.
        start_qpos: Start positions instead of the keyframe's, in MuJoCo's units.
        start_qvel: Start velocities instead of the keyframe's.
        start_noise: Standard deviation of normal noise on start positions;
            quaternions are normalised afterwards.
        start_velocity_noise: Standard deviation of normal noise on start velocities.
        circles: Positions, in radians, that are observed as cosine and sine.
        hidden: Positions that are not observed, such as where along its track a
            machine is.
        epsilon: Half the width of the central differences.

    Raises:
        FileNotFoundError: There is no such file; the nearest names are given.
        ValueError: The MJCF is invalid, the model has no actuator, or a setting has
            the wrong shape or range.

    References:
        Todorov, Erez and Tassa, MuJoCo: a physics engine for model-based control,
        2012, doi:10.1109/IROS.2012.6386109.
    """

    action: Space
    dt: float = eqx.field(static=True)
    start_noise: float
    start_velocity_noise: float
    circles: tuple[int, ...] = eqx.field(static=True)
    hidden: tuple[int, ...] = eqx.field(static=True)
    engine: Engine = eqx.field(static=True)

    def __init__(
        self,
        model: str | os.PathLike | mujoco.MjModel,
        frame_skip: int = 1,
        *,
        keyframe: str | int | None = None,
        start_qpos: Values | None = None,
        start_qvel: Values | None = None,
        start_noise: float = 0.0,
        start_velocity_noise: float = 0.0,
        circles: Sequence[int] = (),
        hidden: Sequence[int] = (),
        epsilon: float = 1e-6,
    ):
        compiled = model if isinstance(model, mujoco.MjModel) else load(model)
        if compiled.nu == 0:
            raise ValueError(
                "MuJoCo needs a model with at least one actuator to control, got "
                f"one with {compiled.nbody - 1} bodies and none: add an <actuator>."
            )
        noise = {"start_noise": start_noise}
        noise["start_velocity_noise"] = start_velocity_noise
        require("MuJoCo", Count, frame_skip=frame_skip)
        require("MuJoCo", Nonnegative, **noise)
        require("MuJoCo", Positive, epsilon=epsilon)
        if not 0 < compiled.opt.timestep < np.inf:
            raise ValueError(
                "MuJoCo needs a timestep > 0, got <option timestep="
                f'"{compiled.opt.timestep:g}"/>.'
            )
        for name, chosen in (("circles", circles), ("hidden", hidden)):
            if any(not 0 <= i < compiled.nq for i in chosen):
                raise ValueError(
                    f"MuJoCo needs {name} among its {compiled.nq} positions, got "
                    f"{list(chosen)}."
                )
        data = mujoco.MjData(compiled)
        if keyframe is not None:
            mujoco.mj_resetDataKeyframe(compiled, data, _keyframe(compiled, keyframe))
        if start_qpos is not None:
            data.qpos[:] = _finite("start_qpos", start_qpos, compiled.nq)
        if start_qvel is not None:
            data.qvel[:] = _finite("start_qvel", start_qvel, compiled.nv)
        self.engine = Engine(compiled, data, frame_skip, float(epsilon))
        rest = data.ctrl.copy() if data.ctrl.any() else None
        self.action = Box(self.engine.low, self.engine.high, rest)
        self.dt = frame_skip * compiled.opt.timestep
        self.start_noise = float(start_noise)
        self.start_velocity_noise = float(start_velocity_noise)
        self.circles = tuple(sorted(circles))
        self.hidden = tuple(sorted(hidden))

    @property
    def mj_model(self) -> mujoco.MjModel:
        """The compiled model, for rendering and for looking things up."""
        return self.engine.model

    @property
    def state_names(self) -> tuple[str, ...]:
        """Joints, their velocities, activations and sensors, in MuJoCo's order."""
        return coordinate_names(self.mj_model)

    @property
    def action_names(self) -> tuple[str, ...]:
        """The actuators, in units of their `ctrl`."""
        model = self.mj_model
        return tuple(model.actuator(i).name or f"actuator {i}" for i in range(model.nu))

    def start(self, *, key: PRNGKeyArray) -> MuJoCoState:
        """The start state, with its noise."""
        row = jnp.asarray(self.engine.start)
        if self.start_noise == 0 and self.start_velocity_noise == 0:
            return self._state(jnp.concatenate([row, self.engine.start_sensors]))
        model = self.mj_model
        noise = self.start_noise * jax.random.normal(key, (model.nq,), row.dtype)
        row = row.at[1 : 1 + model.nq].add(noise)
        # Drawn apart, so that positions start as they do without this noise.
        noise = jax.random.normal(jax.random.fold_in(key, 1), (model.nv,), row.dtype)
        velocities = slice(1 + model.nq, 1 + model.nq + model.nv)
        row = row.at[velocities].add(self.start_velocity_noise * noise)
        for joint in quaternions(model):
            part = slice(1 + joint, 5 + joint)
            row = row.at[part].divide(jnp.linalg.norm(row[part]))
        return self._sensed(row)

    def at(
        self, qpos: Float[Array, " position"], qvel: Float[Array, " velocity"]
    ) -> MuJoCoState:
        """The start state moved to other positions and velocities.

        Raises:
            ValueError: They are not of the model's sizes.
        """
        model = self.mj_model
        if qpos.shape != (model.nq,) or qvel.shape != (model.nv,):
            raise ValueError(
                f"A state of this model needs qpos of shape [{model.nq}] and qvel of "
                f"shape [{model.nv}], got {list(qpos.shape)} and {list(qvel.shape)}."
            )
        moved = jnp.concatenate([qpos, qvel.astype(qpos.dtype)])
        row = jnp.asarray(self.engine.start, qpos.dtype)
        return self._sensed(row.at[1 : 1 + moved.shape[0]].set(moved))

    def step(
        self,
        state: MuJoCoState,
        action: Float[Array, " action"],
        *,
        key: PRNGKeyArray,
    ) -> MuJoCoState:
        """The state `frame_skip` physics steps later, under a constant action."""
        memory, before = state.memory.arrays, 1 + self.engine.before
        row = jnp.concatenate(
            [
                memory[:1],
                state.qpos,
                state.qvel,
                state.act,
                memory[1:before],
                action.astype(memory.dtype),
                memory[before:],
            ]
        )
        return self._state(_step(self.engine, row))

    def observe(self, state: MuJoCoState) -> Float[Array, " observation"]:
        """Positions, with circles as cosine and sine; velocities; activations."""
        qpos = state.qpos
        for i in sorted({*self.circles, *self.hidden}, reverse=True):
            circle = jnp.stack([jnp.cos(qpos[i]), jnp.sin(qpos[i])])
            shown = circle[:0] if i in self.hidden else circle
            qpos = jnp.concatenate([qpos[:i], shown, qpos[i + 1 :]])
        return jnp.concatenate([qpos, state.qvel, state.act])

    def sketch(self, state: MuJoCoState) -> Capsules:
        """The geoms: boxes, ellipsoids and meshes as their longest axis."""
        outline = self.engine.outline
        shape = (outline.radius.size, 2, 3)
        (points,) = _call(self.engine.place, state.qpos, shape)
        radius = jnp.asarray(outline.radius, points.dtype)
        return Capsules(points[:, 0], points[:, 1], radius, jnp.asarray(outline.kind))

    def _sensed(self, row: Float[Array, " output"]) -> MuJoCoState:
        """The state of a row that has no sensor readings yet."""
        if self.engine.sensors == 0:
            return self._state(row)
        (readings,) = _call(self.engine.sense, row, (self.engine.sensors,))
        return self._state(jnp.concatenate([row, readings]))

    def _state(self, row: Float[Array, " output"]) -> MuJoCoState:
        """A row after a step, taken apart."""
        model, engine = self.mj_model, self.engine
        ends = np.cumsum(
            [1, model.nq, model.nv, model.na, engine.before + engine.after]
        )
        time, qpos, qvel, act, memory, sensors = jnp.split(row, ends)
        return MuJoCoState(
            qpos, qvel, act, sensors, Opaque(jnp.concatenate([time, memory]))
        )


def load(model: str | os.PathLike) -> mujoco.MjModel:
    """Compile an MJCF file, or MJCF text that begins with a tag.

    Raises:
        FileNotFoundError: There is no such file; similar names are given.
        ValueError: MuJoCo refuses it; its own words are in the message.
    """
    if isinstance(model, str) and model.lstrip().startswith("<"):
        source, compile_model = "the MJCF text", mujoco.MjModel.from_xml_string
        given = model
    else:
        path = pathlib.Path(model)
        if not path.is_file():
            raise FileNotFoundError(_missing(path))
        source, compile_model = str(path), mujoco.MjModel.from_xml_path
        given = str(path)
    try:
        return compile_model(given)
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"MuJoCo cannot compile {source}: {reason}") from None


def _missing(path: pathlib.Path) -> str:
    """What to say of a file that is not there."""
    if path.is_dir():
        return f"MuJoCo needs an MJCF file, got the folder {path}."
    beside = [entry.name for entry in path.parent.glob("*.xml")]
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.5)
    hint = f"; did you mean {str(path.parent / near[0])!r}?" if near else "."
    return f"There is no MJCF file {str(path)!r}{hint}"


def _keyframe(model: mujoco.MjModel, keyframe: str | int) -> int:
    """The number of a keyframe."""
    names = [model.key(i).name or str(i) for i in range(model.nkey)]
    wanted = str(keyframe)
    if wanted in names:
        return names.index(wanted)
    if isinstance(keyframe, int) and 0 <= keyframe < model.nkey:
        return keyframe
    if not names:
        raise ValueError(f"The model has no keyframes, so none named {wanted!r}.")
    raise unknown("keyframe", wanted, names)


def _finite(name: str, values: Values, size: int) -> np.ndarray:
    """A vector of the given size, all of it finite."""
    vector = np.asarray(values, np.float64)
    if vector.shape != (size,):
        raise ValueError(
            f"MuJoCo needs {name} of shape [{size}], got {list(vector.shape)}."
        )
    if not np.isfinite(vector).all():
        raise ValueError(f"MuJoCo needs a finite {name}, got {vector.tolist()}.")
    return vector
