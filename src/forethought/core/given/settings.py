"""What a setting may be: said where it is declared, checked when it is made.

A field of settings is annotated with the numbers that it may be, and that is all that
is said of it: `population: Count`, `momentum: Share`, or any
`Annotated[float, Range(above=1)]`. Words and flags need no more than their own types,
`Literal` and `bool`. One check reads these annotations, whoever makes the settings, in
Python or by flags; the tables of the command line read them, too.

What travels through `jax.jit` or `jax.vmap` as a number that is not known yet is not
looked at; arrays that are known are.
"""

import dataclasses
import functools
import hashlib
import math
import operator
import types
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import equinox as eqx
import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import PRNGKeyArray

LARGEST = 2**31 - 1
"""The largest whole number that an array can be indexed by."""
LONGEST = 1000
"""Bits of a whole number that indexes nothing, such as a seed."""
HUGE, TINY = 3.4e38, 1.2e-38
"""Between them lies what 32 bits hold of a real number."""


@dataclasses.dataclass(frozen=True)
class Range:
    """The finite numbers that a setting may be.

    Args:
        at_least: The smallest, if there is one.
        above: What it is larger than, in its place.
        at_most: The largest, if there is one; or the name of the setting that is.
        below: What it is smaller than, in its place.
        limit: What a whole number may not exceed in size, because of what is made of
            it; by default what an array can index. None for one that counts nothing.
        endless: Whether infinity is one of them.
    """

    at_least: int | float | None = None
    above: int | float | None = None
    at_most: int | float | str | None = None
    below: int | float | None = None
    limit: int | None = LARGEST
    endless: bool = False

    def __str__(self) -> str:
        """As in ">= 1", "in (0, 1]"; empty where every finite number will do."""
        low = self.at_least if self.above is None else self.above
        high = self.at_most if self.below is None else self.below
        low_sign = ">=" if self.above is None else ">"
        high_sign = "<=" if self.below is None else "<"
        if None in (low, high) or isinstance(high, str):
            ends = ((low_sign, low), (high_sign, high))
            return " and ".join(
                f"{sign} {end}" for sign, end in ends if end is not None
            )
        brackets = "[" if low_sign == ">=" else "(", "]" if high_sign == "<=" else ")"
        return f"in {brackets[0]}{low}, {high}{brackets[1]}"

    def holds(self, number: Any) -> bool:
        """Whether a number is one of them, as far as bounds are numbers."""
        return (
            (self.at_least is None or number >= self.at_least)
            and (self.above is None or number > self.above)
            and (not isinstance(self.at_most, Real) or number <= self.at_most)
            and (self.below is None or number < self.below)
        )


Count = Annotated[int, Range(at_least=1)]
Whole = Annotated[int, Range(at_least=0)]
Steps = Annotated[int, Range(at_least=1, limit=1_000_000)]
"""Of what a plan has one for each step of, on the host too."""
Depth = Annotated[int, Range(at_least=1, limit=100)]
"""Of a network: each layer is written down by itself."""
Times = Annotated[int, Range(at_least=1, limit=100_000)]
"""Of what is made, or played to its end, one by one."""
Seed = Annotated[int, Range(limit=None)]
Finite = Annotated[float, Range()]
Nonnegative = Annotated[float, Range(at_least=0)]
Positive = Annotated[float, Range(above=0)]
Share = Annotated[float, Range(at_least=0, at_most=1)]
Part = Annotated[float, Range(above=0, at_most=1)]
"""As a share, but never none of it."""
Factor = Annotated[float, Range(above=1)]
"""By which something grows again and again, so that it gets somewhere."""


class AbstractSettings(eqx.Module):
    """What is checked when it is made, by the annotations of its fields."""

    def __check_init__(self):
        check_ranges(self)


def check_ranges(settings: Any, who: str | None = None) -> None:
    """Refuse settings outside what their annotations say.

    Args:
        settings: A dataclass.
        who: Whose settings they are, for the message; its class if not given.

    Raises:
        ValueError: Naming the setting, what it may be, and what was given.
    """
    hints = hints_of(type(settings))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        _require(
            who or type(settings).__name__,
            field.name,
            hints[field.name],
            value,
            settings,
        )


def require(who: str, kind: Any, **values: Any) -> None:
    """Refuse arguments of a function that are not of their kind.

    ```python
    >>> from forethought.core.given.settings import Share, require
    >>> require("value_iteration", Share, gamma=2)
    Traceback (most recent call last):
    ValueError: value_iteration needs gamma in [0, 1], got 2.

    ```

    Args:
        who: Whose arguments they are, for the message.
        kind: As a field would be annotated.
        **values: By their names.

    Raises:
        ValueError: Naming the first of them, what it may be, and what was given.
    """
    for name, value in values.items():
        _require(who, name, kind, value, None)


def key_of(seed: int) -> PRNGKeyArray:
    """The key of a seed, which is any whole number.

    Seeds of 32 bits are taken as they are; others are hashed down to that.

    Raises:
        ValueError: It is no whole number.
    """
    require("A run", Seed, seed=seed)
    return jax.random.key(small_seed(seed))


def small_seed(seed: int) -> int:
    """A seed of 32 bits, the same for the same whole number."""
    seed = int(seed)
    if 0 <= seed < 2**32:
        return seed
    size = seed.bit_length() // 8 + 1
    digest = hashlib.sha256(seed.to_bytes(size, "big", signed=True)).digest()
    return int.from_bytes(digest[:4], "big")


@functools.cache
def hints_of(cls: type) -> dict[str, Any]:
    """The annotations of a class and its bases, with what they say of ranges."""
    return get_type_hints(cls, include_extras=True)


def allowed(kind: Any) -> str:
    """What a field may be, as a table shows it; empty where there is nothing to say."""
    return next((str(range) for range, _ in ranges(kind) if str(range)), "")


def ranges(kind: Any) -> Iterator[tuple[Range | None, Any]]:
    """Each kind of number that an annotation speaks of, and its range if it has one."""
    if get_origin(kind) is Annotated:
        base, *notes = get_args(kind)
        found = next((note for note in notes if isinstance(note, Range)), None)
        if found is None:
            yield from ranges(base)
        else:
            yield found, base
    elif kind is int or kind is float:
        yield None, kind
    elif get_origin(kind) is not Literal:
        for part in get_args(kind):
            yield from ranges(part)


def _require(who: str, name: str, kind: Any, value: Any, settings: Any) -> None:
    wanted = _wanted(kind, value, settings)
    if wanted is not None:
        raise ValueError(f"{who} needs {wanted.format(name)}, got {_shown(value)}.")


def _wanted(kind: Any, value: Any, settings: Any) -> str | None:
    """What is wanted in the place of a value, `{}` being its name; None if it fits."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        found = next((note for note in parts[1:] if isinstance(note, Range)), None)
        if found is None:
            return _wanted(parts[0], value, settings)
        return _wanted_number(found, parts[0] is int, value, settings)
    if origin is Literal:
        words = [repr(part) for part in parts]
        fits = isinstance(value, str | int) and value in parts
        return None if fits else f"{{}} to be {', '.join(words[:-1])} or {words[-1]}"
    if kind is bool:
        fits = isinstance(value, bool | np.bool_) or _unknown(value)
        return None if fits else "{} to be True or False"
    if origin is tuple and isinstance(value, tuple):
        each = (parts[0],) * len(value) if parts[1:] == (Ellipsis,) else parts
        if len(each) != len(value):
            return f"{{}} to be {len(each)} values"
        complaints = (
            _wanted(*pair, settings) for pair in zip(each, value, strict=True)
        )
        return next((each for each in complaints if each is not None), None)
    if origin in (Union, types.UnionType):
        return _wanted_of_several(parts, value, settings)
    return None


def _wanted_of_several(parts: Any, value: Any, settings: Any) -> str | None:
    """As `_wanted`, of a union: None may be one, and tuples stand for themselves."""
    if value is None:
        return None
    several = isinstance(value, tuple)
    parts = [
        part
        for part in parts
        if part is not type(None) and (get_origin(part) is tuple) == several
    ]
    complaints = [_wanted(part, value, settings) for part in parts]
    return None if None in complaints or not complaints else complaints[0]


def _wanted_number(range: Range, whole: bool, value: Any, settings: Any) -> str | None:
    if _unknown(value):
        return None
    array = isinstance(value, np.ndarray | np.generic | jax.Array)
    for number in np.asarray(value).ravel().tolist() if array else [value]:
        wanted = _wanted_one(range, whole, number, settings)
        if wanted is not None:
            return wanted
    return None


def _wanted_one(range: Range, whole: bool, value: Any, settings: Any) -> str | None:
    kind: type = Integral if whole else Real
    sort = "a whole number" if whole else "a number"
    beyond = f" {range}" if str(range) else ""
    if isinstance(value, bool) or not isinstance(value, kind):
        return f"{{}} to be {sort}{beyond}"
    size = _size(value)
    if range.endless and size == math.inf:
        return None
    if not (whole or math.isfinite(size)):
        return f"a finite {{}}{beyond}"
    if not range.holds(value):
        return f"{{}} {range}"
    if not whole and (abs(size) > HUGE or 0 < abs(size) < TINY):
        limit = f"at most {HUGE}" if abs(size) > 1 else f"at least {TINY}"
        return f"{{}} of {limit}, what 32 bits hold"
    if not whole and float(np.float32(size)) in (range.above, range.below):
        return f"{{}} {range} in 32 bits"
    if isinstance(range.at_most, str):
        most = operator.attrgetter(range.at_most)(settings)
        if not _unknown(most) and value > most:
            return f"{{}} <= {range.at_most}, which is {most}"
    if whole and range.limit is not None and abs(value) > range.limit:
        why = ", what an array can index" if range.limit == LARGEST else ""
        return f"{{}} of at most {range.limit}{why}"
    if whole and int(value).bit_length() > LONGEST:
        return "{} of at most 300 digits"
    return None


def _size(value: Any) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return math.inf


def _unknown(value: Any) -> bool:
    """Whether it stands for a number that is not known while a program is traced."""
    return isinstance(value, Tracer | jax.ShapeDtypeStruct)


def _shown(value: Any) -> str:
    """What was given, however large."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of about {round(value.bit_length() * math.log10(2))} digits"
    known = isinstance(value, np.ndarray | np.generic | jax.Array)
    text = repr(value.tolist() if known else value)
    return text if len(text) <= 80 else f"{text[:77]}..."
