"""The largest batch that fits into memory."""

import resource
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from timm_regnet_ds.common.memory import is_out_of_memory, is_too_large
from timm_regnet_ds.common.text import first_line
from timm_regnet_ds.complexity import Complexity

from .clocks import clock_of
from .devices import free_memory
from .flags import backend_flags
from .setting import Setting
from .worker import ProcessDiedError
from .workload import Workload, prepare_model

__all__ = [
    "MAX_BATCH_SIZE",
    "Call",
    "ModelLoader",
    "fits_in_child",
    "fits_in_process",
    "largest_batch",
    "largest_batch_on_cpu",
    "largest_batch_on_cuda",
]

ModelLoader: TypeAlias = Callable[[], tuple[nn.Module, Complexity]]

# Calls a function in a process of its own: ``Worker.call`` or `call_in_fork`.
Call: TypeAlias = Callable[..., Any]

# The search ends here: throughput does not grow with larger batches.
MAX_BATCH_SIZE = 2**15

_NOT_ONE = "not even a batch of one image fits into the memory of {}"

# The search ends when the largest batch is known to this fraction.
_TOLERANCE = 0.02

# Fraction of the machine's free memory that a batch may take on the CPU; other programs need some too.
_MEMORY_SHARE = 0.7


def largest_batch(fits: Callable[[int], bool], device: str) -> int:
    """The largest batch size for which ``fits`` is true, to 2%, by doubling and then bisecting.

    Args:
        fits: whether a batch of this size fits.
        device: the device's name, for the error.

    Raises:
        RuntimeError: not even one image fits.
    """
    low = 1
    try:
        if not fits(1):
            raise RuntimeError(_NOT_ONE.format(device))
    except ValueError:  # BatchNorm, in training, refuses a single value per channel
        low = 2
        if not fits(2):
            raise RuntimeError(f"not even a batch of two images fits into the memory of {device}") from None
    while low < MAX_BATCH_SIZE and fits(2 * low):
        low *= 2
    high = 2 * low
    while low < MAX_BATCH_SIZE and high - low > max(1, _TOLERANCE * low):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def largest_batch_on_cuda(model: nn.Module, setting: Setting, size: tuple[int, int, int]) -> int:
    """The largest batch that fits into a GPU's memory. It is searched in this process, which keeps no memory.

    Args:
        model: an unprepared model.
        setting: how the model is measured. A batch whose repetition takes longer than its seconds does not fit.
        size: (channels, height, width).

    Raises:
        RuntimeError: not even one image fits.
    """
    # Compiling or recording every batch that is tried, and trying cuDNN's algorithms for it, would take longer than the
    # search itself.
    plain = setting.replace(compile=None, cuda_graphs=False)
    with backend_flags(setting.device, setting.threads, tf32=setting.dtype == "tf32", autotune=False):
        attempt = partial(_run_twice, prepare_model(model, plain, size), plain, size)
        return largest_batch(partial(fits_in_process, attempt, setting.device, setting.seconds), setting.device)


def largest_batch_on_cpu(call: Call, load: ModelLoader, setting: Setting) -> int:
    """The largest batch with which a process takes at most 70% of the memory that is free when the search begins.

    Every batch is tried in a fresh process: what a process has freed does not count as its memory when it is used
    again, and without a limit the system would slow down and then end a process.

    Args:
        call: calls a function in a process of its own.
        load: a function that returns the model and its complexity, picklable if ``call`` needs that.
        setting: how the model is measured. A batch whose repetition takes longer than its seconds does not fit.

    Raises:
        RuntimeError: not even one image fits.
        ValueError: a system other than Linux.
    """
    limit = int(_MEMORY_SHARE * _read_bytes("/proc/meminfo", "MemAvailable"))
    attempt = partial(_load_and_run_twice, load, setting)
    return largest_batch(partial(fits_in_child, call, attempt, limit, setting.seconds), setting.device)


def fits_in_process(attempt: Callable[[int], float], device: str, seconds: float, batch: int) -> bool:
    """Whether ``attempt`` succeeds with a batch, and within the seconds if there are several images.

    Args:
        attempt: runs a batch of this size and returns the seconds that it took.
        device: the device whose memory is freed before and after.
        seconds: time limit.
        batch: number of images.
    """
    free_memory(device)
    try:
        taken = attempt(batch)
    except Exception as error:
        if not (is_out_of_memory(error) or is_too_large(error)):
            raise
        if batch == 1:  # cuBLAS and cuDNN also fail so for other reasons than memory
            raise RuntimeError(f"{_NOT_ONE.format(device)}: {first_line(error)}") from error
        taken = None
    if taken is None:  # only now, outside of the handler, the error's frames no longer hold tensors
        free_memory(device)
        return False
    return batch == 1 or taken <= seconds


def fits_in_child(call: Call, attempt: Callable[[int], float], limit: int, seconds: float, batch: int) -> bool:
    """The same for an attempt in a process of its own, which may take ``limit`` bytes, and may die."""
    try:
        usage: _Usage | None = call(_measure_usage, attempt, limit, batch)
    except ProcessDiedError:
        return False
    return usage is not None and usage.peak_bytes <= limit and (batch == 1 or usage.seconds <= seconds)


@dataclass(frozen=True)
class _Usage:
    peak_bytes: int
    seconds: float


def _measure_usage(attempt: Callable[[int], float], limit: int, batch: int) -> _Usage | None:
    """Run an attempt in this process; None if more than ``limit`` bytes were needed."""
    before = _read_bytes("/proc/self/status", "VmRSS")
    # Allocations beyond the limit fail, so that a batch that is too large does not take the machine's memory first.
    data = _read_bytes("/proc/self/status", "VmData") + limit
    resource.setrlimit(resource.RLIMIT_DATA, (data, resource.getrlimit(resource.RLIMIT_DATA)[1]))
    with suppress(OSError):  # if other programs use up the memory meanwhile, the system ends this process first
        Path("/proc/self/oom_score_adj").write_text("1000")
    try:
        seconds = attempt(batch)
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        return None
    return _Usage(_read_bytes("/proc/self/status", "VmHWM") - before, seconds)


def _load_and_run_twice(load: ModelLoader, setting: Setting, batch: int) -> float:
    model, complexity = load()
    with backend_flags(setting.device, setting.threads, tf32=False):
        ready = prepare_model(model, setting.replace(compile=None), complexity.input_size)
        return _run_twice(ready, setting, complexity.input_size, batch)


def _run_twice(ready: nn.Module, setting: Setting, size: tuple[int, int, int], batch: int) -> float:
    """Run two repetitions and return the seconds of the second.

    The optimizer allocates its state in the first, so the second needs the most memory. The first takes longer.
    """
    clock = clock_of(setting.device)
    workload = Workload(ready, setting, size, batch)
    workload.run()
    clock.synchronize()
    start = time.monotonic()
    workload.run()
    clock.synchronize()
    return time.monotonic() - start


def _read_bytes(path: str, name: str) -> int:
    """An amount of memory in one of Linux's ``/proc`` files, which state it in kB."""
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise ValueError("batch_size 'max' on the CPU needs Linux's /proc: give a number") from error
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
