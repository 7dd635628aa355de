"""The devices that models run on: their clocks, their memory, their switches."""

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
    "check_device",
    "clock_of",
    "default_device",
    "release",
    "switches",
]


def default_device() -> str:
    """The first GPU where there is one, otherwise the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_device(name: Any) -> torch.device:
    """The device of a name.

    Raises:
        ValueError: no such device on this machine.
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
    """A monotonic clock around each step of a repetition."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def time(self, steps: Sequence[Callable[[], None]]) -> list[float]:
        """Milliseconds of each of the steps, run one after the other."""
        marks = [time.perf_counter()]
        for step in steps:
            step()
            marks.append(time.perf_counter())
        return [1e3 * (end - start) for start, end in pairwise(marks)]

    def reset_memory(self) -> None:
        """Nothing: how much memory torch holds on the CPU is not known."""

    def memory(self) -> tuple[int | None, int | None]:
        """Peak bytes allocated and reserved."""
        return None, None


class CudaClock(CpuClock):
    """Events on the device around each step; a repetition begins when the device has finished the one before."""

    def time(self, steps: Sequence[Callable[[], None]]) -> list[float]:
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
    """The clock of a device."""
    where = torch.device(device)
    return (CudaClock if where.type == "cuda" else CpuClock)(where)


@contextmanager
def switches(device: str, threads: int, tf32: bool) -> Iterator[None]:
    """For its length: the device is current, so many threads, TF32 on or off, cuDNN tries its algorithms."""
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


def release(device: str) -> None:
    """Give back what no tensor uses any more."""
    gc.collect()
    if torch.device(device).type == "cuda":
        torch.cuda.empty_cache()
