"""A model prepared for a setting, and the steps of a repetition on inputs that take turns."""

import copy
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from .folding import first_tensor, fold_batch_norms
from .setting import MODEL_DTYPES, Setting, autocast_dtype

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
            ``optimizer``; or, after `capture`, ``graph``, which replays all of them.
    """

    def __init__(self, model: nn.Module, setting: Setting, size: tuple[int, int, int], batch: int) -> None:
        self.model = model
        self.setting = setting
        self.images = _images(setting, size, batch)
        self.index = 0
        self.image = self.images[0].clone()
        names = ("forward", "backward", "optimizer") if setting.training else ("inference",)
        self.steps: dict[str, Callable[[], None]] = {name: getattr(self, f"_{name}") for name in names}
        self.captured = False
        self._cache = _cache_sized(setting.device) if setting.cache == "cold" else None
        if setting.training:
            self._prepare_training(batch)

    def _prepare_training(self, batch: int) -> None:
        # With a learning rate this low the weights stay finite, however often the step is repeated.
        self.optimizer = create_optimizer_v2(self.model, opt=self.setting.optimizer, lr=1e-6)
        scaled = autocast_dtype(self.setting.dtype, self.setting.device_type) == torch.float16
        self.scaler = torch.amp.GradScaler(self.setting.device_type, enabled=scaled)
        with torch.no_grad(), self._autocast():
            classes = first_tensor(self.model(self.image)).shape[-1]
        generator = torch.Generator(self.setting.device).manual_seed(self.setting.seed + 1)
        self.labels = torch.randint(classes, (batch,), generator=generator, device=self.setting.device)
        self.loss_fn = nn.CrossEntropyLoss()
        self.loss: Any = None

    @property
    def waits_for_device(self) -> bool:
        """Whether the host waits for the GPU in each repetition: whether gradients are finite, before a scaled step.

        Optimizers that take the scale themselves do not wait, and a recorded graph never does.
        """
        if self.captured or not self.setting.training:
            return False
        return self.scaler.is_enabled() and not getattr(self.optimizer, "_step_supports_amp_scaling", False)

    def load_next_batch(self) -> None:
        """Copy the next input in, clear the gradients and, if asked for, the cache. This is not part of the time."""
        self.image.copy_(self.images[self.index])
        self.index = (self.index + 1) % len(self.images)
        if self.setting.training and not self.captured:
            self.optimizer.zero_grad()
        if self._cache is not None:
            self._cache.zero_()

    def run(self) -> None:
        """Run one repetition without measuring it."""
        self.load_next_batch()
        for step in self.steps.values():
            step()

    def _autocast(self) -> AbstractContextManager[Any]:
        dtype = autocast_dtype(self.setting.dtype, self.setting.device_type)
        return nullcontext() if dtype is None else torch.autocast(self.setting.device_type, dtype)

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

    def capture(self, before_recording: Callable[[], object] = lambda: None) -> None:
        """Record all steps, with the clearing of the gradients, as one CUDA graph, which then is the only step.

        The steps run before on the stream that records them, since cuBLAS has a workspace for each stream. The loss of
        these runs is released, since it keeps their activations and the streams of their backward pass.

        Args:
            before_recording: called after these runs.
        """

        def all_steps() -> None:
            if self.setting.training:
                self.optimizer.zero_grad(set_to_none=True)
            for step in steps:
                step()

        steps = list(self.steps.values())
        # torch.cuda.graph's own stream belongs to the device of the first capture in a process.
        stream = torch.cuda.Stream(self.setting.device)
        stream.wait_stream(torch.cuda.current_stream(self.setting.device))
        with torch.cuda.stream(stream):
            for _ in range(_RUNS_BEFORE_CAPTURE):
                all_steps()
        torch.cuda.current_stream(self.setting.device).wait_stream(stream)
        self._release()
        before_recording()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            all_steps()
        self.steps = {"graph": graph.replay}
        self.captured = True

    def _release(self) -> None:
        if self.setting.training:
            self.loss = None
            self.optimizer.zero_grad(set_to_none=True)


# Bytes that are overwritten to empty a GPU's cache: at least as many as Triton's do_bench overwrites.
_GPU_CACHE_BYTES = 2**28
# The same on a CPU whose caches Linux does not tell.
_CPU_CACHE_BYTES = 2**26


def _cache_sized(device: str) -> Tensor:
    """A tensor of at least twice the size of the device's largest cache."""
    if torch.device(device).type == "cuda":
        known = getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 0)
        size = max(_GPU_CACHE_BYTES, 2 * known)
    else:
        size = 2 * max(map(_read_size, Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")), default=0)
        size = size or _CPU_CACHE_BYTES
    return torch.empty(size, dtype=torch.uint8, device=device)


def _read_size(path: Path) -> int:
    """The bytes in a file of Linux such as ``32768K``."""
    found = re.match(r"(\d+)([KMG]?)", path.read_text())
    return int(found[1]) * 1024 ** " KMG".index(found[2] or " ") if found else 0


def _images(setting: Setting, size: Sequence[int], batch: int) -> list[Tensor]:
    dtype = MODEL_DTYPES.get(setting.dtype, torch.float32)
    bytes_each = batch * size[0] * size[1] * size[2] * dtype.itemsize
    generator = torch.Generator(setting.device).manual_seed(setting.seed)
    format_ = torch.channels_last if setting.channels_last else torch.contiguous_format
    return [
        torch.randn(batch, *size, generator=generator, device=setting.device).to(dtype, memory_format=format_)
        for _ in range(max(1, min(_INPUTS, _INPUT_BYTES // bytes_each)))
    ]
