"""The jobs of a sweep: batches of models, trained by processes that may be killed at any time.

The remaining tasks are those that the plan samples and that have no row yet. A process that trains a model holds a
file lock, which the operating system releases if the process dies. After acquiring it, a process first checks whether
the row has appeared. So no model is trained twice and none is lost, even if several sweeps write to the same rows.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from .plan import Plan
from .tasks import Key, Outcome, Task, finished_keys, row_of, tasks_of
from .train import TrainFn, make_trainer

__all__ = ["SweepJob", "sweep"]

# A model is given up after this many crashes of the process that trains it.
MAX_CRASHES = 2
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class SweepJob:
    """A job: a callable that trains those of its tasks that have no row and that no other process trains.

    Args:
        plan: the sweep.
        tasks: the job's tasks.
        prepare: called once; returns the function that trains a model.
        cuda_device: the CUDA device to train on, as in ``CUDA_VISIBLE_DEVICES``. ``None``: leave that to the plan.
    """

    plan: Plan
    tasks: tuple[Task, ...]
    prepare: Callable[[Plan], TrainFn] = make_trainer
    cuda_device: str | None = None

    def __call__(self) -> None:
        if self.cuda_device is not None:
            # submitit hides all CUDA devices from its local jobs unless asked, and then counts them from 0.
            os.environ["CUDA_VISIBLE_DEVICES"] = self.cuda_device
        train = None
        for task in _remaining(self.plan, self.tasks):
            try:
                with _lock(self.plan, task):
                    if task.key in finished_keys(self.plan, [task]):
                        continue
                    train = train or self.prepare(self.plan)
                    started = _started_marker(self.plan, task)
                    started.touch()
                    self.plan.rows.append(row_of(task, self.plan, train(task)))
                    started.unlink()
            except Timeout:  # another process is training this model
                continue

    def checkpoint(self) -> Any:
        """The job that submitit submits when this one runs out of time: the same one, which continues."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _lock(plan: Plan, task: Task) -> FileLock:
    return FileLock(plan.folder / f"{task.name}.lock", timeout=0)


def _started_marker(plan: Plan, task: Task) -> Path:
    """A file that exists while the model is trained, and that remains if the process dies meanwhile."""
    return plan.folder / f"{task.name}.started"


def sweep(plan: Plan, prepare: Callable[[Plan], TrainFn] = make_trainer, progress: bool = True) -> list[dict[str, Any]]:
    """Train the plan's models that have no row yet; return the rows of all its models, in the order of the sample.

    Args:
        plan: the sweep.
        prepare: called once in each process; returns the function that trains a model.
        progress: show a progress bar.

    Raises:
        ValueError: an unknown space, limits that no model meets, or rows of another plan in the plan's file.
        RuntimeError: a job failed for a reason that is not a model's, such as a missing dataset.
        ImportError: submitit or tqdm is not installed.
    """
    tasks = tasks_of(plan)
    plan.folder.mkdir(parents=True, exist_ok=True)
    crashes: Counter[Key] = Counter()
    with _progress_bar(len(tasks), len(finished_keys(plan, tasks)), progress) as bar:
        while remaining := _remaining(plan, tasks):
            for crashed in _poll_jobs(plan, remaining, prepare):
                if crashed is not None:
                    _record_crash(plan, crashed, crashes)
                bar.update(len(finished_keys(plan, tasks)) - bar.n)
            # Other sweeps are training what remains.
            time.sleep(POLL_SECONDS)
    rows = {(row["space"], row["seed"], row["index"]): row for row in plan.rows.read()}
    return [rows[task.key] for task in tasks]


def _remaining(plan: Plan, tasks: Sequence[Task]) -> list[Task]:
    finished = finished_keys(plan, tasks)
    return [task for task in tasks if task.key not in finished]


def _poll_jobs(plan: Plan, tasks: Sequence[Task], prepare: Callable[[Plan], TrainFn]) -> Iterator[SweepJob | None]:
    """Submit jobs of ``plan.chunk`` tasks, with at most ``plan.jobs`` of them running, until all have ended.

    Yields each crashed job, and None when a job ends normally or about every two seconds, so that the caller can
    update its progress bar.
    """
    executor, devices = _executor(plan), _local_cuda_devices(plan)
    starts = iter(range(0, len(tasks), plan.chunk))
    running: list[tuple[Any, SweepJob]] = []
    for poll in count():
        while len(running) < plan.jobs and (start := next(starts, None)) is not None:
            load = Counter(job.cuda_device for _, job in running)
            device = min(devices, key=lambda name: load[name]) if devices else None
            job = SweepJob(plan, tuple(tasks[start : start + plan.chunk]), prepare, device)
            running.append((executor.submit(job), job))
        if not running:
            return
        ended = [pair for pair in running if pair[0].done()]
        running = [pair for pair in running if pair not in ended]
        for submitted, job in ended:
            yield job if _has_crashed(submitted) else None
        if not ended:
            if poll % 10 == 9:
                yield None
            time.sleep(POLL_SECONDS)


def _executor(plan: Plan) -> Any:
    import submitit

    executor = submitit.AutoExecutor(plan.folder / "%j", cluster=plan.executor)
    given = {"name": "sweep", "timeout_min": plan.timeout_min, "tasks_per_node": plan.together, **plan.parameters}
    try:
        executor.update_parameters(**given)
    except (NameError, AssertionError) as error:  # submitit's errors for an unknown name and for a wrong type
        raise ValueError(f"parameters: {' '.join(str(error).split())}") from error
    return executor


def _local_cuda_devices(plan: Plan) -> list[str]:
    """The machine's CUDA devices, over which local jobs are spread."""
    if plan.executor != "local" or not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]


def _has_crashed(submitted: Any) -> bool:
    """Whether a job of submitit ended without a result.

    Raises:
        RuntimeError: the job raised an exception, which no model's training does.
    """
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        submitted.results()
    except FailedJobError as error:
        raise RuntimeError(f"a job of the sweep failed: {_last_line(error)}") from error
    except UncompletedJobError:
        return True
    return False


def _last_line(error: Exception) -> str:
    """The last line of the traceback, which submitit's message puts between two lines of dashes."""
    trace = str(error).split("\n---")
    return (trace[1] if len(trace) > 2 else trace[0]).strip().splitlines()[-1]


def _record_crash(plan: Plan, job: SweepJob, crashes: Counter[Key]) -> None:
    """Count a crash for the model that the job was training; after `MAX_CRASHES`, append a row with the failure."""
    for task in job.tasks:
        started = _started_marker(plan, task)
        try:
            with _lock(plan, task):
                if not started.exists() or task.key in finished_keys(plan, [task]):
                    continue
                crashes[task.key] += 1
                if crashes[task.key] >= MAX_CRASHES:
                    outcome = Outcome(None, f"its process died, {MAX_CRASHES} times", 0.0)
                    plan.rows.append(row_of(task, plan, outcome))
                started.unlink()
        except Timeout:  # another process is training this model
            continue


def _progress_bar(total: int, initial: int, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, initial=initial, unit="model", disable=None if progress else True, dynamic_ncols=True)
