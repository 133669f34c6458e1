import dataclasses
import json
import os
import pickle
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.types import ravel
from forethought.runs.plan.control import control, make_planner
from forethought.runs.plan.realised import realised_returns
from forethought.runs.plan.record import Record, record
from forethought.runs.store.files import write_atomically
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.plain import plain
from forethought.tasks.analytic import pendulum


@pytest.fixture(scope="module")
def run():
    planner = make_planner(
        pendulum(), "cem", horizon=4, population=12, elites=3, iterations=2
    )
    return control(pendulum(), planner, steps=9)


def test_a_folder_gives_back_what_was_put_in(tmp_path):
    folder = RunFolder.create(tmp_path / "a" / "b", {"task": "t", "x": np.float32(2.0)})
    folder.append({"step": 1, "return": np.float64(-3.5)})
    folder.append({"step": 2, "return": jnp.asarray(4.0)})
    again = RunFolder.open(tmp_path / "a" / "b")
    assert again.config() == {"task": "t", "x": 2.0}
    assert again.metrics() == [
        {"step": 1, "return": -3.5},
        {"step": 2, "return": 4.0},
    ]


def test_numbers_that_are_not_finite_are_still_json(tmp_path):
    folder = RunFolder.create(tmp_path, {"bound": np.inf})
    folder.append({"a": np.nan, "b": -np.inf, "c": [np.float32(np.inf)]})

    def refuse(constant):
        raise AssertionError(constant)

    line = (tmp_path / "metrics.jsonl").read_text()
    row = json.loads(line, parse_constant=refuse)
    assert row.pop("check")
    assert row == {"a": None, "b": "-Infinity", "c": ["Infinity"]}
    assert folder.config() == {"bound": "Infinity"}


def test_settings_of_a_planner_are_plain_values():
    settings = plain(make_planner(pendulum(), "cem", horizon=7))
    assert settings["horizon"] == 7
    assert settings["risk"] == {"measure": "mean", "level": 1.0}
    assert plain(max) == "builtins:max"
    with pytest.raises(TypeError, match="type object"):
        plain(object())


def test_a_crash_while_a_file_is_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "config.json"
    write_atomically(path, b"old")

    def crash(*_):
        raise KeyboardInterrupt

    for moment in ("fsync", "replace"):
        with monkeypatch.context() as broken:
            broken.setattr(os, moment, crash)
            with pytest.raises(KeyboardInterrupt):
                write_atomically(path, b"new, and much longer")
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["config.json"]


def test_a_line_cut_short_by_a_crash_costs_that_line_only(tmp_path):
    folder = RunFolder.create(tmp_path, {})
    folder.append({"step": 1})
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 2, "retu')
    assert folder.metrics() == [{"step": 1}]
    folder.append({"step": 3})
    assert folder.metrics() == [{"step": 1}, {"step": 3}]


def test_a_new_run_in_an_old_folder_shows_nothing_of_the_old_one(tmp_path):
    old = RunFolder.create(tmp_path, {"forethought": "plan", "task": "old"})
    old.append({"step": 1})
    old.save_arrays("episode.npz", {"x": np.ones(3)})
    old.finish()
    (tmp_path / "notes.txt").write_text("mine")
    config = {"forethought": "plan", "task": "new"}
    new = RunFolder.create(tmp_path, config, overwrite=True)
    assert new.metrics() == []
    assert sorted(os.listdir(tmp_path)) == ["config.json", "notes.txt"]


def test_a_path_that_cannot_be_a_folder_is_refused_in_one_sentence(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    for path in (file, file / "below"):
        with pytest.raises(ValueError, match=r"A run needs a folder .*\.") as error:
            RunFolder.create(path, {})
        assert "\n" not in str(error.value)


def test_a_folder_without_a_config_is_not_a_run(tmp_path):
    with pytest.raises(ValueError, match=r"needs config\.json"):
        RunFolder.open(tmp_path)
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match="JSON object"):
        RunFolder.open(tmp_path)


class Trap:
    sprung = False

    def __reduce__(self):
        return (setattr, (Trap, "sprung", True))


def test_pickles_are_refused_and_never_run(tmp_path):
    folder = RunFolder.create(tmp_path, {})
    objects = np.array([Trap()], dtype=object)
    with pytest.raises(TypeError, match="arrays of numbers"):
        folder.save_arrays("episode.npz", {"x": objects})
    with open(tmp_path / "episode.npz", "wb") as file:
        np.savez(file, x=objects)
    with pytest.raises(ValueError, match="plain arrays"):
        folder.arrays("episode.npz")
    (tmp_path / "episode.npz").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="plain arrays"):
        folder.arrays("episode.npz")
    with zipfile.ZipFile(tmp_path / "episode.npz", "w") as archive:
        archive.writestr("x.npy", pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="plain arrays"):
        folder.arrays("episode.npz")
    assert not Trap.sprung


def test_a_record_holds_the_episode_and_survives_the_disk(run, tmp_path):
    seen = record(run)
    episode = run.episode
    states = jax.vmap(lambda state: ravel(state)[0])(episode.states)
    np.testing.assert_array_equal(seen.states, states)
    for name in ("actions", "rewards", "alive", "planned"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(episode, name))
    assert seen.value == pytest.approx(float(episode.value), rel=1e-6)
    assert set(seen.results) == {"successful"}
    assert seen.execution == "closed loop: replanned every step"

    folder = RunFolder.create(tmp_path, {})
    seen.save(folder)
    again = Record.load(folder)
    for field in dataclasses.fields(Record):
        was, now = getattr(seen, field.name), getattr(again, field.name)
        if isinstance(was, dict):
            assert was.keys() == now.keys()
            for name in was:
                np.testing.assert_array_equal(was[name], now[name])
        else:
            np.testing.assert_array_equal(was, now)
            assert type(was) is type(now)


def test_the_fan_holds_each_iterations_elites_best_first(run):
    seen = record(run)
    assert seen.fan_states.shape == (2, 3, 5, 2)
    np.testing.assert_array_equal(
        seen.fan_states[:, :, 0], np.broadcast_to(seen.states[0], (2, 3, 2))
    )
    assert (np.diff(seen.fan_returns, axis=1) <= 1e-5).all()
    np.testing.assert_allclose(
        seen.fan_returns.mean(axis=1), run.first.stats.mean, rtol=1e-5
    )


def test_a_record_that_lacks_an_array_says_which(run, tmp_path):
    folder = RunFolder.create(tmp_path, {})
    record(run).save(folder)
    arrays = folder.arrays("episode.npz")
    del arrays["rewards"]
    folder.save_arrays("episode.npz", arrays)
    with pytest.raises(ValueError, match="'rewards'"):
        Record.load(folder)


def test_realised_returns_agree_with_a_case_worked_by_hand():
    # Discount 1/2 a step: γ = 1, 1/2, 1/4, 1/8; undiscounted rewards 1, 2, 3.
    discounts = np.array([1, 1 / 2, 1 / 4, 1 / 8])
    rewards = np.array([1.0, 2.0, 3.0]) * discounts[:-1]
    values = np.array([100.0, 10.0, 20.0, 40.0])
    realised = realised_returns(rewards, discounts, values, 2)
    # t=0: 1 + 2/2 + 20/4; t=1: 2 + 3/2 + 40/4; at t=2 the recording stops too early.
    np.testing.assert_allclose(realised, [7.0, 13.5, np.nan])


def test_an_episode_that_ended_is_realised_to_its_end():
    discounts = np.array([1.0, 1.0, 0.0, 0.0])
    rewards = np.array([1.0, 2.0, 0.0])
    values = np.array([9.0, 9.0, 9.0, np.nan])
    realised = realised_returns(rewards, discounts, values, 2)
    np.testing.assert_allclose(realised, [3.0, 2.0, np.nan])
