"""Gaussian process regression side by side with its peers, in one process.

scikit-learn, tinygp, GPJax and GPyTorch are given the same rows, the same squared
exponential with a length for each of five inputs, and the same numbers of the kernel,
in float64, on one core and one thread. Timed are

- `evidence`: the marginal likelihood with its gradient by all seven numbers,
- `fit`: from the same beginning to the end of each one's search, by L-BFGS of SciPy
  where the library has no search of its own (tinygp), with the evidence that it found,
- `predict`: mean and variance at 1,000 places, from data that are conditioned on.

Compilation is not counted; it is told apart.

    python benchmarks/gp.py
"""

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

from common import pin, spread, timings, versions, write_results

pin()

import jax  # noqa: E402

jax.config.update("jax_enable_x64", True)

import equinox as eqx  # noqa: E402
import gpjax  # noqa: E402
import gpytorch  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
import scipy.optimize  # noqa: E402
import sklearn.gaussian_process as sk  # noqa: E402
import tinygp  # noqa: E402
import torch  # noqa: E402
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel  # noqa: E402

from forethought.models.gp.hyper import SearchSettings, search  # noqa: E402
from forethought.models.gp.kernels import Kernel  # noqa: E402
from forethought.models.gp.processes import Processes  # noqa: E402
from forethought.models.gp.regression import condition, slopes  # noqa: E402

SIZES, INPUTS, PLACES, GOAL = (200, 1_000, 3_000), 5, 1_000, 1.2
LENGTHS = np.array([1.0, 1.5, 2.0, 2.5, 3.0])
SIGNAL, NOISE = 1.2, 0.1
Call = Callable[[], Any]


def data(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of which all inputs matter, standardised targets, and places to ask at."""
    rng = np.random.default_rng(seed)
    x, at = rng.normal(size=(count, INPUTS)), rng.normal(size=(PLACES, INPUTS))
    y = np.sin(2 * x[:, 0]) + x[:, 1] * x[:, 2] + 0.5 * np.sin(1.5 * x[:, 3])
    y += 0.3 * x[:, 4] ** 2 + NOISE * rng.normal(size=count)
    return x, (y - y.mean()) / y.std(), at


def ours(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> dict[str, Call]:
    """Calls of this library."""
    logs = (jnp.asarray(np.log(each)) for each in (LENGTHS, SIGNAL, NOISE))
    kernel, valid = Kernel(*logs), jnp.ones(len(x), bool)
    rows = jnp.asarray(x), jnp.asarray(y), valid
    settings = SearchSettings(restarts=0, evaluations=200)

    @jax.jit
    def evidence(kernel, x, y, valid):
        found = condition(kernel, x, y, valid)
        return found.evidence, slopes(kernel, x, y, valid, found)

    @jax.jit
    def fit(kernel, x, y, valid):
        found = search(kernel, x, y, valid, settings, key=jax.random.key(0))
        return condition(found.kernel, x, y, valid).evidence, found.evaluations

    found = jax.jit(condition)(kernel, *rows)
    empty = Processes(INPUTS, 1, len(x), kernel.kind)
    fitted = eqx.tree_at(
        lambda p: (p.kernel, p.points, p.weights, p.root),
        empty,
        (
            jax.tree.map(lambda leaf: leaf[None], kernel),
            *(rows[0], found.weights[None], found.root[None]),
        ),
    )
    places = jnp.asarray(at)
    predict = jax.jit(lambda fitted, at: fitted.moments(at))
    return {
        "evidence": lambda: jax.block_until_ready(evidence(kernel, *rows)),
        "fit": lambda: jax.block_until_ready(fit(kernel, *rows)),
        "predict": lambda: jax.block_until_ready(predict(fitted, places)),
    }


def scikit_learn(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> dict[str, Call]:
    """Calls of scikit-learn."""
    # The prices of our search lie where these bounds do.
    kernel = ConstantKernel(SIGNAL**2, (1e-5, 1e5)) * RBF(LENGTHS, (1e-2, 1e2))
    kernel = kernel + WhiteKernel(NOISE**2, (1e-6, 1e2))
    given = sk.GaussianProcessRegressor(kernel, alpha=0.0, optimizer=None).fit(x, y)

    def fit():
        found = sk.GaussianProcessRegressor(kernel, alpha=0.0).fit(x, y)
        return found.log_marginal_likelihood_value_, -1

    theta = given.kernel_.theta
    return {
        "evidence": lambda: given.log_marginal_likelihood(theta, eval_gradient=True),
        "fit": fit,
        "predict": lambda: given.predict(at, return_std=True),
    }


def tiny(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> dict[str, Call]:
    """Calls of tinygp, its gradient by JAX and its search by SciPy."""
    rows, targets, places = jnp.asarray(x), jnp.asarray(y), jnp.asarray(at)

    def process(theta, x):
        shape = tinygp.transforms.Linear(
            jnp.exp(-theta[:-2]), tinygp.kernels.ExpSquared()
        )
        kernel = jnp.exp(2 * theta[-2]) * shape
        return tinygp.GaussianProcess(kernel, x, diag=jnp.exp(2 * theta[-1]))

    def evidence(theta, x, y):
        return process(theta, x).log_probability(y)

    slope = jax.jit(jax.value_and_grad(evidence))
    theta = jnp.log(jnp.array([*LENGTHS, SIGNAL, NOISE]))

    def fit():
        found = scipy.optimize.minimize(
            lambda theta: [-np.asarray(each) for each in slope(theta, rows, targets)],
            theta,
            jac=True,
            method="L-BFGS-B",
        )
        return -found.fun, found.nfev

    @jax.jit
    def ask(given, y, at):
        # As its documentation predicts: conditioned anew, for it keeps no more.
        _, found = given.condition(y, at)
        return found.mean, found.variance

    given = jax.jit(process)(theta, rows)
    return {
        "evidence": lambda: jax.block_until_ready(slope(theta, rows, targets)),
        "fit": fit,
        "predict": lambda: jax.block_until_ready(ask(given, targets, places)),
    }


def gp_jax(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> dict[str, Call]:
    """Calls of GPJax."""
    shape = gpjax.kernels.RBF(lengthscale=jnp.asarray(LENGTHS), variance=SIGNAL**2)
    prior = gpjax.gps.Prior(mean_function=gpjax.mean_functions.Zero(), kernel=shape)
    given = prior * gpjax.likelihoods.Gaussian(obs_stddev=NOISE)
    rows = gpjax.Dataset(X=jnp.asarray(x), y=jnp.asarray(y)[:, None])
    slope = eqx.filter_jit(eqx.filter_value_and_grad(gpjax.objectives.conjugate_mll))

    @eqx.filter_jit
    def ask(given, rows, at):
        found = given.predict(at, rows)
        return found.mean, found.variance

    places = jnp.asarray(at)
    return {
        "evidence": lambda: jax.block_until_ready(slope(given, rows)),
        "predict": lambda: jax.block_until_ready(ask(given, rows, places)),
    }


def gpy_torch(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> dict[str, Call]:
    """Calls of GPyTorch, by Cholesky factors as all others."""
    torch.set_num_threads(1)
    rows, targets, places = (torch.tensor(each) for each in (x, y, at))

    class Model(gpytorch.models.ExactGP):
        def __init__(self, noise):
            super().__init__(rows, targets, noise)
            self.mean_module = gpytorch.means.ZeroMean()
            shape = gpytorch.kernels.RBFKernel(ard_num_dims=INPUTS)
            self.covar_module = gpytorch.kernels.ScaleKernel(shape)

        def forward(self, x):
            return gpytorch.distributions.MultivariateNormal(
                self.mean_module(x), self.covar_module(x)
            )

    noise = gpytorch.likelihoods.GaussianLikelihood()
    model = Model(noise).double()
    noise.noise = NOISE**2
    model.covar_module.outputscale = SIGNAL**2
    model.covar_module.base_kernel.lengthscale = torch.tensor(LENGTHS)
    objective = gpytorch.mlls.ExactMarginalLogLikelihood(noise, model)
    exact = (
        gpytorch.settings.fast_computations(False, False, False),
        gpytorch.settings.max_cholesky_size(100_000),
    )

    def evidence():
        with exact[0], exact[1]:
            model.train()
            model.zero_grad()
            value = objective(model(rows), targets)
            value.backward()
            return value.item() * len(x)

    def predict():
        with exact[0], exact[1], torch.no_grad():
            model.eval()
            found = model(places)
            return found.mean.numpy(), found.variance.numpy()

    return {"evidence": evidence, "predict": predict}


PEERS = {
    "forethought": ours,
    "scikit-learn": scikit_learn,
    "tinygp": tiny,
    "gpjax": gp_jax,
    "gpytorch": gpy_torch,
}


def first(found: Any) -> float:
    """The evidence of what was found; GPyTorch gives nothing else."""
    return float(found[0] if isinstance(found, tuple) else found)


def main() -> None:
    """Measure everything and write `results/gp.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=11)
    given = parser.parse_args()
    # Of lengths at their bounds; what was found is told.
    warnings.filterwarnings("ignore", category=UserWarning)
    lines = []
    for count in given.sizes:
        x, y, at = data(count, given.seed)
        made = {name: make(x, y, at) for name, make in PEERS.items()}
        for what in ("evidence", "fit", "predict"):
            calls = {name: each[what] for name, each in made.items() if what in each}
            compiled, found = {}, {}
            for name, call in calls.items():
                began = time.perf_counter()
                found[name] = call()
                compiled[name] = round(time.perf_counter() - began, 2)
            heavy = what == "fit" or count > 1_000
            repeats = max(3, given.repeats // 3) if heavy else given.repeats
            times = timings(calls, repeats=repeats, warm=1)
            line = {"rows": count, "what": what, "first_call_seconds": compiled}
            line["goal"] = GOAL
            line["times"] = {name: spread(each) for name, each in times.items()}
            # Of the least times: what others take of the machine is not theirs.
            least = times["forethought"][0]
            line["ratios"] = {
                name: round(least / each[0], 3)
                for name, each in times.items()
                if name != "forethought"
            }
            if what == "predict":
                mean, variance = found["forethought"]
                theirs = found["scikit-learn"]
                line["apart"] = {
                    "mean": float(np.abs(mean[:, 0] - theirs[0]).max()),
                    "variance": float(
                        np.abs(variance[:, 0] + NOISE**2 - theirs[1] ** 2).max()
                    ),
                }
            else:
                line["evidence"] = {name: first(each) for name, each in found.items()}
            if what == "fit":
                line["evaluations"] = {
                    name: int(each[1]) for name, each in found.items() if each[1] >= 0
                }
            print(line, flush=True)
            lines.append(line)
    packages = "jax", "scikit-learn", "tinygp", "gpjax", "gpytorch", "scipy", "numpy"
    content = {"seed": given.seed, "versions": versions(*packages), "rows": lines}
    print(write_results("gp", content))


if __name__ == "__main__":
    main()
