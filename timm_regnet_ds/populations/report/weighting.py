"""Weights under which populations have the same distribution of complexity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from timm_regnet_ds.populations.statistics import common_range, uniform_weights
from timm_regnet_ds.populations.statistics.validation import FloatArray

from .populations import COMPLEXITY_UNITS, Population

__all__ = ["Normalization", "normalize"]

# Number of bins of complexity, if every bin then has a model of each population.
MAX_BINS = 10

# Share of each population, in its middle, from which the common range is computed. With all of it, the few models at
# both ends would be alone in their bins and have large weights.
COVERAGE = 0.9


@dataclass(frozen=True, eq=False)
class Normalization:
    """Weights that spread each population evenly over one range of complexity (NDS §4.2).

    Attributes:
        metric: ``flops``, ``params`` or ``acts``.
        limits: the range that the middle 90% of each population has in common; models outside have weight 0.
        bins: number of bins into which the range is divided.
        weights: weights of the models, shape (n,), by name of the space.
    """

    metric: str
    limits: tuple[float, float]
    bins: int
    weights: Mapping[str, FloatArray]

    def __str__(self) -> str:
        unit = COMPLEXITY_UNITS[self.metric]
        low, high = (limit / unit.size for limit in self.limits)
        return f"{self.metric} from {low:.4g} to {high:.4g} {unit.symbol}, {self.bins} bins"


def normalize(populations: Sequence[Population], metric: str) -> Normalization:
    """The normalization by a metric with the most bins, 2 to 10, such that every population has a model in each bin.

    Raises:
        ValueError: the populations have no range in common, or one of them has a bin without a model even with two
            bins.
    """
    values = {p.space: p.complexity(metric) for p in populations}
    limits = common_range(*values.values(), coverage=COVERAGE)
    for bins in range(MAX_BINS, 1, -1):
        try:
            weights = {space: uniform_weights(c, bins, limits) for space, c in values.items()}
        except ValueError as error:
            reason = error
        else:
            return Normalization(metric, limits, bins, weights)
    raise reason
