"""The state of an NVIDIA GPU while a model runs: clocks, power, temperature and throttling, read through NVML."""

import contextlib
import importlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

__all__ = ["DeviceMonitor", "open_monitor", "pooled_state"]

# Seconds between two readings. One takes about a millisecond of the host, while repetitions wait in the GPU's queue.
_PERIOD = 0.25

# Bits of NVML's mask of reasons for lower clocks, without those that do not slow a running model (idle, clocks that the
# user has set).
_THROTTLING = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x10: "sync boost",
    0x20: "temperature, by software",
    0x40: "temperature, by hardware",
    0x80: "power brake",
}


class DeviceMonitor:
    """Reads the state of one GPU from time to time.

    Args:
        nvml: the module ``pynvml``, initialized.
        handle: NVML's handle of the GPU.
        now: a clock, in seconds.
    """

    def __init__(self, nvml: Any, handle: Any, now: Callable[[], float] = time.monotonic) -> None:
        self._nvml = nvml
        self._handle = handle
        self._now = now
        self._next = now()
        self._readings: dict[str, list[float]] = {"sm_mhz": [], "memory_mhz": [], "watts": [], "celsius": []}
        self._throttled: list[int] = []

    def sample(self) -> None:
        """Read the state, if the last reading is some time ago. What the GPU does not report is left out."""
        if self._now() < self._next:
            return
        self._next = self._now() + _PERIOD
        nvml, handle = self._nvml, self._handle
        readers: dict[str, Callable[[], float]] = {
            "sm_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            "memory_mhz": lambda: nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM),
            "watts": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
            "celsius": lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
        }
        for name, read in readers.items():
            with contextlib.suppress(nvml.NVMLError):
                self._readings[name].append(read())
        with contextlib.suppress(nvml.NVMLError):
            self._throttled.append(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))

    def summary(self) -> dict[str, Any] | None:
        """Medians of the readings, the range of the clock, and the share of readings with each reason to throttle.

        None if nothing was read.
        """
        found: dict[str, Any] = {name: statistics.median(values) for name, values in self._readings.items() if values}
        if clocks := self._readings["sm_mhz"]:
            found |= {"sm_mhz_min": min(clocks), "sm_mhz_max": max(clocks)}
        if self._throttled:
            shares = {name: _share(self._throttled, bit) for bit, name in _THROTTLING.items()}
            found["throttled"] = {name: share for name, share in shares.items() if share}
        return found or None


def pooled_state(states: Sequence[Mapping[str, Any] | None]) -> Mapping[str, Any] | None:
    """The state over several processes, from their summaries: the means, and the range of the clock."""
    known = [state for state in states if state is not None]
    if len(known) < 2:
        return known[0] if known else None
    names = dict.fromkeys(name for state in known for name in state)
    found: dict[str, Any] = {
        name: _POOLED.get(name, statistics.fmean)([state[name] for state in known if name in state])
        for name in names
        if name != "throttled"
    }
    if "throttled" in names:
        shares = [state.get("throttled", {}) for state in known]
        reasons = dict.fromkeys(reason for share in shares for reason in share)
        found["throttled"] = {reason: statistics.fmean(s.get(reason, 0.0) for s in shares) for reason in reasons}
    return found


_POOLED: Mapping[str, Callable[[Sequence[float]], float]] = {"sm_mhz_min": min, "sm_mhz_max": max}


def _share(masks: list[int], bit: int) -> float:
    return sum(bool(mask & bit) for mask in masks) / len(masks)


def open_monitor(device: str) -> DeviceMonitor | None:
    """A monitor of a GPU; None for the CPU, without the package ``nvidia-ml-py``, or where NVML does not answer."""
    if torch.device(device).type != "cuda":
        return None
    try:
        nvml: Any = importlib.import_module("pynvml")
        nvml.nvmlInit()
    except Exception:  # not installed, or no driver
        return None
    try:
        return DeviceMonitor(nvml, _handle(nvml, device))
    except nvml.NVMLError:
        return None


def _handle(nvml: Any, device: str) -> Any:
    """NVML numbers all GPUs, torch those in CUDA_VISIBLE_DEVICES: the UUID is the same for both."""
    index = torch.device(device).index or 0
    uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    if uuid is None:
        return nvml.nvmlDeviceGetHandleByIndex(index)
    return nvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}".encode())
