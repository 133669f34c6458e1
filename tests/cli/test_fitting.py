"""Fitting models to a file from the command line: what it says, writes and refuses."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure

from forethought.cli import main

TINY = [
    *("--model.members", "2", "--model.width", "4", "--model.depth", "1"),
    *("--model.fitting.epochs", "3", "--model.fitting.updates", "4"),
]


@pytest.fixture(autouse=True, scope="module")
def at_home(tmp_path_factory, stay_at):
    """A working folder with a table of five episodes in it."""
    home = tmp_path_factory.mktemp("home")
    random = np.random.default_rng(0)
    rows = ["episode,place [m],load,push"]
    for i in range(35):
        place, push = random.normal(size=2)
        rows.append(f"{i // 7},{place},3,{push}")
    (home / "cart.csv").write_text("\n".join(rows) + "\n")
    (home / "odd.csv").write_text("\n".join([*rows, "5,x,3,1", "5,1,3,1"]) + "\n")
    with stay_at(home) as patch:
        save = Figure.savefig
        coarse = lambda figure, to, dpi, **rest: save(figure, to, dpi=20, **rest)  # noqa: E731
        patch.setattr(Figure, "savefig", coarse)
        yield home


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def test_a_file_becomes_a_model_a_table_and_a_report(capsys, at_home):
    assert run("fit", "cart.csv", "--action", "push", *TINY, "--out", "one") == 0
    said = capsys.readouterr()
    assert said.err == ""
    lines = said.out.splitlines()
    assert any(line.startswith("place [m]") for line in lines)
    assert "ensemble: fitted in" in said.out and lines[-1].startswith("report ")
    table = lines[lines.index("") :]
    assert max(map(len, table)) <= 80
    page = (at_home / "one/report.html").read_text()
    for words in (
        "cart",
        "In words",
        "Every dimension",
        "--model.members",
        "place [m]",
    ):
        assert words in page
    assert page.count("<img") == 4
    plots = {path.stem for path in (at_home / "one/plots").iterdir()}
    assert plots == {"forecasts", "errors", "calibration", "where"}


def test_the_report_is_written_again_from_the_folder_alone(capsys, at_home):
    path = at_home / "one/report.html"
    before = path.read_text()
    path.unlink()
    assert run("report", "one") == 0
    assert path.read_text() == before
    judged = at_home / "one/judged/ensemble.npz"
    judged.write_bytes(judged.read_bytes()[:50])
    assert run("report", "one") == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere.csv"], "nowhere.csv"),
        ([], "fit needs DATA first"),
        (["cart.csv", "--action", "psuh"], "push"),
        (["cart.csv", "--model", "ensembel"], "did you mean 'ensemble'?"),
        (["cart.csv", "--model", "tabular"], "made of a table"),
        (["cart.csv", "--model.member", "3"], "did you mean '--model.members'?"),
        (["cart.csv", "--model.members", "0"], "members"),
        (
            ["cart.csv", "--model", "network", "ensemble", "--model.width", "3"],
            "several are fitted: network, ensemble",
        ),
        (["cart.csv", "--holdout", "1"], "holdout in (0, 1)"),
        (["odd.csv", "--action", "push"], "37"),
        (["cart.csv", "--action", "push", "--out", "cart.csv"], "got the file"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, said, capsys):
    assert run("fit", *words) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error


def test_dropped_rows_and_settings_are_told_and_kept(capsys, at_home):
    words = ["--action", "push", "--drop-bad", *TINY, "--holdout", "0.4"]
    assert run("fit", "odd.csv", *words, "--out", "two") == 0
    assert "37" in capsys.readouterr().out
    config = json.loads((at_home / "two/config.json").read_text())
    assert config["options"]["holdout"] == 0.4 and config["options"]["drop_bad"]
    assert config["settings"]["ensemble"]["fitting"]["epochs"] == 3
    assert config["options"]["precision"] == 32
    assert config["command"][:3] == ["forethought", "fit", "odd.csv"]


def test_models_lists_what_can_be_set(capsys):
    assert run("models", "ensemble") == 0
    said = capsys.readouterr().out
    assert "--model.fitting.learning-rate" in said and "--model.members" in said
    assert run("models", "ensembel") == 2
    assert run("models", "kalman") == 2
    assert "matrices" in capsys.readouterr().err
