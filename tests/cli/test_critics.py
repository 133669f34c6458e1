"""Actor–critics from the command line: what is refused, and what breaks down."""

import os

import pytest

from forethought.cli import main
from forethought.runs.store.folder import RunFolder
from forethought.runs.train import trained


@pytest.fixture(scope="module", autouse=True)
def at_home(tmp_path_factory, stay_at):
    """An empty working folder and cache, and JAX's settings as they were."""
    with stay_at(tmp_path_factory.mktemp("home")):
        yield


def run(*words):
    """The program's exit code."""
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    return stop.value.code


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("maze --agent mbpo", "observations that are vectors of numbers"),
        ("pendulum --agent mbpo --agent.source.share 1.5", "share in [0, 1], got 1.5"),
        ("pendulum --agent mba --agent.source.share -1", "share in [0, 1], got -1"),
        ("pendulum --agent mbpo --agent.source.length 0", "length >= 1, got 0"),
        (
            "pendulum --agent mbpo --agent.source.length 3 --agent.source.longest 2",
            "longest >= length, got 2 and 3",
        ),
        ("pendulum --agent mve --agent.target.horizon -1", "horizon >= 0, got -1"),
        ("pendulum --agent steve --agent.target.horizon -1", "horizon >= 0, got -1"),
        (
            "pendulum --agent naf --agent.batch 4096 --steps 1000",
            "at least 4096 steps, as many as critics are learned from at once",
        ),
    ],
)
def test_what_critics_cannot_learn_is_refused_in_one_line(words, told, capsys):
    assert run("train", *words.split(), "--out", "refused") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert told in err and "Traceback" not in err
    assert not os.path.exists("refused")


@pytest.mark.long
def test_a_critic_that_diverges_ends_a_run_and_what_was_good_can_be_evaluated(
    tmp_path, monkeypatch, capsys
):
    """Rewards are scaled out of what a number can hold once learning begins."""
    monkeypatch.setattr(trained, "state_cost", lambda *_: None)
    folder = tmp_path / "run"
    words = "pendulum --agent ddpg --steps 60 --no-epilogue --agent.reward-scale 3e38"
    tiny = "--agent.width 4 --agent.depth 1 --agent.batch 4 --agent.start 35"
    often = "--interval.every 10 --interval.unit steps"
    words = [*words.split(), *tiny.split(), *often.split()]
    assert run("train", *words, "--out", folder) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "Traceback" not in err
    assert "no finite number at update 1" in err
    assert "What was saved before stays usable." in err
    assert [row["step"] for row in RunFolder(folder).metrics()] == [10, 20, 30]
    assert run("evaluate", folder, "--episodes", 1) == 0
    assert "mean" in capsys.readouterr().out
