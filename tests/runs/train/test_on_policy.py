"""Runs of an agent that learns from its own actions alone."""

import pytest
from interrupted import told

from forethought.agents.on_policy.ppo import PPO
from forethought.runs.store.folder import RunFolder
from forethought.runs.train.intervals import learn
from forethought.runs.train.settings import Learning

TINY = PPO(rollout=10, batch=4, epochs=2, width=4, depth=1)


def test_it_begins_without_random_actions_and_makes_twenty_updates():
    run = Learning("pendulum", PPO())
    assert (run.first_steps, run.total_steps) == (0, 20 * 2048)
    assert Learning("pendulum", PPO(rollout=10, batch=5)).total_steps == 6 * 200


def test_an_interrupted_run_goes_on_with_the_same_lines(tmp_path):
    run = Learning("double-integrator", TINY, 45, seed=1, count=3)
    whole = RunFolder.create(tmp_path / "whole", {})
    learn(run, whole)
    folder = RunFolder.create(tmp_path / "stopped", {})

    def stop(event):
        if event.row["interval"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(run, folder, watch=stop)
    learn(run, folder, resume=True)
    rows = told(folder)
    assert rows == told(whole)
    # Every row of the run was learned from once, though three copies do not share out
    # ten steps, and the last update comes early.
    assert sum(row["rows"] for row in rows) == rows[-1]["step"] == 45
