"""Transitions that were logged somewhere, in whole episodes, as arrays of the host.

A file, a run or a roll-out becomes `Logged` once (`forethought.data.sources`), and a
model is fitted to it. Episodes are held out as a whole, because rows of one episode are
too alike to judge each other, and no stretch of steps crosses their end.
"""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Logged:
    """Transitions of whole episodes, in order, as they were read."""

    obs: np.ndarray
    """What was seen, `[row, observation]`."""
    action: np.ndarray
    """What was done, `[row, action]`; whole numbers `[row]` where it is discrete."""
    next_obs: np.ndarray
    """What was seen one step later, `[row, observation]`."""
    reward: np.ndarray | None
    """What it earned, `[row]`; None where that was not logged."""
    terminated: np.ndarray
    """Whether the task ended there, `[row]`."""
    truncated: np.ndarray
    """The last row of each episode that did not terminate, `[row]`."""
    episode: np.ndarray
    """The number of its episode, `[row]`: 0, 0, 0, 1, 1, …"""
    obs_names: tuple[str, ...]
    action_names: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """What was assumed and what was dropped, a sentence each."""

    @property
    def rows(self) -> int:
        """How many transitions there are."""
        return len(self.episode)

    @property
    def episodes(self) -> int:
        """How many episodes there are."""
        return int(self.episode[-1]) + 1 if self.rows else 0

    def of(self, episodes: np.ndarray | list[int]) -> "Logged":
        """Some episodes, in the order in which they were logged, numbered anew.

        Raises:
            ValueError: There is no such episode.
        """
        wanted = np.unique(np.asarray(episodes, int))
        if wanted.size and not 0 <= wanted[0] <= wanted[-1] < self.episodes:
            raise ValueError(
                f"of needs episodes from 0 to {self.episodes - 1}, got "
                f"{wanted.tolist()}."
            )
        return self.take(np.isin(self.episode, wanted))

    def take(self, kept: np.ndarray) -> "Logged":
        """Rows that are marked, `[row]`; each episode that has any is numbered anew."""
        parts = {
            name: None if (part := getattr(self, name)) is None else part[kept]
            for name in ("obs", "action", "next_obs", "reward")
        }
        _, episode = np.unique(self.episode[kept], return_inverse=True)
        terminated = self.terminated[kept]
        return dataclasses.replace(
            self,
            **parts,
            terminated=terminated,
            truncated=last_rows(episode) & ~terminated,
            episode=episode,
        )

    def split(self, share: float, seed: int) -> tuple["Logged", "Logged"]:
        """What is learned from, and what is held out: whole episodes, drawn at random.

        Args:
            share: Of the episodes that is held out; at least one is, and one is left.
            seed: Of the draw.

        Raises:
            ValueError: There are fewer than two episodes, or the share is not between
                zero and one.
        """
        if not 0 < share < 1:
            raise ValueError(
                f"Holding out needs a share between 0 and 1 of episodes, got {share}."
            )
        if self.episodes < 2:
            raise ValueError(
                "Holding out whole episodes needs at least two of them, got "
                f"{self.episodes}."
            )
        count = min(max(round(share * self.episodes), 1), self.episodes - 1)
        order = np.random.default_rng(seed).permutation(self.episodes)
        return self.of(order[count:]), self.of(order[:count])

    def starts(self, length: int) -> np.ndarray:
        """Rows at which so many steps of one episode begin; none crosses its end.

        Raises:
            ValueError: The length is less than one.
        """
        if length < 1:
            raise ValueError(f"starts needs a length of at least 1, got {length}.")
        count = self.rows - length + 1
        if count < 1:
            return np.zeros(0, int)
        ends = self.episode[length - 1 :]
        return np.flatnonzero(self.episode[:count] == ends)


def last_rows(episode: np.ndarray) -> np.ndarray:
    """Which rows are the last ones of their episodes, `[row]`."""
    return np.append(np.diff(episode) != 0, True)[: len(episode)]
