"""The largest batch that fits."""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from timm_regnet_ds._memory import is_out_of_memory

from .devices import release

__all__ = ["largest_batch"]

# No search goes beyond it: with more, a batch is only longer.
_MOST = 2**15

# Share of the CPU's free memory that a batch may take: the machine has other programs.
_SHARE = 0.7


def largest_batch(attempt: Callable[[int], object], device: str, seconds: float) -> int:
    """The most images with which ``attempt`` succeeds, by doubling and then bisecting; no memory is left behind.

    On a GPU a batch does not fit when memory runs out. On the CPU, where the system would first slow down and then
    kill, it does not fit when a smaller one says that it would take more than the memory that is free.

    Args:
        attempt: runs a step with so many images.
        device: where it runs.
        seconds: a batch whose step takes longer is too large as well.

    Raises:
        RuntimeError: not even one image fits.
        ValueError: a CPU whose system does not say how much memory a process takes.
    """
    host = _HostMemory() if torch.device(device).type == "cpu" else None

    def fits(batch: int) -> bool:
        if host is not None and not host.holds(batch):
            return False
        release(device)  # of what was attempted before
        if host is not None:
            host.start()
        start = time.monotonic()
        try:
            attempt(batch)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            short = True
        else:
            short = False
        seconds_taken = time.monotonic() - start
        if short:  # by now the error is gone, and what its frames held with it
            release(device)
            return False
        if host is not None:
            host.note(batch)
        return batch == 1 or seconds_taken <= seconds

    low = 1
    try:
        if not fits(1):
            raise RuntimeError(f"not even a batch of one image fits into the memory of {device}")
    except ValueError:  # BatchNorm, in training, refuses a single value
        low = 2
        if not fits(2):
            raise RuntimeError(f"not even a batch of two images fits into the memory of {device}") from None
    while low < _MOST and fits(2 * low):
        low *= 2
    high = 2 * low
    while low < _MOST and high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


class _HostMemory:
    """How much of the machine's memory an image takes, as this process's peak says (Linux)."""

    def __init__(self) -> None:
        self.free = _kilobytes("/proc/meminfo", "MemAvailable")
        self.for_one = 0.0

    def start(self) -> None:
        """Before a batch is attempted."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        self.before = _kilobytes("/proc/self/status", "VmRSS")

    def note(self, batch: int) -> None:
        """After a batch was attempted."""
        self.for_one = (_kilobytes("/proc/self/status", "VmHWM") - self.before) / batch

    def holds(self, batch: int) -> bool:
        """Whether a batch is within the share of the free memory, as the last one says."""
        return batch * self.for_one <= _SHARE * self.free


def _kilobytes(path: str, name: str) -> int:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError as error:
        raise ValueError("batch_size 'max' on the CPU needs Linux's /proc: give a number") from error
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
