"""The plants that papers on learned models report their numbers on.

Two cart-poles to be swung up, and a swimmer. Physics, rewards and start states are
those of the papers' own environments. What the cart-poles show tells their state, so
that a learner may be given the reward; a swimmer's has to be learned. The settings for
learners are what works on two cores; those of a paper are flags of `forethought
reproduce NAME --paper`.
"""

import jax.numpy as jnp
from jaxtyping import Array

from forethought.agents.on_policy.ppo import PPO
from forethought.environments.mujoco.system import MuJoCo, MuJoCoState
from forethought.environments.repeat import Repeat
from forethought.environments.simulated import Simulated
from forethought.models.known import Known
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.recipes import EnsembleRecipe
from forethought.objectives.physics import Balance, Reaching, Run, TipUp
from forethought.planners.sampling.cem import CEM
from forethought.problem import Problem
from forethought.tasks.base import Task
from forethought.tasks.physics import asset, gymnasium_model

THOROUGH = EnsembleRecipe(
    fitting=FitSettings(epochs=40, patience=40, holdout=0.0, updates=100)
)
"""Five networks of two layers of 64, fitted for 4,000 minibatches or more.

No rows are held out: a hundred transitions hold out ten, one of which may frighten a
fit into its first weights, and the swing-up comes two or three episodes later.
"""

FRAMES = 8
"""How often an action is repeated on dm_control's cart-pole."""
STROKE = 4
"""How often an action is repeated on the swimmer."""


def pets_cartpole() -> Task:
    """Swing up the cart-pole of the paper that introduced PETS.

    The pole is viscously damped and the motor strong (300 N on 14 kg), the reward is
    near 1 for the tip above the middle of the rail: 200 is more than can be had.

    References:
        Chua, Calandra, McAllister and Levine, Deep reinforcement learning in a handful
        of trials using probabilistic dynamics models, 2018, arXiv:1805.12114.

    Note:
        Numbers are those of the authors' files. Their MuJoCo was 1.31: masses are the
        ones that it computed. Its default impedance of a joint limit and its solver
        were others too, so that the cart bounces otherwise off the ends of its rail.
    """
    system = MuJoCo(
        asset("pets_cartpole"), 2, start_noise=0.1, start_velocity_noise=0.1
    )

    def restore(obs: Array) -> MuJoCoState:
        return system.at(obs[:2], obs[2:])

    return Task(
        name="pets-cartpole",
        summary="swing up a damped pole on a cart (Chua et al., 2018)",
        system=system,
        problem=Problem(Known(system), TipUp(), system.action),
        steps=200,
        restore=restore,
        angles=(1,),
        settings={
            "random-shooting": {"horizon": 20, "hold": 3},
            "cem": {"horizon": 25, "iterations": 5},
            "ilqr": {"horizon": 30, "iterations": 10},
            "pets": {
                "model": THOROUGH,
                "planner": CEM(20, population=150, elites=15, particles=5),
            },
        },
    )


def cartpole_swingup() -> Task:
    """Swing up the cart-pole of dm_control's suite, each action taken eight times.

    Eight frames of 0.01 s are one decision, whose reward is the sum of theirs, so a
    perfect episode of 125 decisions is worth 1000.

    References:
        Tassa et al., DeepMind control suite, 2018, arXiv:1801.00690. Hafner et al.,
        Learning latent dynamics for planning from pixels, 2019, arXiv:1811.04551,
        whose action repeat it is.

    Note:
        Planners see the frame after a decision alone and count it eight times: a
        reward that rises during a decision is overrated by half of its rise, about
        four points in an episode.
    """
    place = asset("cartpole_swingup")

    def cartpole(frame_skip: int) -> MuJoCo:
        return MuJoCo(
            place,
            frame_skip,
            keyframe="hanging",
            start_noise=0.01,
            start_velocity_noise=0.01,
            circles=(1,),
        )

    system = cartpole(FRAMES)

    def restore(obs: Array) -> MuJoCoState:
        angle = jnp.arctan2(obs[2], obs[1])
        return system.at(jnp.stack([obs[0], angle]), obs[3:])

    return Task(
        name="cartpole-swingup",
        summary="swing up dm_control's cart-pole, action repeat 8",
        system=system,
        problem=Problem(Known(system), Balance(float(FRAMES)), system.action),
        steps=125,
        restore=restore,
        circles=((1, 2),),
        world=Repeat(Simulated(cartpole(1), Balance(), 1000), FRAMES),
        settings={
            "random-shooting": {"horizon": 15, "hold": 2},
            "cem": {"horizon": 15, "iterations": 5},
            "ilqr": {"horizon": 20, "iterations": 10},
            "pets": {
                "model": THOROUGH,
                "planner": CEM(
                    12, population=200, elites=20, iterations=5, particles=5
                ),
            },
        },
    )


def swimmer() -> Task:
    """Swim forward by wriggling: Gymnasium's Swimmer-v5, each action taken four times.

    Physics, observations and reward are those of Swimmer-v5: three links in a viscous
    fluid, two motors, the speed of the head link along x less a ten-thousandth of the
    squared actions. Where the swimmer is, is not observed. Four of Gymnasium's steps
    of 0.04 s are one decision, whose reward is the sum of theirs; an episode is 100
    decisions, which are 400 of Gymnasium's 1,000 steps.

    References:
        Towers et al., Gymnasium: a standard interface for reinforcement learning
        environments, 2024, arXiv:2407.17032. Nagabandi, Kahn, Fearing and Levine,
        Neural network dynamics for model-based deep reinforcement learning with
        model-free fine-tuning, 2018, arXiv:1708.02596, whose task it is; their swimmer
        took each action three times.

    Note:
        Start noise is normal with the variance of Gymnasium's, which is uniform in
        ±0.1.
    """
    noise = 0.1 / 3**0.5
    system = MuJoCo(
        gymnasium_model("swimmer"),
        4 * STROKE,
        start_noise=noise,
        start_velocity_noise=noise,
        hidden=(0, 1),
    )
    # Places telescope: the sum of four steps' speeds is four times their mean.
    objective = Run(system.dt, forward=float(STROKE), effort=1e-4 * STROKE)
    return Task(
        name="swimmer",
        summary="swim forward by wriggling (Swimmer-v5), action repeat 4",
        system=system,
        problem=Problem(Known(system), objective, system.action),
        steps=100,
        settings={
            "random-shooting": {"horizon": 15, "population": 256},
            "cem": {"horizon": 15, "iterations": 4},
            "ilqr": {"horizon": 15, "iterations": 5},
            "mb-mf": {
                "planner": CEM(
                    15, population=64, elites=8, iterations=3, noise_beta=1.0
                ),
                "model_steps": 3200,
                "imitation_steps": 2400,
                "ppo": PPO(rollout=1600, std=0.5),
            },
            "ppo": {"rollout": 1600},
        },
    )


def reacher() -> Task:
    """Bring the tip of a two-link arm to a target: Gymnasium's Reacher-v5.

    Physics, length and reward are those of Reacher-v5, but that the distance is rounded
    by 3 cm, which takes at most as much from a step. What is observed tells the state:
    both angles as cosine and sine, where the target is, all velocities.

    References:
        Towers et al., Gymnasium: a standard interface for reinforcement learning
        environments, 2024, arXiv:2407.17032.

    Note:
        Starts are normal with a standard deviation of 0.1 rad of both angles and 0.1 m
        of the target along both axes; Gymnasium's are uniform in ±0.1 rad, ±0.005 rad/s
        and a disc of 0.2 m.
    """
    system = MuJoCo(
        gymnasium_model("reacher"),
        2,
        start_qpos=(0.0,) * 4,
        start_noise=0.1,
        circles=(0, 1),
    )

    def restore(obs: Array) -> MuJoCoState:
        angles = jnp.arctan2(obs[jnp.array([1, 3])], obs[jnp.array([0, 2])])
        return system.at(jnp.concatenate([angles, obs[4:6]]), obs[6:])

    return Task(
        name="reacher",
        summary="bring an arm's tip to a target (Reacher-v5)",
        system=system,
        problem=Problem(Known(system), Reaching(), system.action),
        steps=50,
        restore=restore,
        circles=((0, 1), (2, 3)),
        settings={
            "random-shooting": {"horizon": 15, "population": 256},
            "cem": {"horizon": 15, "population": 100, "elites": 10, "iterations": 3},
            "ilqr": {"horizon": 20, "iterations": 10},
            "pets": {
                "model": EnsembleRecipe(),
                "planner": CEM(
                    15, population=100, elites=10, iterations=3, particles=5
                ),
            },
        },
    )


TASKS = {
    "pets-cartpole": pets_cartpole,
    "cartpole-swingup": cartpole_swingup,
    "swimmer": swimmer,
    "reacher": reacher,
}
"""A task's name to the function that builds it."""
