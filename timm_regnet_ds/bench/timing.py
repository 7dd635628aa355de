"""What repetitions say about a time: quantiles, and an interval for the median."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

__all__ = ["Timing", "median_interval"]

# Quantile of the standard normal distribution for 95%.
_Z = 1.959964


@dataclass(frozen=True)
class Timing:
    """Milliseconds of a repetition.

    Attributes:
        median, mean, p10, p90, p99: of all repetitions.
        low, high: ends of the 95% interval of the median.
        repetitions: how many there were.
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
        """From the milliseconds of each repetition, in the order in which they were measured."""
        p10, median, p90, p99 = (float(q) for q in np.quantile(times, (0.1, 0.5, 0.9, 0.99)))
        low, high = median_interval(times)
        return cls(median, float(np.mean(times)), p10, p90, p99, low, high, len(times))

    @property
    def half_width(self) -> float:
        """Half the interval's width, as a share of the median."""
        return (self.high - self.low) / 2 / self.median

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def median_interval(times: Sequence[float]) -> tuple[float, float]:
    """The 95% interval of the median between two order statistics, whatever the distribution.

    Of n independent repetitions, the number below the true median is binomial: the interval reaches from rank
    n/2 − z√n/2 to rank 1 + n/2 + z√n/2. Repetitions are not quite independent (a clock that drifts, another program),
    so that √n is multiplied by √(1 + 2Σρₖ), with ρₖ the correlation of being above the median or below k repetitions
    apart, up to the first k where it is lost in the noise.
    """
    n = len(times)
    above = np.sign(np.asarray(times) - np.median(times))
    correlated = 0.0
    for lag in range(1, n // 3):
        rho = float(np.mean(above[lag:] * above[:-lag]))
        if rho < 1 / math.sqrt(n):
            break
        correlated += rho
    reach = _Z * math.sqrt(n * (1 + 2 * correlated)) / 2
    ordered = np.sort(times)
    first, last = math.floor(n / 2 - reach), math.ceil(n / 2 + reach)
    return float(ordered[max(first, 1) - 1]), float(ordered[min(last + 1, n) - 1])
