"""Warming up until the time is steady, and repeating until its median is known precisely enough."""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .timing import Timing, correlation_time, median_interval, trend

__all__ = ["PACES", "Pace", "Rows", "StepTimes", "time_until_precise"]

# Milliseconds, one row per repetition and one column per step.
Rows: TypeAlias = list[list[float]]


@dataclass(frozen=True)
class Pace:
    """How long a device is warmed up and measured, in seconds. The clocks of a GPU need seconds, not repetitions.

    Attributes:
        window: the warm-up compares the medians of neighbouring windows of this length.
        steady: the warm-up ends when they differ by no more than this fraction.
        warm_up: shortest warm-up.
        measuring: shortest measurement, before it is first decided whether it is precise enough.
        keeps_minimum: whether ``warm_up`` and ``measuring`` hold even if they take longer than the user's seconds.
    """

    window: float
    steady: float
    warm_up: float
    measuring: float
    keeps_minimum: bool

    def longest(self, seconds: float) -> float:
        """Seconds that warm-up and repetitions take at most, if a repetition takes no time."""
        return max(seconds, self.warm_up + self.measuring) if self.keeps_minimum else seconds


PACES = {
    "cuda": Pace(window=0.5, steady=0.005, warm_up=1.0, measuring=1.0, keeps_minimum=True),
    "cpu": Pace(window=0.25, steady=0.02, warm_up=0.5, measuring=0.5, keeps_minimum=False),
}

# The warm-up ends after this share of the seconds, steady or not.
_WARM_UP_SHARE = 0.3

# An interval is trusted after this many times the correlation of the repetitions, which are as many repetitions if they
# are independent: each of the fewest batches is then ten times as long as the correlation, and the interval covers the
# median in at least 90% of the measurements although the repetitions end as soon as it is narrow (docs/bench.md has the
# simulation).
_CORRELATION_TIMES = 60
# Repetitions are steady if a line through them, and one standard error of it, changes by no more than this share of the
# wanted precision. They drift if it changes by more than this many standard errors.
_STEADY_SHARE = 0.5
_DRIFT_ERRORS = 3.0
# The interval is computed again when there are this many times the repetitions.
_GROWTH = 1.4
_MAX_REPETITIONS = 20_000

# Repetitions run for this many seconds between two looks at the clock.
_CHUNK_SECONDS = 0.05


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
    times: Rows
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
        totals = [[sum(row) for row in part.times] for part in parts]
        narrow = _is_narrow([sum(row) for row in times], precision)
        return cls(
            names=parts[0].names,
            times=times,
            warm_up=sum(part.warm_up for part in parts),
            warm_up_steady=all(part.warm_up_steady for part in parts),
            precision_met=narrow and all(map(_is_long, totals)),
        )


def time_until_precise(
    repeat: Callable[[float], Rows], names: list[str], precision: float, seconds: float, pace: Pace
) -> StepTimes:
    """Repeat until the median of the total time is known precisely enough.

    Args:
        repeat: runs repetitions for about this many seconds, at least one, and returns the milliseconds of each step.
        names: names of the steps.
        precision: stop when half the width of the median's 95% interval is at most this fraction of the median.
        seconds: stop after this time in any case, but not before three repetitions.
        pace: how long the device is warmed up and measured at least.
    """
    start = time.monotonic()
    with _garbage_kept():
        warm_up, steady = _warm_up(repeat, start, seconds, pace)
        end = start + pace.longest(seconds)
        first_look = min(time.monotonic() + pace.measuring, end)
        rows: Rows = []
        next_look = _CORRELATION_TIMES
        precise = out_of_time = False
        while not (precise or out_of_time):
            rows += repeat(_CHUNK_SECONDS)
            now = time.monotonic()
            out_of_time = len(rows) >= 3 and (now >= end or len(rows) >= _MAX_REPETITIONS)
            if out_of_time or (now >= first_look and len(rows) >= next_look):
                totals = [sum(row) for row in rows]
                change, error = trend(totals)
                is_steady = abs(change) + error <= _STEADY_SHARE * precision
                precise = is_steady and _is_narrow(totals, precision) and _is_long(totals)
                if not (is_steady or out_of_time) and abs(change) > _DRIFT_ERRORS * error:
                    # The device was still warming up in the first half, which then does not count.
                    warm_up += len(rows) // 2
                    rows = rows[len(rows) // 2 :]
                    first_look = min(now + pace.measuring, end)
                next_look = math.ceil(_GROWTH * len(rows))
                gc.collect()
    return StepTimes(names, rows, warm_up, warm_up_steady=steady, precision_met=precise)


def _is_narrow(totals: Sequence[float], precision: float) -> bool:
    low, high = median_interval(totals)
    return high - low <= 2 * precision * float(np.median(totals))


def _is_long(totals: Sequence[float]) -> bool:
    """Whether the repetitions last long enough, beside their correlation, for the interval to be trusted."""
    return len(totals) >= _CORRELATION_TIMES * correlation_time(totals)


@contextmanager
def _garbage_kept() -> Iterator[None]:
    """No collection of garbage interrupts a repetition. What is there already is left out of later collections."""
    # `gc.unfreeze` has no arguments: it would also unfreeze what the caller has frozen.
    was_enabled, freezes = gc.isenabled(), not gc.get_freeze_count()
    gc.collect()
    if freezes:
        gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        if freezes:
            gc.unfreeze()
        if was_enabled:
            gc.enable()


def _warm_up(repeat: Callable[[float], Rows], start: float, seconds: float, pace: Pace) -> tuple[int, bool]:
    """Run until the time is steady; return the number of repetitions and whether it is."""
    longest = _WARM_UP_SHARE * seconds
    shortest = start + (pace.warm_up if pace.keeps_minimum else min(pace.warm_up, longest))
    until = max(start + longest, shortest)
    count, previous = 0, None
    while True:
        window: list[float] = []
        ends = time.monotonic() + pace.window
        while time.monotonic() < ends:
            window += [sum(row) for row in repeat(min(_CHUNK_SECONDS, pace.window / 4))]
            if time.monotonic() >= until:
                return count + len(window), False
        count += len(window)
        median = statistics.median(window)
        if previous is not None and abs(median / previous - 1) <= pace.steady and time.monotonic() >= shortest:
            return count, True
        previous = median
