"""What JSON and arrays must look like before anything is done with them.

The form of JSON is said by types: a `TypedDict` for an object whose keys are known (it
may have others), `dict[str, ...]` for one whose keys are not, `list[...]`, unions,
`Literal`, and `int`, `float`, `str`, `bool`, `None`. Numbers are those that a machine
can compute with; `Integral` is any whole number, such as a seed.

The form of arrays is said by text: `{"states": "f time+1 state"}` is an array of floats
whose second axis has the size of every other axis named `state`.

| in a form of arrays | is |
|---|---|
| letters before the first space | kinds of NumPy's dtypes; `0` if it may be empty |
| `3` | an axis of that size |
| `time+1` | an axis, by one longer than those named `time` |
| `name?` | an array that may be missing |
"""

import json
import types
import typing
from collections.abc import Mapping
from numbers import Integral
from typing import Any, Literal, Union, get_args, get_origin, is_typeddict

import numpy as np

Real = float | Literal["Infinity", "-Infinity"] | None
"""A number as JSON has it: null is NaN, infinities are words."""
DEEPEST = 64
"""So many lists and objects may lie in each other."""
WHOLE, FINITE = 2**63, 1.7e308
"""Whole numbers are smaller than that, others no larger."""
WORDS = {
    **{int: "a whole number", Integral: "a whole number", float: "a number"},
    **{str: "text", bool: "true or false"},
}


def parsed(text: bytes) -> Any:
    """What JSON says.

    Raises:
        ValueError: It is no JSON, or nested too deep.
    """
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    level, depth = [value], 0
    while level := [each for each in level if isinstance(each, dict | list)]:
        if (depth := depth + 1) > DEEPEST:
            raise ValueError("it is nested too deep")
        inside = (each.values() if isinstance(each, dict) else each for each in level)
        level = [each for few in inside for each in few]
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def require(value: Any, form: Any, name: str) -> Any:
    """JSON that is of a form, as it is.

    Args:
        value: As it was read.
        form: A type, see above.
        name: What it is, for the sentence.

    Raises:
        ValueError: It is of another form; the first place where is named.
    """
    if fault := _fault(value, form, name):
        raise ValueError(f"{fault}.")
    return value


def _fault(value: Any, form: Any, name: str) -> str | None:
    """The first place that is not of a form, as a sentence."""
    if form is Any:
        return None
    origin, inner = get_origin(form), get_args(form)
    if origin in (Union, types.UnionType):
        faults = [_fault(value, each, name) for each in inner]
        if None in faults:
            return None
        # Inside of what is of the right kind, the fault is told; else all kinds are.
        for each, fault in zip(inner, faults, strict=True):
            if _fault(value, _outside(each), name) is None:
                return fault
        return f"{name} needs {_words(form)}, got {_shown(value)}"
    if not _is_kind(value, form, origin, inner):
        return f"{name} needs {_words(form)}, got {_shown(value)}"
    if is_typeddict(form):
        if missing := sorted(form.__required_keys__ - value.keys()):
            return f"{name} lacks {missing[0]!r}"
        hints = typing.get_type_hints(form)
        parts = [(key, hints[key], value[key]) for key in hints if key in value]
    elif origin is dict:
        parts = [(key, inner[1], each) for key, each in value.items()]
    elif origin is list:
        parts = [(i, inner[0], each) for i, each in enumerate(value)]
    else:
        return None
    faults = (_fault(each, kind, f"{name}: {key}") for key, kind, each in parts)
    return next((fault for fault in faults if fault), None)


def _outside(form: Any) -> Any:
    """A form, whatever lies inside of it."""
    if is_typeddict(form) or get_origin(form) is dict:
        return dict[str, Any]
    return list[Any] if get_origin(form) is list else form


def _is_kind(value: Any, form: Any, origin: Any, inner: tuple) -> bool:
    if is_typeddict(form) or origin is dict:
        return isinstance(value, dict)
    if origin is list:
        return isinstance(value, list)
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in inner)
    if form in (None, types.NoneType):
        return value is None
    if form in (int, float):
        kinds = int if form is int else int | float
        usable = isinstance(value, kinds) and not isinstance(value, bool)
        return usable and abs(value) <= (WHOLE - 1 if form is int else FINITE)
    return isinstance(value, form) and (form is bool or not isinstance(value, bool))


def _words(form: Any) -> str:
    """A form in a few words."""
    origin, inner = get_origin(form), get_args(form)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(each) for each in inner))
    if origin is Literal:
        return " or ".join(json.dumps(each) for each in inner)
    if is_typeddict(form) or origin is dict:
        return "an object"
    if origin is list:
        return "a list"
    return WORDS.get(form, "null")


def _shown(value: Any) -> str:
    """The beginning of a value."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value) if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 30 else f"{text[:30]}…"


def fit(arrays: Mapping[str, np.ndarray], forms: Mapping[str, str], name: str) -> None:
    """Refuse arrays that are not of a form.

    Args:
        arrays: By name; there may be others.
        forms: For names what is said above.
        name: Of the file, for the sentence.

    Raises:
        ValueError: One is missing, of another dtype, or does not fit the others.
    """
    sizes: dict[str, int] = {}
    for key, form in forms.items():
        label, optional = key.removesuffix("?"), key.endswith("?")
        kinds, *axes = form.split(" ")
        if label not in arrays:
            if optional:
                continue
            raise ValueError(f"{name} needs the array {label!r}, which it lacks.")
        array = arrays[label]
        wrong = f"{name} needs {label!r} "
        if array.dtype.kind not in kinds:
            raise ValueError(f"{wrong}of another dtype than {array.dtype}.")
        if array.ndim != len(axes):
            raise ValueError(f"{wrong}with {len(axes)} axes, got {array.ndim}.")
        if not array.size and "0" in kinds:
            continue
        for axis, size in zip(axes, array.shape, strict=True):
            word, _, more = axis.partition("+")
            own = size - int(more or 0)
            wanted = int(word) if word.isdigit() else sizes.setdefault(word, own)
            if own != wanted or own < 0:
                raise ValueError(f"{wrong}of another size along {axis} than {size}.")
