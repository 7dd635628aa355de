"""The values that one parameter of a design space may take, and how they are drawn."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Values", "steps"]

# Values are drawn by 16-bit quantiles, so that their probabilities are exact to within 1/65,536.
_QUANTILES = 1 << 16
_MAX_LISTED = 12  # values listed in a message


@dataclass(frozen=True, repr=False)
class Values:
    """Allowed values, ascending.

    Args:
        values: the values, numbers above 0.
        log: draw log-uniformly: a uniform draw on the log axis is rounded up to the next value, as the authors of
            RegNet do. Below the first value, the axis goes on by a step, but at most by half of the value. If false,
            all values are equally likely.

    Raises:
        ValueError: no values, or values that are not above 0 or not ascending.
    """

    values: tuple[Any, ...]
    log: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", tuple(self.values))
        ascending = all(low < high for low, high in zip((0, *self.values), self.values, strict=False))
        if not self.values or not ascending:
            raise ValueError(f"the values of a parameter ascend from above 0, which {list(self.values)} do not")

    def __contains__(self, value: Any) -> bool:
        return value in self._value_set

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        return f"Values({self}{', log' if self.log else ''})"

    def __str__(self) -> str:
        if len(self) <= _MAX_LISTED:
            return ", ".join(f"{value:g}" for value in self.values)
        return f"{self.values[0]:g} to {self.values[-1]:g} in steps of {self.values[1] - self.values[0]:g}"

    def draw(self, rng: np.random.Generator, *shape: int) -> NDArray[Any]:
        """Independent draws, an array of ``shape``."""
        # Every index is valid, so clipping changes nothing; it is faster than NumPy's check of the bounds.
        return self.quantiles.take(rng.integers(_QUANTILES, size=shape, dtype=np.uint16), mode="clip")

    @cached_property
    def _value_set(self) -> frozenset[Any]:
        return frozenset(self.values)

    @cached_property
    def quantiles(self) -> NDArray[Any]:
        """The value at each of 65,536 quantiles, shape (65536,); `draw` picks among them."""
        values = np.array(self.values)
        weights = np.ones(len(values))
        if self.log and len(values) > 1:
            start = values[0] - min(values[1] - values[0], values[0] / 2)
            weights = np.diff(np.log([start, *values]))
        shares = np.cumsum(weights) / weights.sum()
        return values[np.searchsorted(shares[:-1], (np.arange(_QUANTILES) + 0.5) / _QUANTILES)]


def steps(low: float, high: float, step: float = 1, log: bool = True) -> Values:
    """Values from ``low`` to ``high``, both included, in equal steps.

    They are drawn log-uniformly unless ``log`` is false, as the papers draw depths and widths; `Values` themselves are
    drawn uniformly unless ``log`` is true.

    >>> str(steps(8, 1024, 8))
    '8 to 1024 in steps of 8'
    """
    count = round((high - low) / step) + 1
    decimals = max(len(f"{number:.6f}".rstrip("0").partition(".")[2]) for number in (low, step))
    values: Iterable[float] = (round(low + i * step, decimals) for i in range(count))
    return Values(tuple(int(value) if decimals == 0 else value for value in values), log)
