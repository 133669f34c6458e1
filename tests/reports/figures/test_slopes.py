"""The figure of gradients through time."""

import numpy as np

from forethought.reports.figures.slopes import STAGES, figure


def grown(size):
    """Gradients that grow by a factor, as cards keep them."""
    sizes = size ** np.arange(1, 6.0)
    return {"policy": sizes, "state": sizes, "singular": np.full((5, 2), size)}


def test_there_is_none_where_nobody_back_propagates():
    assert figure({}) is None


def test_it_draws_some_stages_and_where_a_step_neither_shrinks_nor_stretches():
    found = figure({stage: grown(1 + stage) for stage in range(1, 9)})
    policy, state, step = found.axes
    assert len(policy.lines) == len(state.lines) == STAGES
    assert len(step.lines) == STAGES + 1  # and the limit
    assert all(axis.get_yscale() == "log" for axis in found.axes)
    drawn = [line.get_label() for line in policy.lines]
    assert drawn[0] == "interval 1" and drawn[-1] == "interval 8"
    np.testing.assert_allclose(policy.lines[0].get_ydata(), grown(2.0)["policy"])


def test_a_gradient_of_nothing_is_left_out():
    none = grown(1.0) | {"policy": np.zeros(5)}
    assert np.all(np.isnan(figure({1: none}).axes[0].lines[0].get_ydata()))
