"""What it gains to train several small models side by side on one card."""

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, repeat
from multiprocessing import get_context
from typing import Any

import torch

from timm_regnet_ds._check import check_float

from .data import open_data
from .plan import Plan
from .tasks import Task, tasks_of
from .train import Training, device_of

__all__ = ["Sharing", "measure_sharing"]

WARMUP = 5
# A process that takes longer to begin is not coming.
BEGIN_SECONDS = 600


@dataclass(frozen=True)
class Sharing:
    """Images per second of training the same models.

    Args:
        models: how many.
        one_by_one: each having the device to itself, as long as each other.
        together: all at once, a process each, added up.
    """

    models: int
    one_by_one: float
    together: float

    def __str__(self) -> str:
        gain = self.together / self.one_by_one
        return (
            f"{self.models} models: {self.one_by_one:,.0f} images/s one by one, {self.together:,.0f} together "
            f"({gain:.2f} times as many)"
        )


def measure_sharing(plan: Plan, seconds: float = 10.0) -> Sharing:
    """Train the first ``plan.together`` models of the plan for a while, alone and side by side.

    Args:
        plan: of a sweep; nothing is written.
        seconds: for each model alone, and for all of them together.

    Raises:
        ValueError: as `sweep`.
    """
    check_float("seconds", seconds, above=0)
    tasks = tasks_of(replace(plan, models=plan.together))[: plan.together]
    alone, together = (_rates(replace(plan, together=n, jobs=1), tasks, seconds) for n in (1, plan.together))
    return Sharing(len(tasks), sum(alone) / len(tasks), sum(together))


def _rates(plan: Plan, tasks: list[Task], seconds: float) -> list[float]:
    """Images per second of each task, ``plan.together`` of them trained at the same time."""
    context = get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(plan.together, context) as pool:
        barrier = manager.Barrier(plan.together)
        return list(pool.map(_rate, repeat(plan), tasks, repeat(seconds), repeat(barrier)))


def _rate(plan: Plan, task: Task, seconds: float, barrier: Any) -> float:
    try:
        device = device_of(plan)
        data = open_data(plan, device)
        training = Training.of(task, plan, data, device)
        batches = chain.from_iterable(data.training(training.generator) for _ in repeat(None))
        for _ in range(WARMUP):
            training.step(*next(batches))
        _wait(device)
    except BaseException:
        barrier.abort()
        raise
    barrier.wait(BEGIN_SECONDS)
    start, seen = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        images, labels = next(batches)
        training.step(images, labels)
        seen += len(images)
    _wait(device)
    return seen / (time.perf_counter() - start)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
