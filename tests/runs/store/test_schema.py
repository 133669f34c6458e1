"""JSON and arrays that are not of a form are refused in a sentence."""

import io
import zipfile
from typing import Literal, NotRequired, TypedDict

import numpy as np
import pytest

from forethought.data.bits import UNREADABLE, packed, unpacked
from forethought.runs.store.schema import Real, fit, parsed, require


class Part(TypedDict):
    name: str
    values: list[Real]


class Whole(TypedDict):
    count: int
    kind: NotRequired[Literal["a", "b"]]
    parts: NotRequired[dict[str, Part | None]]
    on: NotRequired[bool]


GOOD = {
    "count": 3,
    "kind": "a",
    "parts": {"x": {"name": "n", "values": [1, 2.5, None, "Infinity"]}, "y": None},
    "on": True,
    "more": [[]],
}


def test_what_is_of_a_form_passes_with_whatever_else_it_holds():
    assert require(GOOD, Whole, "it") is GOOD
    assert require({"count": 0}, Whole, "it")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"count": None}, "it: count needs a whole number, got null"),
        ({"count": True}, "count needs a whole number, got true"),
        ({"count": 1.5}, "count needs a whole number, got 1.5"),
        ({"count": 10**30}, "count needs a whole number"),
        ({"count": "x" * 99}, "got 'xxxx"),
        ({"kind": "c"}, 'kind needs "a" or "b", got'),
        ({"on": 1}, "on needs true or false, got 1"),
        ({"parts": []}, "parts needs an object, got a list"),
        ({"parts": {"x": []}}, "x needs an object or null, got a list"),
        ({"parts": {"x": {"name": "n"}}}, "parts: x lacks 'values'"),
        ({"parts": {"x": {"name": "n", "values": [0, "1"]}}}, "values: 1 needs a numb"),
        ({"parts": {"x": {"name": "n", "values": [10**400]}}}, "values: 0 needs"),
    ],
)
def test_the_first_place_that_is_not_of_a_form_is_named(change, words):
    with pytest.raises(ValueError, match=words.replace("(", r"\(")) as error:
        require(GOOD | change, Whole, "it")
    assert str(error.value).count("\n") == 0 and len(str(error.value)) < 120
    with pytest.raises(ValueError, match="it lacks 'count'"):
        require({}, Whole, "it")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "\x00",
        "NaN",
        "[Infinity]",
        "[" * 10**5,
        "[" * 65 + "]" * 65,
        "1" * 9999,
    ],
)
def test_text_that_is_no_json_or_nested_too_deep_is_refused(text):
    with pytest.raises(ValueError):
        parsed(text.encode())
    assert parsed(("[" * 64 + "]" * 64).encode())


ARRAYS = {"x": np.ones((4, 2)), "y": np.ones(3, int), "n": np.array(["a", "b"])}


def test_arrays_fit_where_their_axes_do():
    fit(ARRAYS, {"x": "f time+1 name", "y": "iu time", "n": "U name"}, "it")
    fit(ARRAYS, {"x": "f 4 2", "z?": "f time"}, "it")
    fit({"x": np.ones((0, 9))}, {"x": "0f time 3"}, "it")


@pytest.mark.parametrize(
    "form",
    [
        {"x": "i a b"},
        {"x": "f a"},
        {"x": "f a a"},
        {"x": "f 4 3"},
        {"x": "f a b", "y": "iu a"},
        {"n": "f a"},
        {"z": "f"},
    ],
)
def test_arrays_that_do_not_fit_are_refused(form):
    with pytest.raises(ValueError, match="it needs "):
        fit(ARRAYS, form, "it")


def claim(shape, descr="<f8"):
    """An archive of one array that says how large it is, and holds nothing."""
    header, archive = io.BytesIO(), io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("x.npy", header.getvalue())
    return archive.getvalue()


@pytest.mark.parametrize("shape", [(10**12,), (10**18, 10**18), (1,)])
def test_an_array_that_claims_more_than_there_is_makes_no_room(shape):
    with pytest.raises(ValueError, match="less or more"):
        unpacked(claim(shape))


def test_an_archive_that_would_swell_is_not_opened():
    content = packed({name: np.zeros(9) for name in "abc"}, small=True)
    entry = content.index(b"PK\x01\x02")  # the directory says how large members are
    head, *entries = content[entry:].split(b"PK\x01\x02")
    large = [each[:20] + b"\xff\xff\xff\x1f" + each[24:] for each in entries]
    swollen = content[:entry] + b"PK\x01\x02".join([head, *large])
    with pytest.raises(ValueError, match="claims to hold"):
        unpacked(swollen)


def test_any_byte_that_is_changed_gives_the_same_arrays_or_one_of_few_errors():
    arrays = {"x": np.arange(6.0), "n": np.array(["a", "bc"])}
    good, random = packed(arrays, small=True), np.random.default_rng(0)
    for _ in range(400):
        content = bytearray(good)
        content[random.integers(len(content))] = random.integers(256)
        try:
            found = unpacked(bytes(content))
        except UNREADABLE:
            continue
        for name in found.keys() & arrays.keys():
            np.testing.assert_array_equal(found[name], arrays[name])
    assert unpacked(good).keys() == arrays.keys()
