"""What plans expected to earn, beside what then came."""

import numpy as np

from forethought.runs.plan.record import Record


def realised_returns(
    rewards: np.ndarray, discounts: np.ndarray, values: np.ndarray, horizon: int
) -> np.ndarray:
    r"""What plans of a horizon should have expected, had they known.

    $$G_t = \frac1{\gamma_t} \left( \sum_{i=t}^{t+H-1} r_i
      + \gamma_{t+H} V(x_{t+H}) \right)$$

    where rewards $r_i$ are already discounted by $\gamma_i$.

    Args:
        rewards: Discounted rewards, shape `[time]`.
        discounts: $\gamma$, shape `[time + 1]`; zero once the episode ended.
        values: $V(x)$, shape `[time + 1]`.
        horizon: $H$.

    Returns:
        Shape `[time]`; NaN where the recording stopped before the horizon, and after
        the end of the episode.
    """
    steps = len(rewards)
    total = np.concatenate([[0.0], np.cumsum(rewards, dtype=float)])
    beyond = np.where(discounts > 0, discounts * values, 0.0)
    realised = np.full(steps, np.nan)
    for t in range(steps):
        end = min(t + horizon, steps)
        known = t + horizon <= steps or discounts[steps] == 0
        if known and discounts[t] > 0:
            realised[t] = (total[end] - total[t] + beyond[end]) / discounts[t]
    return realised


def expected_and_met(seen: Record) -> tuple[float, float] | None:
    """What plans expected, and what came, on average over plans that tell both.

    Args:
        seen: An episode; None where no plan's horizon was met.
    """
    realised = realised_returns(seen.rewards, seen.discounts, seen.values, seen.horizon)
    told = seen.made[np.isfinite(realised[seen.made] + seen.planned[seen.made])]
    if not len(told):
        return None
    return float(np.mean(seen.planned[told])), float(np.mean(realised[told]))
