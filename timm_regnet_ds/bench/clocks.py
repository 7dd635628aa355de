"""The clocks of the devices: what a repetition takes, back to back and alone."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol

import torch

from .nvml import DeviceMonitor
from .sampling import Rows
from .timing import MIN_REPETITIONS, Timing

__all__ = ["CallTimes", "CpuClock", "CudaClock", "Repetition", "clock_of"]


class Repetition(Protocol):
    """What is timed: the steps, after an input has been loaded."""

    @property
    def steps(self) -> Mapping[str, Callable[[], object]]: ...

    @property
    def waits_for_device(self) -> bool:
        """Whether the host is known to wait for a result of the GPU, so that it cannot launch all steps ahead."""

    def load_next_batch(self) -> None: ...


@dataclass(frozen=True)
class CallTimes:
    """The milliseconds of single calls, each of which begins when the GPU is idle; empty on the CPU.

    Attributes:
        latencies: from the call until the GPU has finished.
        launches: while the host launches the kernels and the GPU takes none of them up.
        runs: while the GPU runs them, after all of them were launched. Empty, as ``launches``, if they cannot all be
            launched before: the GPU's queue is too short for them, or the host waits for a result.
    """

    latencies: Sequence[float] = ()
    launches: Sequence[float] = ()
    runs: Sequence[float] = ()

    @property
    def latency(self) -> Timing | None:
        """Timing of the calls; None if there are none, as for ``launch`` and ``device``."""
        return _timing(self.latencies)

    @property
    def launch(self) -> Timing | None:
        return _timing(self.launches)

    @property
    def device(self) -> Timing | None:
        return _timing(self.runs)

    @classmethod
    def pooled(cls, parts: Sequence["CallTimes"]) -> "CallTimes":
        """Pool the calls of several processes, as far as each of them has these times."""
        columns = [[getattr(part, name) for part in parts] for name in ("latencies", "launches", "runs")]
        return cls(*([ms for part in column for ms in part] if all(column) else [] for column in columns))


def _timing(milliseconds: Sequence[float]) -> Timing | None:
    return Timing.of(milliseconds) if milliseconds else None


class CpuClock:
    """Times the steps of a repetition on the CPU, with a monotonic clock."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def time(self, steps: Sequence[Callable[[], object]]) -> list[float]:
        """Run the steps one after the other, on an idle device, and return the milliseconds of each."""
        marks = [time.perf_counter()]
        for step in steps:
            step()
            marks.append(time.perf_counter())
        return [1e3 * (end - start) for start, end in pairwise(marks)]

    def repeat(self, repetition: Repetition, seconds: float) -> Rows:
        """Run repetitions back to back for about this long, at least one; return the milliseconds of their steps."""
        steps = list(repetition.steps.values())
        rows: Rows = []
        end = time.perf_counter() + seconds
        while not rows or time.perf_counter() < end:
            repetition.load_next_batch()
            rows.append(self.time(steps))
        return rows

    def synchronize(self) -> None:
        """Wait until the device has finished."""

    def time_calls(self, repetition: Repetition, seconds: float) -> CallTimes:
        """Time single calls for about this long; not on the CPU, where a call takes what a repetition takes."""
        return CallTimes()

    def reset_memory(self) -> None:
        """Return cached memory to the device and begin a new peak. On the CPU, torch does not report its memory."""

    def memory(self) -> tuple[int | None, int | None]:
        """Peak bytes (allocated, reserved) since `reset_memory`; None on the CPU."""
        return None, None

    def device_state(self) -> Mapping[str, Any] | None:
        """Clocks, power, temperature and throttling of the device while it ran; None if they are unknown."""
        return None


# Back to back, this many milliseconds of work wait in the GPU's queue, in at least this many and at most that many
# repetitions: the GPU never waits for the host, unless the host takes longer to launch than the GPU to run.
_QUEUED_MS = 20.0
_QUEUED_REPETITIONS = (2, 64)

# torch.cuda._sleep keeps the GPU busy for a number of its cycles. It is calibrated with this number, about 5 ms.
_CALIBRATION_CYCLES = 10_000_000
# The sleep lasts this many times the launch of the call, and at least this many milliseconds. If the call is not queued
# by then, the sleep is doubled once, or up to 50 ms, but never beyond 2 s. A host that waits for a result of the GPU
# waits for any sleep to end, so that longer ones would only take time.
_SLEEP_LAUNCHES = 1.5
_MIN_SLEEP_MS = 1.0
_DOUBLED_SLEEP_MS = 50.0
_MAX_SLEEP_MS = 2000.0

# A call that takes longer than these milliseconds is timed twice, since six of them would take too long.
_SLOW_CALL_MS = 500.0


class CudaClock(CpuClock):
    """Times the steps with CUDA events.

    Args:
        device: the GPU.
        monitor: reads the GPU's clocks while it runs.
        cuda: the module ``torch.cuda``, or what simulates it.
        now: the host's clock, in seconds.
    """

    def __init__(
        self,
        device: torch.device,
        monitor: DeviceMonitor | None = None,
        cuda: Any = torch.cuda,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(device)
        self._monitor = monitor
        self._cuda = cuda
        self._now = now
        self._pending: deque[list[Any]] = deque()
        self._free: list[Any] = []
        self._depth = _QUEUED_REPETITIONS[0]

    def synchronize(self) -> None:
        self._cuda.synchronize(self.device)

    def time(self, steps: Sequence[Callable[[], object]]) -> list[float]:
        self.synchronize()
        events = self._launch(steps)
        self.synchronize()
        return self._read(events)

    def repeat(self, repetition: Repetition, seconds: float) -> Rows:
        """Run repetitions back to back for about this long, at least one; return the milliseconds of their steps.

        The host launches a repetition while the GPU runs earlier ones, and waits for none of them to finish before it
        launches the next. The last ones are still running when this returns; the next call returns their times.
        """
        steps = list(repetition.steps.values())
        rows: Rows = []
        end = self._now() + seconds
        while not rows or self._now() < end:
            repetition.load_next_batch()
            self._pending.append(self._launch(steps))
            if self._monitor is not None:
                self._monitor.sample()
            while len(self._pending) > self._depth:
                rows.append(self._finish_oldest())
                self._depth = _queue_depth(sum(rows[-1]))
        return rows

    def _finish_oldest(self) -> list[float]:
        events = self._pending.popleft()
        events[-1].synchronize()
        return self._read(events)

    def _launch(self, steps: Sequence[Callable[[], object]]) -> list[Any]:
        """Launch the steps and return the events before, between and after them."""
        stream = self._cuda.current_stream(self.device)
        events = [self._event()]
        events[0].record(stream)
        for step in steps:
            step()
            events.append(self._event())
            events[-1].record(stream)
        return events

    def _event(self) -> Any:
        return self._free.pop() if self._free else self._cuda.Event(enable_timing=True)

    def _read(self, events: list[Any]) -> list[float]:
        times = [start.elapsed_time(end) for start, end in pairwise(events)]
        self._free += events
        return times

    def time_calls(self, repetition: Repetition, seconds: float) -> CallTimes:
        """Time single calls for about this long, and at least as many as an interval needs, unless they are slow.

        For the second half of the time, a kernel that only waits keeps the GPU busy until the call is launched.
        """
        self.synchronize()
        self._pending.clear()
        latencies: list[float] = []
        launches: list[float] = []
        end = self._now() + seconds / 2
        while len(latencies) < _calls_needed(latencies) or self._now() < end:
            repetition.load_next_batch()
            self.synchronize()
            start = self._now()
            for step in repetition.steps.values():
                step()
            launches.append(1e3 * (self._now() - start))
            self.synchronize()
            latencies.append(1e3 * (self._now() - start))
        if repetition.waits_for_device:
            return CallTimes(latencies)
        queued = self._time_queued_calls(
            repetition, seconds / 2, _calls_needed(latencies), _SLEEP_LAUNCHES * max(launches)
        )
        return CallTimes(latencies, [launch for launch, _ in queued], [run for _, run in queued])

    def _time_queued_calls(
        self, repetition: Repetition, seconds: float, needed: int, sleep_ms: float
    ) -> list[tuple[float, float]]:
        """Milliseconds of the launch and of the run of calls behind a sleep; none if they cannot be launched ahead."""
        found: list[tuple[float, float]] = []
        cycles_per_ms = self._cycles_per_ms()
        sleep_ms = max(sleep_ms, _MIN_SLEEP_MS)
        longest = min(max(2 * sleep_ms, _DOUBLED_SLEEP_MS), _MAX_SLEEP_MS)
        end = self._now() + seconds
        while len(found) < needed or self._now() < end:
            steps = self._time_queued(repetition, int(sleep_ms * cycles_per_ms))
            if steps is not None:
                found.append((sum(launch for launch, _ in steps), sum(run for _, run in steps)))
            elif 2 * sleep_ms <= longest and len(found) < needed:
                sleep_ms *= 2
            else:
                break
        return found if len(found) >= needed else []

    def _time_queued(self, repetition: Repetition, cycles: int) -> list[tuple[float, float]] | None:
        """Milliseconds of each step: of its launch, and of its run. None if one began before it was launched."""
        repetition.load_next_batch()
        found = []
        for step in repetition.steps.values():
            self.synchronize()
            self._cuda._sleep(cycles)
            start = self._now()
            events = self._launch([step])
            launch = 1e3 * (self._now() - start)
            if events[0].query():
                return None
            self.synchronize()
            found.append((launch, self._read(events)[0]))
        return found

    def _cycles_per_ms(self) -> float:
        def sleep() -> None:
            self._cuda._sleep(_CALIBRATION_CYCLES)

        return _CALIBRATION_CYCLES / self.time([sleep])[0]

    def reset_memory(self) -> None:
        self.synchronize()
        self._cuda.empty_cache()
        self._cuda.reset_peak_memory_stats(self.device)

    def memory(self) -> tuple[int | None, int | None]:
        return self._cuda.max_memory_allocated(self.device), self._cuda.max_memory_reserved(self.device)

    def device_state(self) -> Mapping[str, Any] | None:
        return None if self._monitor is None else self._monitor.summary()


def _calls_needed(latencies: Sequence[float]) -> int:
    return 2 if latencies and latencies[0] > _SLOW_CALL_MS else MIN_REPETITIONS


def _queue_depth(milliseconds: float) -> int:
    low, high = _QUEUED_REPETITIONS
    return min(max(math.ceil(_QUEUED_MS / max(milliseconds, 1e-3)), low), high)


def clock_of(device: str, monitor: DeviceMonitor | None = None) -> CpuClock:
    """The clock for a device."""
    parsed = torch.device(device)
    return CudaClock(parsed, monitor) if parsed.type == "cuda" else CpuClock(parsed)
