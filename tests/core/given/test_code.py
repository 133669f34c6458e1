"""What goes wrong in a person's code is said with their line."""

import pathlib

import jax
import jax.numpy as jnp
import pytest

from forethought.core.given.code import is_refusal, line_of, naming_the_line
from forethought.core.spaces import Box
from forethought.planners import MPC, RandomShooting

HERE = pathlib.Path(__file__).name


def broken(x):
    return jnp.dot(x, jnp.ones(3, x.dtype))


def test_an_error_inside_of_jax_names_the_line_that_led_there():
    named = naming_the_line()(jax.vmap(jax.jit(broken)))
    line = broken.__code__.co_firstlineno + 1
    words = rf"^\S*{HERE}:{line} in broken: the sizes of a product .*, got \(2,\) and"
    with pytest.raises(ValueError, match=words) as error:
        named(jnp.ones((4, 2)))
    assert "\n" not in str(error.value)
    assert isinstance(error.value.__cause__, TypeError)


def test_an_error_is_named_once_however_many_are_asked():
    def fails():
        return {}["x"]

    twice = naming_the_line()(naming_the_line()(fails))
    with pytest.raises(ValueError, match=rf"^\S*{HERE}:\d+ in fails: KeyError: 'x'$"):
        twice()


def test_what_the_library_refuses_and_whoever_interrupts_are_left_alone():
    with pytest.raises(ValueError, match=r"^MPC needs replan_every"):
        naming_the_line()(MPC)(RandomShooting(5), 9)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        naming_the_line()(stop)()


def test_the_library_is_told_from_what_it_calls():
    def caught(function, *arguments):
        try:
            function(*arguments)
        except (ValueError, TypeError) as error:
            return error

    assert is_refusal(caught(MPC, RandomShooting(5), 9))
    box = Box(jnp.zeros(2), jnp.ones(2))
    assert not is_refusal(caught(box.clip, jnp.zeros((2, 3))))
    assert not is_refusal(caught(broken, jnp.ones(2)))


def test_a_function_is_found_where_it_is_written():
    first = broken.__code__.co_firstlineno
    assert line_of(broken).endswith(f"{HERE}:{first} in broken")
    assert line_of(len) == "len"
