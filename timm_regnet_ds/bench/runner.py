"""Measuring many models, and the file of their rows."""

import functools
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from timm_regnet_ds.files.rows import RowsFile

from .environment import device_name
from .harness import bench_named, with_batch_size
from .loading import label_of, load_model
from .measurement import KIND, VERSION, Measurement, upgrade_row
from .peaks import DevicePeaks, measure_peaks
from .sampling import StepTimes
from .setting import Setting
from .worker import Worker, WorkerEndedError

__all__ = ["Job", "Result", "read_results", "results_file", "run_jobs"]

# By default, this many processes measure each model: on the CPU, times of fresh processes differ by some percent.
_DEFAULT_PROCESSES = {"cpu": 3, "cuda": 1}


@dataclass(frozen=True)
class Job:
    """A model to be measured.

    Attributes:
        model: registered name.
        setting: the setting as asked for; its batch size may be ``max``, and its input size None.
        model_args: arguments of ``timm.create_model``.
        tags: values by which a study finds the result again, such as base and strategy.
    """

    model: str
    setting: Setting
    model_args: Mapping[str, Any] = field(default_factory=dict)
    tags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The model's name with its arguments."""
        return label_of(self.model, self.model_args)

    def key(self, device_name: str) -> dict[str, Any]:
        """The part of a row that identifies the job on a device, as values that JSON gives back unchanged."""
        row = {
            "model": self.model,
            "model_args": dict(self.model_args),
            "asked": self.setting.to_dict(),
            "device_name": device_name,
            "tags": dict(self.tags),
        }
        normalized: dict[str, Any] = json.loads(json.dumps(row))
        return normalized

    def key_here(self) -> dict[str, Any]:
        """`key` on this machine's device."""
        return self.key(device_name(self.setting.device))


@dataclass(frozen=True)
class Result:
    """The measurement of a job on a device, or the reason why it failed."""

    job: Job
    device_name: str
    measurement: Measurement | None
    failure: str | None

    def to_row(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        measured = {} if self.measurement is None else self.measurement.to_row()
        return self.job.key(self.device_name) | measured | {"failure": self.failure}

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Result":
        """Read what `to_row` wrote.

        Raises:
            ValueError: a row in which something is missing.
        """
        try:
            job = Job(row["model"], Setting.from_dict(row["asked"]), row["model_args"], row["tags"])
            measurement = Measurement.from_row(row) if row["failure"] is None else None
            return cls(job, row["device_name"], measurement, row["failure"])
        except KeyError as error:
            raise ValueError(f"a row of {row.get('model')!r} lacks {error}") from error


def results_file(path: str | Path) -> RowsFile:
    """The file of rows at a path."""
    return RowsFile(Path(path), KIND, VERSION, upgrades={1: upgrade_row})


def read_results(paths: Iterable[str | Path]) -> list[Result]:
    """Read all results in some files.

    Raises:
        ValueError: a broken line before the last, or a row of another kind or version, or an incomplete row.
        FileNotFoundError: no such file.
    """
    return [Result.from_row(row) for path in paths for row in results_file(path).read()]


def run_jobs(
    jobs: Sequence[Job],
    path: str | Path | None = None,
    resume: bool = False,
    progress: bool = False,
    processes: int | None = None,
) -> Iterator[Result]:
    """Measure each job in fresh processes, append its row to a file, and yield its result.

    A model that fails gets a row too. The fresh processes know the models of timm and of this package, but not those
    that the caller's program registers; use `bench` for them.

    Args:
        jobs: what to measure.
        path: the file, which need not exist. ``None``: no file.
        resume: skip jobs of which the file has a row; they are not yielded.
        progress: show a bar with the remaining time, if standard error is a terminal.
        processes: number of processes that measure each model one after the other, each for a share of the seconds;
            their repetitions are pooled. ``None``: 3 on the CPU, where processes differ by some percent, 1 on a GPU.

    Raises:
        ValueError: a file that holds something else.
        RuntimeError: the device's peak rates cannot be measured.
    """
    from tqdm import tqdm

    file = None if path is None else results_file(path)
    existing = [] if file is None else file.read_if_exists()
    done = [r.job.key(r.device_name) for r in map(Result.from_row, existing)] if resume else []
    remaining = [job for job in jobs if job.key_here() not in done]
    if progress and not sys.stderr.isatty():
        longest = sum(job.setting.seconds for job in remaining) / 60
        print(f"{len(remaining)} of {len(jobs)} models to measure, in at most {longest:.0f} min", file=sys.stderr)
    with Worker() as worker, tqdm(total=len(jobs), unit="model", disable=None if progress else True) as bar:
        bar.update(len(jobs) - len(remaining))
        peaks_of = functools.cache(functools.partial(measure_peaks, worker))
        for job in remaining:
            bar.set_postfix_str(job.model)
            peaks = peaks_of(job.setting.device, job.setting.dtype, job.setting.threads)
            result = _run_job(job, peaks, worker, processes or _DEFAULT_PROCESSES[job.setting.device_type])
            if file is not None:
                file.append(result.to_row())
            bar.update()
            with bar.external_write_mode():
                yield result


def _run_job(job: Job, peaks: DevicePeaks, worker: Worker, processes: int) -> Result:
    here = device_name(job.setting.device)
    try:
        return Result(job, here, _measure(job, peaks, worker, processes), None)
    except WorkerEndedError:
        raise
    except Exception as error:  # any error that a model raises
        return Result(job, here, None, str(error) or type(error).__name__)


def _measure(job: Job, peaks: DevicePeaks, worker: Worker, processes: int) -> Measurement:
    setting = job.setting.replace(seconds=job.setting.seconds / processes)
    load = functools.partial(load_model, job.model, dict(job.model_args), setting.input_size, setting.seed)
    setting = with_batch_size(worker, job.label, load, setting)
    measurements: list[Measurement] = []
    times: list[StepTimes] = []
    for _ in range(processes):
        measurement, step_times = worker.call(bench_named, job.model, dict(job.model_args), setting, peaks)
        measurements.append(measurement)
        times.append(step_times)
        # On a GPU, the first process has looked for the largest batch.
        setting = setting.replace(batch_size=measurement.setting.batch_size)
    pooled = StepTimes.pooled(times, job.setting.precision)
    first = measurements[0]
    return replace(
        first,
        setting=first.setting.replace(seconds=job.setting.seconds),
        timing=pooled.total,
        steps=pooled.steps,
        warm_up=pooled.warm_up,
        warm_up_steady=pooled.warm_up_steady,
        precision_met=pooled.precision_met,
        processes=processes,
    )
