import gymnasium
import pytest

from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.environments.gymnasium.names import observation_names


@pytest.mark.parametrize(
    ("name", "size", "first", "last"),
    [
        ("CartPole-v1", 4, "position (m)", "angular velocity (rad/s)"),
        ("HalfCheetah-v5", 17, "rootz (m)", "ffoot angular velocity (rad/s)"),
        ("InvertedPendulum-v5", 4, "slider (m)", "hinge angular velocity (rad/s)"),
        ("Ant-v5", 105, "root z (m)", "observation 104"),
        ("InvertedDoublePendulum-v5", 9, "observation 0", "observation 8"),
    ],
)
def test_coordinates_that_are_seen_have_the_names_of_the_model(name, size, first, last):
    env = gymnasium.make(name)
    names = observation_names(env, size)
    assert env.observation_space.shape == (size,) == (len(names),)
    assert (names[0], names[-1]) == (first, last)
    env.close()


def test_an_environment_asks_its_copies():
    with GymnasiumEnvironment("Pendulum-v1", 2) as environment:
        assert environment.names(3)[0] == "cos angle"
