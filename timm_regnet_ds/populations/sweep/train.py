"""Training of one model, by timm: its optimizers, schedulers and losses."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2
from torch import Tensor, nn

from timm_regnet_ds._memory import is_out_of_memory

from .data import Data, open_data
from .plan import Plan
from .tasks import Outcome, Task

__all__ = ["Train", "Training", "device_of", "train", "trainer"]

Train = Callable[[Task], Outcome]


class DivergedError(Exception):
    """The loss is no longer finite."""


def trainer(plan: Plan) -> Train:
    """Open the plan's dataset; return what trains one of its models.

    Raises:
        ValueError, FileNotFoundError: as `open_data`.
    """
    device = device_of(plan)
    data = open_data(plan, device)

    def train_task(task: Task) -> Outcome:
        start = time.perf_counter()
        try:
            error, failure = train(task, plan, data, device), None
        except Exception as exception:
            if _leaves_the_card_failing(exception):
                os._exit(1)  # a new process trains the rest; this model is tried again, and then given up
            error, failure = None, _reason(exception)
        if device.type == "cuda" and failure is not None:  # the exception, and what it held, is gone
            torch.cuda.empty_cache()
        return Outcome(error, failure, time.perf_counter() - start)

    return train_task


def train(task: Task, plan: Plan, data: Data, device: torch.device) -> float:
    """Train a model; return its top-1 error after the last epoch, in percent.

    The same task gives the same weights at the start and the same order of images.

    Raises:
        DivergedError: the loss is not finite in some epoch.
    """
    training = Training.of(task, plan, data, device)
    update = 0
    for epoch in range(training.epochs):
        training.model.train()
        # Looked at once an epoch: each look waits for the device.
        finite = torch.ones((), dtype=torch.bool, device=device)
        for images, labels in data.training(training.generator):
            finite &= training.step(images, labels).isfinite()
            update += 1
            if training.scheduler is not None:
                training.scheduler.step_update(update)
        if training.scheduler is not None:
            training.scheduler.step(epoch + 1)
        if not finite:
            raise DivergedError(f"the loss was not finite in epoch {epoch + 1}")
    return validate(training.model, data)


def device_of(plan: Plan) -> torch.device:
    """Where the plan's models are trained. On a CPU its processes are given a share of the threads each."""
    device = torch.device(plan.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cpu":
        # More threads than cores would get in each other's way.
        share = max(1, (os.cpu_count() or 1) // (plan.together * plan.jobs))
        torch.set_num_threads(min(torch.get_num_threads(), share))
    return device


@dataclass(frozen=True)
class Training:
    """A model and what trains it: timm's, or torch's where timm has none of its own."""

    model: nn.Module
    loss: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    epochs: int
    generator: torch.Generator

    @classmethod
    def of(cls, task: Task, plan: Plan, data: Data, device: torch.device) -> "Training":
        """Of a task, with weights and an order of images that follow from its seed and index."""
        torch.manual_seed(task.seed * 1_000_003 + task.index)
        space = plan.space(task.space)
        config = space.from_json(dict(task.config))
        model = space.build(config, num_classes=data.num_classes, in_chans=data.in_chans).to(device)
        optimizer = create_optimizer_v2(
            model, plan.optimizer, plan.learning_rate, plan.weight_decay, momentum=plan.momentum
        )
        scheduler, epochs = create_scheduler_v2(
            optimizer, plan.scheduler, plan.epochs, step_on_epochs=False, updates_per_epoch=data.updates
        )
        loss = LabelSmoothingCrossEntropy(plan.smoothing) if plan.smoothing else nn.CrossEntropyLoss()
        generator = torch.Generator(device).manual_seed(torch.initial_seed())
        return cls(model, loss, optimizer, scheduler, epochs, generator)

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """One update; the loss before it."""
        self.optimizer.zero_grad()
        loss: Tensor = self.loss(self.model(images), labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


@torch.inference_mode()
def validate(model: nn.Module, data: Data) -> float:
    """Top-1 error, in percent."""
    model.eval()
    right = seen = 0
    for images, labels in data.validation():
        right += (model(images).argmax(1) == labels).sum()
        seen += len(labels)
    return 100 * (1 - float(right) / seen)


def _leaves_the_card_failing(exception: Exception) -> bool:
    """Whether every later call of CUDA in this process fails too."""
    signs = ("illegal memory access", "device-side assert", "unspecified launch failure", "misaligned address")
    return any(sign in str(exception).lower() for sign in signs)


def _reason(exception: Exception) -> str:
    if isinstance(exception, DivergedError):
        return str(exception)
    first = (str(exception).strip().splitlines() or [""])[0]
    if is_out_of_memory(exception):
        return f"out of memory: {first}"
    return f"{type(exception).__name__}: {first}"
