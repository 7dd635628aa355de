"""Comparison of two sets of measurements: ratios of times with confidence intervals."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from timm_regnet_ds.common.text import shorten

from .jobs import Result
from .measurement import Measurement
from .setting import Setting

__all__ = ["Comparison", "Ratio", "compare"]


@dataclass(frozen=True)
class Ratio:
    """The time per image in B divided by that in A, with its 95% interval if both times have one.

    Attributes:
        model: label of the model.
        a, b: the two measurements.
    """

    model: str
    a: Measurement
    b: Measurement

    @property
    def ratio(self) -> float:
        """The ratio of the medians."""
        return self.a.images_per_second / self.b.images_per_second

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.ratio * math.exp(-self._spread())

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.ratio * math.exp(self._spread())

    def _spread(self) -> float:
        """Half the interval of the ratio's logarithm: those of the two medians, added in quadrature.

        The errors of the two medians are independent.
        """
        halves = (math.log(m.timing.high / m.timing.low) / 2 for m in (self.a, self.b))
        return math.hypot(*halves)

    @property
    def has_interval(self) -> bool:
        """Whether both times have an interval."""
        return self.a.timing.has_interval and self.b.timing.has_interval

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON; ``a`` and ``b`` are the medians in milliseconds, the ends None without interval."""
        times = {"a": self.a.timing.median, "b": self.b.timing.median}
        low, high = (self.low, self.high) if self.has_interval else (None, None)
        return {"model": self.model, **times, "ratio": self.ratio, "low": low, "high": high}


@dataclass(frozen=True)
class Comparison:
    """Ratios of the models that are in both sides. ``str`` gives a table that is 80 columns wide.

    Attributes:
        differ: the fields that are compared, as (field, its value throughout A, its value throughout B).
        ratios: one ratio for each pair of measurements.
        only_a, only_b: labels of the models that are in one side only.
    """

    differ: tuple[tuple[str, Any, Any], ...]
    ratios: tuple[Ratio, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{name}: {a} in A, {b} in B" for name, a, b in self.differ]
        lines += ["", f"{'model':32}{'A (ms)':>11}{'B (ms)':>11}{'B/A':>9}{'95% interval':>17}"]
        for r in self.ratios:
            a, b = r.a.timing.median, r.b.timing.median
            interval = f"{r.low:.3f} to {r.high:.3f}" if r.has_interval else "too few runs"
            lines.append(f"{shorten(r.model, 31):32}{a:11.4g}{b:11.4g}{r.ratio:9.3f}{interval:>17}")
        for side, names in (("A", self.only_a), ("B", self.only_b)):
            if names:
                lines.append(f"only in {side}: {', '.join(names)}")
        return "\n".join(lines).strip()


def compare(a: Iterable[Result], b: Iterable[Result]) -> Comparison:
    """Compute the ratios of the times in B to those in A, for the same models in the same settings.

    The device and each field of the setting that has one value throughout A and another throughout B are what is
    compared. Two measurements are paired if they are equal in every other field. If several measurements of a side
    are equal, the last one is used.

    Raises:
        ValueError: no model is in both sides.
    """
    sides = [[_Row.of(result) for result in side if result.measurement] for side in (a, b)]
    differ, paired_by = [], []
    for name in (*Setting.comparable_fields(), "device_name"):
        in_a, in_b = ({str(row.fields[name]) for row in rows} for rows in sides)
        if len(in_a) == len(in_b) == 1:
            if in_a != in_b:
                differ.append((name, in_a.pop(), in_b.pop()))
        else:
            paired_by.append(name)
    of_a, of_b = ({row.key(paired_by): row.measurement for row in rows} for rows in sides)
    both = [key for key in of_a if key in of_b]
    if not both:
        raise ValueError(
            f"no model is in both: A has {len(of_a)} measurements ({_some_names(of_a)}), "
            f"B {len(of_b)} ({_some_names(of_b)})"
        )
    ratios = tuple(Ratio(key[0], of_a[key], of_b[key]) for key in both)
    only_a, only_b = (tuple(dict.fromkeys(key[0] for key in side if key not in both)) for side in (of_a, of_b))
    return Comparison(tuple(differ), ratios, only_a, only_b)


@dataclass(frozen=True)
class _Row:
    """A measurement with the values by which it is compared or paired."""

    label: str
    measurement: Measurement
    fields: Mapping[str, Any]

    @classmethod
    def of(cls, result: Result) -> "_Row":
        assert result.measurement is not None
        # As asked for: "max" is the same batch size on both sides, though other numbers of images may fit.
        fields = {name: getattr(result.job.setting, name) for name in Setting.comparable_fields()}
        # As measured: None and the model's own size are the same.
        fields["input_size"] = result.measurement.setting.input_size
        return cls(result.job.label, result.measurement, {**fields, "device_name": result.device_name})

    def key(self, names: Iterable[str]) -> tuple[str, ...]:
        return (self.label, *(str(self.fields[name]) for name in names))


def _some_names(keys: Iterable[tuple[str, ...]]) -> str:
    names = list(dict.fromkeys(key[0] for key in keys))
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
