"""Warming up until a time has settled, and repeating until its median is known well enough."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from .timing import Timing

__all__ = ["Repetitions", "repeat"]

# Warm-up: windows of this many repetitions, until the medians of two neighbours differ by no more than this share,
# or until this share of the seconds is over.
_WINDOW = 5
_STEADY = 0.02
_WARM_SHARE = 0.3

# Repetitions before the first look at the interval; with fewer the interval is all there is.
_LEAST = 12
_MOST = 20_000


@dataclass(frozen=True)
class Repetitions:
    """The milliseconds of each step (columns) of each repetition (rows), and how they came about.

    Attributes:
        names: of the steps.
        times: the milliseconds.
        warm_up: repetitions before those.
        settled: the time had settled by then.
        reached: the interval of the median became as narrow as was asked for.
    """

    names: list[str]
    times: list[list[float]]
    warm_up: int
    settled: bool
    reached: bool

    @property
    def whole(self) -> Timing:
        """Of all steps together."""
        return Timing.of([sum(row) for row in self.times])

    @property
    def steps(self) -> dict[str, Timing]:
        """Of each, where there are several."""
        if len(self.names) == 1:
            return {}
        return {name: Timing.of([row[i] for row in self.times]) for i, name in enumerate(self.names)}

    def is_narrow(self, precision: float) -> bool:
        """Whether half of the median's interval is no more than this share of it."""
        return len(self.times) >= _LEAST and self.whole.half_width <= precision

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for json."""
        return asdict(self)

    @classmethod
    def pooled(cls, parts: Sequence["Repetitions"], precision: float) -> "Repetitions":
        """Of several processes, as many of each, one process after the other."""
        each = min(len(part.times) for part in parts)
        times = [row for part in parts for row in part.times[:each]]
        warm_up, settled = sum(part.warm_up for part in parts), all(part.settled for part in parts)
        pooled = cls(parts[0].names, times, warm_up, settled, False)
        return replace(pooled, reached=pooled.is_narrow(precision))


def repeat(run: Callable[[], Sequence[float]], names: list[str], precision: float, seconds: float) -> Repetitions:
    """Repeat ``run``, which returns the milliseconds of its steps.

    Args:
        run: a repetition.
        names: of its steps.
        precision: end when half of the median's interval is no more than this share of it.
        seconds: end after this time in any case; three repetitions there are at least.
    """
    start = time.monotonic()
    warm_up, settled = _warm_up(run, start + _WARM_SHARE * seconds)
    rows: list[list[float]] = []
    look = _LEAST
    while True:
        rows.append(list(run()))
        over = len(rows) >= 3 and (time.monotonic() - start > seconds or len(rows) == _MOST)
        if over or len(rows) >= look:
            found = Repetitions(names, rows, warm_up, settled, False)
            reached = found.is_narrow(precision)
            if over or reached:
                return replace(found, reached=reached)
            look = len(rows) + max(4, len(rows) // 4)


def _warm_up(run: Callable[[], Sequence[float]], until: float) -> tuple[int, bool]:
    count, before = 0, None
    while True:
        window = []
        for _ in range(_WINDOW):
            window.append(sum(run()))
            count += 1
            if time.monotonic() > until:
                return count, False
        now = statistics.median(window)
        if before is not None and abs(now / before - 1) <= _STEADY:
            return count, True
        before = now
