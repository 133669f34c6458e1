"""When something is due: by episodes, by steps, or by a ratio.

A schedule is pure: it says how often something is due once so much was done, and
carries nothing. What is due between two looks is the difference of two counts, so
that a run in pieces does exactly what one at once does.

| unit | `every = 4` means |
|---|---|
| episodes | once after each fourth episode |
| steps | once after each fourth environment step |
| ratio | four times after each environment step |
"""

import dataclasses
import math
from fractions import Fraction
from typing import Annotated, Literal

from jaxtyping import Array, Int

from forethought.core.given.settings import LARGEST, Range, check_ranges

Every = Annotated[int | float, Range(above=0)]
Unit = Literal["episodes", "steps", "ratio"]
Count = int | Int[Array, ""]


@dataclasses.dataclass(frozen=True)
class Schedule:
    r"""How often something is due.

    $$\text{due}(n_1) - \text{due}(n_0), \qquad
      \text{due}(n) = \lfloor n / \text{every} \rfloor \quad
      \text{(ratio: } \lfloor n \cdot \text{every} \rfloor)$$

    ```python
    >>> from forethought.agents.schedule import Schedule
    >>> Schedule(200, "steps").due(steps=450, episodes=3)
    2
    >>> Schedule(0.5, "ratio").wait(steps=10, episodes=0)
    2

    ```

    Args:
        every: The interval in the unit; for a ratio, how often for each step.
        unit: Episodes that ended, environment steps, or a ratio to steps.

    Raises:
        ValueError: The unit is not known, or `every` is not a finite number above
            zero (of at least one where it counts episodes or steps).
    """

    every: Every = 1
    unit: Unit = "episodes"

    def __post_init__(self):
        """Check both."""
        check_ranges(self, f"A Schedule by {self.unit}")
        least = 0 if self.unit == "ratio" else 1
        if not least <= self.every <= LARGEST:
            raise ValueError(
                f"A Schedule by {self.unit} needs every from {least} to {LARGEST}, got "
                f"{self.every}."
            )

    def due(self, *, steps: Count, episodes: Count) -> Count:
        """How often it was due since the beginning; in compiled code, too."""
        done = steps if self.unit != "episodes" else episodes
        number, every = self._rate.numerator, self._rate.denominator
        if number * every > LARGEST and not isinstance(done, int):
            raise ValueError(
                "A Schedule within a compiled loop needs every of few digits, such as "
                f"0.25, got {self.every}."
            )
        # Apart, so that no product outgrows 32 bits.
        return done // every * number + done % every * number // every

    def wait(self, *, steps: int, episodes: int) -> int:
        """How many more episodes or steps there are until it is due next."""
        done = steps if self.unit != "episodes" else episodes
        following = math.floor(done * self._rate) + 1
        return math.ceil(following / self._rate) - done

    def each(self, steps: int) -> int | None:
        """How often it is due in every run of so many steps; None if that varies."""
        number = steps * self._rate
        whole = self.unit != "episodes" and number.denominator == 1
        return number.numerator if whole else None

    @property
    def _rate(self) -> Fraction:
        """How often for each episode or step, exactly as the decimal number says."""
        every = Fraction(str(self.every))
        return every if self.unit == "ratio" else 1 / every
