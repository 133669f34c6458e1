"""The algebraic Riccati equation against SciPy on its own hard collection.

The cases are those of SciPy's tests, mostly Benner, Laub and Mehrmann, A collection of
benchmark examples for the numerical solution of algebraic Riccati equations II, 1995.
Complex ones are written as real ones of twice the size.
"""

import fractions
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.linalg.tests

from forethought.core.results import name_of
from forethought.planners.linear.dare import dare


def real(*matrices):
    """Complex matrices as real ones of twice the size."""
    return tuple(
        np.block([[M.real, -M.imag], [M.imag, M.real]])
        for M in (np.asarray(M, complex) for M in matrices)
    )


def generalised(S):
    """Two of SciPy's cases with an E, which is divided out."""
    A = [
        [2.769230e-01, 8.234578e-01, 9.502220e-01],
        [4.617139e-02, 6.948286e-01, 3.444608e-02],
        [9.713178e-02, 3.170995e-01, 4.387444e-01],
    ]
    B = [
        [3.815585e-01, 1.868726e-01],
        [7.655168e-01, 4.897644e-01],
        [7.951999e-01, 4.455862e-01],
    ]
    E = [
        [6.463130e-01, 2.760251e-01, 1.626117e-01],
        [7.093648e-01, 6.797027e-01, 1.189977e-01],
        [7.546867e-01, 6.550980e-01, 4.983641e-01],
    ]
    return np.linalg.solve(E, A), np.linalg.solve(E, B), np.eye(3), np.eye(2), S


def reported():
    """A case that a user reported to SciPy, from the file that comes with its tests."""
    folder = pathlib.Path(scipy.linalg.tests.__file__).parent / "data"
    with np.load(folder / "gendare_20170120_data.npz") as file:
        return tuple(file[name] for name in "ABQRS")


def darex11():
    A = [
        [870.1, 135.0, 11.59, 0.5014, -37.22, 0.3484, 0, 4.242, 7.249],
        [76.55, 897.4, 12.72, 0.5504, -40.16, 0.3743, 0, 4.53, 7.499],
        [-127.2, 357.5, 817, 1.455, -102.8, 0.987, 0, 11.85, 18.72],
        [-363.5, 633.9, 74.91, 796.6, -273.5, 2.653, 0, 31.72, 48.82],
        [-960, 1645.9, -128.9, -5.597, 71.42, 7.108, 0, 84.52, 125.9],
        [-664.4, 112.96, -88.89, -3.854, 84.47, 13.6, 0, 144.3, 101.6],
        [-410.2, 693, -54.71, -2.371, 66.49, 12.49, 0.1063, 99.97, 69.67],
        [-179.9, 301.7, -23.93, -1.035, 60.59, 22.16, 0, 213.9, 35.54],
        [-345.1, 580.4, -45.96, -1.989, 105.6, 19.86, 0, 219.1, 215.2],
    ]
    B = [
        [4.7600, -0.5701, -83.6800],
        [0.8790, -4.7730, -2.7300],
        [1.4820, -13.1200, 8.8760],
        [3.8920, -35.1300, 24.8000],
        [10.3400, -92.7500, 66.8000],
        [7.2030, -61.5900, 38.3400],
        [4.4540, -36.8300, 20.2900],
        [1.9710, -15.5400, 6.9370],
        [3.7730, -30.2800, 14.6900],
    ]
    Q = np.diag([50, 0, 0, 0, 50, 0, 0, 0, 0])
    return 0.001 * np.array(A), 0.001 * np.array(B), Q, np.eye(3)


def blocks(*matrices):
    """Matrices along the diagonal."""
    return scipy.linalg.block_diag(*matrices)


CASES = {
    "complex A": real([[2, 1 - 2j], [0, -3j]], [[0], [1]], [[1, 0], [0, 2]], [[1]]),
    "complex B": real([[2, 1], [0, -1]], [[-2j], [1j]], [[1, 0], [0, 2]], [[1]]),
    "complex Q and R": real(
        [[3, 1], [0, -1]],
        [[1, 2], [1, 3]],
        [[1, 1 + 1j], [1 - 1j, 2]],
        [[2, -2j], [2j, 3]],
    ),
    "scipy 2251": (
        [
            [0.63399379, 0.54906824, 0.76253406],
            [0.5404729, 0.53745766, 0.08731853],
            [0.27524045, 0.84922129, 0.4681622],
        ],
        [[0.96861695], [0.05532739], [0.78934047]],
        np.eye(3),
        np.eye(1),
    ),
    "darex 1": ([[4, 3], [-4.5, -3.5]], [[1], [-1]], [[9, 6], [6, 4]], [[1]]),
    "darex 2": (
        np.diag([0.9512, 0.9048]),
        [[4.877, 4.877], [-1.1895, 3.569]],
        np.diag([0.005, 0.02]),
        np.diag([1 / 3, 3]),
    ),
    "darex 3, R zero": ([[2, -1], [1, 0]], [[1], [0]], np.diag([0, 1]), [[0]]),
    "darex 4, R singular, Q indefinite": (
        [[0, 1], [0, -1]],
        [[1, 0], [2, 1]],
        np.array([[-4, -4], [-4, 7]]) / 11,
        [[9, 3], [3, 1]],
    ),
    "darex 5": ([[0, 1], [0, 0]], [[0], [1]], [[1, 2], [2, 4]], [[1]]),
    "darex 6": (
        blocks([[0.998, 0.067], [-0.067, 0.998]], [[0.998, 0.153], [-0.153, 0.998]]),
        [[0.0033, 0.0200], [0.1000, -0.0007], [0.0400, 0.0073], [-0.0028, 0.1000]],
        [
            [1.87, 0, 0, -0.244],
            [0, 0.744, 0.205, 0],
            [0, 0.205, 0.589, 0],
            [-0.244, 0, 0, 1.048],
        ],
        np.eye(2),
    ),
    "darex 7": (
        [
            [0.984750, -0.079903, 0.0009054, -0.0010765],
            [0.041588, 0.998990, -0.0358550, 0.0126840],
            [-0.546620, 0.044916, -0.3299100, 0.1931800],
            [2.662400, -0.100450, -0.9245500, -0.2632500],
        ],
        [
            [0.0037112, 0.0007361],
            [-0.0870510, 9.3411e-6],
            [-1.198440, -4.1378e-4],
            [-3.192700, 9.2535e-4],
        ],
        0.01 * np.eye(4),
        np.eye(2),
    ),
    "darex 8": (
        [
            [-0.6, -2.2, -3.6, -5.400018],
            [1, 0.6, 0.8, 3.399982],
            [0, 1, 1.8, 3.799982],
            [0, 0, 0, -0.999982],
        ],
        [[1, -1, -1, -1], [0, 1, -1, -1], [0, 0, 1, -1], [0, 0, 0, 1]],
        [[2, 1, 3, 6], [1, 2, 2, 5], [3, 2, 6, 11], [6, 5, 11, 22]],
        np.eye(4),
    ),
    "darex 9": (
        0.01
        * np.array(
            [
                [95.4070, 1.9643, 0.3597, 0.0673, 0.0190],
                [40.8490, 41.3170, 16.0840, 4.4679, 1.1971],
                [12.2170, 26.3260, 36.1490, 15.9300, 12.3830],
                [4.1118, 12.8580, 27.2090, 21.4420, 40.9760],
                [0.1305, 0.5808, 1.8750, 3.6162, 94.2800],
            ]
        ),
        0.01
        * np.array(
            [
                [0.0434, -0.0122],
                [2.6606, -1.0453],
                [3.7530, -5.5100],
                [3.6076, -6.6000],
                [0.4617, -0.9148],
            ]
        ),
        np.eye(5),
        np.eye(2),
    ),
    "darex 10": (
        np.kron(np.eye(2), np.diag([1, 1], k=1)),
        np.kron(np.eye(2), [[0], [0], [1]]),
        blocks([[1, 1], [1, 1]], [[0]], [[1, -1], [-1, 1]], [[0]]),
        np.diag([3, 1]),
    ),
    "darex 11": darex11(),
    "darex 12": ([[0, 1e6], [0, 0]], [[0], [1]], np.eye(2), [[1]]),
    "darex 13": (
        np.array([[16, 10, -2], [10, 13, -8], [-2, -8, 7]]) / 9,
        np.eye(3),
        1e6 * np.eye(3),
        1e6 * np.eye(3),
    ),
    "darex 15": (
        np.eye(100, k=1),
        np.flipud(np.eye(100, 1)),
        np.eye(100),
        [[1]],
    ),
    "with E": generalised(np.zeros((3, 2))),
    "with E and S": generalised(np.ones((3, 2))),
    "scipy 6616, with S": reported(),
}
solve = jax.jit(dare)
DOUBLE_INTEGRATOR = ([[1, 0.1], [0, 1]], [[0.005], [0.1]], np.eye(2), np.eye(1))


def arrays(case):
    """All five matrices in float64."""
    case = [np.asarray(matrix, float) for matrix in case]
    return case if len(case) == 5 else [*case, np.zeros_like(case[1])]


def residual(A, B, Q, R, S, V):
    """How far V is from solving the equation."""
    K = -np.linalg.solve(R + B.T @ V @ B, B.T @ V @ A + S.T)
    return np.abs(Q + A.T @ V @ A + (A.T @ V @ B + S) @ K - V).max()


@pytest.mark.parametrize("name", CASES)
def test_scipys_hard_cases_are_solved_as_scipy_solves_them_or_better(name, x64):
    case = arrays(CASES[name])
    expected = scipy.linalg.solve_discrete_are(*case[:4], s=case[4])
    found = solve(*case)
    assert name_of(found.result) == "successful"
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.V, expected, rtol=1e-9, atol=1e-9 * scale)
    V = np.asarray(found.V)
    largest = max(np.abs(case[0].T @ V @ case[0]).max(), scale)
    assert residual(*case, V) <= residual(*case, expected) + 1e-14 * largest
    A, B = case[:2]
    assert np.abs(np.linalg.eigvals(A + B @ np.asarray(found.K))).max() < 1


def test_a_loop_within_a_hair_of_instability_is_as_exact_as_its_data_allow(x64):
    # darex 14: three delays behind one slow state, whose equation is a quadratic one.
    A = np.diag([1.0, 1.0, 1.0], -1)
    A[0, 0] = 1 - 1 / 1e8
    B, R = np.array([[1e-8], [0], [0], [0]]), np.array([[0.25]])
    found = solve(A, B, np.diag([0, 0, 0, 1.0]), R, np.zeros((4, 1)))
    a, b = fractions.Fraction(A[0, 0]), fractions.Fraction(1e-8)
    r = fractions.Fraction(0.25)
    # b² V² + (r (1 - a²) - b²) V - r = 0, without cancellation.
    half = float(r * (1 - a * a) - b * b) / 2
    expected = float(r) / (half + np.sqrt(half**2 + float(b * b * r)))
    assert name_of(found.result) == "successful"
    np.testing.assert_allclose(found.V[0, 0], expected, rtol=1e-8)
    np.testing.assert_allclose(found.V[1:, 1:], np.eye(3), atol=1e-8)


def test_the_double_integrator_has_the_published_gain_cost_and_average(precision):
    dtype = f"float{precision}"
    A, B, Q, R = (jnp.asarray(matrix, dtype) for matrix in DOUBLE_INTEGRATOR)
    found = solve(A, B, Q, R)
    assert found.V.dtype == found.K.dtype == dtype
    rtol = 1e-5 if precision == 32 else 1e-9
    V = [[17.8349313222, 10.0124921973], [10.0124921973, 17.8565864603]]
    np.testing.assert_allclose(found.V, V, rtol=rtol)
    np.testing.assert_allclose(found.K, [[-0.9170745631, -1.635596185]], rtol=rtol)
    np.testing.assert_allclose(0.01 * jnp.trace(found.V), 0.3569151778, rtol=rtol)


def test_a_discount_is_a_smaller_system(x64):
    A, B, Q, R = (np.asarray(matrix, float) for matrix in DOUBLE_INTEGRATOR)
    found = jax.jit(functools.partial(dare, gamma=0.99))(A, B, Q, R)
    root = np.sqrt(0.99)
    expected = scipy.linalg.solve_discrete_are(root * A, root * B, Q, R)
    np.testing.assert_allclose(found.V, expected, rtol=1e-12)
    V = [[16.421179982, 9.1976222113], [9.1976222113, 16.9231211399]]
    np.testing.assert_allclose(found.V, V, rtol=1e-9)


@pytest.mark.parametrize(
    ("case", "code"),
    [
        (([[2, 0], [0, 0.5]], [[0], [1]], np.eye(2), [[1]]), "no_stationary"),
        (([[1, 0], [0, 0.5]], [[0], [1]], np.eye(2), [[1]]), "no_stationary"),
        (([[1, 0], [0, 0.5]], [[1], [1]], np.diag([0, 1]), [[1]]), "no_stationary"),
        (([[1, 0], [0, 1]], [[1], [1]], np.diag([-0.25, 0]), [[1]]), "no_stationary"),
        (([[0.5, 0], [0, 0.5]], [[0], [1]], np.eye(2), [[-5]]), "indefinite"),
        (([[0.5, 0], [0, 0.5]], [[0], [0]], np.eye(2), [[0]]), "indefinite"),
    ],
    ids=[
        "an unstable mode out of reach",
        "a lasting mode out of reach",
        "a lasting mode that costs nothing",
        "a lasting mode that pays",
        "an action that pays",
        "an action that does nothing",
    ],
)
def test_where_there_is_no_answer_there_is_a_code_and_no_number(case, code, precision):
    case = [jnp.asarray(matrix, f"float{precision}") for matrix in case]
    found = solve(*case)
    assert name_of(found.result) == code
    assert np.isnan(found.V).all() and np.isnan(found.K).all()
    bad = case[0].at[0, 0].set(jnp.nan)
    assert name_of(solve(bad, *case[1:]).result) == "non_finite"


def test_what_overflows_has_no_sign():
    one = np.ones((1, 1), np.float32)
    assert name_of(solve(one, 1e15 * one, 1e15 * one, one).result) == "non_finite"
    assert name_of(solve(one, 1e15 * one, 1e15 * one, -one).result) == "non_finite"
    assert name_of(solve(one, one, one, -9 * one).result) == "indefinite"


def test_matrices_may_be_nested_lists():
    A, B = [[1, 0.1], [0, 1]], [[0.005], [0.1]]
    found = jax.jit(lambda: dare(A, B, np.eye(2), [[1]], [[0], [0]]))()
    np.testing.assert_allclose(found.K, [[-0.9170745, -1.6355962]], rtol=1e-5)


def test_modes_that_cost_nothing_are_stabilised_all_the_same(x64):
    one = jnp.ones((1, 1))
    found = solve(2 * one, one, 0 * one, one)
    np.testing.assert_allclose(found.V, 3 * one, rtol=1e-12)
    np.testing.assert_allclose(solve(one / 2, one, 0 * one, one).V, 0, atol=1e-30)


def test_derivatives_of_both_orders_are_those_of_finite_differences(x64):
    random = np.random.default_rng(3)
    A, B = random.normal(size=(2, 2)), random.normal(size=(2, 1))
    root = random.normal(size=(3, 3))
    C = root @ root.T
    case = [A, B, C[:2, :2], C[2:, 2:], C[:2, 2:]]
    case = [jnp.asarray(each) for each in case]
    weight = jnp.asarray(random.normal(size=(2, 2)))

    def loss(*case):
        found = dare(*case, gamma=0.95)
        return jnp.sum(weight * found.V) + jnp.sum(found.K)

    value, slope = jax.jit(loss), jax.jit(jax.grad(loss, argnums=range(5)))
    found = slope(*case)
    h = 1e-6
    for number, size in enumerate([(2, 2), (2, 1), (2, 2), (1, 1), (2, 1)]):
        step = random.normal(size=size)
        if number in (2, 3):
            step = step + step.T
        ends = []
        for sign in (h, -h):
            moved = list(case)
            moved[number] = case[number] + sign * jnp.asarray(step)
            ends.append(moved)
        difference = (value(*ends[0]) - value(*ends[1])) / (2 * h)
        expected = float(jnp.sum(found[number] * jnp.asarray(step)))
        np.testing.assert_allclose(expected, difference, rtol=1e-6)
    scaled = jax.jit(lambda q: loss(*case[:2], q * case[2], *case[3:]))
    curvature = jax.jit(jax.grad(jax.grad(scaled)))(1.0)
    steep, d = jax.jit(jax.grad(scaled)), 1e-5
    difference = (steep(1 + d) - steep(1 - d)) / (2 * d)
    np.testing.assert_allclose(curvature, difference, rtol=1e-6)


def test_a_batch_is_solved_as_each_alone_failures_included(x64):
    A, B, Q, R = (jnp.asarray(matrix, float) for matrix in DOUBLE_INTEGRATOR)
    many = jnp.stack([A, 2 * A, jnp.array([[2.0, 0.0], [0.0, 0.5]])])
    reach = jnp.stack([B, B, jnp.array([[0.0], [1.0]])])
    found = jax.jit(jax.vmap(lambda A, B: dare(A, B, Q, R)))(many, reach)
    for i in range(3):
        alone = solve(many[i], reach[i], Q, R)
        np.testing.assert_allclose(found.V[i], alone.V, rtol=1e-12)
    assert np.isnan(found.V[2]).all() and np.isfinite(found.V[:2]).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"A": np.eye(3)}, r"A and Q of shape \[state, state\].*A \[3, 3\]"),
        ({"R": np.eye(2)}, r"R \[2, 2\]"),
        ({"B": np.ones(2)}, r"B \[2\]"),
        ({"Q": np.array([[1.0, 0.5], [0.0, 1.0]])}, "symmetric Q, but it differs"),
        ({"R": np.full((1, 1), np.nan)}, "finite entries, but R"),
        ({"gamma": 1.5}, r"gamma in \(0, 1\], got 1.5"),
    ],
)
def test_matrices_that_do_not_belong_together_are_refused_with_the_reason(
    changes, words
):
    A, B, Q, R = (np.asarray(matrix, np.float32) for matrix in DOUBLE_INTEGRATOR)
    given = {"A": A, "B": B, "Q": Q, "R": R} | changes
    gamma = given.pop("gamma", 1.0)
    given = {name: jnp.asarray(each, jnp.float32) for name, each in given.items()}
    with pytest.raises(ValueError, match=words):
        dare(**given, gamma=gamma)
