"""Roll-outs as data: what is kept, by whom it was done, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import forethought as ft
from forethought.agents.random import Random
from forethought.data.sources.reading import read
from forethought.runs import logged
from forethought.runs.collect import Perturbed, collect, execute, prepare
from forethought.runs.plan.record import record
from forethought.runs.store.folder import RunFolder

FIELDS = ("obs", "action", "next_obs", "reward", "terminated", "truncated", "episode")


@pytest.fixture(scope="module")
def integrator(tmp_path_factory):
    """Data of a task whose dynamics are a formula, and its folder."""
    home = tmp_path_factory.mktemp("data")
    with jax.enable_x64(True):
        data = collect("double-integrator", steps=250, count=2, out=home / "a.npz")
        yield data, home


def test_transitions_obey_the_dynamics_and_episodes_their_length(integrator):
    data, _ = integrator
    system = ft.tasks.load("double-integrator").system
    step = jax.jit(jax.vmap(lambda x, u: system.step(x, u, key=jax.random.key(0))))
    after = step(data.obs, data.action)
    np.testing.assert_allclose(data.next_obs, after, atol=1e-14)
    steps = ft.tasks.load("double-integrator").steps
    lengths = [steps] * (125 // steps) + [125 % steps]
    assert np.bincount(data.episode).tolist() == 2 * lengths
    goes_on = np.diff(data.episode) == 0
    assert np.array_equal(data.next_obs[:-1][goes_on], data.obs[1:][goes_on])
    assert data.obs_names == ("position (m)", "velocity (m/s)")
    assert not data.notes


@pytest.mark.parametrize("suffix", ["npz", "csv", "parquet"])
def test_what_is_written_is_read_as_the_same_again(integrator, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    data, home = integrator
    path = home / f"b.{suffix}"
    again = collect("double-integrator", steps=250, count=2, out=path)
    for found in (again, read(path)):
        for name in FIELDS:
            assert np.array_equal(getattr(data, name), getattr(found, name)), name
        assert (data.obs_names, data.action_names) == (
            found.obs_names,
            found.action_names,
        )
        assert not found.notes
    assert [each.name for each in home.iterdir() if each.name.startswith(".")] == []


def test_another_seed_is_another_roll_out(integrator):
    data, _ = integrator
    other = collect("double-integrator", steps=250, count=2, seed=1)
    assert not np.array_equal(data.action, other.action)


def test_a_file_that_is_there_is_replaced_only_if_that_is_said(integrator):
    data, home = integrator
    path = home / "mine.csv"
    path.write_text("mine")
    with pytest.raises(ValueError, match="is there already; --overwrite"):
        collect("double-integrator", out=path)
    assert path.read_text() == "mine"
    collect("double-integrator", steps=250, count=2, out=path, overwrite=True)
    assert np.array_equal(read(path).obs, data.obs)


def test_nothing_is_written_when_it_is_told_to_stop(integrator, tmp_path):
    ready = prepare("double-integrator", steps=250, count=2, out=tmp_path / "a.csv")

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(ready, stop)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_told_to_the_end(integrator):
    ready, told = prepare("double-integrator", steps=250, count=2, out=None), []
    execute(ready, told.append)
    assert told[-1] == ready.rows == 250 and told == sorted(told)


@pytest.mark.parametrize(
    "given, words",
    [
        ({"task": "pendulun"}, "did you mean 'pendulum'"),
        ({"steps": 0}, "collect needs steps >= 1, got 0"),
        ({"count": 0}, "collect needs count >= 1, got 0"),
        ({"noise": 2.0, "policy": "."}, r"collect needs noise in \[0, 1\], got 2"),
        ({"noise": 0.1}, "noise disturbs a trained policy"),
        ({"policy": "nowhere"}, "'random' or the folder of a training run"),
        ({"policy": "."}, "needs config.json"),
        ({"out": "a.txt"}, "ends in .csv, .parquet, .npz, got 'a.txt'"),
        ({"out": "folder.csv"}, "written to a file, but folder.csv is a folder"),
        ({"out": "file/a.csv"}, "The folder file cannot be made"),
        ({"env": {"g": 1}}, "go with one of Gymnasium, got g for the task"),
        ({"steps": 10**11}, "needs steps of at most"),
        ({"steps": 2 * 10**9, "count": 10**5}, "A memory of .* GB"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_done(
    given, words, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=words):
        collect(**{"task": "double-integrator", **given})


class Still(Random):
    """Rests in the middle when it does its best."""

    def act(self, learner, carry, obs, *, key, mode="explore"):
        loud = 1.0 if mode == "explore" else 0.0
        return jnp.full(self.action.shape, loud), carry, None


@pytest.mark.parametrize("noise", [0.0, 0.25])
def test_a_trained_policy_does_its_best_and_noise_is_as_wide_as_asked(noise):
    box = ft.Box([-4.0, 0.0], [4.0, 1.0])
    agent = Perturbed(Still(box), None, box, noise)
    keys = jax.random.split(jax.random.key(0), 4000)
    act = jax.jit(jax.vmap(lambda key: agent.act(None, None, jnp.zeros(2), key=key)[0]))
    actions = np.asarray(act(keys))
    if not noise:
        assert not actions.any()
    # The second one rests at its limit, where noise can only go one way.
    assert abs(actions[:, 0].std() - 4 * noise) <= 4 * 4 * noise / np.sqrt(2 * 4000)
    assert actions[:, 1].min() == 0 and actions[:, 1].max() <= 1


def test_noise_draws_a_share_of_the_choices_at_random():
    choices = ft.Discrete(4)

    class First(Random):
        def act(self, learner, carry, obs, *, key, mode="explore"):
            return jnp.zeros((), jnp.int32), carry, None

    agent, seen = Perturbed(First(choices), None, choices, 0.4), jnp.zeros(1)
    keys = jax.random.split(jax.random.key(0), 4000)
    act = jax.jit(jax.vmap(lambda key: agent.act(None, None, seen, key=key)[0]))
    share = np.mean(np.asarray(act(keys)) != 0)
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / 4000)


@pytest.fixture(scope="module")
def maze(tmp_path_factory):
    """What was learned in a maze in two environments."""
    return ft.train(
        "frozen-lake",
        "dyna",
        steps=400,
        count=2,
        out=tmp_path_factory.mktemp("runs") / "lake",
        epilogue=False,
        progress=False,
    )


def test_what_a_training_run_remembers_is_what_it_was_paid_for(maze):
    data = logged.read(maze.folder.path)
    assert data.rows == 400
    paid = np.bincount(data.episode, data.reward)
    ended = np.zeros(data.episodes, bool)
    ended[data.episode[data.terminated]] = True
    assert sorted(paid[ended]) == sorted(maze.returns) and ended.sum() > 4
    assert data.action.dtype == np.int64 and set(data.action) <= {0, 1, 2, 3}
    goes_on = np.diff(data.episode) == 0
    assert np.array_equal(data.next_obs[:-1][goes_on], data.obs[1:][goes_on])
    assert logged.read(maze.folder.path, reward="").reward is None


def test_a_trained_agent_is_rolled_out_where_its_spaces_fit(maze, tmp_path):
    path = tmp_path / "lake.csv"
    data = collect("frozen-lake", maze.folder.path, steps=60, count=2, out=path)
    values = np.asarray(maze.learner.values)
    done = values[data.obs[:, 0].astype(int), data.action]
    assert np.array_equal(done, values[data.obs[:, 0].astype(int)].max(1))
    again = read(path, discrete=True)
    assert np.array_equal(again.action, data.action)
    assert read(path).action.shape == (60, 1)
    with pytest.raises(ValueError, match=r"observation space Discrete\(16\), but acts"):
        collect("double-integrator", maze.folder.path, steps=60)


def test_the_episode_of_a_run_that_planned_is_read(tmp_path):
    planner = ft.RandomShooting(3, population=4)
    run = ft.control("double-integrator", planner, steps=5)
    folder = RunFolder.create(tmp_path / "run", {"forethought": "plan"})
    record(run).save(folder)
    data = logged.read(folder.path)
    assert data.rows == 5 and data.episodes == 1
    assert data.obs_names == ("position (m)", "velocity (m/s)")
    np.testing.assert_array_equal(data.next_obs[:-1], data.obs[1:])
    np.testing.assert_array_equal(data.action, np.asarray(run.episode.actions))
    assert data.reward is None


def test_a_gymnasium_environment_is_rolled_out_with_its_settings(tmp_path):
    data = collect("Pendulum-v1", steps=20, env={"g": 0.0, "max_episode_steps": 8})
    assert np.bincount(data.episode).tolist() == [8, 8, 4]
    assert not data.terminated.any() and data.truncated.sum() == 3
    angle = np.arctan2(*data.obs[:, [1, 0]].T)
    after = np.arctan2(*data.next_obs[:, [1, 0]].T)
    turned = (after - angle + np.pi) % (2 * np.pi) - np.pi
    np.testing.assert_allclose(turned, 0.05 * data.next_obs[:, 2], atol=1e-5)
