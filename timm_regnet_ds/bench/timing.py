"""Summary of the times of repetitions: quantiles, and a confidence interval for the median."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

__all__ = ["Timing", "median_interval"]

# Quantile of the standard normal distribution for a two-sided 95% interval.
_Z = NormalDist().inv_cdf(0.975)


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a repetition.

    Attributes:
        median, mean, p10, p90, p99: statistics of all repetitions.
        low, high: ends of the 95% confidence interval of the median.
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
        return cls(median, float(np.mean(times)), p10, p90, p99, low, high, len(times))

    @property
    def half_width(self) -> float:
        """Half the width of the interval, as a fraction of the median."""
        return (self.high - self.low) / 2 / self.median


def median_interval(times: Sequence[float]) -> tuple[float, float]:
    """The 95% confidence interval of the median, between two order statistics; it assumes no distribution.

    Of n independent repetitions, the number below the true median is binomial, so that the interval goes from rank
    n/2 − z√n/2 to rank 1 + n/2 + z√n/2. Repetitions are not quite independent: clocks drift, other programs run.
    Therefore √n is multiplied by √(1 + 2Σρₖ), where ρₖ is the correlation, at lag k, of being above or below the
    median. The sum ends at the first lag whose ρₖ is below 1/√n, which is noise.
    """
    n = len(times)
    above = np.sign(np.asarray(times) - np.median(times))
    correlation = 0.0
    for lag in range(1, n // 3):
        rho = float(np.mean(above[lag:] * above[:-lag]))
        if rho < 1 / math.sqrt(n):
            break
        correlation += rho
    reach = _Z * math.sqrt(n * (1 + 2 * correlation)) / 2
    ordered = np.sort(times)
    first, last = math.floor(n / 2 - reach), math.ceil(n / 2 + reach)
    return float(ordered[max(first, 1) - 1]), float(ordered[min(last + 1, n) - 1])
