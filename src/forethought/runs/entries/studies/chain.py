"""The toy chain of STEVE: what a model that errs does to targets that look ahead."""

from forethought.runs.claims.studies import Means, Promise
from forethought.runs.claims.values import Tables, ValueStudy

EVERY = 100


def _at(arm: str, update: int):
    """The mean error of an arm after so many updates."""

    def value(means: Means) -> float:
        return float(means[arm][update // EVERY - 1])

    return value


def _known(*errors: float) -> tuple[tuple[int, float], ...]:
    return tuple(zip((1000, 3000, 5000, 10_000), errors, strict=True))


CHAIN = ValueStudy(
    claim="STEVE learns with a model that errs, where MVE diverges",
    variant=(
        "The chain of Buckman et al. (2018): 100 states before the last, 8 tables, 8 "
        "samples of a model, 5 imagined steps; a noisy model goes to any state with "
        "probability 0.1. Not discounted."
    ),
    source="the authors' own demonstration, run again: means of five seeds",
    seeds=5,
    seconds=25.0,
    last=100,
    updates=10_000,
    every=EVERY,
    arms={
        "one step": Tables("one step", known=_known(615.6, 389.6, 325.0, 30.4)),
        "MVE perfect": Tables("mve", samples=1, known=_known(206.2, 0.006, 0.0, 0.0)),
        "MVE noisy": Tables(
            "mve", noise=0.1, known=_known(739.5, 1402.1, 1723.3, 1918.0)
        ),
        "STEVE perfect": Tables(
            "steve", samples=1, known=_known(248.7, 0.055, 0.0, 0.0)
        ),
        "STEVE noisy": Tables(
            "steve", noise=0.1, known=_known(547.4, 566.4, 271.0, 0.0)
        ),
    },
    promises=(
        Promise(
            "with the noisy model MVE diverges: its error at 10,000 is above 1,000",
            _at("MVE noisy", 10_000),
            low=1000.0,
        ),
        Promise(
            "with the same model STEVE's is below 1 at 10,000",
            _at("STEVE noisy", 10_000),
            high=1.0,
        ),
        Promise(
            "with the perfect model MVE's is below 1 at 3,000",
            _at("MVE perfect", 3000),
            high=1.0,
        ),
        Promise(
            "and so is STEVE's",
            _at("STEVE perfect", 3000),
            high=1.0,
        ),
        Promise(
            "and MVE's at 1,000 is that of the authors within a fifth",
            _at("MVE perfect", 1000),
            low=0.8 * 206.2,
            high=1.2 * 206.2,
        ),
    ),
)

CHAINS = {"steve-chain": CHAIN}
