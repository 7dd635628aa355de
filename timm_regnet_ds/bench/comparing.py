"""Two sets of measurements side by side, as ratios with intervals."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from timm_regnet_ds._text import shorten

from .measurement import Measurement
from .runner import Result

__all__ = ["Comparison", "Ratio", "compare"]

# What a comparison may be of; the rest of a setting is how long and from which seed.
_COMPARED = (
    *("mode", "batch_size", "input_size", "dtype", "channels_last", "compile", "cuda_graphs", "fold_bn"),
    *("grad_checkpointing", "optimizer", "device", "threads"),
)


@dataclass(frozen=True)
class Ratio:
    """The time of B for an image over that of A, with its 95% interval."""

    model: str
    a: Measurement
    b: Measurement

    @property
    def ratio(self) -> float:
        return self.a.images_per_second / self.b.images_per_second

    @property
    def low(self) -> float:
        return self.ratio * math.exp(-self._spread())

    @property
    def high(self) -> float:
        return self.ratio * math.exp(self._spread())

    def _spread(self) -> float:
        """Half the interval of the ratio's logarithm: those of the two medians, at right angles."""
        halves = (math.log(m.timing.high / m.timing.low) / 2 for m in (self.a, self.b))
        return math.hypot(*halves)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for json; times in milliseconds."""
        times = {"a": self.a.timing.median, "b": self.b.timing.median}
        return {"model": self.model, **times, "ratio": self.ratio, "low": self.low, "high": self.high}


@dataclass(frozen=True)
class Comparison:
    """Ratios of the models that both sides have; printed, a table of 80 columns.

    Attributes:
        differ: what is different in all of A from all of B, as (field, value in A, value in B).
        ratios: a model each.
        only_a, only_b: models of one side alone.
    """

    differ: tuple[tuple[str, Any, Any], ...]
    ratios: tuple[Ratio, ...]
    only_a: tuple[str, ...]
    only_b: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"{name}: {a} in A, {b} in B" for name, a, b in self.differ]
        lines += ["", f"{'model':32}{'A (ms)':>11}{'B (ms)':>11}{'B/A':>9}{'95% interval':>17}"]
        for r in self.ratios:
            name = shorten(r.model, 31)
            a, b = r.a.timing.median, r.b.timing.median
            lines.append(f"{name:32}{a:11.4g}{b:11.4g}{r.ratio:9.3f}{f'{r.low:.3f} to {r.high:.3f}':>17}")
        for side, names in (("A", self.only_a), ("B", self.only_b)):
            if names:
                lines.append(f"only in {side}: {', '.join(names)}")
        return "\n".join(lines).strip()


def compare(a: Iterable[Result], b: Iterable[Result]) -> Comparison:
    """Ratios of the times in B to those in A, of the same models in the same settings.

    A setting that is one in all of A and another in all of B, and the card, is what is compared; in all else two
    rows must be alike. Of several rows of the same, the last counts.

    Raises:
        ValueError: no model is in both.
    """
    sides = [[result for result in side if result.measurement] for side in (a, b)]
    values = [[{name: _value(result, name) for name in (*_COMPARED, "card")} for result in side] for side in sides]
    differ, alike = [], []
    for name in (*_COMPARED, "card"):
        in_a, in_b = ({str(row[name]) for row in rows} for rows in values)
        if len(in_a) == len(in_b) == 1:
            if in_a != in_b:
                differ.append((name, in_a.pop(), in_b.pop()))
        else:
            alike.append(name)
    by_key = [_by_key(side, rows, alike) for side, rows in zip(sides, values, strict=True)]
    both = [key for key in by_key[0] if key in by_key[1]]
    if not both:
        raise ValueError(
            f"no model is in both: A has {len(by_key[0])} measurements ({_some(by_key[0])}), "
            f"B {len(by_key[1])} ({_some(by_key[1])})"
        )
    ratios = tuple(Ratio(key[0], by_key[0][key], by_key[1][key]) for key in both)
    only_a, only_b = (tuple(dict.fromkeys(key[0] for key in side if key not in both)) for side in by_key)
    return Comparison(tuple(differ), ratios, only_a, only_b)


def _value(result: Result, name: str) -> Any:
    if name == "card":
        return result.device_name
    # "max" is the same batch on both sides, though other numbers of images may fit.
    return getattr(_made(result).setting if name == "input_size" else result.job.setting, name)


def _made(result: Result) -> Measurement:
    assert result.measurement is not None
    return result.measurement


def _by_key(side: Sequence[Result], rows: Sequence[dict[str, Any]], alike: Sequence[str]) -> dict[Any, Measurement]:
    keys = [(result.job.label, *(str(row[name]) for name in alike)) for result, row in zip(side, rows, strict=True)]
    return {key: _made(result) for key, result in zip(keys, side, strict=True)}


def _some(keys: Iterable[Any]) -> str:
    names = list(dict.fromkeys(key[0] for key in keys))
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
