"""Clocks on simulated repetitions: this harness, Triton's ``do_bench`` and two of ``torch.utils.benchmark``.

Each clock runs its own code; only the time is simulated. A repetition takes a known number of milliseconds, times
autocorrelated noise, times a slowness that fades while the GPU's clocks rise. Prints a table in Markdown.

    python benchmarks/clock_table.py --runs 200
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from scipy.signal import lfilter
from torch.utils import benchmark

from timm_regnet_ds.bench import sampling
from timm_regnet_ds.bench.sampling import PACES, time_until_precise
from timm_regnet_ds.files.tables import markdown

SECONDS = 30


@dataclass(frozen=True)
class Case:
    """Noise and drift of the repetitions.

    Attributes:
        title: the row's name.
        rho: correlation of the noise of two successive repetitions.
        share: standard deviation of the noise's logarithm.
        ramp: by how much the first repetition is slower.
        fading: seconds in which the slowness fades to 1/e.
        milliseconds: the true median of a repetition.
    """

    title: str
    rho: float = 0.0
    share: float = 0.02
    ramp: float = 0.0
    fading: float = 1.0
    milliseconds: float = 2.0


CASES = (
    Case("independent noise of 2%"),
    Case("noise of 2%, autocorrelation 0.8", rho=0.8),
    Case("noise of 2%, autocorrelation 0.95", rho=0.95),
    Case("the same, repetitions of 50 ms", rho=0.95, milliseconds=50.0),
    Case("30% slower at first, fading in 1 s", ramp=0.3),
    Case("30% slower at first, fading in 2 s", ramp=0.3, fading=2.0),
    Case("the same, autocorrelation 0.95", rho=0.95, ramp=0.3, fading=2.0),
)


class Repetitions:
    """A clock that moves when a repetition runs."""

    def __init__(self, case: Case, seed: int) -> None:
        chance = np.random.default_rng(seed)
        white = chance.standard_normal(int(1.5e3 * SECONDS / case.milliseconds) + 500) * np.sqrt(1 - case.rho**2)
        times = case.milliseconds * np.exp(case.share * lfilter([1], [1, -case.rho], white)[500:])
        times *= 1 + case.ramp * np.exp(-np.cumsum(times) / 1e3 / case.fading)
        self.ends = np.concatenate([[0.0], np.cumsum(times) / 1e3])
        self.done = 0

    def now(self) -> float:
        return float(self.ends[self.done])

    def run(self) -> None:
        self.done += 1

    def repeat(self, seconds: float) -> list[list[float]]:
        first = self.done
        self.done = max(int(np.searchsorted(self.ends, self.now() + seconds)), first + 1)
        return [[1e3 * x] for x in np.diff(self.ends[first : self.done + 1])]


@dataclass(frozen=True)
class Answer:
    """What a clock says: its estimate, and an interval if it gives one or if its user would compute one."""

    milliseconds: float
    low: float
    high: float
    seconds: float


def ours(repetitions: Repetitions) -> Answer:
    quiet: dict[str, Any] = dict.fromkeys(("collect", "freeze", "unfreeze", "enable", "disable"), lambda: None)
    with (
        mock.patch.object(sampling, "time", SimpleNamespace(monotonic=repetitions.now)),
        mock.patch.object(sampling, "gc", SimpleNamespace(isenabled=lambda: True, **quiet)),
    ):
        t = time_until_precise(repetitions.repeat, ["step"], 0.01, SECONDS, PACES["cuda"]).total
    return Answer(t.median, t.low, t.high, repetitions.now())


def naive(times: list[float], estimate: float, seconds: float) -> Answer:
    """The interval of independent repetitions, as a user computes it from the times that a clock returns."""
    half = 1.96 * statistics.stdev(times) / len(times) ** 0.5 if len(times) > 1 else 0.0
    return Answer(estimate, estimate - half, estimate + half, seconds)


def triton_do_bench(repetitions: Repetitions) -> Answer:
    """Triton's own function, with events that read the simulated time."""
    from triton import testing

    class Event:
        def __init__(self, enable_timing: bool = False) -> None:
            self.time = 0.0

        def record(self) -> None:
            self.time = repetitions.now()

        def elapsed_time(self, end: "Event") -> float:
            return 1e3 * (end.time - self.time)

    device = SimpleNamespace(Event=Event, synchronize=lambda: None)
    active = SimpleNamespace(
        get_device_interface=lambda: device,
        get_empty_cache_for_benchmark=lambda: None,
        clear_cache=lambda cache: None,
    )
    with mock.patch.object(testing, "runtime", SimpleNamespace(driver=SimpleNamespace(active=active))):
        times = testing.do_bench(repetitions.run, return_mode="all")
    return naive(times, statistics.fmean(times), repetitions.now())


def torch_blocked_autorange(repetitions: Repetitions) -> Answer:
    return _torch(repetitions, lambda timer: timer.blocked_autorange())


def torch_adaptive_autorange(repetitions: Repetitions) -> Answer:
    return _torch(repetitions, lambda timer: timer.adaptive_autorange())


def _torch(repetitions: Repetitions, measure: Callable[[benchmark.Timer], Any]) -> Answer:
    timer = benchmark.Timer("run()", timer=repetitions.now, globals={"run": repetitions.run})
    found = measure(timer)
    return naive([1e3 * t for t in found.times], 1e3 * found.median, repetitions.now())


CLOCKS = {
    "this harness": ours,
    "`do_bench`": triton_do_bench,
    "`blocked_autorange`": torch_blocked_autorange,
    "`adaptive_autorange`": torch_adaptive_autorange,
}


def table(runs: int) -> str:
    """Bias, spread and coverage of each clock in each case, as a table in Markdown."""
    rows = []
    for case in CASES:
        for name, clock in CLOCKS.items():
            answers = [clock(Repetitions(case, seed)) for seed in range(runs)]
            errors = [a.milliseconds / case.milliseconds - 1 for a in answers]
            within = [abs(e) <= 0.01 for e in errors]
            covered = [a.low <= case.milliseconds <= a.high for a in answers]
            rows.append(
                [
                    *(case.title, name, f"{statistics.fmean(errors):+.2%}", f"{statistics.pstdev(errors):.2%}"),
                    *(f"{statistics.fmean(within):.0%}", f"{statistics.fmean(covered):.0%}"),
                    f"{statistics.median(a.seconds for a in answers):.2g}",
                ]
            )
    return markdown(["simulated", "clock", "bias", "spread", "within 1%", "coverage", "seconds"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200, metavar="N", help="runs of each clock in each case")
    parser.add_argument("--output", type=Path, metavar="MD", help="write the table to a file; default: standard output")
    options = parser.parse_args()
    text = table(options.runs)
    if options.output is None:
        sys.stdout.write(text + "\n")
    else:
        options.output.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
