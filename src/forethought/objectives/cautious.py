r"""A price on what the model does not know.

$$r' = r - c\, d$$

with $d$ the epistemic doubt of the step, as the model reads it out. A planner pays for
leaving what the data tell: with $c = 0$ it may be lured to wherever the model's errors
flatter it most, with $c > 0$ it stays where its forecasts can be believed, and with
$c < 0$ it goes where there is something to learn.
"""

import equinox as eqx
from jaxtyping import Array, Scalar

from forethought.core.given.settings import Finite, check_ranges
from forethought.core.readout import AbstractJudge, Readout
from forethought.core.types import Action


class Cautious(AbstractJudge):
    """Another objective, less a price for doubt.

    Args:
        objective: What is wanted besides.
        price: $c$, what a step costs whose outputs are doubted by one standard
            deviation of the data; negative for a bonus.

    Raises:
        ValueError: The price is not finite.

    References:
        Yu et al., MOPO: model-based offline policy optimization, 2020,
        arXiv:2005.13239, equation 6 (there the largest predicted noise is the doubt).
    """

    objective: AbstractJudge
    price: Finite = eqx.field(static=True, default=1.0)

    def __check_init__(self):
        check_ranges(self)

    def judge(
        self, before: Readout, action: Action, after: Readout
    ) -> tuple[Scalar, Scalar]:
        """What the objective says, less the price.

        Raises:
            TypeError: The model does not read out what it doubts.
        """
        if after.doubt is None:
            raise TypeError(
                "A price on doubt needs a model that reads out its doubt; put "
                "Doubting around it."
            )
        reward, discount = self.objective.judge(before, action, after)
        doubt: Array = after.doubt
        return reward - self.price * doubt, discount

    def beyond(self, seen: Readout) -> Scalar:
        """The value that the objective says."""
        return self.objective.beyond(seen)
