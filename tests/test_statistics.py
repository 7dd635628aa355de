"""Statistics of populations: closed forms, SciPy, the papers' own figures, and properties that always hold."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp, kstwobign

import timm_regnet_ds
from timm_regnet_ds.models.regnet import quantized_linear
from timm_regnet_ds.populations.statistics import (
    Grid,
    best_range,
    common_range,
    edf,
    effective_size,
    ks_test,
    linear_fit,
    random_search,
    sample_sizes,
    uniform_weights,
)

# In hundredths of a percent, as 10,000 images give them, so that ties occur.
ERRORS = st.lists(st.integers(0, 10_000).map(lambda e: e / 100), min_size=1, max_size=60)
WEIGHTED = st.lists(st.tuples(st.integers(0, 300), st.integers(1, 5)), min_size=1, max_size=40)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


# Error EDF


def test_edf_counts_models_strictly_below():
    f = edf([4, 1, 2, 2])
    np.testing.assert_allclose(f([0, 1, 1.5, 2, 3, 4, 5]), [0, 0, 0.25, 0.25, 0.75, 0.75, 1])
    assert f.mean == pytest.approx(2.25)


def test_edf_of_a_single_number_has_its_shape():
    assert edf([1, 2])(1.5) == 0.5
    assert edf([1, 2])([[1.5], [3]]).shape == (2, 1)


@given(ERRORS, st.randoms())
def test_edf_rises_from_0_to_1_whatever_the_order(errors, random):
    x = np.linspace(-1, 101, 50)
    f = edf(errors)(x)
    assert f[0] == 0
    assert f[-1] == 1
    assert (np.diff(f) >= 0).all()
    random.shuffle(errors)
    np.testing.assert_allclose(edf(errors)(x), f)


@given(WEIGHTED)
def test_whole_weights_are_models_that_occur_several_times(pairs):
    errors, weights = map(list, zip(*pairs, strict=True))
    repeated = np.repeat(errors, weights)
    x = np.arange(-1, 302)
    np.testing.assert_allclose(edf(errors, weights)(x), edf(repeated)(x))
    assert edf(errors, weights).area(150) == pytest.approx(edf(repeated).area(150))


@given(ERRORS, st.floats(0.5, 150))
def test_area_is_the_integral_of_the_edf(errors, epsilon):
    f = edf(errors)
    steps = np.unique(np.clip([0, *errors, epsilon], 0, epsilon))
    assert f.area(epsilon) == pytest.approx(np.sum(np.diff(steps) * f(steps[1:])) / epsilon, abs=1e-9)


def test_area_of_uniform_errors():
    """∫0^ε e/100 de / ε = ε/200."""
    errors = np.linspace(0, 100, 100_001)
    assert edf(errors).area(30) == pytest.approx(0.15, abs=1e-4)


def test_effective_size():
    assert effective_size(np.full(20, 7.0)) == pytest.approx(20)
    assert effective_size([1, 0, 1, 0]) == pytest.approx(2)


# Kolmogorov–Smirnov test


@pytest.mark.filterwarnings("ignore:ks_2samp")
@given(ERRORS, ERRORS)
def test_ks_is_scipys(first, second):
    found, known = ks_test(first, second), ks_2samp(first, second)
    assert found.statistic == pytest.approx(known.statistic)
    assert found.pvalue == pytest.approx(known.pvalue)
    assert ks_test(second, first).statistic == pytest.approx(found.statistic)


@pytest.mark.filterwarnings("ignore:ks_2samp")
@given(WEIGHTED, WEIGHTED)
def test_weighted_ks_statistic_is_that_of_repeated_models(first, second):
    (e1, w1), (e2, w2) = (zip(*pairs, strict=True) for pairs in (first, second))
    known = ks_2samp(np.repeat(e1, w1), np.repeat(e2, w2)).statistic
    assert ks_test(e1, e2, w1, w2).statistic == pytest.approx(known)


def test_small_samples_with_ties_cause_no_warning(recwarn):
    assert ks_test([1, 0, 0, 0, 1], [1, 0, 2, 0, 1]).pvalue == pytest.approx(1)
    assert not recwarn


def test_ks_of_the_papers_example():
    """NDS §4.1: D = 0.079 between 100 and 1000 models has p = 0.60."""
    test = ks_test(10 * np.arange(100) + 78.5, np.arange(1000))
    assert test.statistic == pytest.approx(0.079)
    assert round(test.pvalue, 2) == 0.60


def test_equal_weights_leave_the_asymptotic_p_value(rng):
    first, second = rng.random(300), rng.random(200) ** 1.1
    weighted = ks_test(first, second, np.ones(300), np.ones(200))
    assert weighted.pvalue == pytest.approx(ks_2samp(first, second, method="asymp").pvalue)


def test_weighted_p_values_of_one_distribution_are_rarely_small(rng):
    """Of 500 pairs of one distribution, with weights from their complexities, 5% have p < 0.05, give or take 3σ."""

    def population():
        return rng.normal(30, 5, 150), uniform_weights(rng.beta(2, 3, 150), 5)

    small = 0
    for _ in range(500):
        (e1, w1), (e2, w2) = population(), population()
        small += ks_test(e1, e2, w1, w2).pvalue < 0.05
    assert small <= 25 + 3 * math.sqrt(500 * 0.05 * 0.95)


# Weights by complexity


@given(st.lists(st.floats(1, 1e9), min_size=2, max_size=80, unique=True), st.integers(1, 6), st.booleans())
def test_uniform_weights_sum_to_1_or_a_bin_is_empty(complexity, bins, soft):
    if np.histogram(complexity, bins)[0].all():
        weights = uniform_weights(complexity, bins, soft=soft)
        assert weights.sum() == pytest.approx(1)
        assert (weights > 0).all()
    elif not soft:
        with pytest.raises(ValueError, match="have no model"):
            uniform_weights(complexity, bins)


def test_hard_weights_make_the_complexity_edf_uniform(rng):
    """Eq. 3 at the edges of k bins is 0, 1/k, … 1."""
    c = np.append(rng.beta(2, 5, 5000) * 0.999, [0.0, 0.9999])
    weights = uniform_weights(c, 8, limits=(0, 1))
    np.testing.assert_allclose(edf(c, weights)(np.linspace(0, 1, 9)), np.linspace(0, 1, 9), atol=1e-9)


def test_hard_weights_by_hand():
    """w_j = 1/(k·m_j); the largest complexity is in the last bin."""
    np.testing.assert_allclose(uniform_weights([0, 1, 4, 6, 10], 2), [1 / 6, 1 / 6, 1 / 6, 1 / 4, 1 / 4])


def test_soft_weights_by_hand():
    """Centres 2.5 and 7.5: 5 is shared equally, 0 and 10 are in one bin each; m = 1.5 and 1.5."""
    np.testing.assert_allclose(uniform_weights([0, 5, 10], 2, soft=True), [1 / 3, 1 / 3, 1 / 3])
    # 4 is 0.7 in the first bin: m = 1.7 and 1.3.
    found = uniform_weights([0, 4, 10], 2, soft=True)
    np.testing.assert_allclose(found, [1 / 3.4, 0.7 / 3.4 + 0.3 / 2.6, 1 / 2.6])


def test_soft_weights_do_not_jump_at_the_edge_of_a_bin():
    c = np.array([0, 1, 2, 6, 9, 10])

    def jump(soft):
        left, right = (uniform_weights(np.append(c, 5 + shift), 2, soft=soft) for shift in (-1e-6, 1e-6))
        return np.abs(left - right).max()

    assert jump(soft=True) < 1e-5
    assert jump(soft=False) > 0.01


def test_models_beyond_the_limits_weigh_nothing():
    weights = uniform_weights([1, 2, 3, 4, 50], 2, limits=(2, 4))
    np.testing.assert_allclose(weights, [0, 1 / 2, 1 / 4, 1 / 4, 0])


def test_common_range():
    assert common_range([1, 5, 9], [3, 20], [0, 8]) == (3, 8)
    low, high = common_range(np.linspace(0, 100, 101), np.linspace(0, 200, 201), coverage=0.9)
    assert (low, high) == pytest.approx((10, 95))
    with pytest.raises(ValueError, match="share no range of complexity: one begins at 5, one ends at 2"):
        common_range([1, 2], [5, 6])


# Random search


def test_search_of_one_is_a_model_at_random(rng):
    errors = rng.random(50)
    curve = random_search(errors, [1])
    assert curve.mean[0] == pytest.approx(errors.mean())
    assert curve.std[0] == pytest.approx(errors.std())
    assert curve.error[0] == pytest.approx(errors.std() / math.sqrt(50))


def test_search_with_weights_by_hand():
    """Two of error 10, weighing 3/4, and 20: the lowest of m is 20 with probability 4^−m."""
    curve = random_search([20, 10], [1, 2], weights=[1, 3])
    np.testing.assert_allclose(curve.mean, [12.5, 10 + 10 / 16])


def test_search_among_uniform_errors():
    """The lowest of m uniform numbers has mean 1/(m+1) and variance m/((m+1)²(m+2))."""
    m = np.array([1, 2, 5, 20, 100])
    curve = random_search((np.arange(100_000) + 0.5) / 100_000, m)
    np.testing.assert_allclose(curve.mean, 1 / (m + 1), rtol=1e-3)
    np.testing.assert_allclose(curve.std, np.sqrt(m / (m + 2)) / (m + 1), rtol=1e-3)


def test_search_is_what_the_papers_simulation_tends_to(rng):
    """Draws of m models by weight, their lowest error, 20,000 times: within five standard errors."""
    errors, weights = rng.gamma(2, 3, 200), rng.random(200)
    curve = random_search(errors, [1, 4, 16, 64], weights)
    for size, mean, std in zip(curve.sizes, curve.mean, curve.std, strict=True):
        lowest = rng.choice(errors, (20_000, size), p=weights / weights.sum()).min(axis=1)
        assert lowest.mean() == pytest.approx(mean, abs=5 * std / math.sqrt(20_000))
        assert lowest.std() == pytest.approx(std, rel=0.1)


@given(WEIGHTED)
def test_a_longer_search_finds_no_worse_model(pairs):
    errors, weights = zip(*pairs, strict=True)
    curve = random_search(errors, weights=weights)
    assert curve.sizes[0] == 1
    assert curve.sizes[-1] == len(errors)
    assert (np.diff(curve.mean) <= 1e-9).all()
    assert (curve.mean >= min(errors) - 1e-9).all()


# Sample size


def test_parts_of_a_population_are_as_far_from_it_as_theory_says(rng):
    """E[D] → √(π/2)·ln 2·√(1/n − 1/N); 0.087 at n = 100, 'about 0.1' in NDS §4.4."""
    study = sample_sizes(rng.normal(size=25_000), [100, 1000, 5000], repeats=200)
    theory = kstwobign.mean() * np.sqrt(1 / study.sizes - 1 / 25_000)
    # The mean of 200 has a standard error of 0.26/0.87/√200 = 2%; at n = 100, D itself is some 2% smaller.
    np.testing.assert_allclose(study.mean, theory, rtol=0.1)
    np.testing.assert_allclose(study.std, kstwobign.std() / kstwobign.mean() * theory, rtol=0.3)


@given(ERRORS)
def test_the_whole_population_is_at_no_distance(errors):
    study = sample_sizes(errors, repeats=3)
    assert study.mean[-1] == 0
    assert (study.mean <= 1).all()


def test_studies_of_one_seed_are_equal(rng):
    errors = rng.random(100)
    np.testing.assert_array_equal(sample_sizes(errors, seed=3).mean, sample_sizes(errors, seed=3).mean)
    assert (sample_sizes(errors, seed=3).mean != sample_sizes(errors, seed=4).mean).any()


# Empirical bootstrap


def by_the_book(values, errors, rng, repeats=10_000):
    """The bootstrap as footnote 5 has it, draw by draw."""
    draws = rng.integers(len(errors), size=(repeats, round(len(errors) / 4)))
    return np.sort(values[np.take_along_axis(draws, errors[draws].argmin(axis=1)[:, None], axis=1)[:, 0]])


def test_bootstrap_has_the_distribution_of_the_footnote(rng):
    """Each end lies between the footnote's quantiles 5 standard errors to either side."""
    values = rng.permutation(500).astype(float)
    errors = np.abs(values - 200) + rng.normal(0, 40, 500)
    draws = by_the_book(values, errors, rng)
    found = best_range(values, errors)
    for value, q in ((found.low, 0.025), (found.best, 0.5), (found.high, 0.975)):
        slack = 5 * math.sqrt(2 * q * (1 - q) / 10_000)
        low, high = np.quantile(draws, (max(0, q - slack), min(1, q + slack)))
        assert low <= value <= high


def test_models_of_equal_error_are_equally_likely(rng):
    """All errors equal: the best is any model, so the range is the quantiles of the values."""
    values = rng.permutation(1000).astype(float)
    found = best_range(values, np.full(1000, 30.0))
    # A quantile of 10,000 draws has a standard error of 1000·√(q(1−q)/10⁴): 1.6 at the ends, 5 in the middle.
    assert found.low == pytest.approx(25, abs=8)
    assert found.best == pytest.approx(500, abs=25)
    assert found.high == pytest.approx(975, abs=8)


def test_bootstrap_ends_in_closed_form():
    """Values in the order of errors: P(best rank ≥ r) = (1 − r/n)^m, so the 97.5% quantile is n(1 − 0.025^(1/m))."""
    n, m = 4000, 1000
    found = best_range(np.arange(n), np.arange(n))
    for value, q in ((found.best, 0.5), (found.high, 0.975)):
        assert value == pytest.approx(n * (1 - (1 - q) ** (1 / m)), abs=1)


@given(ERRORS, st.integers(0, 100))
def test_the_range_is_of_values_that_occur(errors, seed):
    values = np.arange(len(errors)) ** 2
    found = best_range(values, errors, repeats=100, seed=seed)
    assert found.low <= found.best <= found.high
    assert {found.low, found.best, found.high} <= set(values)


# Quantized linear fit


@given(st.integers(1, 64), st.integers(1, 32), st.floats(1, 256), st.floats(1.5, 3))
def test_predicted_widths_are_those_of_the_regnet(depth, eighths, wa, wm):
    grid = Grid((8 * eighths,), (wa,), (wm,))
    widths = quantized_linear(depth, 8 * eighths, wa, wm)
    fit = linear_fit(widths, [1] * depth, grid)
    assert fit.block_widths() == widths
    assert fit.error == 0


def test_a_regnet_on_the_grid_has_no_error(rng):
    grid = Grid()
    for _ in range(20):
        w0, wa, wm = (int(rng.choice(grid.w0)), float(rng.choice(grid.wa)), float(rng.choice(grid.wm)))
        assert linear_fit(quantized_linear(20, w0, wa, wm), [1] * 20).error == 0


def test_a_regnet_between_the_grids_points_is_near(rng):
    errors = [
        linear_fit(quantized_linear(20, 8 * int(w), wa, wm), [1] * 20).error
        for w, wa, wm in zip(rng.integers(1, 33, 50), rng.uniform(8, 256, 50), rng.uniform(1.5, 3, 50), strict=True)
    ]
    assert np.median(errors) < 0.02
    assert max(errors) < 0.1


def test_the_fit_is_the_best_of_the_grid():
    """e_fit = mean_j |ln(ŵ_j / w_j)|, against a loop over the grid."""
    grid = Grid((16, 24, 32), (4.0, 12.5, 30.0), (1.7, 2.3))
    widths, depths = (32, 24, 160), (2, 5, 4)
    blocks = [32] * 2 + [24] * 5 + [160] * 4

    def error(point):
        predicted = quantized_linear(11, *point)
        return math.fsum(abs(math.log(p / w)) for p, w in zip(predicted, blocks, strict=True)) / 11

    points = [(w0, wa, wm) for w0 in grid.w0 for wa in grid.wa for wm in grid.wm]
    fit = linear_fit(widths, depths, grid)
    assert fit.error == pytest.approx(min(map(error, points)))
    assert fit.error == pytest.approx(error((fit.w0, fit.wa, fit.wm)))


def test_widths_that_fall_fit_worse_than_widths_that_rise():
    rising, falling = (linear_fit(w, (2, 4, 8, 2)).error for w in ((48, 96, 192, 400), (400, 192, 96, 48)))
    assert rising < 0.1 < 0.4 < falling


def test_networks_of_more_blocks_than_any_regnet():
    grid = Grid()
    fit = linear_fit(quantized_linear(150, 48, grid.wa[50], 2.5), [1] * 150)
    assert (fit.depth, fit.error) == (150, 0)


@pytest.mark.parametrize("width", [16, 64, 256])
def test_one_width_throughout_is_a_line(width):
    assert linear_fit([width] * 2, [8, 12]).error == 0


# 25,000 models of known distributions


def test_statistics_of_25000_models_are_those_of_their_distributions():
    """Two spaces whose error is 20 + 10·(1 − c) + noise, c their complexity: one has more of the large models.

    Space A: c uniform. Space B: c = √u, so P(c < x) = x². Noise uniform from 0 to 5, in both.
    """
    rng = np.random.default_rng(1)
    n = 25_000
    c = {"A": rng.random(n), "B": np.sqrt(rng.random(n))}
    e = {name: 20 + 10 * (1 - x) + rng.uniform(0, 5, n) for name, x in c.items()}
    # Dvoretzky–Kiefer–Wolfowitz: an EDF is within √(ln(2/p)/2n) of its distribution with probability 1 − p.
    band = math.sqrt(math.log(2 / 1e-6) / (2 * n))

    # A's error is the sum of two uniform variables, 20 + 10u + 5v, with a trapezoid density.
    x = np.linspace(20, 35, 61) - 20
    below = (np.maximum(0, x) ** 2 - np.maximum(0, x - 5) ** 2 - np.maximum(0, x - 10) ** 2) / 100
    assert np.abs(edf(e["A"])(x + 20) - below).max() < band

    # Means 27.5 and 20 + 10/3 + 2.5; variances 100/12 + 25/12 and 100/18 + 25/12.
    for name, mean, variance in (("A", 27.5, 125 / 12), ("B", 20 + 10 / 3 + 2.5, 100 / 18 + 25 / 12)):
        assert edf(e[name]).mean == pytest.approx(mean, abs=5 * math.sqrt(variance / n))
        # All errors are below 40: the area to 40 is 1 − mean/40.
        assert edf(e[name]).area(40) == pytest.approx(1 - mean / 40, abs=5 * math.sqrt(variance / n) / 40)

    # As they are, the two differ; given complexity, they do not. The band is of as many models as weights leave.
    assert ks_test(e["A"], e["B"]).pvalue < 1e-100
    for soft in (False, True):
        weights = {name: uniform_weights(x, 20, limits=(0, 1), soft=soft) for name, x in c.items()}
        test = ks_test(e["A"], e["B"], weights["A"], weights["B"])
        assert test.statistic < 2 * math.sqrt(math.log(2 / 1e-6) / (2 * effective_size(weights["B"])))
        # B's j-th bin has n(2j+1)/400 models, of which the error varies by 25/12: the mean of 20 bins has a standard
        # error of 0.015. Within them B's complexity still leans to the large, by 0.01 in error.
        for name in c:
            assert edf(e[name], weights[name]).mean == pytest.approx(27.5, abs=5 * 0.015 + 0.01)

    # P(lowest of m > 20 + x) is (1 − x²/100)^m for x ≤ 5, what lies beyond being negligible from m = 100 on:
    # ∫ (1 − x²/100)^m dx = 5·√π·Γ(m+1)/Γ(m+3/2).
    for m in (100, 400):
        curve = random_search(e["A"], [m])
        expected = 20 + 5 * math.sqrt(math.pi) * math.exp(math.lgamma(m + 1) - math.lgamma(m + 1.5))
        assert curve.mean[0] == pytest.approx(expected, abs=5 * curve.error[0])

    # The best models are the most complex. That of 6250 has an error of about 20 + √(100/6250), c within 0.02 of 1.
    best = best_range(c["A"], e["A"])
    assert 0.95 < best.low < best.best < best.high <= 1


# Bad input

NAN = float("nan")


@pytest.mark.parametrize("errors", [[1.0, NAN, 3.0], [1.0, None, 3.0], [1.0, math.inf, 3.0]])
@pytest.mark.parametrize(
    "statistic",
    [edf, lambda e: ks_test([1, 2], e), random_search, sample_sizes, lambda e: best_range([1, 2, 3], e)],
    ids=["edf", "ks_test", "random_search", "sample_sizes", "best_range"],
)
def test_errors_that_are_no_numbers_are_refused(statistic, errors):
    with pytest.raises(ValueError, match=r"1 of 3 are not, first (nan|inf) at index 1"):
        statistic(errors)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: edf([]), r"must be an array of shape \(n,\) with n ≥ 1, not of shape \(0,\)"),
        (lambda: edf([[1, 2]]), r"must be an array of shape \(n,\) with n ≥ 1, not of shape \(1, 2\)"),
        (lambda: edf([1, 2], [1]), "1 weights for 2 models"),
        (lambda: edf([1, 2], [1, -1]), "weights must be at least 0 and not all 0; the smallest is -1"),
        (lambda: edf([1, 2], [0, 0]), "not all 0"),
        (lambda: edf([1, 2]).area(0), "epsilon must be a finite number above 0, not 0"),
        (lambda: uniform_weights([1, 2, 9, 10], 3), "1 of 3 bins have no model: 4 to 7; use fewer bins"),
        (lambda: uniform_weights([1, 2], 1, limits=(5, 6)), "1 of 1 bins have no model: 5 to 6"),
        (lambda: uniform_weights([0, 100], 20), r"18 of 20 bins have no model: 5 to 10, .* and 15 more"),
        (lambda: uniform_weights([3, 3], 2), "complexities from 3 to 3 leave no range"),
        (lambda: uniform_weights([1, 2], 0), "bins must be a whole number of at least 1, not 0"),
        (lambda: common_range(), "at least one population"),
        (lambda: random_search([1, 2], [3]), r"sample sizes must be from 1 to 2, the number of models, not \[3\]"),
        (lambda: sample_sizes([1, 2], [0]), "a sample size must be a whole number of at least 1, not 0"),
        (lambda: best_range([1, 2], [1]), "2 values for 1 errors"),
        (lambda: best_range([1], [1], fraction=0), "fraction must be a finite number above 0 and at most 1"),
        (lambda: best_range([1], [1], confidence=95), "confidence must be a finite number"),
        (lambda: linear_fit([8, 16], [1]), "a width and a depth for each of one or more stages"),
        (lambda: linear_fit([8], [0]), "a depth must be a whole number of at least 1, not 0"),
        (lambda: Grid(w0=(12,)), "w0 must be a multiple of 8, not 12"),
        (lambda: Grid(wm=(1.0,)), "wm must be a finite number above 1, not 1.0"),
        (lambda: Grid(wa=()), "the grid has no value of wa"),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_statistics_need_no_torch():
    code = """
import sys, types
package = types.ModuleType("timm_regnet_ds")
package.__path__ = [sys.argv[1]]
sys.modules["timm_regnet_ds"] = package
from timm_regnet_ds.populations.statistics import edf
print(edf([1, 2]).mean, {"torch", "timm", "matplotlib"} & set(sys.modules))
"""
    root = str(Path(timm_regnet_ds.__file__).parent)
    done = subprocess.run([sys.executable, "-c", code, root], capture_output=True, text=True)
    assert done.stdout == "1.5 set()\n", done.stderr
