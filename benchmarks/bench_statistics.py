"""How long the empirical bootstrap takes: 10,000 draws on 500 models, against a plain loop over the draws.

    pytest benchmarks/bench_statistics.py --benchmark-columns=min,median,iqr,rounds

The loop is RegNet's footnote 5 word for word: draw a quarter of the pairs with replacement, take the one of least
error. Both run on one thread.
"""

import random

import numpy as np
import pytest

from timm_regnet_ds.populations.statistics import best_range

MODELS, REPEATS = 500, 10_000
SECONDS = 0.2  # most that the bootstrap may take
FACTOR = 50  # how much faster than the loop


def by_loop(values, errors):
    pairs = list(zip(errors, values, strict=True))
    best = sorted(min(random.choices(pairs, k=len(pairs) // 4))[1] for _ in range(REPEATS))
    return best[round(0.025 * REPEATS)], best[REPEATS // 2], best[round(0.975 * REPEATS)]


ROUNDS = {best_range: 50, by_loop: 3}


@pytest.fixture(scope="module")
def population():
    rng = np.random.default_rng(0)
    values = rng.normal(20, 6, MODELS)
    return values, 30 + np.abs(values - 20) + rng.gamma(2, 2, MODELS)


@pytest.fixture(scope="module")
def medians():
    """Seconds by tool, from the runs above the comparison."""
    return {}


@pytest.mark.parametrize("tool", ROUNDS, ids=lambda tool: tool.__name__)
def test_bootstrap(benchmark, medians, population, tool):
    benchmark.pedantic(tool, args=population, rounds=ROUNDS[tool], warmup_rounds=1)
    if benchmark.stats:  # None under --benchmark-disable
        medians[tool] = benchmark.stats.stats.median


def test_fifty_times_faster_than_a_loop(medians):
    if len(medians) < len(ROUNDS):
        pytest.skip("not measured in this run")
    ratio = medians[by_loop] / medians[best_range]
    print(f"\n{medians[best_range] * 1e3:.2f} ms, {ratio:.0f} times faster than a loop", end="")
    assert medians[best_range] < SECONDS
    assert ratio >= FACTOR
