"""Limits on the complexity of sampled models."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from timm_regnet_ds.common.check import check_float
from timm_regnet_ds.scaling.fitting.target import MOST, parse_target

from .complexities import Complexities

__all__ = ["Limit", "Limits"]

# (low, high): numbers, strings such as '360mf', or None if open.
Limit = tuple[float | str | None, float | str | None]


@dataclass(frozen=True)
class Limits:
    """Bounds on complexity, both included: (measure, low, high) for each measure that has bounds."""

    bounds: tuple[tuple[str, float, float], ...]

    @classmethod
    def of(cls, **limits: Limit | None) -> "Limits":
        """From (low, high) of flops, params and acts.

        Each bound is a number, a target such as '360mf', or None if open.

        Raises:
            ValueError: not a pair, a bound of another measure, or a low bound above the high one.
        """
        bounds = []
        for measure, limit in limits.items():
            if limit is None:
                continue
            if not isinstance(limit, (tuple, list)) or len(limit) != 2:
                raise ValueError(f"{measure} takes a pair (low, high), not {limit!r}")
            low, high = (_bound(measure, bound) for bound in limit)
            low, high = 0.0 if low is None else low, np.inf if high is None else high
            if low > high:
                raise ValueError(f"{measure}: the low bound {limit[0]!r} is above the high bound {limit[1]!r}")
            bounds.append((measure, low, high))
        return cls(tuple(bounds))

    def distances(self, complexities: Complexities) -> NDArray[np.float64]:
        """How far each of n models is from the limits, shape (n,): the largest |log(value / bound)|, 0 within."""
        distances = np.zeros(len(complexities.flops))
        for measure, low, high in self.bounds:
            values = np.maximum(getattr(complexities, measure), 1)
            below = np.log(max(low, 1) / np.minimum(values, max(low, 1)))
            above = np.log(np.maximum(values, high) / high) if np.isfinite(high) else 0.0
            distances = np.maximum(distances, below + above)
        return distances

    def contain(self, complexities: Complexities) -> NDArray[np.bool_]:
        """Whether each of n models is within the limits, shape (n,)."""
        within = np.ones(len(complexities.flops), dtype=bool)
        for measure, low, high in self.bounds:
            values = getattr(complexities, measure)
            within &= (values >= low) & (values <= high)
        return within

    def __str__(self) -> str:
        return " and ".join(_interval(*bound) for bound in self.bounds)


def _bound(measure: str, bound: float | str | None) -> float | None:
    if bound is None:
        return None
    if not isinstance(bound, str):
        return check_float(measure, bound, minimum=0, maximum=MOST)
    target = parse_target(bound)
    if target.measure != measure:
        raise ValueError(f"{measure} takes a number or one such as '400m{measure[0]}', not {bound!r}")
    return target.value


def _interval(measure: str, low: float, high: float) -> str:
    if not low:
        return f"{measure} up to {high:,.0f}"
    return f"{measure} from {low:,.0f}" + (f" to {high:,.0f}" if np.isfinite(high) else "")
