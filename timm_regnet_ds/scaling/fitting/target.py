"""Targets such as ``16gf``, ``25mp`` and ``12ma``."""

import math
import re
from dataclasses import dataclass, replace
from typing import Any, Protocol

from timm_regnet_ds.common.check import check_float, did_you_mean
from timm_regnet_ds.complexity import Complexity
from timm_regnet_ds.scaling.arithmetic.strategy import Strategy

__all__ = ["MEASURES", "LatencyBudget", "Predictor", "Target", "parse_target", "target_of"]

MEASURES = ("flops", "params", "acts")
_PREFIXES = {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
MOST = 1e24
UNITS = {f"{prefix}{measure[0]}": (measure, by) for measure in MEASURES for prefix, by in _PREFIXES.items()}


@dataclass(frozen=True)
class Target:
    """A number of flops, params or acts."""

    measure: str
    value: float

    # Whether a model may have a larger value.
    may_exceed = True

    # The number format of the complexity that `value_of` takes.
    dtype = "fp32"

    def __str__(self) -> str:
        return f"{self.value:,.0f} {self.measure}"

    def value_of(self, complexity: Complexity) -> float:
        """Return a model's value in this measure."""
        value: int = getattr(complexity, self.measure)
        return value

    def lower_limit(self) -> float:
        """Return a value below which no model can be."""
        return 0.0

    def exponent(self, strategy: Strategy, base: Complexity) -> float:
        """Return the power of the scaling factor with which the value grows approximately (Eq. 6)."""
        return math.log2(getattr(strategy.growth(2.0), self.measure))


class Predictor(Protocol):
    """Predicts a model's milliseconds, such as ``timm_regnet_ds.latency.LatencyModel``.

    A predictor whose ``predict`` takes no ``batch_size`` serves budgets without one. If it has an attribute ``dtype``,
    that is the number format in which it wants the complexity; otherwise, it gets ``fp32``.
    """

    def predict(self, model_or_name: Complexity, /, **options: Any) -> float: ...


@dataclass(frozen=True)
class LatencyBudget:
    """A latency in milliseconds, as ``on`` predicts it for a batch, that must not be exceeded."""

    value: float
    on: Predictor
    batch_size: int | None = None

    measure = "latency"
    may_exceed = False

    @property
    def dtype(self) -> str:
        """The number format of the complexity that ``on`` takes."""
        return str(getattr(self.on, "dtype", "fp32"))

    def __str__(self) -> str:
        return f"{self.value:g} ms"

    def value_of(self, complexity: Complexity) -> float:
        options = {} if self.batch_size is None else {"batch_size": self.batch_size}
        return float(self.on.predict(complexity, **options))

    def lower_limit(self) -> float:
        return self.value_of(Complexity(0, 0, 0, dtype=self.dtype))

    def exponent(self, strategy: Strategy, base: Complexity) -> float:
        by = strategy.growth(2.0)
        grown = replace(
            base,
            flops=round(base.flops * by.flops),
            params=round(base.params * by.params),
            acts=round(base.acts * by.acts),
            bytes=round(base.bytes * by.acts),
            product_bytes=round(base.product_bytes * by.acts),
            weight_bytes=round(base.weight_bytes * by.params),
            grouped_flops=round(base.grouped_flops * by.flops),
            operators=round(base.operators * strategy.multipliers(2.0).depth),
        )
        return math.log2(self.value_of(grown) / self.value_of(base))


def parse_target(target: Any) -> Target:
    """``4gf`` is 4e9 flops, ``25mp`` 25e6 params, ``12ma`` 12e6 acts.

    Raises:
        ValueError: if it is not a number above 0 followed by one of the units.
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
    """Return the one target among ``to``, ``flops``, ``params`` and ``acts``; None if all are None.

    Raises:
        ValueError: if several targets are given, or an invalid one.
    """
    given = {name: value for name, value in {"to": to, **numbers}.items() if value is not None}
    if len(given) > 1:
        raise ValueError(f"one target is needed, not {len(given)}: {', '.join(given)}")
    for name, value in given.items():
        return parse_target(value) if name == "to" else Target(name, check_float(name, value, above=0, maximum=MOST))
    return None
