"""Models fitted by one call: what comes out, what is kept, what is refused."""

import dataclasses
import io
import json
import pickle
import shutil
import zipfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import forethought as ft
from forethought.data.logged import Logged
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.recipes import EnsembleRecipe
from forethought.runs.fit import run
from forethought.runs.fit.kept import load_fitted
from forethought.runs.store.folder import RunFolder

FITTING = FitSettings(epochs=3, updates=4)
SMALL = EnsembleRecipe(members=2, width=4, depth=1, fitting=FITTING)
PLAIN = dataclasses.replace(SMALL, members=1, probabilistic=False, propagation="E")


def logged(episodes=5, length=6, discrete=False):
    """Episodes of two numbers that are pushed, one of which is always the same."""
    random = np.random.default_rng(0)
    rows = episodes * length
    obs = np.column_stack([random.normal(size=rows), np.full(rows, 3.0)])
    push = random.integers(3, size=rows) if discrete else random.normal(size=(rows, 1))
    effect = push.reshape(rows, 1) * np.array([[0.1, 0.0]])
    last = np.arange(rows) % length == length - 1
    return Logged(
        obs,
        push,
        obs + effect,
        None,
        np.zeros(rows, bool),
        last,
        np.arange(rows) // length,
        ("place", "weight"),
        ("push",),
    )


def fit(data, models, out, **options):
    return ft.fit(data, models, out=out, progress=False, **options)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    return fit(logged(), [PLAIN, SMALL], tmp_path_factory.mktemp("fit") / "run")


def same(one, other):
    for left, right in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(left, right)


def test_models_are_ranked_and_judged_on_whole_episodes(fitted):
    assert [fit.name for fit in fitted.fits] == ["ensemble", "network"]
    assert fitted.name == "ensemble" and fitted.model is fitted.fits[0].model
    assert (fitted.data.rows, fitted.data.held_rows) == (24, 6)
    assert fitted.names == ("place", "weight")
    assert fitted.spec.action.shape == (1,) and fitted.spec.observation.shape == (2,)
    np.testing.assert_allclose(fitted.data.mean[1], 3)


def test_the_table_has_at_most_80_letters_a_line_and_a_line_for_everything(fitted):
    lines = fitted.table.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split("  ")[0] for line in lines if line[:1].isalpha()] == [
        *("ensemble", "network", "linear map", "no change"),
        *("ensemble 1 step linear", "place", "weight"),
    ]


def test_many_dimensions_with_long_names_fit_too(fitted):
    from forethought.runs.fit.told import DIMENSIONS, table

    count = DIMENSIONS + 3
    first = fitted.fits[0]
    wide = {
        key: np.repeat(value[..., :1], count, axis=-1) * -1.2345e-3
        for key, value in vars(first.judged).items()
        if isinstance(value, np.ndarray) and key != "far"
    }
    judged = dataclasses.replace(first.judged, **wide)
    held = dataclasses.replace(
        fitted.held,
        **{
            key: np.repeat(getattr(fitted.held, key)[..., :1], count, axis=-1)
            for key in ("scale", "moves", "linear", "constant")
        },
    )
    fits = [dataclasses.replace(first, judged=judged)]
    lines = table(fits, ["a name of many letters"] * count, held).splitlines()
    assert max(map(len, lines)) <= 80 and lines[-1] == "and 3 more in the report"


def test_what_is_kept_comes_back(fitted):
    loaded = ft.load(fitted.folder.path)
    same([fit.model for fit in loaded.fits], [fit.model for fit in fitted.fits])
    assert [fit.recipe for fit in loaded.fits] == [SMALL, PLAIN]
    assert loaded.table == fitted.table and loaded.verdict == fitted.verdict
    np.testing.assert_array_equal(loaded.data.obs, fitted.data.obs)
    assert loaded.data.action.shape == fitted.data.action.shape


def test_it_comes_back_in_the_precision_of_now(fitted):
    with jax.enable_x64(True):
        model = load_fitted(fitted.folder.path).model
        assert model.transform.input_mean.dtype == jnp.float64
        belief = model.init(key=jax.random.key(0))
        belief = model.observe(belief, jnp.ones(2), key=jax.random.key(0))
        after = model.predict(belief, jnp.ones(1), key=jax.random.key(1))
        assert after.obs.dtype == jnp.float64


def test_the_same_seed_fits_the_same(fitted, tmp_path):
    again = fit(logged(), SMALL, tmp_path / "again")
    same(again.model, fitted.model)


def test_choices_and_settings_go_through(tmp_path):
    found = fit(
        logged(discrete=True), "ensemble", tmp_path / "run", members=2, width=4,
        depth=1, fitting=FITTING, holdout=0.5, seed=10**30,
    )  # fmt: skip
    assert found.spec.action == ft.Discrete(3)
    assert ft.load(tmp_path / "run").spec.action == ft.Discrete(3)
    assert found.fits[0].recipe.members == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"models": "ensembel"}, "did you mean 'ensemble'"),
        ({"models": "known"}, "fitted to rows"),
        ({"models": ["network", "network"]}, "each model once"),
        ({"models": []}, "needs a model"),
        ({"models": ["network", "ensemble"], "width": 3}, "go with one model"),
        ({"widht": 3}, "did you mean 'width'"),
        ({"width": 0}, "width"),
        ({"holdout": 1.0}, "between 0 and 1"),
        ({"episode": "id"}, "read already"),
        ({"data": logged(1)}, "at least two"),
        ({"data": "nowhere.csv"}, "nowhere.csv"),
    ],
)
def test_what_cannot_be_fitted_is_said_in_a_sentence(change, words, tmp_path):
    given = {"data": logged(), "models": "ensemble"} | change
    with pytest.raises(ValueError, match=words):
        ft.fit(**given, out=tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_what_is_no_model_is_refused(tmp_path):
    with pytest.raises(TypeError, match="recipe"):
        ft.fit(logged(), [3], out=tmp_path / "run")


def test_somebodys_files_stay(fitted, tmp_path):
    (tmp_path / "thesis.txt").write_text("years")
    with pytest.raises(ValueError, match=r"thesis\.txt"):
        fit(logged(), SMALL, tmp_path)
    with pytest.raises(ValueError, match="overwrite"):
        fit(logged(), SMALL, fitted.folder.path)


def test_a_run_is_replaced_as_a_whole(fitted, tmp_path):
    shutil.copytree(fitted.folder.path, tmp_path / "run")
    (tmp_path / "run/models/network/notes.txt").write_text("mine")
    fit(logged(), SMALL, tmp_path / "run", overwrite=True)
    assert (tmp_path / "run/models/network/notes.txt").exists()
    assert not (tmp_path / "run/models/network/checkpoints").exists()
    assert not (tmp_path / "run/judged/network.npz").exists()
    assert [fit.name for fit in ft.load(tmp_path / "run").fits] == ["ensemble"]


def test_an_interruption_leaves_the_models_that_were_fitted(tmp_path, monkeypatch):
    calls = []

    def look():
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(run.stop, "look", look)
    found = fit(logged(), [SMALL, PLAIN], tmp_path / "two")
    assert [each.name for each in found.fits] == ["ensemble"]
    assert [each.name for each in ft.load(tmp_path / "two").fits] == ["ensemble"]
    calls[:] = [1]
    with pytest.raises(KeyboardInterrupt):
        fit(logged(), SMALL, tmp_path / "one")
    assert not (tmp_path / "one").exists()


def test_one_that_refuses_leaves_the_others(tmp_path, monkeypatch):
    begin = EnsembleRecipe.begin

    def refuse(self, spec, *, key):
        if self.members == 1:
            raise ValueError("Networks are off today.")
        return begin(self, spec, key=key)

    monkeypatch.setattr(EnsembleRecipe, "begin", refuse)
    found = fit(logged(), [PLAIN, SMALL], tmp_path / "two")
    assert [each.name for each in found.fits] == ["ensemble"]
    with pytest.raises(ValueError, match="off today"):
        fit(logged(), PLAIN, tmp_path / "one")
    assert not (tmp_path / "one").exists()


class Bomb:
    """Says when it is unpickled."""

    def __reduce__(self):
        return (exec, ("raise SystemExit('unpickled')",))


def crafted(kept):
    """Leaves of a model, one of them pickled."""
    with np.load(io.BytesIO(kept)) as file:
        arrays = {name: file[name] for name in file.files}
    array = np.empty((), object)
    array[()] = Bomb()
    out = io.BytesIO()
    np.savez(out, **arrays | {"0": array})
    with pytest.raises(SystemExit):  # it would go off
        pickle.loads(zipfile.ZipFile(out).read("0.npy").partition(b"\n")[2])
    return out.getvalue()


LEAVES = "models/ensemble/checkpoints/0/leaves.npz"


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (LEAVES, lambda kept: kept[: len(kept) // 2], "damaged"),
        (LEAVES, crafted, "damaged"),
        (LEAVES, lambda kept: b"", "damaged"),
        ("judged/ensemble.npz", crafted, "cannot be read"),
        ("data.npz", lambda kept: kept[:99], "cannot be read"),
        ("config.json", lambda kept: b"{}", "no"),
        ("metrics.jsonl", lambda kept: b"", "metrics"),
    ],
)
def test_a_file_that_is_damaged_or_crafted_is_named_and_runs_nothing(
    name, change, words, fitted, tmp_path
):
    shutil.copytree(fitted.folder.path, tmp_path / "run")
    path = tmp_path / "run" / name
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=words):
        ft.load(tmp_path / "run")


def edited(folder, to, change):
    """A copy of a run whose settings say something else, with a right digest."""
    shutil.copytree(folder, to)
    opened = RunFolder.open(to)
    config = json.loads(json.dumps(opened.config()))
    rows = [
        {key: value for key, value in row.items() if key != "check"}
        for row in opened.metrics()
    ]
    change(config)
    (to / "done.json").unlink()
    (to / "metrics.jsonl").unlink()
    opened.write_json("config.json", config)
    for row in rows:
        opened.append(row)
    return to


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda config: config["settings"]["ensemble"].update(width=5), "weights"),
        (lambda config: config["settings"]["ensemble"].update(width=10**7), "weights"),
        (lambda config: config["settings"]["ensemble"].update(depht=5), "no setting"),
        (lambda config: config["settings"].pop("ensemble"), "'ensemble'"),
        (lambda config: config["settings"]["ensemble"].update(width="x"), "read back"),
        (lambda config: config["data"].pop("choices"), "'choices'"),
        (lambda config: config["data"].update(obs_names=["one"]), "dimensions"),
        (lambda config: config["data"].update(choices=3), "action"),
    ],
)
def test_a_model_of_another_version_is_refused(change, words, fitted, tmp_path):
    with pytest.raises(ValueError, match=words):
        ft.load(edited(fitted.folder.path, tmp_path / "run", change))


def test_an_agents_run_is_no_fit_and_a_fit_is_no_agents(fitted, tmp_path):
    RunFolder.create(tmp_path / "plan", {"forethought": "plan", "task": "pendulum"})
    with pytest.raises(ValueError, match="training run"):
        ft.load(tmp_path / "plan")
    with pytest.raises(ValueError, match="fitted to data"):
        load_fitted(tmp_path / "plan")
