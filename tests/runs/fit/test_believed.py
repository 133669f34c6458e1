"""Planning with a fitted model: what it expects, what comes, and what doubt costs.

A walk along a road that ends at a cliff: whoever logged it never went there, so a model
of the log believes that the road goes on.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import forethought as ft
from forethought.data.logged import Logged
from forethought.models.around.doubting import Doubting
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.recipes import EnsembleRecipe
from forethought.planners.registry import PLANNERS
from forethought.runs.fit.foreseen import Foreseen, distances, foresee
from forethought.runs.plan.planning import make_planner
from forethought.runs.plan.realised import expected_and_met
from forethought.runs.plan.record import record
from forethought.runs.store.folder import RunFolder

RECIPE = EnsembleRecipe(
    members=4, width=32, depth=2, fitting=FitSettings(epochs=100, learning_rate=2e-3)
)
CEM = {"horizon": 15, "population": 64, "elites": 8, "iterations": 4}
STEPS = 20


def walk(place, push):
    """One step along a road with hills."""
    return place + 0.2 * push - 0.05 * np.sin(4 * place)


def step(place, push):
    ahead = place + 0.2 * push - 0.05 * jnp.sin(4 * place)
    return jnp.where(ahead > 1.2, -4.0, ahead)


def reward(place, push, after):
    return after[0]


@pytest.fixture(scope="module")
def road():
    system = ft.system(step=step, start=[-0.5], action=(-1.0, 1.0), names=["place"])
    return ft.task(system, ft.objective(reward=reward), steps=STEPS, name="road")


def walks(episodes=12, length=30):
    """What was logged by somebody who turns round before the cliff."""
    random = np.random.default_rng(0)
    place = random.uniform(-1, 1, episodes)
    rows = []
    for _ in range(length):
        push = random.uniform(-1, 1, episodes)
        push = np.where(np.abs(walk(place, push)) > 1, -push, push)
        rows.append((place, push, walk(place, push)))
        place = rows[-1][2]
    obs, action, after = (
        np.stack(part, axis=1).reshape(-1, 1) for part in zip(*rows, strict=True)
    )
    episode = np.repeat(np.arange(episodes), length)
    last = np.diff(episode, append=-1) != 0
    names = ("place",), ("push",)
    return Logged(obs, action, after, None, ~(last | ~last), last, episode, *names)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    out = tmp_path_factory.mktemp("fit") / "run"
    return ft.fit(walks(), RECIPE, out=out, progress=False)


@pytest.fixture(scope="module")
def runs(road, fitted):
    """The road, walked by one who believes the model, at two prices of doubt."""
    return {
        caution: ft.control(
            ft.task_with_model(road, fitted, caution=caution), "cem", **CEM
        )
        for caution in (0.0, 10.0)
    }


def test_a_planner_is_lured_where_the_model_errs_and_a_price_on_doubt_cures_it(runs):
    lured, careful = runs[0.0], runs[10.0]
    expected, came = expected_and_met(record(lured))
    assert expected > came + 20  # it believed in a road beyond the cliff
    assert float(lured.episode.value) < 0 < float(careful.episode.value)
    expected, came = expected_and_met(record(careful))
    assert came > expected - 3  # what it expects, it gets, less what doubt costs


def test_a_price_on_doubt_is_paid_by_plans_and_not_by_what_happens(runs, road):
    for run in runs.values():
        places = np.asarray(run.episode.states)[1:, 0]
        np.testing.assert_allclose(run.episode.rewards, places, rtol=1e-6)
        assert run.task.objective is road.problem.objective


def test_what_a_model_foresaw_of_a_plan_comes_back_from_its_folder(
    runs, fitted, tmp_path
):
    told = foresee(runs[0.0], fitted.data)
    steps = runs[0.0].first.actions.shape[0]
    assert told.bands.shape == (5, steps + 1, 1) and told.met.shape == (STEPS + 1, 1)
    assert np.all(np.diff(told.bands, axis=0) >= 0)
    beyond = told.mean[:-1, 0] > 1.2
    assert beyond.any() and not beyond.all()
    assert told.epistemic[beyond].min() > told.epistemic[~beyond].min()
    assert told.distance[beyond].min() > 3 > told.distance[0]
    assert np.all((told.share >= 0) & (told.share <= 1))
    folder = RunFolder.create(tmp_path / "run", {"forethought": "plan"})
    told.save(folder)
    again = Foreseen.load(folder)
    for name, part in vars(told).items():
        np.testing.assert_array_equal(getattr(again, name), part)


def test_distance_from_the_data_is_one_where_they_are_as_far_from_each_other(fitted):
    data = fitted.data
    some = np.arange(0, len(data.obs), 7)
    at = distances(data.obs[some], data.action[some], data)
    np.testing.assert_allclose(at, 0, atol=1e-9)
    off = distances(data.obs[some] + 100, data.action[some], data)
    assert off.min() > 100


def test_doubt_is_zero_where_nothing_was_done_and_its_root_has_a_derivative(fitted):
    model, key = Doubting(fitted.model), jax.random.key(0)
    belief = model.observe(model.init(key=key), jnp.array([0.3]), key=key)
    assert float(model.readout(belief).doubt) == 0

    def doubt(push):
        after = model.predict(belief, push, key=key)
        return model.readout(after).doubt

    slope = jax.jit(jax.grad(doubt))(jnp.array([0.1]))
    assert np.all(np.isfinite(slope))
    near, far = (float(jax.jit(doubt)(jnp.array([push]))) for push in (0.1, 8.0))
    assert 0 < near < far / 3


@pytest.mark.parametrize("name", PLANNERS)
def test_planners_draw_as_many_futures_as_samples_can_share(name, road, fitted):
    planner = make_planner(ft.task_with_model(road, fitted), name)
    assert getattr(planner, "particles", 4) == 4


def test_without_a_world_the_model_is_what_happens(fitted):
    task = ft.task_in_model(fitted, ft.objective(reward=reward), [0.5], steps=6)
    run = ft.control(task, "cem", **(CEM | {"horizon": 6}))
    places = np.asarray(run.episode.states)[:, 0]
    assert places[0] == 0.5 and len(places) == 7
    assert places[-1] > 1.3  # nobody told it of the cliff
    assert run.plans == 1


def test_what_does_not_fit_is_refused_in_a_sentence(road, fitted):
    with pytest.raises(ValueError, match=r"needs 3 observations, but it was fitted to"):
        ft.task_with_model("pendulum", fitted)
    with pytest.raises(TypeError, match=r"observations tell its state; those of lqg"):
        ft.task_with_model("lqg", fitted)
    with pytest.raises(ValueError, match=r"start of 1 numbers \(place\), got 2"):
        ft.task_in_model(fitted, ft.objective(reward=reward), [0.0, 0.0], steps=3)
    with pytest.raises(TypeError, match=r"reads out its doubt; put Doubting"):
        plain = ft.task_with_model(road, fitted, caution=1.0)
        problem = ft.Problem(fitted.model, plain.problem.objective, road.problem.action)
        belief = fitted.model.init(key=jax.random.key(0))
        problem.step(belief, jnp.zeros(1), key=jax.random.key(0))
