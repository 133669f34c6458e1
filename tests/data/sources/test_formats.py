"""The same transitions, from every format that is read; and its damaged files."""

import io
import pickle
import warnings
import zipfile

import numpy as np
import pytest

from forethought.data.sources.parquet import pyarrow as find_pyarrow
from forethought.data.sources.reading import read

RNG = np.random.default_rng(7)
OBS, AFTER = RNG.normal(size=(2, 7, 3))
AFTER[[0, 1, 3, 4, 5]] = OBS[[1, 2, 4, 5, 6]]
ARRAYS = {
    "obs": OBS,
    "action": RNG.normal(size=(7, 2)),
    "next_obs": AFTER,
    "reward": RNG.normal(size=7),
    "terminated": np.arange(7) == 2,
    "truncated": np.arange(7) == 6,
    "episode": np.array([4, 4, 4, 9, 9, 9, 9]),
}


def same(data):
    """Whether these are the transitions above."""
    assert np.array_equal(data.obs, OBS)
    assert np.array_equal(data.action, ARRAYS["action"])
    assert np.array_equal(data.next_obs, AFTER)
    assert np.array_equal(data.reward, ARRAYS["reward"])
    assert data.terminated.tolist() == ARRAYS["terminated"].tolist()
    assert data.truncated.tolist() == ARRAYS["truncated"].tolist()
    assert data.episode.tolist() == [0, 0, 0, 1, 1, 1, 1]


def test_arrays_of_a_file_are_read_bit_for_bit(tmp_path):
    names = {"obs_names": np.array(["x", "y", "z"]), "dt": np.array(0.1)}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "data.npz", **ARRAYS, **names)
        data = read(tmp_path / "data.npz")
        same(data)
        assert data.obs_names == ("x", "y", "z")
        assert data.action_names == ("action0", "action1")
    (tmp_path / "data.npz").rename(tmp_path / "without_suffix")
    same(read(tmp_path / "without_suffix"))


def test_usual_names_of_arrays_are_known(tmp_path):
    usual = {
        "observations": "obs",
        "actions": "action",
        "next_observations": "next_obs",
        "rewards": "reward",
        "terminals": "terminated",
        "timeouts": "truncated",
    }
    np.savez(tmp_path / "data.npz", **{a: ARRAYS[b] for a, b in usual.items()})
    same(read(tmp_path / "data.npz"))


def test_episodes_of_one_length_may_be_stacked_with_what_was_seen_last(tmp_path):
    obs, action = RNG.normal(size=(4, 6, 2)), RNG.normal(size=(4, 5, 1))
    reward = RNG.normal(size=(4, 5))
    path = tmp_path / "data.npz"
    np.savez(path, obs=obs, action=action, reward=reward)
    data = read(path)
    assert np.array_equal(data.obs, obs[:, :5].reshape(-1, 2))
    assert np.array_equal(data.next_obs, obs[:, 1:].reshape(-1, 2))
    assert np.array_equal(data.reward, reward.reshape(-1))
    assert data.episode.tolist() == np.repeat(range(4), 5).tolist()
    np.savez(path, obs=obs[:, :5], action=action)
    assert np.array_equal(read(path).next_obs, obs[:, 1:5].reshape(-1, 2))
    np.savez(path, states=obs[0], u=action[0])
    assert np.array_equal(read(path).next_obs, obs[0, 1:])


def test_a_bad_row_of_arrays_is_named_by_its_index(tmp_path):
    obs = OBS.copy()
    obs[3, 1] = np.nan
    np.savez(tmp_path / "data.npz", **{**ARRAYS, "obs": obs})
    with pytest.raises(ValueError, match=r"1 bad row of 7: row 3 \('obs1' is NaN\)"):
        read(tmp_path / "data.npz")
    data = read(tmp_path / "data.npz", drop_bad=True)
    assert data.episode.tolist() == [0, 0, 0, 1, 1, 1]


class Crafted:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return warnings.warn, ("executed",)


def damaged(tmp_path):
    """Files that are no NPZ of numbers, by what they are."""
    whole = io.BytesIO()
    np.savez(whole, **ARRAYS)
    pickled = io.BytesIO()
    np.savez(pickled, obs=np.array([Crafted()], dtype=object), action=OBS)
    huge = io.BytesIO()
    with zipfile.ZipFile(huge, "w") as archive:
        header = io.BytesIO()
        about = {"descr": "<f8", "fortran_order": False, "shape": (1 << 60,)}
        np.lib.format.write_array_header_1_0(header, about)
        archive.writestr("obs.npy", header.getvalue())
    single = io.BytesIO()
    np.save(single, OBS)
    return {
        "half.npz": (whole.getvalue()[:300], "no NPZ file of numbers"),
        "text.npz": (b"x,u\n1,2\n", "no NPZ file of numbers"),
        "pickled.npz": (pickled.getvalue(), "an array of dtype object"),
        "huge.npz": (huge.getvalue(), "holds less or more than an array of shape"),
        "one.npy": (single.getvalue(), "is a single array"),
        "one.pkl": (pickle.dumps(Crafted()), "is a pickle, which is never loaded"),
        "one.h5": (b"\x89HDF\r\n\x1a\n" + bytes(20), "only data sets of Minari"),
        "one.csv.gz": (b"\x1f\x8b" + bytes(20), "is compressed"),
        "half.parquet": (b"PAR1" + bytes(40), "cannot be read as Parquet"),
        "text.parquet": (b"x,u\n1,2\n3,4\n", "cannot be read as Parquet"),
    }


def test_damaged_files_are_refused_in_a_sentence_and_nothing_is_executed(tmp_path):
    pytest.importorskip("pyarrow")
    for name, (content, words) in damaged(tmp_path).items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=words) as caught:
            read(tmp_path / name)
        assert "\n" not in str(caught.value)


ODD = {
    "arrays of other lengths": (
        {"obs": OBS, "action": OBS[:3]},
        r"as many rows of each array, got obs \[7, 3\], action \[3, 3\]",
    ),
    "images": ({"obs": np.zeros((2, 2, 2, 2)), "action": OBS}, "has the shape"),
    "no rows": ({"obs": OBS[:0], "action": OBS[:0]}, "has no rows"),
    "numbers without rows": ({"obs": np.array(1.0)}, "no arrays with rows"),
    "words": (
        {"obs": np.array(["a", "b"]), "action": np.zeros(2)},
        "needs numbers in the column 'obs'",
    ),
    "two names of actions": ({"obs": OBS, "b": OBS}, "columns are the action"),
}


@pytest.mark.parametrize("kind", ODD)
def test_arrays_that_do_not_fit_are_refused_in_a_sentence(tmp_path, kind):
    arrays, words = ODD[kind]
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(ValueError, match=words):
        read(tmp_path / "data.npz")


def test_arrays_of_another_kind_are_left_aside_and_said_to_be(tmp_path):
    np.savez(tmp_path / "data.npz", **ARRAYS, mean=OBS.mean(0))
    data = read(tmp_path / "data.npz")
    same(data)
    assert any("another length: mean" in note for note in data.notes)


def columns():
    """The transitions by column."""
    found = {}
    for name, array in ARRAYS.items():
        parts = {f"{name}{i}": part for i, part in enumerate(array.T)}
        found |= parts if array.ndim == 2 else {name: array}
    return found


def test_parquet_is_read_bit_for_bit(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path = tmp_path / "data.parquet"
    parquet.write_table(arrow.table(columns()), path)
    same(read(path))
    lists = {name: columns()[name] for name in columns() if name[-1] not in "012"}
    lists |= {name: ARRAYS[name].tolist() for name in ("obs", "action", "next_obs")}
    parquet.write_table(arrow.table(lists), path)
    same(read(path))
    path.rename(tmp_path / "without_suffix")
    same(read(tmp_path / "without_suffix"))


def test_parquet_of_many_types_is_read_as_numbers(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    day = np.datetime64("2024-01-01", "us")
    table = arrow.table(
        {
            "time": arrow.array(day + 60_000_000 * np.arange(4), arrow.timestamp("us")),
            "episode": arrow.array(["a", "a", "b", "b"]).dictionary_encode(),
            "small": arrow.array([1, 2, 3, 4], arrow.int8()),
            "half": arrow.array(np.arange(4, dtype=np.float16)),
            "flag": arrow.array([True, None, False, True]),
            "part": arrow.array([{"x": 1.0}, {"x": 2.0}, {"x": 3.0}, {"x": 4.0}]),
            "u": arrow.array([1, 2, 4, None]),
            "raw": arrow.array([b"1"] * 4),
        }
    )
    path = tmp_path / "data.parquet"
    parquet.write_table(table, path)
    data = read(path, obs="small half part.x")
    assert data.obs_names == ("small", "half", "part.x")
    assert data.obs.tolist() == [[1, 0, 1], [3, 2, 3]]
    assert any("as no numbers: raw" in note for note in data.notes)
    with pytest.raises(ValueError, match=r"row 1 \('flag' is NaN\)"):
        read(path, obs="flag")
    with pytest.raises(ValueError, match="has dates in the column 'time'"):
        read(path, obs="time", time="")
    parquet.write_table(arrow.table([arrow.array([1])] * 2, ["x", "x"]), path)
    with pytest.raises(ValueError, match="two columns named 'x'"):
        read(path)
    parquet.write_table(table.slice(0, 0), path)
    with pytest.raises(ValueError, match="has columns but no rows"):
        read(path)


def test_what_an_extra_reads_is_refused_without_it_by_its_name(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ValueError, match=r"pip install 'forethought\[parquet\]'"):
        find_pyarrow()
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(ValueError, match=r"pip install 'forethought\[minari\]'"):
        read("minari:cartpole/random-v0")


@pytest.fixture(scope="module")
def minari_home(tmp_path_factory):
    """A folder of two data sets, one of numbers and one of choices."""
    minari = pytest.importorskip("minari")
    pytest.importorskip("h5py")
    from gymnasium import spaces
    from minari.data_collector import EpisodeBuffer

    home = tmp_path_factory.mktemp("minari")
    ends = [(OBS[:3], AFTER[2]), (OBS[3:], AFTER[6])]
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.setenv("MINARI_DATASETS_PATH", str(home))
        for name, choice in (("toy/box-v0", False), ("toy/choice-v0", True)):
            buffers, at = [], 0
            for seen, last in ends:
                rows = slice(at, at := at + len(seen))
                whole = np.concatenate([seen, last[None]])
                action = ARRAYS["action"][rows]
                if choice:
                    whole = {"b": whole[:, :1], "a": whole[:, 1:]}
                    action = np.arange(len(seen)) % 2 + 5
                buffers.append(
                    EpisodeBuffer(
                        observations=whole,
                        actions=action,
                        rewards=ARRAYS["reward"][rows].tolist(),
                        terminations=ARRAYS["terminated"][rows].tolist(),
                        truncations=ARRAYS["truncated"][rows].tolist(),
                    )
                )
            free = spaces.Box(-np.inf, np.inf, (3,), np.float64)
            keys = {"b": spaces.Box(-9, 9, (1,)), "a": spaces.Box(-9, 9, (2,))}
            minari.create_dataset_from_buffers(
                name,
                buffers,
                observation_space=spaces.Dict(keys) if choice else free,
                action_space=spaces.Discrete(2, start=5)
                if choice
                else spaces.Box(-9, 9, (2,), np.float64),
            )
        yield home


def test_a_data_set_of_minari_is_read_by_its_name_or_folder(minari_home):
    same(read("minari:toy/box-v0"))
    same(read(minari_home / "toy" / "box-v0"))
    same(read(minari_home / "toy" / "box-v0" / "data"))
    with pytest.raises(ValueError, match=r"did you mean 'toy/box-v0'.*minari download"):
        read("minari:toy/bx-v0")


def test_a_data_set_of_minari_says_that_its_actions_are_choices(minari_home):
    data = read("minari:toy/choice-v0")
    assert data.action.tolist() == [0, 1, 0, 0, 1, 0, 1]
    assert data.obs_names == ("a0", "a1", "b0")
    assert np.array_equal(data.obs, OBS[:, [1, 2, 0]])


def test_a_damaged_data_set_of_minari_is_refused_in_a_sentence(minari_home, tmp_path):
    (tmp_path / "metadata.json").write_text("{")
    with pytest.raises(ValueError, match="cannot be read by Minari"):
        read(tmp_path)
