"""From settings to Gaussian processes that have seen nothing."""

import equinox as eqx
from jaxtyping import PRNGKeyArray

from forethought.core.given.settings import Count
from forethought.environments.base import EnvironmentSpec
from forethought.models.gp.hyper import SearchSettings
from forethought.models.gp.kernels import Kind
from forethought.models.gp.matched import MomentMatching
from forethought.models.gp.sampled import GaussianProcess
from forethought.models.learned.propagation import Rule
from forethought.models.learned.recipes import AbstractRecipe


class GaussianProcessRecipe(AbstractRecipe):
    """Settings of a `GaussianProcess`, besides those of every recipe.

    Args:
        samples: How many functions are drawn, for particles to follow.
        points: Up to so many rows regression is exact; of more, so many inducing
            points are made. Memory and time grow with its square and cube.
        kernel: Of the functions.
        line: Whether a straight line goes before each process.
        waves: Of how many waves a function of the prior is drawn.
        propagation: How particles are carried.
        search: How kernels are found.
    """

    samples: Count = eqx.field(static=True, default=10)
    points: Count = eqx.field(static=True, default=512)
    kernel: Kind = eqx.field(static=True, default="squared-exponential")
    line: bool = eqx.field(static=True, default=False)
    waves: Count = eqx.field(static=True, default=256)
    propagation: Rule = eqx.field(static=True, default="TSinf")
    search: SearchSettings = eqx.field(static=True, default=SearchSettings())

    @property
    def size(self) -> int:
        """How many draws."""
        return self.samples

    def begin(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> GaussianProcess:
        """Processes that have seen nothing.

        Raises:
            TypeError: Observations are no vectors of numbers.
            ValueError: The known end is that of an environment of other observations.
        """
        return GaussianProcess(
            self.transform(spec),
            size=self.samples,
            points=self.points,
            kernel=self.kernel,
            line=self.line,
            waves=self.waves,
            propagation=self.propagation,
            termination=self.ends(spec),
            search=self.search,
            key=key,
        )


class MomentMatchingRecipe(AbstractRecipe):
    """Settings of a `MomentMatching`, besides those of every recipe.

    Args:
        points: Up to so many rows regression is exact; of more, so many inducing
            points are made. The time of a step grows with its square.
        line: Whether a straight line goes before each process.
        search: How kernels are found.
    """

    points: Count = eqx.field(static=True, default=256)
    line: bool = eqx.field(static=True, default=False)
    search: SearchSettings = eqx.field(static=True, default=SearchSettings())

    def begin(self, spec: EnvironmentSpec, *, key: PRNGKeyArray) -> MomentMatching:
        """Processes that have seen nothing.

        Raises:
            TypeError: Observations are no vectors of numbers.
            ValueError: Circles, a reward, an end or choices of action, which a Gaussian
                does not hold.
        """
        if self.termination != "none":
            raise ValueError(
                "A Gaussian that goes through processes ends nowhere: MomentMatching "
                f"needs termination 'none', got {self.termination!r}."
            )
        return MomentMatching(
            self.transform(spec), points=self.points, line=self.line, search=self.search
        )
