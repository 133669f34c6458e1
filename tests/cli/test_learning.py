"""Learning from the command line and from Python: what it says, writes and refuses."""

import dataclasses
import errno
import io
import json
import os
import pathlib
import struct
import sys

import gymnasium
import numpy as np
import pytest
from rich.console import Console
from tensorboardX.proto.event_pb2 import Event

import forethought as ft
from forethought.agents.schedule import Schedule
from forethought.cli import main
from forethought.cli.learning import read_training
from forethought.cli.parse import environment_settings
from forethought.models.learned.fitting import FitSettings
from forethought.models.learned.recipes import BayesianRecipe, EnsembleRecipe
from forethought.planners import CEM, RandomShooting
from forethought.runs.events import Line
from forethought.runs.store.folder import RunFolder
from forethought.runs.store.log import Told, live
from forethought.runs.store.plain import plain
from forethought.runs.train import trained
from forethought.runs.train.config import config_of, differences, learning_of
from forethought.runs.train.defaults import settings_for

TINY = [
    *("--agent.model.members", "2", "--agent.model.width", "4"),
    *("--agent.model.depth", "1", "--agent.model.fitting.epochs", "2"),
    *("--agent.planner.horizon", "3", "--agent.planner.population", "6"),
    *("--agent.planner.elites", "2", "--agent.planner.iterations", "1"),
    *("--agent.planner.particles", "2"),
    "--no-epilogue",  # bounds and film are held to their promises in tests/runs
]
SETTINGS = ft.PETS(
    model=EnsembleRecipe(members=2, width=4, depth=1, fitting=FitSettings(epochs=2)),
    planner=CEM(3, population=6, elites=2, iterations=1, particles=2, noise_beta=1.0),
)


class Broken(gymnasium.Env):
    """A point to push, whose reward is no number once, where one asks for it."""

    observation_space = gymnasium.spaces.Box(-9, 9, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    breaks_at: int | None = None
    steps = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.x = np.zeros(2, np.float32)
        return self.x, {}

    def step(self, action):
        Broken.steps += 1
        self.x = np.clip(self.x + 0.1 * action[0], -9, 9).astype(np.float32)
        reward = float("nan") if Broken.steps == Broken.breaks_at else -abs(self.x[0])
        return self.x, float(reward), False, False, {}


@pytest.fixture(autouse=True, scope="module")
def at_home(tmp_path_factory, stay_at):
    """An empty working folder and cache, and JAX's settings as they were."""
    home = tmp_path_factory.mktemp("home")
    gymnasium.register("Broken-v0", Broken, max_episode_steps=10)
    with stay_at(home) as patch:
        # What a report shows is held to its promises in tests/runs.
        patch.setattr(
            "forethought.reports.write.write_report",
            lambda folder: folder.path / "report.html",
        )
        yield home
    del gymnasium.registry["Broken-v0"]


def run(*arguments):
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code


def stop_learning(monkeypatch):
    """Have whatever begins to learn be interrupted at once."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(trained, "learn", interrupted)
    monkeypatch.setattr(trained, "state_cost", lambda *_: None)


def rows_of(folder):
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def scalars(folder):
    """Names, steps and values in order, and the steps at which a file starts anew."""
    found, starts = [], []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            event = Event.FromString(data[12 : 12 + length])
            data = data[16 + length :]
            if event.HasField("session_log"):
                starts.append(event.step)
            for value in event.summary.value:
                found.append((value.tag, event.step, value.simple_value))
    return found, starts


@pytest.fixture(scope="module")
def whole(at_home):
    """A run of three episodes, begun and ended by the command line."""
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        words = ["--steps", "180", "--seed", "1", "--tensorboard", "--out", "whole"]
        assert run("train", "double-integrator", *TINY, *words) == 0
    return at_home / "whole", out.getvalue()


def test_a_run_says_what_plans_cost_before_and_after_they_are_compiled(whole):
    folder, out = whole
    lines = out.splitlines()
    assert lines[0].startswith("acting needs ") and "FLOP a step, at least" in lines[0]
    assert "120 steps take at least" in lines[0]
    assert lines[1].startswith("acting takes ") and "(measured)" in lines[1]
    cost = json.loads((folder / "cost.json").read_text())
    assert cost["plans"] == 120 and cost["flops"] > 0 and cost["seconds"] > 0
    assert cost["floor"] < cost["seconds"]


def test_progress_that_is_no_terminal_is_a_line_for_each_interval(whole):
    _, out = whole
    lines = [line for line in out.splitlines() if line.startswith("episode")]
    assert [line.split("  ")[1] for line in lines] == [
        "60/180 steps",
        "120/180 steps",
        "180/180 steps",
    ]
    assert all("return" in line and "nats" in line for line in lines)
    assert "left" in lines[1] and "left" not in lines[2]
    assert "\x1b" not in out


def test_progress_at_a_terminal_is_one_line_that_moves():
    out = io.StringIO()
    row = {"episode": 1, "step": 60, "return": -3.0, "holdout": 0.5, "plan_failed": 2}
    with live(Console(file=out, force_terminal=True, width=100), 120) as show:
        show(Line(row))
    shown = out.getvalue()
    assert "60/120 steps  return -3  model 0.50 nats  2 plans failed" in shown


def test_what_a_row_leaves_out_is_not_said():
    told = Told(100)
    assert told({"step": 10}) == "10/100 steps"
    assert "return -2" in told({"step": 20, "return": -2.0})
    assert "return -2" in told({"step": 30, "return": None})


def test_every_setting_and_the_command_are_kept(whole):
    config = json.loads((whole[0] / "config.json").read_text())
    assert config["settings"]["planner"]["horizon"] == 3
    assert config["options"]["planner"] == "cem"
    assert config["options"]["steps"] == 180
    assert config["options"]["random_steps"] == 60
    assert config["options"]["precision"] == 32
    assert config["options"]["learn"] == {"every": 1.0, "unit": "episodes"}
    assert config["command"][:3] == ["forethought", "train", "double-integrator"]


def test_tensorboard_shows_the_numbers_of_every_row(whole):
    rows = rows_of(whole[0])
    found, _ = scalars(whole[0] / "tensorboard")
    returns = [(step, value) for tag, step, value in found if tag == "return"]
    np.testing.assert_allclose(
        returns, [(row["step"], row["return"]) for row in rows], rtol=1e-6
    )


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--agent.planner.horizon", "4"], "agent.planner.horizon=3, got 4."),
        (
            ["--seed", "2", "--agent.model.width", "5"],
            "agent.model.width=4, got 5; with seed=1, got 2.",
        ),
        (["--steps", "240"], "steps=180, got 240."),
        (["--learn.every", "20", "--learn.unit", "steps"], "learn.every=1, got 20"),
        (["--evaluate.every", "1"], "evaluate.every=None, got 1.0"),
        (["--out", "elsewhere"], "takes no --out"),
        (["--agent.planner.horizn", "4"], "did you mean '--agent.planner.horizon'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_resume_refuses_other_settings_and_names_them(flags, words, whole, capsys):
    assert run("resume", whole[0], *flags) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1


def test_resume_with_the_same_settings_goes_on_and_repeats_no_event(whole, capsys):
    folder, _ = whole
    before = (folder / "metrics.jsonl").read_text()
    assert run("resume", folder, "--agent.planner.horizon", "3", "--steps", "180") == 0
    assert "returns" in capsys.readouterr().out
    assert (folder / "metrics.jsonl").read_text() == before
    _, starts = scalars(folder / "tensorboard")
    # The new file tells TensorBoard to forget what comes after the steps done before.
    assert starts == [1, 181]


def test_a_run_goes_on_with_what_its_folder_holds_whatever_is_the_default_today(
    whole, tmp_path, monkeypatch, capsys
):
    config = RunFolder(whole[0]).config()
    config["settings"]["model"]["fitting"]["patience"] = 7
    del config["command"]  # it is for people
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert learning_of(config).settings.model.fitting.patience == 7
    stop_learning(monkeypatch)
    assert run("resume", tmp_path, "--agent.model.fitting.patience", "7") == 130
    assert run("resume", tmp_path, "--agent.model.fitting.patience", "10") == 2
    assert "agent.model.fitting.patience=7, got 10" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda c: c["settings"]["model"].update(patients=3), "agent.model.patients"),
        (lambda c: c.update(planner="petz"), "agent has no name"),
        (lambda c: c.update(planner=None), "agent has no name"),
        (lambda c: c.update(options=[]), "options needs an object, got a list"),
        (lambda c: c.update(options={}), "not that of a training run"),
        (lambda c: c["options"].update(count="two"), "count needs a whole number"),
        (
            lambda c: c["settings"]["model"].update(width="wide"),
            "width cannot be",
        ),
        (lambda c: c["options"].update(planner="cme"), "did you mean 'cem'"),
    ],
)
def test_a_config_that_cannot_be_read_back_is_refused_in_one_line(
    change, words, whole, tmp_path, capsys
):
    config = RunFolder(whole[0]).config()
    change(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    for command in ("resume", "evaluate"):
        assert run(command, tmp_path) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and words in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--planner", "cme"], "did you mean 'cem'"),
        (["--planner", "lqr"], "LQR needs"),
        (["--model", "ensembel"], "did you mean 'ensemble'"),
        (["--model", "tabular"], "tabular is made of a table"),
        (["--agent", "dyna", "--model", "gp"], "learns no model of this kind"),
        (["--agent", "mbrl-v1", "--model", "counts"], "counts is made of transitions"),
        (
            ["--agent", "mbrl-v1", "--agent.improvement.estimator", "score"],
            "forethought: Improvement by the estimator score needs noise > 0, got 0.0.",
        ),
        (["--agent.planner.particles", "3"], "share evenly"),
        (["--agent.planner.tolerance", "3"], "no flag named"),
        (["--steps", "10"], "needs more steps than the 60 random ones"),
        (["--learn.every", "0"], "learn needs every > 0, got 0"),
        (["--count", "0"], "count >= 1, got 0"),
        (
            ["--agent", "ppo", "--agent.rollout", "9"],
            "batch of at most rollout=9",
        ),
        (["--agent", "mbrl-v1", "--agent.depth", "1000000"], "depth of at most 100"),
        (
            ["--agent", "mb-mf", "--agent.model-steps", "0"],
            "model_steps in [1, 268435456], got 0",
        ),
        (["--evaluate-episodes", "0"], "evaluate_episodes >= 1, got 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_learned_is_refused_in_one_line(arguments, words, capsys):
    assert run("train", "double-integrator", *arguments, "--out", "refused") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert words in err and "Traceback" not in err
    assert not os.path.exists("refused")


@pytest.mark.parametrize(
    "words", ["maze --agent mbrl-v1", "CartPole-v1 --agent mbrl-v0"]
)
def test_gradients_of_a_policy_need_actions_that_are_vectors(words, capsys):
    assert run("train", *words.split(), "--steps", "3000", "--out", "refused") == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1
    assert "vectors of real numbers, got Discrete" in err
    assert not os.path.exists("refused")


def test_any_planner_has_its_own_fields_and_looks_as_far_ahead():
    words = ["--planner", "random-shooting", "--agent.planner.hold", "2"]
    _, learning = read_training("double-integrator", words)
    planner = learning.settings.planner
    assert isinstance(planner, RandomShooting)
    own = ft.PETS().planner
    assert planner.hold == 2
    assert (planner.horizon, planner.particles) == (own.horizon, own.particles)


def test_an_agent_within_an_agent_is_read_and_learns_any_model_without_a_planner():
    words = ["--agent", "mbpo", "--model", "linear-gaussian"]
    words += ["--agent.critic.updates", "3", "--agent.source.share", "0.5"]
    _, learning = read_training("pendulum", words)
    settings = learning.settings
    assert (settings.critic.updates, settings.source.share) == (3, 0.5)
    assert type(settings.model).__name__ == "LinearGaussianRecipe"
    back = learning_of(json.loads(json.dumps(plain(config_of(learning)))))
    assert plain(back.settings) == plain(settings)


def test_any_model_that_is_fitted_to_rows_can_be_learned():
    words = ["--model", "bayesian", "--agent.model.width", "7"]
    _, learning = read_training("double-integrator", words)
    model, planner = learning.settings.model, learning.settings.planner
    assert isinstance(model, BayesianRecipe) and model.width == 7
    # The end is learned as the agent learns it, and samples are shared evenly.
    assert model.termination == ft.PETS().model.termination == "learned"
    assert planner.particles == model.samples > ft.PETS().planner.particles
    again = learning_of(json.loads(json.dumps(plain(config_of(learning)))))
    assert again.settings == learning.settings


def test_schedules_are_flags():
    words = ["--learn.every", "50", "--learn.unit", "steps", "--random-steps", "30"]
    words += ["--evaluate.every", "2", "--evaluate-episodes", "3", "--count", "2"]
    _, learning = read_training("double-integrator", words)
    assert learning.learn == Schedule(50, "steps") and learning.random_steps == 30
    assert learning.evaluate == Schedule(2, "episodes")
    assert (learning.evaluate_episodes, learning.count) == (3, 2)
    # 720 steps, 30 of them random; 12 episodes, of which every other is followed by
    # three of 60 steps apart.
    assert trained.plans_after(learning, 0) == 690 + 6 * 3 * 60


def test_tensorboard_that_is_missing_names_the_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    assert run("train", "double-integrator", "--tensorboard", "--out", "no") == 2
    assert "pip install 'forethought[tensorboard]'" in capsys.readouterr().err
    assert not os.path.exists("no")


def test_a_number_that_is_not_finite_ends_a_run_that_can_go_on(
    at_home, monkeypatch, capsys
):
    monkeypatch.setattr(trained, "state_cost", lambda *_: None)
    Broken.breaks_at, Broken.steps = 5, 0
    words = ["Broken-v0", *TINY, "--steps", "20", "--out", "broken"]
    assert run("train", *words) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "Traceback" not in err
    assert "not finite" in err and "broken" in err
    folder = at_home / "broken"
    # That it then goes on is held in tests/training/test_host_loop.py.
    stop_learning(monkeypatch)
    assert run("resume", folder) == 130


def test_an_environment_of_ones_own_is_trained_gone_on_with_and_evaluated(
    at_home, monkeypatch, capsys
):
    (at_home / "shore.py").write_text(
        "import gymnasium, numpy as np\n"
        "class Shore(gymnasium.Env):\n"
        "    observation_space = gymnasium.spaces.Box(-9, 9, (1,), np.float32)\n"
        "    action_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)\n"
        "    def __init__(self, depth=1.0, calm=False): self.depth = depth\n"
        "    def reset(self, *, seed=None, options=None):\n"
        "        super().reset(seed=seed)\n"
        "        return np.zeros(1, np.float32), {}\n"
        "    def step(self, action):\n"
        "        return np.zeros(1, np.float32), self.depth, False, False, {}\n"
        "gymnasium.register('Shore-v0', Shore, max_episode_steps=6)\n"
    )
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(trained, "state_cost", lambda *_: None)
    settings = ["--env.depth", "-2.5", "--env.calm=true"]
    words = ["shore:Shore-v0", *TINY, "--steps", "12", *settings, "--out", "shore"]
    assert run("train", *words) == 0
    assert rows_of(at_home / "shore")[0]["returns"] == [-15.0]
    config = json.loads((at_home / "shore" / "config.json").read_text())
    assert config["options"]["env"] == {"depth": -2.5, "calm": True}
    assert run("resume", "shore", "--env.depth", "-2.5") == 0
    assert run("evaluate", "shore", "--episodes", "1") == 0
    assert "returns  -15" in capsys.readouterr().out
    assert run("resume", "shore", "--env.depth", "3") == 2
    assert "env.depth=-2.5, got 3." in capsys.readouterr().err
    for wrong, said in (
        (["--env.dept", "3"], "no setting of shore:Shore-v0 named 'dept'"),
        (["--env.depth"], "--env.depth needs a value"),
        (["--env.depth", "--seed", "1"], "--env.depth needs a value"),
    ):
        assert run("train", "shore:Shore-v0", *wrong) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1
    del gymnasium.registry["Shore-v0"], sys.modules["shore"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3", 3),
        ("-9.8", -9.8),
        ("true", True),
        ("True", True),
        ("none", "none"),
        ("None", None),
        ("[1, 2]", [1, 2]),
        ("(0.7, 2)", (0.7, 2)),
        ("4x4", "4x4"),
        ("'3'", "3"),
        ("", ""),
    ],
)
def test_a_setting_of_an_environment_is_read_as_json_or_python_writes_it(text, value):
    assert environment_settings([f"--env.key={text}"]) == ({"key": value}, [])
    read, left = environment_settings(["--env.key", text, "--seed", "1"])
    assert read == {"key": value} and left == ["--seed", "1"]
    assert type(read["key"]) is type(value)


def test_a_full_disk_ends_a_run_in_one_line(at_home, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("forethought.runs.store.checkpoint._flush_file", full)
    words = ["double-integrator", *TINY, "--steps", "180", "--out", "full"]
    monkeypatch.setattr(trained, "state_cost", lambda *_: None)
    assert run("train", *words) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "No space left on device" in err
    assert (at_home / "full" / "config.json").exists()


def test_an_interrupted_run_says_how_to_go_on(at_home, monkeypatch, capsys):
    stop_learning(monkeypatch)
    words = ["double-integrator", *TINY, "--steps", "180", "--out", "stopped"]
    assert run("train", *words) == 130
    assert "forethought resume stopped goes on" in capsys.readouterr().out


@pytest.mark.long
def test_three_lines_of_python_do_what_the_command_does(whole, at_home, capsys):
    quiet = {"epilogue": False, "progress": False}
    run = ft.train(
        "double-integrator", SETTINGS, steps=180, seed=1, out="mine", **quiet
    )
    assert run.returns.shape == (3,)
    assert ft.report(run) == pathlib.Path("mine/report.html")
    assert capsys.readouterr().out == ""
    rows = rows_of(whole[0])
    np.testing.assert_allclose(run.returns, [row["return"] for row in rows], rtol=1e-5)

    again = ft.train(
        "double-integrator",
        SETTINGS,
        steps=180,
        seed=1,
        out="mine",
        resume=True,
        **quiet,
    )
    np.testing.assert_array_equal(again.returns, run.returns)
    with pytest.raises(ValueError, match=r"goes on with seed=1, got 2\."):
        ft.train(
            "double-integrator", SETTINGS, steps=180, seed=2, out="mine", resume=True
        )


@pytest.mark.parametrize("agent", ["pets", "mbrl-v2", "dyna", "sweeping", "ppo"])
def test_a_run_is_read_back_from_what_its_config_says(agent):
    name = "maze" if agent in ("dyna", "sweeping") else "double-integrator"
    settings = settings_for(name, agent)
    if agent == "pets":
        planner = ft.MPPI(7, population=9, temperature=0.25)
        endless = dataclasses.replace(settings.model.fitting, clip=float("inf"))
        model = dataclasses.replace(settings.model, fitting=endless)
        settings = dataclasses.replace(settings, planner=planner, model=model)
    learning = trained.Learning(
        name, settings, steps=9000, count=2, evaluate=Schedule(90, "steps")
    )
    written = json.loads(json.dumps(plain(config_of(learning))))
    assert differences(written, config_of(learning_of(written))) == {}


@pytest.mark.parametrize("words", [["models"], ["agents", "pets"], ["resume", "-h"]])
def test_lists_say_what_there_is(words, capsys):
    assert run(*words) == 0
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines())
    if words[0] == "models":
        assert "ensemble" in out and "central differences" in out
    if words[0] == "agents":
        assert "--agent.planner.population" in out
