"""Targets such as ``16gf``, ``25mp`` and ``12ma``, and the factor that comes nearest to one."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from timm_regnet_ds._check import check_float, did_you_mean
from timm_regnet_ds.complexity import Complexity
from timm_regnet_ds.scaling.arithmetic.strategy import Strategy

__all__ = ["MEASURES", "Budget", "Predictor", "Target", "nearest_factor", "parse_target", "target_of"]

MEASURES = ("flops", "params", "acts")
_PREFIXES = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
MOST = 1e24
UNITS = {f"{prefix}{measure[0]}": (measure, by) for measure in MEASURES for prefix, by in _PREFIXES.items()}


@dataclass(frozen=True)
class Target:
    """So many flops, params or acts."""

    measure: str
    value: float

    # Whether a model may be above it.
    exceedable = True

    def __str__(self) -> str:
        return f"{self.value:,.0f} {self.measure}"

    def of(self, complexity: Complexity) -> float:
        """What a model has of what is to be reached."""
        value: int = getattr(complexity, self.measure)
        return value

    def least(self) -> float:
        """What no model is below."""
        return 0.0

    def exponent(self, strategy: Strategy, base: Complexity) -> float:
        """It grows about as the scaling factor to this power (Eq. 6)."""
        return math.log2(getattr(strategy.growth(2.0), self.measure))


class Predictor(Protocol):
    """What predicts a model's milliseconds, such as ``timm_regnet_ds.bench.LatencyModel``."""

    def predict(self, model_or_name: Complexity, /) -> float: ...


@dataclass(frozen=True)
class Budget:
    """No more than so many milliseconds, as ``on`` predicts them."""

    value: float
    on: Predictor

    measure = "latency"
    exceedable = False

    def __str__(self) -> str:
        return f"{self.value:g} ms"

    def of(self, complexity: Complexity) -> float:
        return self.on.predict(complexity)

    def least(self) -> float:
        return self.of(Complexity(0, 0, 0, (1, 1, 1)))

    def exponent(self, strategy: Strategy, base: Complexity) -> float:
        by = strategy.growth(2.0)
        grown = replace(
            base,
            flops=round(base.flops * by.flops),
            params=round(base.params * by.params),
            acts=round(base.acts * by.acts),
            operators=round(base.operators * strategy.multipliers(2.0).depth),
        )
        return math.log2(self.of(grown) / self.of(base))


def parse_target(target: Any) -> Target:
    """``4gf`` is 4e9 flops, ``25mp`` 25e6 params, ``12ma`` 12e6 acts.

    Raises:
        ValueError: not a number above 0 followed by one of the units.
    """
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([a-zA-Z]*)", str(target))
    unit = match[2].lower() if match else ""
    if match is None or unit not in UNITS:
        raise ValueError(
            f"target {target!r} is not a number followed by one of {', '.join(UNITS)}, as in '4gf', '25mp' or '12ma'"
            f"{did_you_mean(unit, UNITS) if unit else ''}"
        )
    measure, by = UNITS[unit]
    return Target(measure, check_float("target", float(match[1]) * by, above=0, maximum=MOST))


def target_of(to: Any = None, **numbers: Any) -> Target | None:
    """The one target among ``to`` and ``flops``, ``params``, ``acts``; None where all are None.

    Raises:
        ValueError: several targets, or one that is none.
    """
    given = {name: value for name, value in {"to": to, **numbers}.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"one target is needed, not {len(given)}: {', '.join(given)}")
    for name, value in given.items():
        return parse_target(value) if name == "to" else Target(name, check_float(name, value, above=0, maximum=MOST))
    return None


def nearest_factor(flops_at: Callable[[float], float], target: float) -> float:
    """The factor of three significant digits whose flops come nearest to ``target``; the least of several.

    Three digits are what the scaling paper's own factors have. Rounding makes ``flops_at`` uneven, so that a
    neighbourhood of the first factor that reaches the target is searched in full.

    Args:
        flops_at: flops of the model scaled by a factor, within a factor of two in proportion to it.
        target: flops wanted.
    """
    guess = target / flops_at(1.0)
    low, high = _rank(guess / 2), _rank(guess * 2)
    while low < high:
        middle = (low + high) // 2
        if flops_at(_factor(middle)) < target:
            low = middle + 1
        else:
            high = middle
    near = [_factor(rank) for rank in range(low - 20, low + 21)]
    return min(near, key=lambda factor: abs(flops_at(factor) - target))


# The factors of three significant digits in order, 900 to a decade: rank 0 is 1.00, rank 1 is 1.01.
def _factor(rank: int) -> float:
    decade, step = divmod(rank, 900)
    return float(f"{100 + step}e{decade - 2}")


def _rank(factor: float) -> int:
    decade = math.floor(math.log10(factor))
    return decade * 900 + round(factor / 10 ** (decade - 2)) - 100
