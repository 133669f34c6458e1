"""Every number among settings says where it is declared what it may be."""

import dataclasses
import importlib
import math
import operator
import pkgutil
import re
import typing

import hypothesis
import pytest
from hypothesis import strategies

import forethought
from forethought.agents.schedule import Schedule
from forethought.agents.tables.dyna import Dyna
from forethought.agents.tables.sweeping import Sweeping
from forethought.cli import options, reproduce
from forethought.core.given.settings import (
    HUGE,
    LARGEST,
    AbstractSettings,
    Range,
    allowed,
    hints_of,
    ranges,
)
from forethought.core.returns import Risk
from forethought.models.learned.bayesian import BoundSettings
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.recipes import BayesianRecipe, EnsembleRecipe
from forethought.planners import PLANNERS
from forethought.planners.registry import assemble
from forethought.planners.smooth.gradient import Optimiser
from forethought.planners.tree.policies import DefaultPolicy, TreePolicy, Widening
from forethought.runs.train.settings import Learning

for info in pkgutil.walk_packages(forethought.__path__, "forethought."):
    importlib.import_module(info.name)


def below(cls):
    for each in cls.__subclasses__():
        yield each
        yield from below(each)


def of(module):
    found = vars(module).values()
    return [each for each in found if dataclasses.is_dataclass(each)]


DECLARED = {
    cls.__qualname__: cls
    for cls in (
        *below(AbstractSettings),
        *of(options),
        *of(reproduce),
        BoundSettings,
        FitSettings,
        Learning,
        Schedule,
    )
    if cls.__module__.startswith("forethought.")
    and cls is not Range
    and not cls.__name__.startswith("_")
}


def undeclared(cls):
    return [
        field.name
        for field in dataclasses.fields(cls)
        if field.init
        and None in [range for range, _ in ranges(hints_of(cls)[field.name])]
    ]


@pytest.mark.parametrize("name", DECLARED)
def test_every_number_has_a_range(name):
    assert undeclared(DECLARED[name]) == []


def test_a_number_without_a_range_would_be_found():
    @dataclasses.dataclass
    class Forgetful:
        name: str
        rate: float | None
        sizes: tuple[int, ...]
        share: typing.Annotated[float, Range(at_least=0)]

    assert undeclared(Forgetful) == ["rate", "sizes"]


EXAMPLES = (
    *(
        assemble(name, lambda each: {} if each == "polished" else {"horizon": 5})
        for name in PLANNERS
        if name != "augmented-lagrangian"
    ),
    Risk(),
    Optimiser(),
    TreePolicy(),
    DefaultPolicy(),
    Widening(),
    FitSettings(),
    BoundSettings(),
    EnsembleRecipe(),
    BayesianRecipe(),
    Dyna(),
    Sweeping(),
    Schedule(1, "ratio"),
    options.PlanOptions(),
    options.TrainOptions(),
    options.CompareOptions(),
    options.EvaluateOptions(),
)
FIELDS = [
    (example, field.name)
    for example in EXAMPLES
    for field in dataclasses.fields(example)
    if field.init and any(ranges(hints_of(type(example))[field.name]))
]
EDGES = (
    0, 1, 2, 3, 7, -1, -3, 0.5, -0.5, 1.0000001, 1e-8, 1e-300, 1e300, -1e300, math.nan,
    math.inf, -math.inf, True, "1", 10**6, 2**31 - 1, 2**31, 2**32, -(2**31), 10**22,
    10**400,
)  # fmt: skip


def within(words, number):
    """Whether a number is in a range, read from the words of the table."""
    inside = re.fullmatch(r"in ([\[(])(\S+), (\S+)([\])])", words)
    if inside:
        left, low, high, right = inside.groups()
        rules = [
            (">=" if left == "[" else ">", low),
            ("<=" if right == "]" else "<", high),
        ]
    else:
        rules = [rule.split(" ") for rule in words.split(" and ") if rule]
    signs = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
    return all(
        signs[sign](number, float(end)) for sign, end in rules if not end[0].isalpha()
    )


@hypothesis.settings(max_examples=1500)
@hypothesis.given(strategies.sampled_from(FIELDS), strategies.sampled_from(EDGES))
def test_what_is_taken_lies_in_its_range_and_all_else_is_refused_in_a_sentence(
    field, edge
):
    example, name = field
    kind = hints_of(type(example))[name]
    (range, base), *_ = ranges(kind)
    whole = base is int
    try:
        made = dataclasses.replace(example, **{name: edge})
    except (ValueError, TypeError) as error:
        assert "\n" not in str(error) or type(error).__name__ == "TypeCheckError"
        return
    assert getattr(made, name) == edge
    assert not isinstance(edge, bool | str)
    if range.endless and edge == math.inf:
        return
    assert whole or math.isfinite(edge)
    assert within(allowed(kind), edge)
    if whole:
        assert isinstance(edge, int)
        assert range.limit is None or abs(edge) <= range.limit <= LARGEST
    else:
        assert abs(edge) <= HUGE


def test_words_of_ranges_are_read_rightly():
    assert within(">= 1 and <= population", 1)
    assert not within(">= 1 and <= population", 0)
    assert within("in (0, 1]", 1)
    assert not within("in (0, 1]", 0)
    assert not within("> 0", 0)
    assert within("", -1e9)
