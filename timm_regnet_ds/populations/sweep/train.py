"""Training of one model with timm's optimizers, schedulers and losses."""

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

from timm_regnet_ds.common.memory import is_out_of_memory
from timm_regnet_ds.common.text import first_line

from .data import Data, open_data
from .plan import Plan
from .tasks import Outcome, Task

__all__ = ["TrainFn", "TrainState", "device_of", "make_trainer", "train_model"]

TrainFn = Callable[[Task], Outcome]

# Parts of messages of CUDA errors after which every later CUDA call of the process fails too.
_FATAL_CUDA_ERRORS = (
    "illegal memory access",
    "device-side assert",
    "unspecified launch failure",
    "misaligned address",
)


class DivergedError(Exception):
    """The loss is no longer finite."""


def make_trainer(plan: Plan) -> TrainFn:
    """Open the plan's dataset and return a function that trains one of the plan's models.

    The function returns a failure of the training as an `Outcome`. After a CUDA error that makes the device unusable
    for the process it ends the process.

    Raises:
        ValueError, FileNotFoundError: as `open_data`.
    """
    device = device_of(plan)
    data = open_data(plan, device)

    def run_task(task: Task) -> Outcome:
        start = time.perf_counter()
        try:
            error, failure = train_model(task, plan, data, device), None
        except Exception as exception:
            if any(text in str(exception).lower() for text in _FATAL_CUDA_ERRORS):
                os._exit(1)  # a new process trains the rest; it tries this model again before it is given up
            error, failure = None, _describe_failure(exception)
        if device.type == "cuda" and failure is not None:  # here the exception and the tensors it held are freed
            torch.cuda.empty_cache()
        return Outcome(error, failure, time.perf_counter() - start)

    return run_task


def train_model(task: Task, plan: Plan, data: Data, device: torch.device) -> float:
    """Train a model and return its top-1 error after the last epoch, in percent.

    Initial weights and the order of the images are determined by the task.

    Raises:
        DivergedError: the loss was not finite in some epoch.
    """
    state = TrainState.from_task(task, plan, data, device)
    update = 0
    for epoch in range(state.epochs):
        state.model.train()
        # Read once per epoch, because each read waits for the device.
        finite = torch.ones((), dtype=torch.bool, device=device)
        for images, labels in data.training_batches(state.generator):
            finite &= state.step(images, labels).isfinite()
            update += 1
            if state.scheduler is not None:
                state.scheduler.step_update(update)
        if state.scheduler is not None:
            state.scheduler.step(epoch + 1)
        if not finite:
            raise DivergedError(f"the loss was not finite in epoch {epoch + 1}")
    return validate(state.model, data)


def device_of(plan: Plan) -> torch.device:
    """The device on which the plan's models are trained.

    On the CPU this also limits the threads of this process to its share of the cores, since the plan's processes
    would slow each other down with more threads than cores.
    """
    device = torch.device(plan.device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "cpu":
        share = max(1, (os.cpu_count() or 1) // (plan.together * plan.jobs))
        torch.set_num_threads(min(torch.get_num_threads(), share))
    return device


@dataclass(frozen=True)
class TrainState:
    """A model and what trains it.

    Args:
        model: the model, on its device.
        loss: called with logits and labels.
        optimizer: timm's, or torch's if timm has none of its own under that name.
        scheduler: timm's learning rate scheduler, or ``None``.
        epochs: number of epochs, including those that the scheduler adds.
        generator: determines the order and the augmentation of the images.
    """

    model: nn.Module
    loss: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: Any
    epochs: int
    generator: torch.Generator

    @classmethod
    def from_task(cls, task: Task, plan: Plan, data: Data, device: torch.device) -> "TrainState":
        """Build a task's model, with weights and a generator that are seeded by the task's seed and index."""
        torch.manual_seed(task.seed * 1_000_003 + task.index)
        space = plan.space(task.space)
        config = space.from_json(dict(task.config))
        model = space.build(config, num_classes=data.num_classes, in_chans=data.in_chans).to(device)
        optimizer = create_optimizer_v2(
            model, plan.optimizer, plan.learning_rate, plan.weight_decay, momentum=plan.momentum
        )
        scheduler, epochs = create_scheduler_v2(
            optimizer, plan.scheduler, plan.epochs, step_on_epochs=False, updates_per_epoch=data.updates_per_epoch
        )
        loss = LabelSmoothingCrossEntropy(plan.smoothing) if plan.smoothing else nn.CrossEntropyLoss()
        generator = torch.Generator(device).manual_seed(torch.initial_seed())
        return cls(model, loss, optimizer, scheduler, epochs, generator)

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Update the weights once and return the loss before the update."""
        self.optimizer.zero_grad()
        loss: Tensor = self.loss(self.model(images), labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()


@torch.inference_mode()
def validate(model: nn.Module, data: Data) -> float:
    """Top-1 error on the validation set, in percent."""
    model.eval()
    correct = total = 0
    for images, labels in data.validation_batches():
        correct += (model(images).argmax(1) == labels).sum()
        total += len(labels)
    return 100 * (1 - float(correct) / total)


def _describe_failure(exception: Exception) -> str:
    if isinstance(exception, DivergedError):
        return str(exception)
    if is_out_of_memory(exception):
        return f"out of memory: {first_line(exception)}"
    return f"{type(exception).__name__}: {first_line(exception)}"
