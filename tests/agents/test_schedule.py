"""Schedules, against counting one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forethought.agents.schedule import Schedule


@pytest.mark.parametrize(
    ("schedule", "steps", "episodes", "due"),
    [
        (Schedule(), 999, 3, 3),
        (Schedule(2), 999, 5, 2),
        (Schedule(200, "steps"), 399, 9, 1),
        (Schedule(200, "steps"), 400, 9, 2),
        (Schedule(4, "ratio"), 3, 0, 12),
        (Schedule(0.29, "ratio"), 100, 0, 29),  # 28.999… in floating point
        (Schedule(2.5, "steps"), 5, 0, 2),
    ],
)
def test_it_is_due_as_often_as_the_table_says(schedule, steps, episodes, due):
    assert schedule.due(steps=steps, episodes=episodes) == due


@given(
    st.one_of(
        st.builds(Schedule, st.integers(1, 50), st.sampled_from(["episodes", "steps"])),
        st.builds(Schedule, st.floats(0.01, 5), st.just("ratio")),
    ),
    st.integers(0, 300),
)
def test_after_waiting_it_is_due_and_not_before(schedule, done):
    wait = schedule.wait(steps=done, episodes=done)

    def due(more):
        return schedule.due(steps=done + more, episodes=done + more)

    assert wait >= 1
    assert due(wait) > due(0) == due(wait - 1)


@pytest.mark.parametrize(
    ("every", "unit", "words"),
    [
        (0, "episodes", "by episodes needs every > 0, got 0"),
        (0.5, "steps", "by steps needs every from 1 to 2147483647, got 0.5"),
        (0.0, "ratio", "by ratio needs every > 0, got 0.0"),
        (float("inf"), "ratio", "a finite every > 0, got inf"),
        (float("nan"), "steps", "got nan"),
    ],
)
def test_what_can_never_be_due_is_refused(every, unit, words):
    with pytest.raises(ValueError, match=words):
        Schedule(every, unit)
