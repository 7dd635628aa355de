"""The devices that models run on: their clocks, their memory and their backend flags."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import pairwise
from typing import Any

import torch

__all__ = [
    "CpuClock",
    "CudaClock",
    "backend_flags",
    "check_device",
    "clock_of",
    "default_device",
    "free_memory",
]


def default_device() -> str:
    """``cuda`` if a GPU is available, otherwise ``cpu``."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name: Any) -> torch.device:
    """The ``torch.device`` with this name; ``cuda`` means the current GPU.

    Raises:
        ValueError: this machine has no such device.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    here = ["cpu", *(f"cuda:{i}" for i in range(count))]
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        device = torch.device("meta")
    if device.type == "cuda" and count and device.index is None:
        device = torch.device("cuda", torch.cuda.current_device())
    if str(device) not in here:
        raise ValueError(f"no device {str(name)!r} on this machine (there is: {', '.join(here)})")
    return device


class CpuClock:
    """Times the steps of a repetition on the CPU, with a monotonic clock."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def time(self, steps: Sequence[Callable[[], object]]) -> list[float]:
        """Run the steps one after the other and return the milliseconds of each."""
        marks = [time.perf_counter()]
        for step in steps:
            step()
            marks.append(time.perf_counter())
        return [1e3 * (end - start) for start, end in pairwise(marks)]

    def reset_memory(self) -> None:
        """Do nothing: torch does not report its memory on the CPU."""

    def memory(self) -> tuple[int | None, int | None]:
        """Peak bytes (allocated, reserved) since `reset_memory`; None on the CPU."""
        return None, None


class CudaClock(CpuClock):
    """Times the steps with CUDA events. A repetition begins when the device has finished the previous one."""

    def time(self, steps: Sequence[Callable[[], object]]) -> list[float]:
        stream = torch.cuda.current_stream(self.device)
        events = [torch.cuda.Event(enable_timing=True) for _ in range(len(steps) + 1)]
        torch.cuda.synchronize(self.device)
        events[0].record(stream)
        for step, event in zip(steps, events[1:], strict=True):
            step()
            event.record(stream)
        torch.cuda.synchronize(self.device)
        return [start.elapsed_time(end) for start, end in pairwise(events)]

    def reset_memory(self) -> None:
        torch.cuda.reset_peak_memory_stats(self.device)

    def memory(self) -> tuple[int | None, int | None]:
        return torch.cuda.max_memory_allocated(self.device), torch.cuda.max_memory_reserved(self.device)


def clock_of(device: str) -> CpuClock:
    """The clock for a device."""
    parsed = torch.device(device)
    return (CudaClock if parsed.type == "cuda" else CpuClock)(parsed)


@contextmanager
def backend_flags(device: str, threads: int, tf32: bool) -> Iterator[None]:
    """Set torch's backends for a measurement while the context is active.

    ``threads`` CPU threads are used. On CUDA, the device is the current one, cuDNN benchmarks its algorithms, and TF32
    is allowed or not.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with ExitStack() as stack:
            if torch.device(device).type == "cuda":
                stack.enter_context(torch.cuda.device(device))
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=tf32))
                stack.enter_context(_matmul_tf32(tf32))
            yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _matmul_tf32(allowed: bool) -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high" if allowed else "highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def free_memory(device: str) -> None:
    """Collect garbage, and return the cached memory that no tensor uses to the device."""
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
