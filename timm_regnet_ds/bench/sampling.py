"""Warming up until the time is steady, and repeating until its median is known precisely enough."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .timing import Timing

__all__ = ["StepTimes", "time_until_precise"]

# The warm-up ends when the medians of two neighbouring windows of this many repetitions differ by no more than
# _STEADY, or after this share of the seconds.
_WINDOW = 5
_STEADY = 0.02
_WARM_UP_SHARE = 0.3

# With fewer repetitions than MIN_REPETITIONS the interval spans nearly all of them and says little.
MIN_REPETITIONS = 12
MAX_REPETITIONS = 20_000


@dataclass(frozen=True)
class StepTimes:
    """The times of all repetitions, step by step.

    Attributes:
        names: names of the steps.
        times: milliseconds, one row per repetition and one column per step.
        warm_up: number of repetitions before these.
        warm_up_steady: whether the time was steady when the warm-up ended.
        precision_met: whether the interval of the median is as narrow as was asked for.
    """

    names: list[str]
    times: list[list[float]]
    warm_up: int
    warm_up_steady: bool
    precision_met: bool

    @property
    def total(self) -> Timing:
        """Timing of all steps together."""
        return Timing.of([sum(row) for row in self.times])

    @property
    def steps(self) -> dict[str, Timing]:
        """Timing of each step by name; empty if there is only one step."""
        if len(self.names) == 1:
            return {}
        return {name: Timing.of([row[i] for row in self.times]) for i, name in enumerate(self.names)}

    @classmethod
    def pooled(cls, parts: Sequence["StepTimes"], precision: float) -> "StepTimes":
        """Pool the times of several processes, with equally many repetitions of each, one process after the other."""
        each = min(len(part.times) for part in parts)
        times = [row for part in parts for row in part.times[:each]]
        return cls(
            names=parts[0].names,
            times=times,
            warm_up=sum(part.warm_up for part in parts),
            warm_up_steady=all(part.warm_up_steady for part in parts),
            precision_met=_is_precise([sum(row) for row in times], precision),
        )


def time_until_precise(
    run: Callable[[], Sequence[float]], names: list[str], precision: float, seconds: float
) -> StepTimes:
    """Repeat ``run`` until the median of its total time is known precisely enough.

    Args:
        run: runs one repetition and returns the milliseconds of each step.
        names: names of the steps.
        precision: stop when half the width of the median's 95% interval is at most this fraction of the median.
        seconds: stop after this time in any case, but not before three repetitions.
    """
    start = time.monotonic()
    warm_up, steady = _warm_up(run, start + _WARM_UP_SHARE * seconds)
    rows: list[list[float]] = []
    totals: list[float] = []
    next_check = MIN_REPETITIONS
    precise = out_of_time = False
    while not (precise or out_of_time):
        rows.append(list(run()))
        totals.append(sum(rows[-1]))
        out_of_time = len(rows) >= 3 and (time.monotonic() - start > seconds or len(rows) == MAX_REPETITIONS)
        if out_of_time or len(rows) >= next_check:
            precise = _is_precise(totals, precision)
            next_check = len(rows) + max(4, len(rows) // 4)
    return StepTimes(names, rows, warm_up, warm_up_steady=steady, precision_met=precise)


def _is_precise(totals: Sequence[float], precision: float) -> bool:
    return len(totals) >= MIN_REPETITIONS and Timing.of(totals).half_width <= precision


def _warm_up(run: Callable[[], Sequence[float]], until: float) -> tuple[int, bool]:
    """Run until the time is steady; return the number of repetitions and whether it is."""
    count, previous = 0, None
    while True:
        window = []
        for _ in range(_WINDOW):
            window.append(sum(run()))
            count += 1
            if time.monotonic() > until:
                return count, False
        median = statistics.median(window)
        if previous is not None and abs(median / previous - 1) <= _STEADY:
            return count, True
        previous = median
