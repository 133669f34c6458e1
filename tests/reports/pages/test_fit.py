"""The page of fitted models: every figure is drawn, of whatever was fitted."""

import jax
import numpy as np
import pytest

from forethought.models.learned.ensemble import Ensemble
from forethought.models.learned.recipes import EnsembleRecipe
from forethought.models.learned.transforms import Transform
from forethought.reports.figures import fit as figures
from forethought.reports.pages import fit as page
from forethought.runs.fit.fitting import Data, Fit
from forethought.runs.fit.held import Held
from forethought.runs.fit.judge import BANDS, FAR, GRID, LEVELS, Judged
from forethought.runs.fit.kept import Fitted
from forethought.runs.store.folder import RunFolder

RECIPE = EnsembleRecipe(members=1, width=2, depth=1)


def held(size, steps, fans=2):
    """Held-out episodes, the last of which ends early; one dimension never changes."""
    random = np.random.default_rng(0)
    moves = np.arange(size) != 1
    truth = np.where(moves, random.normal(size=(fans, steps, size)), 3.0)
    known = np.ones((fans, steps), bool)
    known[-1, steps // 2 + 1 :] = False
    none = np.zeros((0, size))
    return Held(
        **dict.fromkeys(("obs", "action", "next_obs", "actions", "deeds"), none),
        starts=np.where(moves, 0.0, 3.0) * np.ones((fans, 1)),
        truth=truth,
        known=known,
        fans=fans,
        scale=np.ones(size),
        moves=moves,
        places=np.where(moves, random.normal(size=(60, size)), 3.0),
        constant=np.ones((steps, size)),
        linear=np.geomspace(1, 1e300, steps)[:, None] * np.ones(size),
        count=known.sum(axis=0),
        nats={"linear": 1.0, "constant": -np.inf},
    )


def judged(size, steps, fans=2, *, silent=False):
    random = np.random.default_rng(1)
    changes = np.arange(size) != 1
    share = np.where(changes, 0.0 if silent else 0.6, np.nan)
    doubt = np.zeros((60, size)) if silent else random.uniform(size=(60, size))
    return Judged(
        errors=np.full((steps, size), 0.5),
        coverage=share * np.ones((len(LEVELS), steps, 1)),
        calibration=share * np.ones((len(GRID), 1)),
        crps=np.ones(size),
        nats=-np.inf if silent else 2.0,
        fan=random.normal(size=(fans, len(BANDS), steps, size)),
        aleatoric=doubt,
        epistemic=doubt,
        far=np.full((2, len(FAR)), 0.0 if silent else 0.3),
    )


@pytest.fixture(scope="module")
def model():
    """What none of the figures looks at."""
    return Ensemble(Transform(1, 1), size=1, width=2, depth=1, key=jax.random.key(0))


def fitted(model, path, size, steps, **silent):
    """A run whose models say how far off they are, or do not."""
    names = tuple(f"dimension {i} <$x_" for i in range(size))
    rows = np.zeros((3, size))
    data = Data(
        "swings & <turns>",
        names,
        ("push",),
        choices=3,
        **dict.fromkeys(("low", "high"), np.zeros(0)),
        **dict.fromkeys(("mean", "deviation"), rows[0]),
        obs=rows,
        action=np.zeros(3, int),
        **{"rows": 3, "episodes": 1, "held_rows": 3, "held_episodes": 1},
        notes=("Two rows <dropped>.",),
    )
    fits = tuple(
        Fit(name, RECIPE, model, judged(size, steps, silent=each), 1.0, {})
        for name, each in silent.items()
    )
    return Fitted(fits, data, held(size, steps), RunFolder(path))


@pytest.mark.parametrize(("size", "steps"), [(1, 1), (2, 5), (9, 50)])
def test_the_page_is_whole_whatever_the_data(size, steps, model, tmp_path):
    run = fitted(model, tmp_path, size, steps, ensemble=False, network=True)
    title, body = page.body(run)
    text = "".join(body)
    assert title == "swings & <turns> · ensemble, network"
    for escaped in ("swings &amp; &lt;turns&gt;", "Two rows &lt;dropped&gt;"):
        assert escaped in text
    assert text.count("<img") == 4
    assert {path.stem for path in (tmp_path / "plots").iterdir()} == {*page.SECTIONS}
    assert "too narrow" in text and "no width" in text


def test_what_claims_no_spread_has_no_calibration_and_no_doubts(model, tmp_path):
    run = fitted(model, tmp_path, 2, 3, network=True)
    assert figures.calibration(run) is None and figures.where(run) is None
    assert "".join(page.body(run)[1]).count("<img") == 2


def test_a_map_that_runs_away_does_not_hide_the_others(model, tmp_path):
    figure = figures.errors(fitted(model, tmp_path, 2, 50, ensemble=False))
    assert all(axis.get_ylim()[1] < 100 for axis in figure.axes if axis.get_visible())


def test_doubt_is_told_by_medians_of_bins_that_are_full():
    values = np.concatenate([np.linspace(0, 1, 120), [10.0]])
    doubt = np.concatenate([np.linspace(0, 1, 120), [5.0]])
    middles, found = figures.binned(values, doubt)
    assert middles.max() < 2 and found.max() <= 1
    np.testing.assert_allclose(found[0], np.median(doubt[values <= 10 / 12]))
