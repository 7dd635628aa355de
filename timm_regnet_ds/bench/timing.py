"""Summary of the times of repetitions: quantiles, and a confidence interval for the median."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np

__all__ = ["MIN_REPETITIONS", "Timing", "correlation_time", "median_interval", "trend"]

# Quantile of the standard normal distribution for a two-sided 95% interval.
_Z = NormalDist().inv_cdf(0.975)

# The range of six independent repetitions holds the median with a probability of 1 - 2 / 2**6 = 97%, that of five with
# 94%: with fewer than six there is no 95% interval that assumes no distribution.
MIN_REPETITIONS = 6

# Numbers of batches, and the 97.5% quantile of Student's t distribution with one degree of freedom less.
_BATCHES = {6: 2.5706, 12: 2.2010, 24: 2.0687}


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a repetition.

    Attributes:
        median, mean, p10, p90, p99: statistics of all repetitions.
        low, high: ends of the 95% confidence interval of the median; of the range, with fewer than six repetitions.
        repetitions: number of repetitions.
    """

    median: float
    mean: float
    p10: float
    p90: float
    p99: float
    low: float
    high: float
    repetitions: int

    @classmethod
    def of(cls, times: Sequence[float]) -> "Timing":
        """Summarize the milliseconds of all repetitions, given in the order in which they were measured."""
        p10, median, p90, p99 = (float(q) for q in np.quantile(times, (0.1, 0.5, 0.9, 0.99)))
        low, high = median_interval(times)
        low = low if low > 0 else float(np.min(times))  # a wide interval that is symmetric
        return cls(median, float(np.mean(times)), p10, p90, p99, low, high, len(times))

    @property
    def has_interval(self) -> bool:
        """Whether there are enough repetitions for a 95% interval."""
        return self.repetitions >= MIN_REPETITIONS

    @property
    def half_width(self) -> float:
        """Half the width of the interval, as a fraction of the median."""
        return (self.high - self.low) / 2 / self.median

    def format_interval(self, digits: int = 4) -> str:
        """The interval in words: ``95% interval 1.2 to 1.3 ms``, or the range if there is no interval."""
        ends = f"{self.low:.{digits}g} to {self.high:.{digits}g} ms"
        return f"95% interval {ends}" if self.has_interval else f"range of {self.repetitions} repetitions {ends}"


def median_interval(times: Sequence[float]) -> tuple[float, float]:
    """The 95% confidence interval of the median; the range of fewer than six repetitions.

    Of n independent repetitions, the number below the true median is binomial, so that the interval goes from rank
    n/2 − z√n/2 to rank 1 + n/2 + z√n/2, whatever the distribution. Repetitions are not quite independent: clocks
    drift, other programs run. Therefore the repetitions are also cut into 6, 12 and 24 batches in a row, and Student's
    interval of the mean of the batches' medians is computed of each. The widest of these intervals is returned. It
    holds as long as a batch is several times longer than the correlation of the repetitions.
    """
    values = np.asarray(times, dtype=float)
    n = len(values)
    ordered = np.sort(values)
    if n < MIN_REPETITIONS:
        return float(ordered[0]), float(ordered[-1])
    reach = _Z * math.sqrt(n) / 2
    low = ordered[max(math.floor(n / 2 - reach), 1) - 1]
    high = ordered[min(math.ceil(n / 2 + reach) + 1, n) - 1]
    half = max((_half_width(values, count, t) for count, t in _BATCHES.items() if n >= 2 * count), default=0.0)
    median = np.median(values)
    return float(min(low, median - half)), float(max(high, median + half))


def _half_width(values: Any, count: int, t: float) -> float:
    """Half of Student's interval of the mean of ``count`` batches' medians. The first remainder is left out."""
    size = len(values) // count
    medians = np.median(values[len(values) - count * size :].reshape(count, size), axis=1)
    return float(t * medians.std(ddof=1) / math.sqrt(count))


def correlation_time(times: Sequence[float]) -> float:
    """The number of repetitions that count as one independent repetition: 1 + 2Σρₖ, and at least 1.

    ρₖ is the correlation at lag k. The sum ends at the first lag that is five times the sum so far, as is usual for
    Markov chains; later lags are noise.
    """
    mean = float(np.mean(times))
    values = np.asarray(times, dtype=float) - mean
    n = len(values)
    spectrum = np.fft.rfft(values, 2 ** (2 * n - 1).bit_length())
    covariance = np.fft.irfft(spectrum * spectrum.conj())[:n]
    if covariance[0] <= n * (1e-12 * mean) ** 2:  # all times are equal
        return 1.0
    sums = 2 * np.cumsum(covariance / covariance[0]) - 1
    far = np.arange(n) >= 5 * sums
    return max(1.0, float(sums[int(np.argmax(far)) if far.any() else -1]))


# Batches to whose medians a line is fitted.
_TREND_BATCHES = 24


def trend(times: Sequence[float]) -> tuple[float, float]:
    """By what fraction the times change from the first to the last, and the standard error of that fraction.

    A line is fitted to the medians of 24 batches; with fewer than 48 repetitions, the error is infinite.
    """
    size = len(times) // _TREND_BATCHES
    if size < 2:
        return 0.0, math.inf
    last = np.asarray(times[-size * _TREND_BATCHES :], dtype=float).reshape(_TREND_BATCHES, size)
    medians = np.median(last, axis=1)
    x = np.linspace(-0.5, 0.5, _TREND_BATCHES)
    slope = float(x @ medians / (x @ x))
    residuals = medians - medians.mean() - slope * x
    error = math.sqrt(float(residuals @ residuals) / (_TREND_BATCHES - 2) / float(x @ x))
    mean = float(medians.mean())
    return slope / mean, error / mean
