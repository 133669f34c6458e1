"""Whatever transitions are written, they are read as the same again."""

import dataclasses
import tempfile
from pathlib import Path

import hypothesis
import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import pytest

from forethought.data.logged import Logged, last_rows
from forethought.data.sources.memory import unlike
from forethought.data.sources.reading import read
from forethought.data.sources.writing import ENCODERS, encoder

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
NAMES = st.text(
    st.characters(blacklist_categories=["C", "Z"], blacklist_characters="\x00"),
    min_size=1,
    max_size=6,
)


@st.composite
def some(draw):
    """What makes transitions of a few episodes, with names and numbers of any kind."""
    lengths = draw(st.lists(st.integers(1, 4), min_size=1, max_size=4))
    episode = np.repeat(np.arange(len(lengths)), lengths)
    rows, width = len(episode), draw(st.integers(1, 3))
    last = np.append(np.diff(episode) != 0, True)
    terminated = last & draw(arrays.arrays(bool, rows))

    def block(*shape):
        return draw(arrays.arrays(float, shape, elements=NUMBERS))

    obs, after = block(rows, width), block(rows, width)
    after[~last] = obs[1:][~last[:-1]]
    names = draw(st.lists(NAMES, min_size=width + 2, max_size=width + 2))
    reward = block(rows) if draw(st.booleans()) else None
    ends = terminated, last & ~terminated, episode
    return (obs, block(rows, 2), after, reward, *ends), names[:width], names[width:]


@hypothesis.settings(max_examples=20)
@hypothesis.given(parts=some())
@pytest.mark.parametrize("suffix", ENCODERS)
def test_transitions_come_back_from_a_file_as_they_were(suffix, parts):
    columns, *names = parts
    data = Logged(*columns, *(tuple(unlike(each)) for each in names))
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    time = (
        np.arange(data.rows)
        - np.flatnonzero(np.append(True, last_rows(data.episode)[:-1]))[data.episode]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"data{suffix}"
        path.write_bytes(encoder(path)(data, 0.1 * time))
        again = read(path)
    for field in dataclasses.fields(Logged):
        there, here = (getattr(each, field.name) for each in (data, again))
        if isinstance(there, np.ndarray):
            assert here.dtype == there.dtype and np.array_equal(here, there)
        elif field.name != "notes":
            assert here == there, field.name
