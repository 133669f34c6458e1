"""The form of `episode.npz`: what its arrays are, and how their sizes hang together.

Horizon and time are those of `forethought.runs.plan.record`.
"""

from collections.abc import Mapping

import numpy as np

FORM = {
    **dict.fromkeys(("task", "summary", "planner", "execution"), "U"),
    **dict.fromkeys(("dt", "optimum", "final", "plan_final"), "fiu"),
    **dict.fromkeys(("horizon", "replan_every"), "iu"),
    "state_names": "U state",
    "action_names": "U action",
    **dict.fromkeys(("low", "high"), "fiu action"),
    "states": "fiub time+1 state",
    "actions": "fiub time action",
    "alive": "b time",
    "results": "U time",
    **dict.fromkeys(("rewards", "planned", "seconds"), "fiu time"),
    **dict.fromkeys(("discounts", "values"), "fiu time+1"),
    "plan_states": "fiub ahead+1 state",
    "plan_actions": "fiub ahead action",
    "plan_rewards": "fiu ahead",
    "gains": "0fiu ahead action state",
    "fan_iterations": "iu shade",
    "fan_states": "0fiub shade line ahead+1 state",
    "fan_actions": "0fiub shade line ahead action",
    "fan_returns": "0fiu shade line",
    **dict.fromkeys(("sketch/start", "sketch/end"), "fiu time+1 capsule space"),
    **dict.fromkeys(("sketch/radius", "sketch/kind"), "fiu time+1 capsule"),
    "table/choices?": "U choice",
    "table/letters?": "U tall wide",
    "table/place?": "fiu place 2",
    "table/arrows?": "fiu choice 2",
    "table/V?": "fiu place",
    "table/Q?": "fiu place choice",
    "plan_stats/tree/size?": "iu",
    **{f"plan_stats/tree/{name}?": "iu node" for name in ("parent", "slot", "depth")},
    **{f"plan_stats/tree/{name}?": "fiu node" for name in ("visits", "values")},
    "plan_stats/tree/chosen?": "b node",
    **{f"plan_stats/tree/root_{name}?": "fiu root" for name in ("visits", "values")},
}
TABLE = ("choices", "letters", "place", "arrows", "V", "Q")


def agree(arrays: Mapping[str, np.ndarray], name: str) -> None:
    """Refuse numbers that cannot be drawn, though their arrays are of the form.

    Args:
        arrays: Of the form.
        name: Of the file, for the sentence.

    Raises:
        ValueError: They name places, nodes or times that there are not.
    """
    found = {
        "at least one step": arrays["rewards"].size > 0,
        "dt to be a time": 1e-9 <= float(arrays["dt"]) <= 1e9,
        "replan_every >= 1": int(arrays["replan_every"]) >= 1,
        "as many rows as the plan is long": int(arrays["horizon"])
        == len(arrays["plan_actions"]),
        "a sketch in two or three dimensions": arrays["sketch/start"].shape[2]
        in (2, 3),
    }
    if any(each.startswith("table/") for each in arrays):
        found |= _table(arrays)
    if "plan_stats/tree/parent" in arrays:
        parent, size = arrays["plan_stats/tree/parent"], arrays["plan_stats/tree/size"]
        used = parent[: int(size)]
        before = (used[1:] >= 0) & (used[1:] < np.arange(1, max(len(used), 1)))
        found["parents before their children"] = bool(
            0 < size <= len(parent) and before.all()
        )
    for each in ("visits", "root_visits"):
        visits = arrays.get(f"plan_stats/tree/{each}", np.zeros(0))
        found[f"{each} that can be counted"] = bool(
            (np.isfinite(visits) & (visits >= 0)).all()
        )
    if wrong := [words for words, holds in found.items() if not holds]:
        raise ValueError(f"{name} needs {wrong[0]}.")


def _table(arrays: Mapping[str, np.ndarray]) -> dict[str, bool]:
    """What must hold of an episode in a table."""
    if missing := [each for each in TABLE if f"table/{each}" not in arrays]:
        return {f"the array 'table/{missing[0]}', which it lacks": False}
    place, letters = arrays["table/place"], arrays["table/letters"]
    count, choices = len(place), len(arrays["table/choices"])

    def inside(name: str, end: int) -> bool:
        array = arrays[name]
        return bool(((array >= 0) & (array < end)).all())

    return {
        "places on its map": bool(((place >= 0) & (place < letters.shape)).all()),
        "states that the table has": all(
            inside(name, count) for name in ("states", "plan_states", "fan_states")
        ),
        "actions that the table has": all(
            inside(name, choices) for name in ("actions", "plan_actions")
        ),
    }
