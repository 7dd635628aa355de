"""A sweep's jobs: chunks of models, worked through by processes that may be killed at any instant.

What is to be done is what the plan samples less the rows there are. Whoever trains a model holds its lock, which the
system lets go with the process; whoever gets it looks first whether there is a row meanwhile. So a model is not
trained twice, whoever else works on the same rows, and none is lost.
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
from .tasks import Key, Outcome, Task, done, row_of, tasks_of
from .train import Train, trainer

__all__ = ["Chunk", "sweep"]

# A model under which its process ends without a word, twice, is given up.
MOST_DEATHS = 2
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Chunk:
    """A job: train those of the tasks that nobody else does, or has done.

    Args:
        plan: the sweep.
        tasks: the chunk.
        prepare: called once, makes what trains a model.
        card: CUDA card to train on; ``None``: whatever there is.
    """

    plan: Plan
    tasks: tuple[Task, ...]
    prepare: Callable[[Plan], Train] = trainer
    card: str | None = None

    def __call__(self) -> None:
        if self.card is not None:
            # submitit's local jobs see no card unless asked, and then count cards from 0.
            os.environ["CUDA_VISIBLE_DEVICES"] = self.card
        train = None
        for task in _remaining(self.plan, self.tasks):
            try:
                with _lock(self.plan, task):
                    if task.key in done(self.plan, [task]):
                        continue
                    train = train or self.prepare(self.plan)
                    begun = _begun(self.plan, task)
                    begun.touch()
                    self.plan.rows.append(row_of(task, self.plan, train(task)))
                    begun.unlink()
            except Timeout:
                continue

    def checkpoint(self) -> Any:
        """What submitit puts in its place when its time is over: the same, which goes on where this stopped."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _lock(plan: Plan, task: Task) -> FileLock:
    return FileLock(plan.folder / f"{task.name}.lock", timeout=0)


def _begun(plan: Plan, task: Task) -> Path:
    """A file that is there while the model is trained, and after its process died of it."""
    return plan.folder / f"{task.name}.begun"


def sweep(plan: Plan, prepare: Callable[[Plan], Train] = trainer, progress: bool = True) -> list[dict[str, Any]]:
    """Train what the plan samples and has no row yet; return all its rows, in the order of the sample.

    Args:
        plan: the sweep.
        prepare: called once in each process, makes what trains a model; by default `trainer`.
        progress: show how many models are done and the remaining time.

    Raises:
        ValueError: an unknown space, limits without models, or rows of another plan.
        RuntimeError: a job failed for another reason than a model: no dataset, perhaps.
        ImportError: without submitit and, for progress, tqdm.
    """
    tasks = tasks_of(plan)
    plan.folder.mkdir(parents=True, exist_ok=True)
    deaths: Counter[Key] = Counter()
    with _bar(len(tasks), len(done(plan, tasks)), progress) as bar:
        while remaining := _remaining(plan, tasks):
            for ended in _ended_jobs(plan, remaining, prepare):
                if ended is not None:
                    _bury(plan, ended, deaths)
                bar.update(len(done(plan, tasks)) - bar.n)
            # What is left is being trained by others.
            time.sleep(POLL_SECONDS)
    order = {task.key: place for place, task in enumerate(tasks)}
    rows = {(row["space"], row["seed"], row["index"]): row for row in plan.rows.read()}
    return [rows[key] for key in order]


def _remaining(plan: Plan, tasks: Sequence[Task]) -> list[Task]:
    finished = done(plan, tasks)
    return [task for task in tasks if task.key not in finished]


def _ended_jobs(plan: Plan, tasks: Sequence[Task], prepare: Callable[[Plan], Train]) -> Iterator[Chunk | None]:
    """Submit the tasks in chunks, ``plan.jobs`` at once. Yields each job that died, and None as time goes by."""
    executor, cards = _executor(plan), _cards(plan)
    starts = iter(range(0, len(tasks), plan.chunk))
    running: list[tuple[Any, Chunk]] = []
    for number in count():
        while len(running) < plan.jobs and (start := next(starts, None)) is not None:
            # The card on which the fewest jobs are.
            busy = Counter(work.card for _, work in running)
            card = min(cards, key=lambda card: busy[card]) if cards else None
            work = Chunk(plan, tuple(tasks[start : start + plan.chunk]), prepare, card)
            running.append((executor.submit(work), work))
        if not running:
            return
        ended = [pair for pair in running if pair[0].done()]
        running = [pair for pair in running if pair not in ended]
        for job, work in ended:
            yield work if _died(job) else None
        if not ended:
            if number % 10 == 9:
                yield None
            time.sleep(POLL_SECONDS)


def _executor(plan: Plan) -> Any:
    import submitit

    executor = submitit.AutoExecutor(plan.folder / "%j", cluster=plan.executor)
    given = {"name": "sweep", "timeout_min": plan.timeout_min, "tasks_per_node": plan.together, **plan.parameters}
    try:
        executor.update_parameters(**given)
    except (NameError, AssertionError) as error:  # what submitit says of an unknown name and of a wrong type
        raise ValueError(f"parameters: {' '.join(str(error).split())}") from error
    return executor


def _cards(plan: Plan) -> list[str]:
    """Names of the machine's cards, of which local jobs are given one each."""
    if plan.executor != "local" or not torch.cuda.is_available():
        return []
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]


def _died(job: Any) -> bool:
    """Whether a job that ended left no result.

    Raises:
        RuntimeError: it left an exception, which is not a model's.
    """
    from submitit.core.utils import FailedJobError, UncompletedJobError

    try:
        job.results()
    except FailedJobError as error:
        raise RuntimeError(f"a job of the sweep failed: {_last_line(error)}") from error
    except UncompletedJobError:
        return True
    return False


def _last_line(error: Exception) -> str:
    """What was raised: the last line of the trace, which submitit puts between lines of dashes."""
    trace = str(error).split("\n---")
    return (trace[1] if len(trace) > 2 else trace[0]).strip().splitlines()[-1]


def _bury(plan: Plan, work: Chunk, deaths: Counter[Key]) -> None:
    """Note under which model a job died; give up one under which that happened before."""
    for task in work.tasks:
        begun = _begun(plan, task)
        try:
            with _lock(plan, task):
                if not begun.exists() or task.key in done(plan, [task]):
                    continue
                deaths[task.key] += 1
                if deaths[task.key] >= MOST_DEATHS:
                    outcome = Outcome(None, f"its process died, {MOST_DEATHS} times", 0.0)
                    plan.rows.append(row_of(task, plan, outcome))
                begun.unlink()
        except Timeout:
            continue


def _bar(total: int, initial: int, progress: bool) -> Any:
    from tqdm import tqdm

    return tqdm(total=total, initial=initial, unit="model", disable=None if progress else True, dynamic_ncols=True)
