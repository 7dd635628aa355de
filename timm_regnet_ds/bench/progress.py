"""How long a run takes: estimated before it starts, and again from the models that it has measured."""

import statistics
import sys
from collections.abc import Callable, Iterable, Sequence

from .counting import JobCounts
from .jobs import Job, Result
from .measurement import PASSES
from .peaks import DevicePeaks
from .sampling import PACES

__all__ = ["ExpectedTimes", "ProgressLog", "processes_for"]

# By default, this many processes measure each model: on the CPU, times of fresh processes differ by some percent.
_DEFAULT_PROCESSES = {"cpu": 3, "cuda": 1}

# Seconds that a model takes beside its repetitions, until there are measurements that tell: it is built and counted
# once, each process is forked and, on a GPU, starts CUDA and loads its libraries.
_BESIDE = {"cpu": 1.2, "cuda": 8.0}

# A process runs at least this many repetitions: an untimed one, one of the warm-up, and three that are counted.
_LEAST_REPETITIONS = 5

# A line is printed after this many models, and then after each such share of all models.
_FIRST_LINE = 3
_LINE_SHARE = 0.1


def processes_for(job: Job, processes: int | None) -> int:
    """The number of processes that measure a model: as given, or by the type of device."""
    return processes or _DEFAULT_PROCESSES[job.setting.device_type]


class ExpectedTimes:
    """Estimates how long models take, from what they compute and from what other models took.

    Args:
        processes: as for ``run_jobs``.
        measured: results of an earlier run, which count until there is one of this run.
        counts: the complexity of the models.
        peaks_of: the peak rates of a job's device. A repetition on the CPU is expected to take its operations divided
            by the one rate plus its bytes divided by the other, multiplied by the ``slowness`` of the counts.
    """

    def __init__(
        self,
        processes: int | None,
        measured: Iterable[Result],
        counts: JobCounts,
        peaks_of: Callable[[Job], DevicePeaks],
    ) -> None:
        self._processes = processes
        self._measured = list(measured)
        self._is_earlier = True
        self._counts = counts
        self._peaks_of = peaks_of

    def add(self, result: Result) -> None:
        """Take a result of this run into account."""
        if self._is_earlier:
            self._measured, self._is_earlier = [], False
        self._measured.append(result)

    def seconds(self, jobs: Sequence[Job]) -> float:
        """Seconds in which the jobs are measured.

        What the measured models took beside the seconds of their settings is expected of the others too; a model whose
        time is soon precise takes less than its seconds.
        """
        beside: dict[str, list[float]] = {}
        ratios: list[float] = []
        for job, m in [(r.job, r.measurement) for r in self._measured if r.measurement is not None]:
            repetition = m.timing.median / 1e3
            if m.wall_seconds is not None:
                spent = m.wall_seconds - _planned(job, m.processes, repetition)
                beside.setdefault(job.setting.device_type, []).append(spent)
            if expected := self._repetition(job):
                ratios.append(repetition / expected)
        means = {kind: statistics.fmean(values) for kind, values in beside.items()}
        repetitions = [self._repetition(job) for job in jobs]
        # How slow other programs make this machine. The peaks do not tell: their products are over in a moment.
        slowness = self._counts.slowness
        slower = statistics.median(ratios) if ratios else slowness
        total = 0.0
        for job, repetition in zip(jobs, repetitions, strict=True):
            planned = _planned(job, processes_for(job, self._processes), slower * repetition)
            kind = job.setting.device_type
            total += max(planned + means.get(kind, slowness * _BESIDE[kind]), 0.0)
        return total

    def _repetition(self, job: Job) -> float:
        """Seconds of a repetition; 0 where it is not known: on a GPU, where it is short beside the rest."""
        setting = job.setting
        counts = self._counts.of(job) if setting.device_type == "cpu" and setting.batch_size != "max" else None
        if counts is None:
            return 0.0
        peaks, batch = self._peaks_of(job), setting.batch_size
        moved = batch * counts.bytes + counts.weight_bytes
        return PASSES[setting.mode] * (2 * batch * counts.flops / peaks.ops_per_second + moved / peaks.bytes_per_second)


def _planned(job: Job, processes: int, repetition: float) -> float:
    """Seconds of warm-up and repetitions in all processes, if no process reaches its precision earlier."""
    share = PACES[job.setting.device_type].longest(job.setting.seconds / processes)
    return processes * max(share, _LEAST_REPETITIONS * repetition)


class ProgressLog:
    """Prints lines on standard error: how many models there are, and how long they still take.

    Args:
        jobs: what is to be measured.
        expected: how long they take.
        enabled: whether lines are printed. On a terminal, only the first is.
    """

    def __init__(self, jobs: Sequence[Job], expected: ExpectedTimes, enabled: bool) -> None:
        self._jobs = jobs
        self._expected = expected
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
        self._expected.add(result)
        if self._enabled and not sys.stderr.isatty() and self._next_line <= self._count < len(self._jobs):
            self._next_line = max(self._count + 1, round(self._count + _LINE_SHARE * len(self._jobs)))
            print(f"{self._count} of {len(self._jobs)} measured, about {self._left()} left", file=sys.stderr)

    def _left(self) -> str:
        return _duration(self._expected.seconds(self._jobs[self._count :]))


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 600 else f"{seconds / 60:.0f} min"
