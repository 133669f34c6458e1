"""A setting outside its range is refused when it is made, whatever it is."""

import dataclasses
import math
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from forethought.core.given.settings import (
    AbstractSettings,
    Count,
    Nonnegative,
    Part,
    Range,
    Seed,
    Whole,
    allowed,
    check_ranges,
    hints_of,
    key_of,
    require,
    small_seed,
)


class Search(AbstractSettings):
    population: Count = eqx.field(static=True, default=10)
    elites: Annotated[int, Range(at_least=1, at_most="population")] = eqx.field(
        static=True, default=2
    )
    rate: Part = 0.5
    decay: Nonnegative | tuple[Nonnegative, ...] = 0.0
    pairs: tuple[tuple[Whole, Whole], ...] = ()
    most: Count | None = None
    best: Literal["mean", "all"] = "mean"
    warm: bool = False
    seed: Seed = 0


REFUSED = [
    ({"population": 0}, "population >= 1, got 0"),
    ({"population": 2.0}, "population to be a whole number >= 1, got 2.0"),
    ({"population": True}, "population to be a whole number >= 1, got True"),
    ({"population": "9"}, "population to be a whole number >= 1, got '9'"),
    ({"population": None}, "population to be a whole number >= 1, got None"),
    ({"population": 2**31}, "at most 2147483647, what an array can index, got 2147"),
    ({"population": 10**5000}, "got a number of about 5000 digits"),
    ({"seed": 10**5000}, "seed of at most 300 digits, got a number of about 5000 d"),
    ({"elites": 11}, "elites <= population, which is 10, got 11"),
    ({"elites": 0}, "elites >= 1 and <= population, got 0"),
    ({"rate": 0}, r"rate in \(0, 1\], got 0"),
    ({"rate": math.nan}, r"a finite rate in \(0, 1\], got nan"),
    ({"rate": 1e-300}, "rate of at least 1.2e-38, what 32 bits hold, got 1e-300"),
    ({"rate": np.float32(2)}, r"rate in \(0, 1\], got 2.0"),
    ({"rate": jnp.asarray([0.5, jnp.nan])}, "a finite rate .* got .0.5, nan"),
    ({"rate": "half"}, r"rate to be a number in \(0, 1\], got 'half'"),
    ({"decay": math.inf}, "a finite decay >= 0, got inf"),
    ({"decay": 10**400}, "a finite decay >= 0, got a number of about 400 digits"),
    ({"decay": (0.1, -0.1)}, r"decay >= 0, got \(0.1, -0.1\)"),
    ({"pairs": ((0, 1), (2, -1))}, "pairs >= 0, got"),
    ({"most": -1}, "most >= 1, got -1"),
    ({"best": "worst"}, "best to be 'mean' or 'all', got 'worst'"),
    ({"warm": 2}, "warm to be True or False, got 2"),
]


@pytest.mark.parametrize(("given", "words"), REFUSED)
def test_what_is_outside_its_range_is_refused_in_one_sentence(given, words):
    with pytest.raises(ValueError, match=f"^Search needs .*{words}.*\\.$") as error:
        Search(**given)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def test_what_lies_within_its_range_is_taken_as_it_is():
    taken = Search(
        population=2**31 - 1,
        elites=3,
        rate=jnp.asarray(1.0),
        decay=(0, 1.5),
        pairs=((0, 1),),
        most=7,
        best="all",
        warm=True,
    )
    assert taken.population == 2**31 - 1
    assert taken.decay == (0, 1.5)


def test_numbers_that_are_traced_are_not_looked_at():
    def rate(number):
        return 2 * Search(rate=number).rate

    twos = jax.vmap(jax.jit(rate))(jnp.asarray([0.5, -1.0]))
    assert twos.tolist() == [1.0, -2.0]
    assert jax.grad(rate)(0.5) == 2.0
    shapes = eqx.filter_eval_shape(lambda number: Search(rate=number), 0.5)
    assert dataclasses.replace(shapes, warm=True).warm


def test_plain_dataclasses_are_checked_under_the_name_of_whoever_they_are_for():
    @dataclasses.dataclass(frozen=True)
    class Options:
        steps: Count | None = None

        def __post_init__(self):
            check_ranges(self, "plan")

    assert Options(3).steps == 3
    with pytest.raises(ValueError, match=r"^plan needs steps >= 1, got -3\.$"):
        Options(-3)


def test_a_range_is_read_as_it_is_written():
    words = {name: allowed(kind) for name, kind in hints_of(Search).items()}
    assert words == {
        "population": ">= 1",
        "elites": ">= 1 and <= population",
        "rate": "in (0, 1]",
        "decay": ">= 0",
        "pairs": ">= 0",
        "most": ">= 1",
        "best": "",
        "warm": "",
        "seed": "",
    }
    assert str(Range(above=0, below=1)) == "in (0, 1)"
    assert str(Range(below=3)) == "< 3"
    assert str(Range()) == ""


def test_any_whole_number_is_a_seed_and_small_ones_are_taken_as_they_are():
    small = [0, 1, 2**31, 2**32 - 1]
    assert [small_seed(seed) for seed in small] == small
    odd = [-1, 2**32, -(2**40), 10**30, 2**63]
    hashed = [small_seed(seed) for seed in odd]
    assert len({*hashed, *small}) == len(odd) + len(small)
    assert all(0 <= seed < 2**32 for seed in hashed)
    assert hashed == [small_seed(seed) for seed in odd]
    assert bool(key_of(7) == jax.random.key(7))
    with pytest.raises(ValueError, match=r"seed to be a whole number, got 0\.5"):
        require("A run", Seed, seed=0.5)
