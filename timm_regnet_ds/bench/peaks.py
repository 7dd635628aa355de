"""The device's own measured peaks: the rate of a large matrix product, and that of a large copy."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch

from .clocks import clock_of
from .flags import backend_flags
from .setting import MODEL_DTYPES, autocast_dtype
from .worker import Worker, WorkerEndedError

__all__ = ["DevicePeaks", "measure_peaks", "measure_peaks_in_process"]

# Sides of the square matrices that are multiplied in turn, and bytes that are copied. The largest reach the peak.
_SIDES = {"cpu": (256, 512, 1024, 2048), "cuda": (1024, 2048, 4096, 8192)}
_COPY_BYTES = {"cpu": 2**27, "cuda": 2**31}
_REPETITIONS = 9

# Starting a GPU and measuring its peaks takes seconds.
_DEADLINE_SECONDS = 600

# A product of twice the side takes eight times as long. It is tried only if that is less than these seconds.
_MAX_SECONDS = 0.2


@dataclass(frozen=True)
class DevicePeaks:
    """The two peaks of the roofline model, as measured on a device.

    Attributes:
        ops_per_second: operations per second of a matrix product, where a multiply-add counts as two.
        bytes_per_second: bytes read and written per second by a copy.
    """

    ops_per_second: float
    bytes_per_second: float


def measure_peaks(worker: Worker, device: str, dtype: str, threads: int) -> DevicePeaks:
    """Measure a device's peaks in a fresh process.

    Args:
        worker: makes the call.
        device: ``cpu`` or ``cuda:0``.
        dtype: as in `Setting`.
        threads: number of CPU threads.

    Raises:
        RuntimeError: the measurement failed.
    """
    try:
        return worker.call_within(_DEADLINE_SECONDS, measure_peaks_in_process, device, dtype, threads)
    except WorkerEndedError:
        raise
    except Exception as error:
        raise RuntimeError(f"the peak rates of {device} cannot be measured: {error}") from error


def measure_peaks_in_process(device: str, dtype: str, threads: int) -> DevicePeaks:
    """`measure_peaks` in this process."""
    kind = torch.device(device).type
    number = autocast_dtype(dtype, kind) or MODEL_DTYPES.get(dtype, torch.float32)
    with torch.inference_mode(), backend_flags(device, threads, tf32=dtype == "tf32"):
        return DevicePeaks(_matrix_rate(device, _SIDES[kind], number), _copy_rate(device, _COPY_BYTES[kind]))


def _matrix_rate(device: str, sides: Sequence[int], dtype: torch.dtype) -> float:
    best = 0.0
    for side in sides:
        a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
        seconds = _seconds(device, partial(torch.mm, a, b, out=torch.empty_like(a)))
        best = max(best, 2 * side**3 / seconds)
        if 8 * seconds > _MAX_SECONDS:
            break
    return best


def _copy_rate(device: str, size: int) -> float:
    source = torch.ones(size, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / _seconds(device, partial(target.copy_, source))


def _seconds(device: str, step: Callable[[], object]) -> float:
    clock = clock_of(device)
    times = [clock.time([step])[0] for _ in range(_REPETITIONS)]
    return statistics.median(times[2:]) / 1e3
