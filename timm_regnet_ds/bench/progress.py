"""How long a run takes: estimated before it starts, and again from the models that it has measured."""

import statistics
import sys
from collections.abc import Sequence

from .jobs import Job, Result
from .sampling import PACES

__all__ = ["ProgressLog", "estimate_seconds", "processes_for"]

# By default, this many processes measure each model: on the CPU, times of fresh processes differ by some percent.
_DEFAULT_PROCESSES = {"cpu": 3, "cuda": 1}

# Seconds that a model takes beside its repetitions, until there are measurements that tell: it is built and counted
# once, each process is forked and, on a GPU, starts CUDA and loads its libraries.
_BESIDE = {"cpu": 2.0, "cuda": 8.0}

# A line is printed after this many models, and then after each such share of all models.
_FIRST_LINE = 3
_LINE_SHARE = 0.1


def processes_for(job: Job, processes: int | None) -> int:
    """The number of processes that measure a model: as given, or by the type of device."""
    return processes or _DEFAULT_PROCESSES[job.setting.device_type]


def estimate_seconds(jobs: Sequence[Job], processes: int | None, measured: Sequence[Result]) -> float:
    """Seconds in which the jobs are measured.

    Args:
        jobs: what is to be measured.
        processes: as for ``run_jobs``.
        measured: results of this run or of an earlier one. What their models took beside the seconds of their settings
            is expected of the others too; a model whose time is soon precise takes less than its seconds.
    """
    beside: dict[str, list[float]] = {}
    for result in measured:
        m = result.measurement
        if m is not None and m.wall_seconds is not None:
            kind = result.job.setting.device_type
            beside.setdefault(kind, []).append(m.wall_seconds - _planned(result.job, m.processes))
    means = {kind: statistics.fmean(values) for kind, values in beside.items()}
    return sum(
        max(_planned(job, processes_for(job, processes)) + means.get(kind, _BESIDE[kind]), 0.0)
        for job in jobs
        for kind in [job.setting.device_type]
    )


def _planned(job: Job, processes: int) -> float:
    """Seconds of warm-up and repetitions in all processes, if none is precise before."""
    return processes * PACES[job.setting.device_type].longest(job.setting.seconds / processes)


class ProgressLog:
    """Prints lines on standard error: how many models there are, and how long they still take.

    Args:
        jobs: what is to be measured.
        processes: as for ``run_jobs``.
        measured: results of an earlier run.
        enabled: whether lines are printed.
    """

    def __init__(self, jobs: Sequence[Job], processes: int | None, measured: Sequence[Result], enabled: bool) -> None:
        self._jobs = jobs
        self._processes = processes
        self._measured = list(measured)
        self._enabled = enabled
        self._count = 0
        self._next_line = _FIRST_LINE

    def start(self, total: int) -> None:
        """Print the number of models and the estimate."""
        if self._enabled and self._jobs:
            print(f"{len(self._jobs)} of {total} models to measure, in about {self._left()}", file=sys.stderr)

    def add(self, result: Result) -> None:
        """Count a result, and print a line from time to time."""
        self._count += 1
        # What this run takes tells more than an earlier run.
        self._measured = [result] if self._count == 1 else [*self._measured, result]
        if self._enabled and self._next_line <= self._count < len(self._jobs):
            self._next_line = max(self._count + 1, round(self._count + _LINE_SHARE * len(self._jobs)))
            print(f"{self._count} of {len(self._jobs)} measured, about {self._left()} left", file=sys.stderr)

    def _left(self) -> str:
        return _duration(estimate_seconds(self._jobs[self._count :], self._processes, self._measured))


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
