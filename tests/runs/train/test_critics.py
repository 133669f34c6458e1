"""Runs of actor–critics: they go on where they were, and need no more memory."""

from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest
from interrupted import require_the_same_after_a_kill, told

from forethought.agents.critics.ddpg import DDPG
from forethought.agents.critics.mba import MBA
from forethought.agents.critics.mbpo import MBPO
from forethought.agents.critics.mve import MVE
from forethought.agents.critics.naf import NAF
from forethought.agents.critics.sac import SAC
from forethought.agents.critics.sources import Branched
from forethought.agents.critics.steve import STEVE
from forethought.agents.schedule import Schedule
from forethought.data.replay import Replay
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.recipes import EnsembleRecipe
from forethought.runs.store.folder import RunFolder
from forethought.runs.train.intervals import learn
from forethought.runs.train.settings import Learning
from forethought.training.loop import Training

TINY: dict[str, Any] = {"width": 4, "depth": 1, "batch": 4, "start": 6}
MODEL = EnsembleRecipe(members=2, width=4, depth=1, fitting=FitSettings(epochs=2))
SOURCE = Branched(share=0.5, starts=3, length=1, longest=2, fits=2)
EVERY = 10
AGENTS = {
    "sac": SAC(**TINY),
    "ddpg": DDPG(**TINY),
    "naf": NAF(**TINY, updates=1),
    "mba": MBA(NAF(**TINY, updates=1), MODEL, source=SOURCE, every=EVERY),
    "mbpo": MBPO(SAC(**TINY), MODEL, source=SOURCE, every=EVERY),
    "mve": MVE(DDPG(**TINY), MODEL, every=EVERY),
    "steve": STEVE(DDPG(**TINY), MODEL, every=EVERY),
}


def sizes(tree):
    arrays = jax.tree.leaves(eqx.filter(tree, eqx.is_array))
    return [(leaf.shape, leaf.dtype) for leaf in arrays]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name == "mbpo" else pytest.mark.long)
        for name in AGENTS
    ],
)
def test_a_run_that_was_stopped_has_the_same_lines_and_never_grows(name, tmp_path):
    run = Learning(
        "pendulum",
        AGENTS[name],
        50,
        seed=1,
        random_steps=EVERY,
        interval=Schedule(EVERY, "steps"),
        evaluate=Schedule(40, "steps"),
        evaluate_episodes=2,
    )
    whole, folder = (RunFolder.create(tmp_path / each, {}) for each in "ab")
    state, _ = learn(run, whole)
    lines = told(whole)
    # Not seeded: which interval it is must not matter.
    last = int(np.random.default_rng().integers(1, len(lines)))

    def stop(event):
        if event.row["interval"] == last:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(run, folder, watch=stop)
    again, _ = learn(run, folder, resume=True)
    assert told(folder) == lines, last
    assert "value_realised" in lines[-2] and "td_error" in lines[-1]
    assert sizes(again) == sizes(state)
    assert sizes(state) == sizes(run.training.begin(key=jax.random.key(1)))


def test_what_was_imagined_is_forgotten_at_the_next_fit_and_replay_runs_over():
    run = Learning("pendulum", AGENTS["mbpo"], 50, random_steps=EVERY)
    agent, task = run.agent, run.task
    assert task is not None
    training = Training(agent, task.environment, Replay(16), agent.duties[-1:])
    collect = eqx.filter_jit(lambda state: training.collect(state, EVERY, random=True))
    state, before = training.begin(key=jax.random.key(0)), None
    room = SOURCE.starts * SOURCE.longest
    for i in range(4):
        state, _ = collect(state)
        state, _ = training.perform(state, training.duties[-1])
        dreamt = state.learner.dreamt
        assert int(dreamt.count) == SOURCE.starts * min(1 + i, 1 + i // 2, 2)
        seen = np.asarray(dreamt.steps.next_obs)
        assert len(seen) == room and int(state.flow.replay.size) <= 16
        assert before is None or not np.isin(seen, before).all(axis=1).any()
        before = seen


CRITIC = {"width": "4", "depth": "1", "batch": "4", "start": "12"}


@pytest.mark.long
@pytest.mark.parametrize("name", AGENTS)
def test_a_run_killed_at_any_moment_goes_on_with_the_same_lines(name, tmp_path):
    models = name not in ("sac", "ddpg", "naf")
    prefix = "--agent.critic." if models else "--agent."
    words = ["pendulum", "--agent", name, "--steps", "120", "--no-epilogue"]
    words += ["--random-steps", "20", "--interval.every", "10"]
    words += ["--interval.unit", "steps"]
    words += [word for key, value in CRITIC.items() for word in (prefix + key, value)]
    if models:
        words += ["--agent.every", "10", "--agent.model.width", "4"]
        words += ["--agent.model.fitting.epochs", "2"]
    require_the_same_after_a_kill(words, tmp_path, 600)
