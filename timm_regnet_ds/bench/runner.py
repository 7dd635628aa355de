"""Measuring many models, and the file of their rows."""

import contextlib
import functools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from timm_regnet_ds.files.rows import RowsFile

from .counting import JobCounts
from .environment import device_name
from .harness import bench_in_forks
from .jobs import Job, Result
from .measurement import KIND, VERSION, upgrade_row
from .peaks import DevicePeaks, measure_peaks
from .progress import ExpectedTimes, ProgressLog, processes_for
from .setting import Setting
from .worker import Worker, WorkerEndedError

__all__ = ["read_results", "results_file", "run_jobs"]


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
    deadline: float | None = None,
    counts: JobCounts | None = None,
) -> Iterator[Result]:
    """Measure each job in fresh processes, append its row to a file, and yield its result.

    A model that fails gets a row too. The fresh processes know the models of timm and of this package, but not those
    that the caller's program registers; use `bench` for them.

    Args:
        jobs: what to measure.
        path: the file, which need not exist. ``None``: no file.
        resume: skip jobs of which the file has a row; they are not yielded.
        progress: say how long it will take, and show a bar; lines, if standard error is not a terminal.
        processes: number of processes that measure each model one after the other, each for a share of the seconds;
            their repetitions are pooled. ``None``: 3 on the CPU, where processes differ by some percent, 1 on a GPU.
        deadline: a model whose measurement takes longer than these seconds in all is ended and becomes a row with that
            reason. ``None``: five minutes and ten times the setting's seconds; more for ``compile`` and for the search
            of the largest batch.
        counts: the complexity of models that are counted already, for saying how long it will take.

    Raises:
        ValueError: a file that holds something else.
        RuntimeError: the device's peak rates cannot be measured.
    """
    from tqdm import tqdm

    file = None if path is None else results_file(path)
    existing = [Result.from_row(row) for row in file.read_if_exists()] if file is not None else []
    done = [r.job.key(r.device_name) for r in existing] if resume else []
    remaining = [job for job in jobs if job.key_here() not in done]
    with contextlib.ExitStack() as stack:
        worker = stack.enter_context(Worker())
        measured = functools.cache(functools.partial(measure_peaks, worker))

        def peaks_of(job: Job) -> DevicePeaks:
            return measured(job.setting.device, job.setting.dtype, job.setting.threads)

        expected = ExpectedTimes(processes, existing, JobCounts(existing) if counts is None else counts, peaks_of)
        log = ProgressLog(remaining, expected, enabled=progress)
        log.start(len(jobs))
        bar = stack.enter_context(tqdm(total=len(jobs), unit="model", disable=None if progress else True))
        bar.update(len(jobs) - len(remaining))
        for job in remaining:
            bar.set_postfix_str(job.model)
            peaks = peaks_of(job)
            result = _run_job(job, peaks, worker, processes_for(job, processes), deadline or _deadline(job.setting))
            if file is not None:
                file.append(result.to_row())
            bar.update()
            log.add(result)
            with bar.external_write_mode():
                yield result


# Seconds that a measurement may take: building the model and starting the device take up to some minutes, every
# repetition at most the setting's seconds; torch.compile in its slowest mode takes half an hour.
_DEADLINE_SECONDS = 300
_DEADLINE_TIMES = 10
_COMPILE_SECONDS = 3600
_BATCHES_TRIED = 40


def _deadline(setting: Setting) -> float:
    times = _DEADLINE_TIMES + (2 * _BATCHES_TRIED if setting.batch_size == "max" else 0)
    return _DEADLINE_SECONDS + times * setting.seconds + (_COMPILE_SECONDS if setting.compile else 0)


def _run_job(job: Job, peaks: DevicePeaks, worker: Worker, processes: int, deadline: float) -> Result:
    here = device_name(job.setting.device)
    try:
        args = (job.model, dict(job.model_args), job.setting, peaks, processes)
        return Result(job, here, worker.call_within(deadline, bench_in_forks, *args), None)
    except WorkerEndedError:
        raise
    except Exception as error:  # any error that a model raises
        return Result(job, here, None, str(error) or type(error).__name__)
