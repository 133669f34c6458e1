import pytest

from forethought.core.words import unknown, visible


@pytest.mark.parametrize(
    ("given", "known", "meant"),
    [
        ("CEM", ["categorical-cem", "cem", "mppi"], "cem"),
        ("MuJoCo_Cheetah", ["mujoco-cheetah", "mujoco-cartpole"], "mujoco-cheetah"),
        ("pendulm", ["acrobot", "pendulum"], "pendulum"),
        ("--horizon", ["--seed", "--planner.horizon"], "--planner.horizon"),
        (
            "--noise_beta",
            ["--agent.planner.noise-beta", "--agent.noisy", "--steps"],
            "--agent.planner.noise-beta",
        ),
    ],
)
def test_what_was_meant_is_found_in_other_letters_and_as_a_part(given, known, meant):
    assert f"did you mean {meant!r}?" in str(unknown("name", given, known))


def test_where_nothing_is_near_the_ten_nearest_are_listed_and_the_rest_counted():
    told = str(unknown("task", "#", [f"name-{i}" for i in range(90)]))
    assert told.count("name-") == 10 and told.endswith("and 80 more.")
    assert str(unknown("task", "#", ["b", "a"])).endswith("known are a, b.")


def test_control_characters_are_seen_and_letters_of_all_kinds_stay():
    odd = "a\x1b[31m\r\x07\u202e"
    assert visible(odd) == "a\\x1b[31m\\r\\x07\\u202e"
    assert visible("θ̇ [°]\n\t±") == "θ̇ [°]\n\t±"
