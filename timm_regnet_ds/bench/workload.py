"""A model prepared for a setting, and the steps of a repetition on inputs that take turns."""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from .folding import first_tensor, fold_batch_norms
from .setting import AUTOCAST_DTYPES, MODEL_DTYPES, Setting

__all__ = ["Workload", "prepare_model"]

# This many inputs take turns; fewer if together they would need more than _INPUT_BYTES.
_INPUTS = 4
_INPUT_BYTES = 2**30

_RUNS_BEFORE_CAPTURE = 3  # on a side stream, as torch's documentation of CUDA graphs prescribes


def prepare_model(model: nn.Module, setting: Setting, size: tuple[int, int, int]) -> nn.Module:
    """Copy a model and bring the copy into the setting's mode, format and device; fold and compile it if asked for.

    Raises:
        ValueError: the model has no gradient checkpointing, or its BatchNorm cannot be folded.
    """
    model = copy.deepcopy(model).train(setting.training)
    if setting.fold_bn:  # before the copy goes to the device, where TF32 would round too much to compare outputs
        fold_batch_norms(model, torch.randn(1, *size, device=next(model.parameters()).device))
    model = model.to(setting.device)
    if setting.grad_checkpointing:
        _checkpoint(model)
    model = model.to(dtype=MODEL_DTYPES.get(setting.dtype, torch.float32))
    if setting.channels_last:
        model = model.to(memory_format=torch.channels_last)
    if setting.compile is not None:
        compiled: Any = torch.compile(model, mode=setting.compile)
        return compiled
    return model


def _checkpoint(model: nn.Module) -> None:
    try:
        model.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AttributeError, AssertionError) as error:
        raise ValueError(f"{type(model).__name__} has no gradient checkpointing") from error


class Workload:
    """The steps of a repetition of one model.

    Args:
        model: returned by `prepare_model`.
        setting: how the model is measured.
        size: (channels, height, width).
        batch: number of images.

    Attributes:
        steps: functions by name, which one repetition calls in turn: ``inference``; ``forward``, ``backward`` and
            ``optimizer``; or ``graph``, which replays all of them.
    """

    def __init__(self, model: nn.Module, setting: Setting, size: tuple[int, int, int], batch: int) -> None:
        self.model = model
        self.setting = setting
        self.images = _images(setting, size, batch)
        self.index = 0
        self.image = self.images[0].clone()
        names = ("forward", "backward", "optimizer") if setting.training else ("inference",)
        self.steps: dict[str, Callable[[], None]] = {name: getattr(self, f"_{name}") for name in names}
        if setting.training:
            self._prepare_training(batch)
        if setting.cuda_graphs:
            self.steps = {"graph": self._record_graph()}

    def _prepare_training(self, batch: int) -> None:
        # With a learning rate this low the weights stay finite, however often the step is repeated.
        self.optimizer = create_optimizer_v2(self.model, opt=self.setting.optimizer, lr=1e-6)
        amp = self.setting.dtype == "amp" and self.setting.device_type == "cuda"
        self.scaler = torch.amp.GradScaler(self.setting.device_type, enabled=amp)
        with torch.no_grad(), self._autocast():
            classes = first_tensor(self.model(self.image)).shape[-1]
        generator = torch.Generator(self.setting.device).manual_seed(self.setting.seed + 1)
        self.labels = torch.randint(classes, (batch,), generator=generator, device=self.setting.device)
        self.loss_fn = nn.CrossEntropyLoss()
        self.loss: Any = None

    def load_next_batch(self) -> None:
        """Copy the next input in and clear the gradients. This is not part of the measured time."""
        self.image.copy_(self.images[self.index])
        self.index = (self.index + 1) % len(self.images)
        if self.setting.training and not self.setting.cuda_graphs:
            self.optimizer.zero_grad()

    def run(self) -> None:
        """Run one repetition without measuring it."""
        self.load_next_batch()
        for step in self.steps.values():
            step()

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.setting.dtype != "amp":
            return nullcontext()
        return torch.autocast(self.setting.device_type, AUTOCAST_DTYPES[self.setting.device_type])

    def _inference(self) -> None:
        with torch.inference_mode(), self._autocast():
            self.model(self.image)

    def _forward(self) -> None:
        with self._autocast():
            self.loss = self.loss_fn(first_tensor(self.model(self.image)), self.labels)

    def _backward(self) -> None:
        self.scaler.scale(self.loss).backward()

    def _optimizer(self) -> None:
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def _record_graph(self) -> Callable[[], None]:
        """Record all steps, with the clearing of the gradients, as one CUDA graph; return what replays it."""

        def all_steps() -> None:
            if self.setting.training:
                self.optimizer.zero_grad(set_to_none=True)
            for step in steps:
                step()

        steps = list(self.steps.values())
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_RUNS_BEFORE_CAPTURE):
                all_steps()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            all_steps()
        return graph.replay


def _images(setting: Setting, size: Sequence[int], batch: int) -> list[Tensor]:
    dtype = MODEL_DTYPES.get(setting.dtype, torch.float32)
    bytes_each = batch * size[0] * size[1] * size[2] * dtype.itemsize
    generator = torch.Generator(setting.device).manual_seed(setting.seed)
    format_ = torch.channels_last if setting.channels_last else torch.contiguous_format
    return [
        torch.randn(batch, *size, generator=generator, device=setting.device).to(dtype, memory_format=format_)
        for _ in range(max(1, min(_INPUTS, _INPUT_BYTES // bytes_each)))
    ]
