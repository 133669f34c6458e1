"""What is read from files of text, and in which words the rest is refused."""

import os
import re

import numpy as np
import pytest

from forethought.data.sources.reading import read

GOOD = """episode,time,x,y,u,reward
0,0.0,1,2,0.5,10
0,0.1,2,3,0.2,11
0,0.2,3,3.5,0.1,12
7,0.0,5,5,5,13
7,0.1,6,6,6,14
"""


@pytest.fixture
def file(tmp_path):
    """Writes a file of some text or bytes."""

    def write(content, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_next_observations_are_those_of_the_next_row_of_an_episode(file):
    data = read(file(GOOD), obs="x y", action="u")
    assert data.obs.tolist() == [[1, 2], [2, 3], [5, 5]]
    assert data.next_obs.tolist() == [[2, 3], [3, 3.5], [6, 6]]
    assert data.action.tolist() == [[0.5], [0.2], [5]]
    assert data.reward.tolist() == [10, 11, 13]
    assert data.episode.tolist() == [0, 0, 1]
    assert data.truncated.tolist() == [False, True, True]
    assert not data.terminated.any()
    assert (data.obs_names, data.action_names) == (("x", "y"), ("u",))
    assert any("no transition: 2 rows" in note for note in data.notes)


def test_what_is_not_said_is_guessed_and_the_guess_is_told(file):
    told, guessed = read(file(GOOD), obs="x y", action="u"), read(file(GOOD))
    assert np.array_equal(told.next_obs, guessed.next_obs)
    assert "action from u; obs from all others, x, y" in guessed.notes[0]


def test_what_has_another_name_or_none_is_not_guessed_to_be_seen(file):
    rows = [f"{i},{i / 2},1,0,{i}" for i in range(3)]
    data = read(file(lines(*rows, head=",pos,u,terminated,t") + "\n"))
    both = read(file(lines(*rows, head="t,pos,u,terminated,done")))
    assert data.obs_names == both.obs_names == ("pos",)
    assert any("Not used: done" in note for note in both.notes)


SAME = {
    "semicolons": GOOD.replace(",", ";"),
    "tabs": GOOD.replace(",", "\t"),
    "a byte order mark": "\ufeff" + GOOD,
    "quotes": re.sub(r"([^,\n]+)", r'"\1"', GOOD),
    "windows line ends": GOOD.replace("\n", "\r\n"),
    "no line end": GOOD.rstrip(),
    "empty lines": GOOD.replace("\n", "\n\n"),
    "spaces": GOOD.replace(",", " , "),
    "labels that are words": GOOD.replace("\n7", "\nrun_b").replace("\n0", "\nrun_a"),
    "labels that come back": GOOD + "0,0,9,9,9,9\n",
    "an unnamed index": "\n".join(
        f"{i - 1 if i else ''},{line}" for i, line in enumerate(GOOD.splitlines())
    ),
}


@pytest.mark.parametrize("kind", SAME)
def test_a_file_means_the_same_however_it_is_written(file, kind):
    plain = read(file(GOOD), obs="x y", action="u")
    other = read(file(SAME[kind], "other.csv"), obs="x y", action="u")
    for name in ("obs", "action", "next_obs", "reward", "episode"):
        assert np.array_equal(getattr(plain, name), getattr(other, name)), name


def lines(*rows, head="t,x,u"):
    return "\n".join((head, *rows)) + "\n"


STEPS = [f"{i / 10},{i},{i % 3}" for i in range(6)]
REFUSED = {
    "nothing": (b"", {}, "data.csv is empty."),
    "only names": ("x,u\n", {}, "has names of columns but no rows"),
    "only line ends": ("\n\n", {}, "is empty: it needs a line of names"),
    "a binary file": (bytes(range(256)), {}, "is no text in UTF-8"),
    "zeros": (b"x,u\n1,\0\n", {}, "is a binary file"),
    "UTF-16": ("x,u\n1,2\n".encode("utf-16"), {}, "is no text in UTF-8"),
    "an open quote": ('x,u\n"1,2\n3,4\n', {}, "is no CSV: unexpected end of data"),
    "two columns of a name": (
        lines("1,2,3", head="x,x,u"),
        {},
        "two columns named 'x'",
    ),
    "one row": (lines("0,1,2"), {}, "has no transition in its 1 row:"),
    "rows of many episodes": (
        lines("0,1,2", "1,1,2", "2,1,2", head="episode,x,u"),
        {},
        "has no transition in its 3 rows",
    ),
    "an unknown column": (
        lines(*STEPS),
        {"obs": "X1"},
        "no column named 'X1'; did you mean 'x'",
    ),
    "a near column": (
        lines("1,2,3", head="speed,x,u"),
        {"obs": "spede"},
        "did you mean 'speed'?",
    ),
    "a pattern of nothing": (lines(*STEPS), {"obs": "pos*"}, "lacks a column for obs"),
    "a column of two kinds": (
        lines(*STEPS),
        {"obs": "x u", "action": "u"},
        "'u' of .* cannot be both obs and action",
    ),
    "two columns of reward": (lines(*STEPS), {"reward": "x u"}, "reward needs one"),
    "no action": (lines("1,2,3", head="p,b,c"), {}, "which columns are the action"),
    "no observation": (
        lines("1,2", "1,2", head="a,u"),
        {"action": "a u"},
        "which columns are the obs",
    ),
    "spaces between cells": ("x u\n1 2\n", {}, "which columns are the action"),
    "a short row": (
        lines(*STEPS[:2], "0.2,2", *STEPS[3:]),
        {},
        r"1 bad row of 6: line 4 \(2 cells instead of 3\)",
    ),
    "a long row": (lines(*STEPS, "1,2,3,4"), {}, r"line 8 \(4 cells instead of 3\)"),
    "an empty cell": (
        lines(*STEPS[:2], "0.2,,0", *STEPS[3:]),
        {},
        r"line 4 \('x' is empty\); --drop-bad \(drop_bad=True\) goes on",
    ),
    "NaN": (lines(*STEPS[:1], "0.1,nan,0", *STEPS[2:]), {}, r"line 3 \('x' is NaN\)"),
    "infinity": (
        lines(*STEPS[:1], "0.1,inf,0", *STEPS[2:]),
        {},
        r"line 3 \('x' is infinite\)",
    ),
    "words among numbers": (
        lines(*STEPS[:1], "0.1,1,stop", *STEPS[2:]),
        {},
        r"line 3 \('u' is 'stop'\)",
    ),
    "underscores": (lines("0,1_0,1", *STEPS[1:]), {}, r"line 2 \('x' is '1_0'\)"),
    "a column of words": (
        lines("0,a,1", "1,b,2"),
        {"obs": "x"},
        "numbers in the column 'x', but has text in it, such as 'a'",
    ),
    "a column of nothing": (
        lines("0,,1", "1,,2"),
        {"obs": "x"},
        "'x', but has nothing in it",
    ),
    "commas for points": (
        "x;u\n1,5;2\n2,5;3\n",
        {"obs": "x"},
        "has '1,5' in it: decimals need a point",
    ),
    "dates as observations": (
        lines("0,2024-01-01,1", "1,2024-01-02,1"),
        {"obs": "x"},
        "has dates in it, which can be the time but nothing else",
    ),
    "many bad rows": (
        lines(*("0,x,1" for _ in range(2000)), "0,1,1"),
        {},
        r"2,000 bad rows of 2,001: line 2 \(.*\), .* and 1,996 more",
    ),
    "time that jumps within an episode": (
        lines("0,0,1,1", "0,1,2,1", "0,5,2,2", "0,6,2,2", head="episode,t,x,u"),
        {},
        r"1 bad row of 4: line 4 \('t' jumps from 1 to 5\)",
    ),
    "time that stands": (
        lines("0,0,1,1", "0,1,2,1", "0,1,2,2", head="episode,t,x,u"),
        {},
        r"line 4 \('t' jumps from 1 to 1\)",
    ),
    "no time": (lines("0,1,1", "soon,2,1", "0.2,1,1"), {}, r"line 3 \('t' is 'soon'\)"),
    "no label": (
        lines("0,1,1", ",2,1", "0,1,1", head="episode,x,u"),
        {},
        r"line 3 \('episode' is empty\)",
    ),
    "a flag that is a number": (
        lines("1,1,0", "2,1,2", head="x,u,done"),
        {},
        r"line 3 \('done' is 2 and neither 0 nor 1\)",
    ),
    "actions beyond bounds": (
        lines(*STEPS),
        {"bounds": (-1, 1)},
        r"2 bad rows of 6: line 4 \('u' is 2, not within -1 and 1\)",
    ),
    "bounds of another size": (
        lines(*STEPS),
        {"bounds": ([-1.0, -1.0], [1.0, 1.0])},
        "one number or 1 for the actions u",
    ),
    "bounds that are reversed": (lines(*STEPS), {"bounds": (1, -1)}, "low <= high"),
    "discrete actions between numbers": (
        lines("0,1,0.5", "0.1,1,1"),
        {"discrete": True},
        "whole numbers from 0 on, but 'u' is 0.5",
    ),
    "two discrete actions": (
        lines("0,1,0", "0.1,1,1"),
        {"discrete": True, "obs": "t", "action": "x u"},
        "Discrete actions need one column, got x, u",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_read_is_refused_in_a_sentence(file, kind):
    content, given, words = REFUSED[kind]
    with pytest.raises(ValueError, match=words) as caught:
        read(file(content), **given)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_what_is_no_file_is_refused_in_a_sentence(tmp_path, file):
    file("x", "pendulum.csv")
    with pytest.raises(ValueError, match=r"no data in .*; did you mean 'pendulum.csv'"):
        read(tmp_path / "pendulm.csv")
    with pytest.raises(ValueError, match="no data in"):
        read(tmp_path / "nowhere" / "at.csv")
    with pytest.raises(ValueError, match="got an empty one"):
        read("")
    with pytest.raises(ValueError, match="is a folder"):
        read(tmp_path)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(ValueError, match="no regular file"):
        read(tmp_path / "pipe.csv")


def test_bad_rows_are_dropped_and_nothing_is_shifted_across_them(file):
    rows = [*STEPS[:2], "0.2,nan,0", *STEPS[3:]]
    data = read(file(lines(*rows)), drop_bad=True)
    assert data.obs[:, 0].tolist() == [0, 3, 4]
    assert data.next_obs[:, 0].tolist() == [1, 4, 5]
    assert data.episode.tolist() == [0, 1, 1]
    assert "Dropped 1 bad row of 6: line 4 ('x' is NaN)." in data.notes


def test_an_episode_that_begins_with_a_bad_row_is_not_glued_to_the_one_before(file):
    rows = ["0,1,1", "0,2,1", "1,nan,1", "1,4,1", "1,5,1"]
    data = read(file(lines(*rows, head="episode,x,u")), drop_bad=True)
    assert data.obs[:, 0].tolist() == [1, 4]
    assert data.next_obs[:, 0].tolist() == [2, 5]


def test_episodes_are_told_by_time_that_begins_anew_or_has_a_gap(file):
    times = [0, 0.1, 0.2, 0, 0.1, 5.0, 5.1]
    rows = [f"{t},{i},0" for i, t in enumerate(times)]
    data = read(file(lines(*rows)))
    assert data.obs[:, 0].tolist() == [0, 1, 3, 5]
    assert data.episode.tolist() == [0, 0, 1, 2]
    assert any("jumps 2 times" in note for note in data.notes)
    apart = read(file(lines(*rows)), time="", obs="x")
    assert apart.rows == 6 and apart.episodes == 1
    assert any("all rows count as one" in note for note in apart.notes)


def test_time_may_be_dates(file):
    rows = [f"2024-05-01T12:00:{s:06.3f}Z,{s},0" for s in (0.5, 1, 1.5, 9, 9.5)]
    data = read(file(lines(*rows)))
    assert data.obs[:, 0].tolist() == [0.5, 1, 9]


def test_episodes_end_where_flags_say(file):
    rows = ["0,1,False,no", "1,1,True,no", "2,1,False,no", "3,1,False,yes", "4,1,,"]
    head = "x,u,terminated,truncated"
    nexts = [f"{row},{i + 1}" for i, row in enumerate(rows[:4])]
    data = read(file(lines(*nexts, head=head + ",next_x")))
    assert data.next_obs[:, 0].tolist() == [1, 2, 3, 4]
    assert data.episode.tolist() == [0, 0, 1, 1]
    assert data.terminated.tolist() == [False, True, False, False]
    assert data.truncated.tolist() == [False, False, False, True]
    shifted = read(file(lines(*rows[:4], head=head)))
    assert shifted.obs[:, 0].tolist() == [0, 2]
    assert any("1 of them terminated, which is lost" in note for note in shifted.notes)


def test_a_last_row_without_an_action_tells_what_was_seen_last(file):
    rows = ["0,1,5,0", "0,2,5,0", "0,3,,1", "1,4,5,0", "1,5,,0"]
    data = read(file(lines(*rows, head="episode,x,u,terminated")))
    assert data.next_obs[:, 0].tolist() == [2, 3, 5]
    assert data.terminated.tolist() == [False, True, False]
    assert not any("Dropped" in note or "lost" in note for note in data.notes)


def test_an_episode_begins_where_a_row_does_not_go_on_from_the_one_before(file):
    rows = ["0,1,1", "1,1,2", "5,1,6", "6,1,7"]
    data = read(file(lines(*rows, head="x,u,next_x")))
    assert data.episode.tolist() == [0, 0, 1, 1]
    assert any("1 row does not begin" in note for note in data.notes)


def test_next_columns_that_some_observations_lack_are_said_to_be_left(file):
    data = read(file(lines("0,1,2,9", "1,2,3,9", head="x,y,u,next_x")), obs="x y")
    assert data.next_obs.tolist() == [[1, 2]]
    assert any("'y' has no next column" in note for note in data.notes)


def test_columns_are_matched_by_several_patterns_in_the_order_of_the_file(file):
    table = file(lines(*["1,2,3,4,5"] * 3, head="v1,p1,v[2],p2,cmd"))
    for asked in ("p* v*", ["p*", "v*"], "v[[]2] p* v1", ["v[2]", "p2 p1", "v1"]):
        data = read(table, obs=asked, action="cmd")
        assert data.obs_names == ("v1", "p1", "v[2]", "p2")
    assert any("same in all rows: v1" in note for note in data.notes)


def test_columns_without_names_are_numbered(file):
    data = read(file("1,2,3\n4,5,6\n7,8,9\n"), obs="col0 col2", action="col1")
    assert data.obs.tolist() == [[1, 3], [4, 6]]
    assert any("col0 to col2" in note for note in data.notes)


def test_discrete_actions_are_whole_numbers(file):
    data = read(file(lines("0,1,2", "0.1,1,0", "0.2,1,1")), discrete=True)
    assert data.action.dtype == np.int64 and data.action.tolist() == [2, 0]


def test_truth_values_are_zero_and_one(file):
    data = read(file(lines("0,True,false", "0.1,FALSE,true", "0.2,1,0")))
    assert data.obs[:, 0].tolist() == [1, 0] and data.action[:, 0].tolist() == [0, 1]


def test_numbers_come_back_as_python_writes_them(file):
    numbers = np.random.default_rng(0).normal(size=40) * 10.0 ** np.arange(-20, 20)
    rows = [f"{x!r},{x!r}" for x in numbers.tolist()]
    data = read(file(lines(*rows, head="x,u")))
    assert np.array_equal(data.obs[:, 0], numbers[:-1])
    assert np.array_equal(data.next_obs[:, 0], numbers[1:])
