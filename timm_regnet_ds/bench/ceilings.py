"""What the device itself reaches: the rate of a large matrix product, and of a large copy."""

import functools
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch

from .devices import clock_of, switches
from .setting import AUTOCAST, NUMBERS
from .worker import Worker

__all__ = ["Ceilings", "ceilings_by", "measure_ceilings", "measured_here"]

# Sides of square matrices that are tried in turn, and bytes that are copied: the largest are at the device's best.
_SIDES = {"cpu": (256, 512, 1024, 2048), "cuda": (1024, 2048, 4096, 8192)}
_COPIED = {"cpu": 2**27, "cuda": 2**31}
_REPETITIONS = 9

# The next side is tried where its product will take less than these seconds: eight times what this one took.
_PATIENCE = 0.2


@dataclass(frozen=True)
class Ceilings:
    """A device's own measured best.

    Attributes:
        flops: operations per second of a matrix product; a multiply-add is two.
        bytes: read and written per second by a copy.
    """

    flops: float
    bytes: float

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


@functools.cache
def measure_ceilings(device: str, dtype: str, threads: int) -> Ceilings:
    """The ceilings of a device for numbers of one kind; measured once, and in another process (see `Worker`).

    Args:
        device: ``cpu`` or ``cuda:0``.
        dtype: as in `Setting`.
        threads: of the CPU.

    Raises:
        RuntimeError: they cannot be measured.
    """
    with Worker() as worker:
        return ceilings_by(worker, device, dtype, threads)


def ceilings_by(worker: Worker, device: str, dtype: str, threads: int) -> Ceilings:
    """The same, measured by a worker and not remembered."""
    answer = worker.ask("ceilings", device=device, dtype=dtype, threads=threads)
    failure = answer.pop("failure")
    if failure is not None:
        raise RuntimeError(f"the ceilings of {device} cannot be measured: {failure}")
    return Ceilings(**answer)


def measured_here(device: str, dtype: str, threads: int) -> Ceilings:
    """The same, measured in this process."""
    kind = torch.device(device).type
    number = AUTOCAST[kind] if dtype == "amp" else NUMBERS.get(dtype, torch.float32)
    with torch.inference_mode(), switches(device, threads, tf32=dtype == "tf32"):
        return Ceilings(_matrix_rate(device, _SIDES[kind], number), _copy_rate(device, _COPIED[kind]))


def _matrix_rate(device: str, sides: Sequence[int], dtype: torch.dtype) -> float:
    best = 0.0
    for side in sides:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        seconds = _seconds(device, partial(torch.mm, a, b, out=torch.empty_like(a)))
        best = max(best, 2 * side**3 / seconds)
        if 8 * seconds > _PATIENCE:
            break
    return best


def _copy_rate(device: str, count: int) -> float:
    source = torch.ones(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * count / _seconds(device, partial(target.copy_, source))


def _seconds(device: str, step: Any) -> float:
    clock = clock_of(device)
    times = [clock.time([step])[0] for _ in range(_REPETITIONS)]
    return statistics.median(times[2:]) / 1e3
