"""The arrows between layers point one way."""

import ast
import pathlib

import pytest

import forethought

SOURCE = pathlib.Path(forethought.__file__).parent
LAYERS = (
    ("core",),
    ("environments", "models", "data"),
    ("objectives",),
    ("problem",),
    ("planners", "policies"),
    ("agents",),
    ("training", "tasks"),
    ("runs",),
    ("cli",),
)
LEVEL = {package: i for i, layer in enumerate(LAYERS) for package in layer}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def package_of(path):
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import."
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_file_imports_only_from_layers_to_its_left(path):
    package = package_of(path)
    assert package in LEVEL, f"{package} belongs to no layer of the design."
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "forethought":
            continue
        other = parts[1]
        assert LEVEL[other] <= LEVEL[package], f"{path} imports {name}."
        if LEVEL[other] == LEVEL[package] and other != package:
            assert "base" in parts, f"{path} imports {name}, not its base."


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_file_is_no_longer_than_400_lines(path):
    assert len(path.read_text().splitlines()) <= 400
