"""What a training run has learned, at work: from the run, and from its folder."""

import dataclasses
import json

import jax
import numpy as np
import pytest

import forethought as ft
from forethought.models.learned.fitting import FitSettings


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    fitting = FitSettings(epochs=2)
    model = dataclasses.replace(
        ft.PETS().model, members=2, width=4, depth=1, fitting=fitting
    )
    planner = ft.CEM(3, population=6, elites=2, iterations=1, particles=2)
    return ft.train(
        "double-integrator",
        ft.PETS(model=model, planner=planner),
        steps=120,
        out=tmp_path_factory.mktemp("runs") / "tiny",
        epilogue=False,
        progress=False,
    )


def test_a_trained_agent_acts_the_same_from_its_folder(run):
    seen = [[1.0, 0.0], [0.9, -0.1], np.array([0.8, -0.2])]
    agent = ft.load(run.folder.path)
    for _ in range(2):
        told = np.stack([run.policy(obs) for obs in seen])
        loaded = np.stack([agent.act(obs) for obs in seen])
        np.testing.assert_array_equal(told, loaded)
        run.policy.reset()
        agent.reset()
    assert told.shape == (3, 1)
    assert agent.milliseconds.size == 0


def test_an_observation_of_another_shape_is_refused(run):
    with pytest.raises(ValueError, match=r"an observation of shape \[2\], got \[3\]"):
        run.policy(np.zeros(3))


def test_a_folder_that_holds_no_training_is_refused(run, tmp_path):
    plan = {"task": "pendulum", "planner": "cem", "settings": {}, "options": {}}
    (tmp_path / "config.json").write_text(json.dumps(plan))
    with pytest.raises(ValueError, match="load needs the folder of a training run"):
        ft.load(tmp_path)
    with (
        jax.enable_x64(True),
        pytest.raises(ValueError, match=r"trained in float32.*x64\", False\) first"),
    ):
        ft.load(run.folder.path)
