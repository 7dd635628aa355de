"""Populations made comparable in complexity."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from timm_regnet_ds.populations.statistics import common_range, uniform_weights
from timm_regnet_ds.populations.statistics.validation import FloatArray

from .populations import COMPLEXITIES, Population

__all__ = ["Normalization", "normalize"]

# Bins of complexity, where there are models enough for so many.
BINS = 10

# Share of each population that makes the common range: some of the models at both ends stand for too many others.
COVERAGE = 0.9


@dataclass(frozen=True, eq=False)
class Normalization:
    """Weights that spread each population evenly over one range of complexity (NDS §4.2).

    Attributes:
        complexity: ``flops``, ``params`` or ``acts``.
        limits: the range that the middle nine tenths of all populations share; models beyond weigh nothing.
        bins: into which it is divided.
        weights: of the models, by space.
    """

    complexity: str
    limits: tuple[float, float]
    bins: int
    weights: Mapping[str, FloatArray]

    def __str__(self) -> str:
        unit = COMPLEXITIES[self.complexity]
        low, high = (limit / unit.size for limit in self.limits)
        return f"{self.complexity} from {low:.4g} to {high:.4g} {unit.sign}, {self.bins} bins"


def normalize(populations: Sequence[Population], complexity: str) -> Normalization:
    """The normalization with the most bins, at most ten, of which none is empty in any population.

    Raises:
        ValueError: the populations share no range, or not even two bins of it have a model of each.
    """
    values = {p.space: p.complexity(complexity) for p in populations}
    limits = common_range(*values.values(), coverage=COVERAGE)
    for bins in range(BINS, 1, -1):
        try:
            weights = {space: uniform_weights(c, bins, limits) for space, c in values.items()}
        except ValueError as error:
            reason = error
        else:
            return Normalization(complexity, limits, bins, weights)
    raise reason
