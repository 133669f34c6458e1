"""Folders of runs that were damaged: one line and exit code 2, whatever the damage."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest
from matplotlib.figure import Figure

from forethought.cli import main, outcome
from forethought.runs.store.folder import RunFolder

RESULTS = pathlib.Path(__file__).parents[2] / "results"
TINY = [
    *("--agent.model.members", "2", "--agent.model.width", "4"),
    *("--agent.model.depth", "1", "--agent.model.fitting.epochs", "2"),
    *("--agent.planner.horizon", "3", "--agent.planner.population", "6"),
    *("--agent.planner.elites", "2", "--agent.planner.iterations", "1"),
    *("--agent.planner.particles", "2", "--steps", "180"),
]
SMALL = [
    *("--model.members", "2", "--model.width", "4", "--model.depth", "1"),
    *("--model.fitting.epochs", "3", "--model.fitting.updates", "4"),
]
FEW = {"lqr": ["plan", "double-integrator", "--planner", "lqr", "--steps", "3"]}
RUNS = FEW | {
    "plan": ["plan", "double-integrator", "--steps", "6"],
    "table": ["plan", "maze", "--planner", "mcts", "--steps", "3"],
    "train": ["train", "double-integrator", *TINY],
    "compare": ["compare", "double-integrator", "--planners", "lqr", "--seeds", "2"],
    "fit": ["fit", "cart.csv", "--action", "push", *SMALL],
}
CLAIMS = {
    "claim": "pets-cartpole",
    "arms": "v0-v1-v2-pendulum",
    "study": "dyna-maze",
}
VALUES = (
    *(None, True, -1, 0, 3, 2.5, 1e308, -1e308, 10**30, "x", "", "Infinity", "\ud800"),
    *([], {}, [1], [[]], {"a": None}, "[red]", "$\\frac"),
)
"""What is put in the place of a value in JSON."""


@pytest.fixture(scope="module")
def at_home(tmp_path_factory, stay_at):
    """An empty working folder, where claims lie that somebody reproduced."""
    home = tmp_path_factory.mktemp("home")
    with stay_at(home) as patch:
        # The same figures with fewer dots: they are looked at elsewhere.
        save = Figure.savefig
        coarse = lambda figure, to, dpi, **rest: save(figure, to, dpi=20, **rest)  # noqa: E731
        patch.setattr(Figure, "savefig", coarse)
        random = np.random.default_rng(0)
        rows = [
            f"{i // 9},{x},{u}" for i, (x, u) in enumerate(random.normal(size=(36, 2)))
        ]
        (home / "cart.csv").write_text("\n".join(["episode,place,push", *rows]) + "\n")
        for name, file in CLAIMS.items():
            folder = RunFolder.create(name, {"forethought": "reproduce"})
            result = json.loads((RESULTS / f"{file}.json").read_text())
            folder.write_json("reproduction.json", result)
        yield home


def begun(home, runs):
    """The folders of runs, and of claims."""
    for name, words in runs.items():
        if not (home / name).exists():
            with pytest.raises(SystemExit) as stop:
                main([*words, "--out", name])
            assert stop.value.code == 0
    return [home / name for name in (*runs, *CLAIMS)]


@pytest.fixture(scope="module")
def few(at_home):
    """A plan and three claims."""
    return begun(at_home, FEW)


@pytest.fixture(scope="module")
def all_kinds(at_home):
    """A finished run of each kind."""
    return begun(at_home, RUNS)


def leaves(tree, path=()):
    """Where there are values in JSON, containers included."""
    yield path
    if isinstance(tree, dict | list):
        for key, each in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(each, (*path, key))


def put(tree, path, value, *, gone=False):
    """Change a value in JSON, or take it away."""
    *way, last = path
    for key in way:
        tree = tree[key]
    if gone:
        del tree[last]
    else:
        tree[last] = value


def change_json(random, path):
    """Other values in a JSON file, or in a line of metrics, and no digest."""
    lines = path.read_text().splitlines() if path.suffix == ".jsonl" else None
    at = random.integers(len(lines)) if lines else 0
    tree = json.loads(lines[at] if lines else path.read_text())
    tree.pop("check", None)
    places = [place for place in leaves(tree) if place]
    place = places[random.integers(len(places))]
    value = VALUES[random.integers(len(VALUES))]
    gone = random.random() < 0.2
    put(tree, place, value, gone=gone)
    text = json.dumps(tree)
    if lines is None:
        path.write_text(text)
    else:  # as an older version wrote them
        whole = [json.loads(line) for line in lines]
        for each in whole:
            each.pop("check", None)
        rows = [json.dumps(each) for each in whole]
        rows[at] = text
        path.write_text("".join(row + "\n" for row in rows))
        config = json.loads((path.parent / "config.json").read_text())
        config.pop("check", None)
        (path.parent / "config.json").write_text(json.dumps(config))
        (path.parent / "done.json").unlink(missing_ok=True)
    return f"{path.name}{list(place)} " + ("is gone" if gone else f"is {value!r}")


def change_arrays(random, path):
    """Another array in an archive: its kind, its shape or its numbers."""
    with np.load(path) as file:
        arrays = {name: file[name] for name in file.files}
    name = sorted(arrays)[random.integers(len(arrays))]
    array = arrays[name]
    changes = {
        "gone": lambda: None,
        "text": lambda: np.full(array.shape, "x"),
        "object": lambda: np.full(array.shape, None, object),
        "flat": array.ravel,
        "longer": lambda: np.concatenate([np.atleast_1d(array)] * 2),
        "empty": lambda: array[:0] if array.ndim else np.zeros(0),
        "none": lambda: np.full(array.shape, np.nan),
        "huge": lambda: np.full(array.shape, 1e308),
        "negative": lambda: np.full(array.shape, -(2**40)),
        "endless": lambda: np.full(array.shape, np.inf),
    }
    kind = sorted(changes)[random.integers(len(changes))]
    changed = changes[kind]()
    if changed is None:
        del arrays[name]
    else:
        arrays[name] = changed
    with open(path, "wb") as file:
        np.savez(file, allow_pickle=True, **arrays)
    return f"{path.name}: {name} is {kind}"


def change_bytes(random, path):
    """Bytes that are lost or changed."""
    content = bytearray(path.read_bytes())
    kind = random.integers(5)
    if kind == 0:
        content = content[: random.integers(len(content) + 1)]
    elif kind == 1:
        for _ in range(random.integers(1, 9)):
            if content:
                content[random.integers(len(content))] = random.integers(256)
    elif kind == 2:
        content = bytearray(b"[" * 100_000)
    elif kind == 3:
        content = bytearray(random.bytes(200))
    else:
        at = random.integers(len(content) + 1)
        del content[at : at + random.integers(1, 200)]
    path.write_bytes(bytes(content))
    return f"{path.name}: bytes, {kind}"


def change_kind(random, path):
    """Something else in the place of a file."""
    path.unlink()
    kind = random.integers(6)
    if kind == 0:
        path.mkdir()
    elif kind == 1:
        os.mkfifo(path)
    elif kind == 2:
        os.symlink("/etc/passwd", path)
    elif kind == 3:
        os.symlink(path.name, path)
    elif kind == 4:
        os.symlink("/dev/zero", path)
    return f"{path.name}: another kind, {kind}"


def damage(random, run, others):
    """Damage a run folder somewhere, and say how."""
    if random.random() < 0.05:
        rooms = [each for each in run.iterdir() if each.is_dir()]
        if rooms:
            room = rooms[random.integers(len(rooms))]
            shutil.rmtree(room)
            room.write_text("x")
            return f"{room.name} is a file"
    files = sorted(each for each in run.rglob("*") if each.is_file())
    # What is read is damaged more often than what is only written.
    read = [each for each in files if each.suffix in (".json", ".jsonl", ".npz")]
    files = read if random.random() < 0.85 else files
    path = files[random.integers(len(files))]
    chance = random.random()
    if chance < 0.5 and path.suffix in (".json", ".jsonl"):
        return change_json(random, path)
    if chance < 0.5 and path.suffix == ".npz":
        return change_arrays(random, path)
    if chance < 0.7:
        return change_bytes(random, path)
    if chance < 0.85:
        return change_kind(random, path)
    other = others[random.integers(len(others))]
    swapped = sorted(each for each in other.rglob("*") if each.is_file())
    source = swapped[random.integers(len(swapped))]
    path.write_bytes(source.read_bytes())
    return f"{path.name} is {other.name}'s {source.name}"


def tried(runs, tmp_path, seed):
    """Damage a folder by a seed, and let the commands that read it try."""
    random = np.random.default_rng(seed)
    whole = runs[random.integers(len(runs))]
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    told = f"{seed}: {whole.name}: {damage(random, run, runs)}"
    commands = [["report", str(run)]]
    if whole.name == "train":
        commands += [["evaluate", str(run), "--episodes", "1"], ["resume", str(run)]]
    codes = []
    for words in commands:
        try:
            code, sentence = outcome(words)
        except Exception as error:
            raise AssertionError(f"{told}: {words[0]}") from error
        assert code in (0, 2), (told, words[0], sentence)
        assert (code == 2) == bool(sentence), (told, words[0], sentence)
        length = len(sentence.replace(str(run), ""))
        assert sentence.count("\n") == 0 and length < 600, (told, sentence)
        codes.append(code)
    shutil.rmtree(run)
    return codes


@pytest.mark.parametrize("seed", range(16))
def test_a_damaged_folder_gives_one_line(seed, few, tmp_path):
    tried(few, tmp_path, seed)


@pytest.mark.long
def test_five_hundred_damages_give_five_hundred_lines(all_kinds, tmp_path):
    seeds = range(1000, 1500)
    codes = [code for seed in seeds for code in tried(all_kinds, tmp_path, seed)]
    assert codes.count(2) > 200  # the damager does damage
