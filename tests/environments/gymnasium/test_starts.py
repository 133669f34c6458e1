"""In Gymnasium, starts come in turn and are the same again."""

import numpy as np

from forethought.environments.gymnasium.adapter import GymnasiumEnvironment
from forethought.environments.gymnasium.starts import Starts


def test_episodes_begin_in_a_few_places_in_turn_from_the_seed_on():
    options = {"max_episode_steps": 2}
    in_turn = [lambda env: Starts(env, 3)]
    found = {}
    for seed in (0, 100, 0):
        with GymnasiumEnvironment(
            "Pendulum-v1", options=options, wrappers=in_turn
        ) as environment:
            seen = [environment.reset(seed=seed)]
            for i in range(12):
                _, onward = environment.step(np.zeros((1, 1)))
                if i % 2:
                    seen.append(onward)
        seen = np.concatenate(seen)[:6]
        np.testing.assert_array_equal(seen[:3], seen[3:])
        assert len(np.unique(seen, axis=0)) == 3
        if seed in found:
            np.testing.assert_array_equal(found[seed], seen)
        found[seed] = seen
    assert not np.array_equal(found[0], found[100])
