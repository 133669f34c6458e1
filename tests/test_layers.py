"""The arrows between layers, rooms and files point one way, and no room is crowded."""

import ast
import collections
import pathlib

import pytest

import forethought

SOURCE = pathlib.Path(forethought.__file__).parent
LAYERS = (
    ("core",),
    ("environments", "models", "data"),
    ("objectives",),
    ("policies",),
    ("problem",),
    ("planners",),
    ("agents",),
    ("training", "tasks"),
    ("runs",),
    ("reports",),
    ("cli",),
)
LEVEL = {package: i for i, layer in enumerate(LAYERS) for package in layer}


def dotted(path):
    """The name by which a file is imported, without the library's own."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {dotted(path): path for path in SOURCE.rglob("*.py")}
del FILES[""]  # the front page takes from every room


def imported(path):
    """Full names that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import."
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def files_of(names, files=FILES):
    """The library's own files among imported names: the longest that is one."""
    for name in names:
        parts = name.split(".")
        if parts[0] != "forethought":
            continue
        heads = (".".join(parts[1:end]) for end in range(len(parts), 1, -1))
        yield next(head for head in heads if head in files)


ARROWS = {name: set(files_of(imported(path))) - {name} for name, path in FILES.items()}


def circle(arrows):
    """Names that lead back to themselves; none where there is no circle."""
    state, trail = {}, []

    def visit(name):
        state[name] = "open"
        trail.append(name)
        for other in sorted(arrows.get(name, ())):
            if state.get(other) == "open":
                return trail[trail.index(other) :]
            if other not in state and (found := visit(other)):
                return found
        state[name] = "done"
        trail.pop()
        return []

    for name in sorted(arrows):
        if name not in state and (found := visit(name)):
            return found
    return []


def room(name):
    """Where a file lies; a file beside rooms is one of its own."""
    head, _, _ = name.rpartition(".")
    return head if head.count(".") else name


@pytest.mark.parametrize("name", FILES)
def test_a_file_imports_only_from_layers_to_its_left(name):
    package = name.split(".")[0]
    assert package in LEVEL, f"{package} belongs to no layer of the design."
    for other in ARROWS[name]:
        there = other.split(".")[0]
        assert LEVEL[there] <= LEVEL[package], f"{name} imports {other}."
        if LEVEL[there] == LEVEL[package] and there != package:
            assert "base" in other.split("."), f"{name} imports {other}, not its base."


def test_files_import_each_other_in_no_circle():
    assert circle(ARROWS) == []


def test_a_circle_would_be_found():
    arrows = {"a": {"b"}, "b": {"c", "d"}, "c": set(), "d": {"e"}, "e": {"b"}}
    assert circle(arrows) == ["b", "d", "e"]
    assert circle(arrows | {"e": {"c"}}) == []


def test_arrows_between_rooms_run_one_way():
    between = collections.defaultdict(set)
    for name, others in ARROWS.items():
        for other in others:
            if name.split(".")[0] == other.split(".")[0] and room(name) != room(other):
                between[room(name)].add(room(other))
    assert circle(between) == []


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_no_longer_than_400_lines(name):
    assert len(FILES[name].read_text().splitlines()) <= 400


def test_a_room_has_at_most_thirteen_files():
    rooms = collections.Counter(
        path.parent for path in FILES.values() if path.name != "__init__.py"
    )
    assert {str(path): n for path, n in rooms.items() if n > 13} == {}
