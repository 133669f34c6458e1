"""Systems and objectives from plain functions: what they take, what they refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.spaces import Box, Discrete
from forethought.environments.analytic.drawing import disc, draw
from forethought.environments.functions import system
from forethought.environments.taking import Taking
from forethought.objectives.functions import objective

KEY = jax.random.key(0)


def drift(state, action):
    return state + 0.1 * action[0]


def test_a_function_is_called_with_the_arguments_that_it_needs():
    def needs(function):
        return Taking("reward", function, ("state", "action", "next_state"))(1, 2, 3)

    assert needs(lambda state: (state,)) == (1,)
    assert needs(lambda state, action: (state, action)) == (1, 2)
    assert needs(lambda *all: all) == (1, 2, 3)
    # What has a default is a setting, and none of ours.
    assert needs(lambda state, gain=7: (state, gain)) == (1, 7)
    assert needs(lambda: ()) == ()


def test_a_function_that_draws_is_given_a_key():
    shaken = Taking("step", lambda x, u, key: (x, key), ("state", "action"))
    assert shaken(1, 2, key=KEY) == (1, KEY)
    by_name = Taking("step", lambda x, *, key: (x, key), ("state", "action"))
    assert by_name(1, 2, key=KEY) == (1, KEY)


def test_states_are_arrays_lists_numbers_and_trees():
    listed = system(
        step=lambda x, u: [x[0], x[1] + u[0]], start=[0.0, 1], action=(0, 1)
    )
    after = listed.step(listed.start(key=KEY), jnp.ones(1), key=KEY)
    assert after.tolist() == [0.0, 2.0]
    assert listed.state_names == ("x1", "x2")
    number = system(step=lambda cell, move: cell + move, start=3, action=2, states=9)
    after = number.step(number.start(key=KEY), jnp.asarray(1), key=KEY)
    assert (int(after), after.dtype) == (4, jnp.asarray(3).dtype)
    assert number.state_names == ("x1",)
    tree = system(
        step=lambda x, u: {"at": x["at"] + x["speed"], "speed": x["speed"] + u},
        start={"at": np.zeros(2), "speed": np.ones(2)},
        action=([-1, -2], [1, 2]),
        names=("x", "y", "vx", "vy"),
    )
    after = tree.step(tree.start(key=KEY), jnp.ones(2), key=KEY)
    assert after["at"].tolist() == [1.0, 1.0]
    assert tree.action == Box([-1.0, -2.0], [1.0, 2.0])
    assert tree.action_names == ("u1", "u2")


def test_a_start_may_be_drawn():
    drawn = system(
        step=drift, start=lambda key: jax.random.normal(key, (2,)), action=(-1, 1)
    )
    first, second = (drawn.start(key=jax.random.key(seed)) for seed in (0, 1))
    assert first.shape == (2,) and (first != second).all()


def test_chance_in_a_step_is_drawn_by_its_key():
    shaken = system(
        step=lambda x, u, key: x + jax.random.normal(key, x.shape, x.dtype),
        start=np.zeros(1),
        action=(-1, 1),
    )
    a, b = (
        shaken.step(jnp.zeros(1), jnp.zeros(1), key=jax.random.key(seed))
        for seed in (0, 1)
    )
    assert a != b


def test_an_action_space_is_said_shortly():
    def space(action):
        step = (lambda x, u: x) if isinstance(action, int | Discrete) else drift
        return system(step=step, start=np.zeros(1), action=action).action

    assert space(4) == Discrete(4) == space(Discrete(4))
    assert space((-1, 2)) == Box([-1.0], [2.0]) == space([-1.0, 2.0])
    assert space((-1, [2, 3])) == Box([-1.0, -1.0], [2.0, 3.0])


def test_the_state_is_seen_and_drawn_as_is_said():
    plain = system(step=drift, start=np.ones(2), action=(-1, 1))
    assert plain.observe(jnp.ones(2)).tolist() == [1.0, 1.0]
    assert plain.sketch(jnp.ones(2)).start.shape == (4, 2)
    told = system(
        step=drift,
        start=np.ones(2),
        action=(-1, 1),
        observation=lambda x: x[:1],
        sketch=lambda x: draw(disc((x[0], 0.0), 0.1)),
    )
    assert told.observe(jnp.ones(2)).tolist() == [1.0]
    assert told.sketch(jnp.ones(2)).start.shape == (1, 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"step": lambda x, u: x[:1]}, r"like the one it was given, float32\[2\], got"),
        ({"step": lambda x, u: (x, x)}, r"got \(float32\[2\], float32\[2\]\)"),
        ({"step": lambda x, u: None}, "got None"),
        ({"step": lambda x, u, v: x}, r"no more than step\(state, action\) and a key"),
        ({"step": 3}, r"step should be a function, step\(state, action\), got int"),
        ({"start": [0, 0], "step": lambda x, u: jnp.zeros(2)}, "0.0 in place of 0"),
        ({"start": None}, "start should give a state, got None"),
        ({"action": "left"}, r"a pair \(low, high\) .* got 'left'"),
        ({"action": ([-1, -1], [1, 1, 1])}, "equally long"),
        ({"action": (1, 2, 3)}, r"a pair \(low, high\)"),
        ({"action": (2, -1)}, "low <= high"),
        ({"names": ("a",)}, r"names should be 2 words, got \('a',\)"),
        ({"action_names": "force"}, "action_names should be 1 words, got 'force'"),
        ({"start": "left"}, "start should give numbers, .* got 'left'"),
        ({"start": [[1.0], [1.0, 2.0]]}, "equally long"),
        ({"step": max}, "a function that says what it takes"),
        ({"step": lambda x, u: x if x[0] > 0 else -x}, "test_functions.py:.*jnp.where"),
        ({"step": lambda x, u: np.sin(x)}, "test_functions.py:.*jax.numpy"),
        ({"dt": 0.0}, "dt > 0, got 0.0"),
        ({"states": 0}, "states >= 1, got 0"),
        ({"states": 5}, r"start gives float32\[2\]"),
        ({"sketch": lambda x: x}, "sketch should return Capsules"),
    ],
)
def test_functions_that_do_not_fit_are_refused_in_a_sentence(changes, words, unchecked):
    fine = {"step": drift, "start": np.zeros(2), "action": (-1, 1)}
    with pytest.raises((ValueError, TypeError), match=words) as refusal:
        system(**fine | changes)
    assert len(str(refusal.value).splitlines()) == 1


def test_an_objective_has_reward_discount_and_value():
    x, u = jnp.array([3.0]), jnp.zeros(1)
    near = objective(reward=lambda state, action, after: after[0] - state[0])
    assert float(near.reward(x, u, x + 1)) == 1.0
    assert float(near.discount(x, u, x)) == 1.0 == near.gamma
    assert float(near.value(x)) == 0.0
    ends = objective(
        reward=lambda state: state[0] > 2,  # a truth counts as 1
        discount=lambda state, action, after: jnp.where(after[0] > 3, 0.0, 0.9),
        value=lambda state: 2 * state[0],
    )
    assert float(ends.reward(x, u, x)) == 1.0
    assert ends.discount(x, u, x) == pytest.approx(0.9)
    assert float(ends.discount(x, u, x + 1)) == 0.0
    assert float(ends.value(x)) == 6.0
    assert ends.gamma is None


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"reward": lambda x: x}, r"reward should return a single number, .*\[1\]"),
        ({"reward": lambda x: None}, "reward should return a number, got None"),
        ({"value": lambda x: x}, "value should return a single number"),
        ({"discount": 1.5}, r"discount in \(0, 1\], got 1.5"),
        ({"value": None}, "value should be a function or a number, got None"),
        ({"discount": "a"}, "discount should be a function or a number, got 'a'"),
        ({"reward": 1.0}, r"reward should be a function, reward\(state, action"),
    ],
)
def test_an_objective_that_returns_no_number_is_refused(parts, words, unchecked):
    x, u = jnp.zeros(1), jnp.zeros(1)
    with pytest.raises((ValueError, TypeError), match=words):
        made = objective(**{"reward": lambda x: x[0]} | parts)
        made.reward(x, u, x)
        made.value(x)
