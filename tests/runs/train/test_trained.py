"""Training from Python: whatever world and whatever agent is handed over."""

import dataclasses
import json

import gymnasium
import jax.numpy as jnp
import numpy as np
import pytest

import forethought as ft
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.recipes import EnsembleRecipe
from forethought.planners import CEM, CategoricalCEM
from forethought.runs.store.folder import plain
from forethought.runs.train.config import config_of, differences, learning_of
from forethought.runs.train.defaults import settings_for
from forethought.runs.train.settings import Learning, check
from forethought.runs.train.trained import new_folder

MODEL = EnsembleRecipe(
    members=2, width=4, depth=1, termination="learned", fitting=FitSettings(epochs=2)
)
TINY = ft.PETS(
    model=MODEL, planner=CEM(3, population=6, elites=2, iterations=1, particles=2)
)
QUIET = {"epilogue": False, "progress": False}


class Ledge(gymnasium.Env):
    """A place in front of an edge; left, right, or wait. Each step earns 1."""

    observation_space = gymnasium.spaces.Box(-9, 9, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def __init__(self, edge=3.0):
        self.edge = edge

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = self.np_random.uniform(0, 1, 2).astype(np.float32)
        return self.x.copy(), {}

    def step(self, action):
        self.x[0] += (-1, 1, 0)[action]
        return self.x.copy(), 1.0, bool(self.x[0] > self.edge), False, {}


@pytest.fixture(autouse=True)
def ledge(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    gymnasium.register("Ledge-v0", Ledge, max_episode_steps=10)
    yield
    del gymnasium.registry["Ledge-v0"]


@pytest.fixture(scope="module")
def own():
    """A task that no list holds."""
    return dataclasses.replace(ft.tasks.load("double-integrator"), name="mine")


@pytest.mark.long
def test_an_agent_that_plans_learns_where_actions_are_choices_and_episodes_end():
    planner = CategoricalCEM(3, population=6, elites=2, iterations=1, particles=2)
    settings = {"model": MODEL, "planner": planner, "env": {"edge": 1.0}}
    run = ft.train("Ledge-v0", "pets", steps=30, **settings, **QUIET)
    assert sum(row["episodes"] for row in run.rows) == len(run.returns) > 3
    assert np.all(run.returns <= 10)
    assert all(np.isfinite(row["error_1"]) for row in run.rows[1:])
    model = run.learner.model
    assert bool(jnp.all(model.termination.seen))
    # Each choice is an input of its own, which has a scale of its own.
    assert model.transform.inputs_shape == 2 + 3
    assert run.evaluate(2).shape == (2,)


@pytest.mark.parametrize("agent", ["pets", "mbrl-v2"])
def test_where_actions_are_choices_an_agents_planner_can_choose(agent):
    learning = Learning("Ledge-v0", settings_for("Ledge-v0", agent))
    check(learning)
    config = json.loads(json.dumps(plain(config_of(learning))))
    assert differences(config, config_of(learning_of(config))) == {}
    given = Learning("Ledge-v0", TINY)
    with pytest.raises(TypeError, match="such as categorical-cem"):
        check(given)


def test_settings_of_an_environment_are_the_runs_own():
    learning = Learning("Ledge-v0", settings_for("Ledge-v0", "pets"), env={"edge": 5})
    config = json.loads(json.dumps(plain(config_of(learning))))
    again = learning_of(config)
    assert again.env == {"edge": 5} and differences(config, config_of(again)) == {}
    with again.copies() as environment:
        assert environment._envs.envs[0].unwrapped.edge == 5  # pyright: ignore
    other = dataclasses.replace(learning, env={"edge": 4})
    assert differences(config, config_of(other)) == {"env.edge": (5, 4)}
    short = dataclasses.replace(learning, env={"max_episode_steps": 4})
    assert short.length == short.training.environment.spec.episode_length == 4


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"edg": 4}, "no setting of Ledge-v0 named 'edg'; did you mean 'edge'"),
        ({"edge": float("nan")}, "can be written down .* got edge=nan"),
        ({"edge": object()}, "can be written down .* got edge=<object"),
    ],
)
def test_settings_that_an_environment_cannot_have_are_refused(env, words):
    with pytest.raises(ValueError, match=words):
        ft.train("Ledge-v0", env=env, **QUIET)


def test_an_environment_of_a_module_is_the_same_by_its_id_alone():
    full = f"{__name__}:Ledge-v0"
    learning = Learning("Ledge-v0", settings_for("Ledge-v0", "pets"))
    config = config_of(learning)
    assert config["task"] == full
    named = dataclasses.replace(learning, name=full)
    assert differences(config, config_of(named)) == {}
    assert new_folder(named).name == f"{__name__}-Ledge-v0-pets".replace(":", "-")


@pytest.mark.long
def test_a_task_of_ones_own_is_trained_on_and_gone_on_with(own):
    asked = {"steps": 90, "out": "mine", **QUIET}
    run = ft.train(own, TINY, **asked)
    assert len(run.returns) == 1 and run.learning.task is own
    again = ft.train(own, TINY, resume=True, **asked)
    np.testing.assert_array_equal(again.returns, run.returns)
    with pytest.raises(ValueError, match="'mine' has no name at the command line"):
        learning_of(run.folder.config())


def test_an_agent_by_name_has_the_settings_that_suit_the_task_and_those_given(own):
    suited = dataclasses.replace(own, settings={"dyna": {"epsilon": 0.3, "gamma": 0.5}})
    settings = settings_for("mine", "dyna", task=suited, gamma=0.9)
    assert (settings.epsilon, settings.gamma) == (0.3, 0.9)


def test_an_agent_that_suits_what_is_seen_learns_where_none_is_asked_for():
    assert isinstance(settings_for("maze", None), ft.Dyna)
    assert isinstance(settings_for("Ledge-v0", None), ft.PETS)
    assert isinstance(settings_for("pendulum", None), ft.PETS)


@pytest.mark.parametrize(
    ("arguments", "settings", "error", "words"),
    [
        (("pendulm", "pets"), {}, ValueError, "did you mean 'pendulum'"),
        (("pendulum", "petz"), {}, ValueError, "did you mean 'pets'"),
        (("maze", "dyna"), {"epsilom": 0.1}, ValueError, "of dyna .*'epsilon'"),
        (("maze", "dyna"), {"stesp": 9}, ValueError, "or of train .*'steps'"),
        (("pendulum", TINY), {"planer": 1}, ValueError, "of PETS .*'planner'"),
        (("maze", "dyna"), {"epsilon": 3.0}, ValueError, r"epsilon in \[0, 1\]"),
        (("pendulum", ft.PETS), {}, TypeError, "needs an agent's name"),
        (("pendulum", 3), {}, TypeError, "needs an agent's name"),
        (("robot.xml",), {}, ValueError, "forethought plan robot.xml --objective"),
        (("pendulum", "dyna"), {}, TypeError, "agents that can are pets, mbrl-v0"),
        (("maze", "pets"), {}, TypeError, "agents that can are dyna, sweeping"),
        (("pendulum",), {"env": {"g": 5}}, ValueError, "g for the task pendulum"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_sentence(
    arguments, settings, error, words
):
    with pytest.raises(error, match=words) as caught:
        ft.train(*arguments, **settings, **QUIET)
    assert "\n" not in str(caught.value)


def test_a_twin_in_gymnasium_is_bounded_and_filmed_as_the_task_is():
    twin = Learning("Pendulum-v1", TINY)
    assert twin.task is None and twin.known is not None
    assert twin.known.name == "pendulum"
    changed = Learning("Pendulum-v1", TINY, env={"g": 5.0})
    assert changed.known is None and Learning("Ledge-v0", TINY).known is None
