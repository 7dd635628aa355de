"""Throughput of training several small models side by side on one device, against one at a time."""

import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import chain, repeat
from multiprocessing import get_context
from typing import Any

import torch

from timm_regnet_ds.common.check import check_float

from .data import open_data
from .plan import Plan
from .tasks import Task, tasks_of
from .train import TrainState, device_of

__all__ = ["Sharing", "measure_sharing"]

# Training steps before the measurement begins.
WARMUP = 5
# How long processes wait for each other to be ready.
START_TIMEOUT = 600


@dataclass(frozen=True)
class Sharing:
    """Training throughput of the same models in images per second.

    Args:
        models: number of models.
        one_by_one: mean throughput when each model trains alone, for equal times.
        together: total throughput when all train at the same time, each in a process of its own.
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
    """Train the first ``plan.together`` models of the plan for a short time, one by one and side by side.

    Args:
        plan: the plan of a sweep; no rows are written.
        seconds: duration of the measurement of each model alone, and of all of them together.

    Raises:
        ValueError: as `sweep`, or ``seconds`` is not above 0.
    """
    check_float("seconds", seconds, above=0)
    tasks = tasks_of(replace(plan, models=plan.together))[: plan.together]
    alone, together = (_throughputs(replace(plan, together=n, jobs=1), tasks, seconds) for n in (1, plan.together))
    return Sharing(len(tasks), sum(alone) / len(tasks), sum(together))


def _throughputs(plan: Plan, tasks: list[Task], seconds: float) -> list[float]:
    """Images per second of each task, with ``plan.together`` of them trained at the same time."""
    context = get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(plan.together, context) as pool:
        barrier = manager.Barrier(plan.together)
        return list(pool.map(_throughput, repeat(plan), tasks, repeat(seconds), repeat(barrier)))


def _throughput(plan: Plan, task: Task, seconds: float, barrier: Any) -> float:
    """Images per second of one task, measured from the moment when all processes at the barrier are ready."""
    try:
        device = device_of(plan)
        data = open_data(plan, device)
        state = TrainState.from_task(task, plan, data, device)
        batches = chain.from_iterable(data.training_batches(state.generator) for _ in repeat(None))
        for _ in range(WARMUP):
            state.step(*next(batches))
        _synchronize(device)
    except BaseException:
        barrier.abort()
        raise
    barrier.wait(START_TIMEOUT)
    start, seen = time.perf_counter(), 0
    while time.perf_counter() < start + seconds:
        images, labels = next(batches)
        state.step(images, labels)
        seen += len(images)
    _synchronize(device)
    return seen / (time.perf_counter() - start)


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
