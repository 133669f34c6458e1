"""What planners tell of themselves: what an episode carries, and what a disk keeps."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.results import SearchTree, Stats
from forethought.runs.plan.told import told
from forethought.runs.store.plain import flatten

FOUR = np.array([-3.0, -2.0, -1.0, -1.0])
TREE = SearchTree(
    size=np.array(3),
    parent=np.array([-1, 0, 0, 0]),
    slot=np.array([0, 1, 0, 0]),
    depth=np.array([0, 1, 1, 0]),
    visits=np.array([9, 5, 4, 0]),
    values=np.array([0.5, 0.75, 0.25, 0.0]),
    chosen=np.array([True, True, False, False]),
    root_visits=np.array([4, 5]),
    root_values=np.array([0.25, 0.75]),
    root_actions=np.array([[0.1], [0.2]]),
)
DRAWN = {"non_finite": np.array([0, 2, 1, 0]), "best": FOUR, "mean": FOUR - 1}
CLIMBED = Stats(FOUR, iterations=np.array(3), numbers={"gradient": -FOUR})
ROUNDS = Stats(
    iterations=np.array(2),
    non_finite=np.array([0, 1]),
    violation=np.array([0.5, 0.25]),
    kkt=np.array(1e-7),
    multipliers={"final_equality_multipliers": np.array([2.0])},
    numbers={"penalty": np.array([10.0, 100.0])},
    inside=CLIMBED,
)
TOLD = {
    "climbed": (CLIMBED, {"cost": -FOUR, "gradient": -FOUR, "iterations": 3}),
    "narrowed": (
        Stats(**DRAWN, numbers={"spread": -FOUR}),
        {
            "best_return": FOUR,
            "elite_return": FOUR - 1,
            "non_finite": DRAWN["non_finite"],
            "spread": -FOUR,
        },
    ),
    "drawn once": (
        Stats(best=FOUR[:1], non_finite=np.array([2]), scores=FOUR[None]),
        {"best_return": FOUR[0], "candidate_return": FOUR, "non_finite": 2},
    ),
    "searched": (
        Stats(non_finite=np.array([1]), tree=TREE, numbers={"depth": np.array(1)}),
        {
            "visits": TREE.root_visits,
            "values": TREE.root_values,
            "root_actions": TREE.root_actions,
            "nodes": 3,
            "depth": 1,
            "non_finite": 1,
            "tree": np.array(
                [
                    [-1.0, 0.0, 0.0, 9.0, 0.5, 1.0],
                    [0.0, 1.0, 1.0, 5.0, 0.75, 1.0],
                    [0.0, 0.0, 1.0, 4.0, 0.25, 0.0],
                    [0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
                ]
            ),
        },
    ),
    "in rounds": (
        ROUNDS,
        {
            "cost": -FOUR,
            "gradient": -FOUR,
            "iterations": 3,
            "rounds": 2,
            "non_finite": ROUNDS.non_finite,
            "violation": ROUNDS.violation,
            "penalty": ROUNDS.numbers["penalty"],
            "kkt": 1e-7,
            **ROUNDS.multipliers,
        },
    ),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_was_told_survives_the_disk(name):
    stats, _ = TOLD[name]
    names = {
        name.removeprefix("told/"): array
        for name, array in flatten(stats, "told").items()
    }
    assert eqx.tree_equal(told(names), stats)


@pytest.mark.parametrize("name", TOLD)
def test_a_flat_table_from_before_statistics_had_types_says_the_same(name):
    stats, old = TOLD[name]
    old = {key: np.asarray(array) for key, array in old.items()}
    assert eqx.tree_equal(told(old), stats)


def test_small_statistics_hold_no_more_than_a_number_an_iteration():
    drawn = Stats(
        best=jnp.asarray(FOUR),
        candidates=jnp.zeros((4, 8, 5, 1)),
        scores=jnp.zeros((4, 8)),
        tree=TREE,
        numbers={"spread": jnp.zeros(4)},
    )
    small = Stats(violation=jnp.zeros(2), inside=drawn).small()
    kept = jax.tree.leaves(small)
    assert [leaf.shape for leaf in kept] == [(2,), (4,), (4,)]
    assert small.inside.best is drawn.best


@pytest.mark.parametrize("left", ["rounds", "tree/size"])
def test_statistics_of_which_a_part_is_missing_are_refused_in_a_sentence(left):
    with pytest.raises(ValueError, match="statistics of a planner that belong"):
        told({left: np.zeros(1)})
