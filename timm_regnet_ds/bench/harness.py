"""`bench`: the time of a model, its memory, and what fraction of the device's peaks it reaches."""

import functools
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import nn

from timm_regnet_ds.common.memory import is_out_of_memory, is_too_large
from timm_regnet_ds.common.text import first_line
from timm_regnet_ds.complexity import Complexity

from .batches import Call, ModelLoader, largest_batch_on_cpu, largest_batch_on_cuda
from .clocks import CallTimes, CpuClock, clock_of
from .devices import memory_freed
from .environment import environment
from .flags import backend_flags
from .loading import label_of, load_model, load_pickled, pickle_model
from .measurement import Measurement
from .nvml import open_monitor, pooled_state
from .peaks import DevicePeaks, measure_peaks
from .sampling import PACES, StepTimes, time_until_precise
from .setting import Setting
from .worker import Worker, WorkerEndedError, call_in_fork
from .workload import Workload, prepare_model

__all__ = ["bench", "bench_in_forks"]


def bench(
    model_or_name: str | nn.Module,
    *,
    setting: Setting | None = None,
    model_args: Any = None,
    peaks: DevicePeaks | None = None,
    **settings: Any,
) -> Measurement:
    """Measure the time of a model.

    >>> bench("regnetx_200mf", batch_size=1, device="cpu", seconds=2).setting.input_size
    (3, 224, 224)

    Args:
        model_or_name: name of a timm model, or a module that takes images; a module is not changed.
        setting: how to measure.
        model_args: arguments of ``timm.create_model``, for a name.
        peaks: the device's peak rates if they are known; otherwise they are measured.
        **settings: fields of `Setting`, instead of ``setting`` or of some of its fields.

    Raises:
        ValueError: an unknown name or device, an invalid setting, or an image size that the model refuses.
        TypeError: neither a name nor a module, or an unknown setting.
        RuntimeError: the model fails to run, or no batch fits.
    """
    setting = Setting(**settings) if setting is None else setting.replace(**settings)
    args = dict(model_args or {})
    model, complexity = load_model(model_or_name, args, setting.input_size, setting.seed, setting.dtype)
    name = model_or_name if isinstance(model_or_name, str) else type(model_or_name).__name__
    if setting.batch_size == "max" and setting.device_type == "cpu":
        # The worker gets the module, since it may not know a name that the caller's program has registered.
        with Worker() as worker:
            load = partial(load_pickled, pickle_model(model), setting.input_size)
            setting = _with_batch_size(worker.call, label_of(name, args), load, setting)
    peaks = peaks or _peaks_here(setting.device, setting.dtype, setting.threads)
    return _bench(model, name, args, complexity, setting, peaks).measurement


def bench_in_forks(
    name: str, model_args: Mapping[str, Any], setting: Setting, peaks: DevicePeaks, processes: int
) -> Measurement:
    """`bench` of a model by its name, in several processes one after the other; what they measure is pooled.

    Repetitions and single calls are pooled, the memory is that of the process that needed most, and the device's state
    is the mean over the processes.

    The model is built and counted once, in this process, which must not have used several threads or CUDA: forks of it
    could not use them.

    Args:
        name, model_args, peaks: as for `bench`.
        setting: how to measure. Each process takes its share of the seconds.
        processes: number of processes.
    """
    start = time.monotonic()
    torch.set_num_threads(1)
    model, complexity = load_model(name, model_args, setting.input_size, setting.seed, setting.dtype)
    label, load = label_of(name, model_args), partial(_same, (model, complexity))
    share = setting.replace(seconds=setting.seconds / processes)
    share = _with_batch_size(call_in_fork, label, load, share)
    parts: list[_Part] = []
    for _ in range(processes):
        part = call_in_fork(_bench, model, name, model_args, complexity, share, peaks)
        parts.append(part)
        # On a GPU, the first process has looked for the largest batch.
        share = share.replace(batch_size=part.measurement.setting.batch_size)
    measurements = [part.measurement for part in parts]
    times = StepTimes.pooled([part.times for part in parts], setting.precision)
    calls = CallTimes.pooled([part.calls for part in parts])
    first = measurements[0]
    return replace(
        first,
        setting=first.setting.replace(seconds=setting.seconds),
        **_timings(times, calls),
        memory_allocated=_largest(m.memory_allocated for m in measurements),
        memory_reserved=_largest(m.memory_reserved for m in measurements),
        device_state=pooled_state([m.device_state for m in measurements]),
        processes=processes,
        wall_seconds=time.monotonic() - start,
    )


class _Part(NamedTuple):
    """What one process measured: with all its times, from which the times of several are pooled."""

    measurement: Measurement
    times: StepTimes
    calls: CallTimes


def _timings(times: StepTimes, calls: CallTimes) -> dict[str, Any]:
    """The fields of a `Measurement` that follow from its times."""
    return {
        "timing": times.total,
        "steps": times.steps,
        "latency": calls.latency,
        "launch": calls.launch,
        "device_time": calls.device,
        "warm_up": times.warm_up,
        "warm_up_steady": times.warm_up_steady,
        "precision_met": times.precision_met,
    }


def _largest(amounts: Iterable[int | None]) -> int | None:
    return max((amount for amount in amounts if amount is not None), default=None)


def _same(loaded: tuple[nn.Module, Complexity]) -> tuple[nn.Module, Complexity]:
    return loaded


def _with_batch_size(call: Call, label: str, load: ModelLoader, setting: Setting) -> Setting:
    """The setting with the largest batch size, if it asks for that on the CPU; otherwise the same setting.

    Args:
        call: calls a function in a process of its own; it tries the batches.
        label: how errors call the model.
        load: returns the model; see `largest_batch_on_cpu`.
        setting: how the model is measured.

    Raises:
        ValueError, RuntimeError: as `bench`.
    """
    if setting.batch_size != "max" or setting.device_type != "cpu":
        return setting
    try:
        return setting.replace(batch_size=largest_batch_on_cpu(call, load, setting))
    except WorkerEndedError:
        raise
    except Exception as error:
        raise _failure(label, setting, error) from error


@functools.cache
def _peaks_here(device: str, dtype: str, threads: int) -> DevicePeaks:
    with Worker() as worker:
        return measure_peaks(worker, device, dtype, threads)


def _bench(
    model: nn.Module,
    name: str,
    args: Mapping[str, Any],
    complexity: Complexity,
    setting: Setting,
    peaks: DevicePeaks,
) -> _Part:
    start = time.monotonic()
    size, clock = complexity.input_size, clock_of(setting.device, open_monitor(setting.device))
    random_states = [setting.device] if setting.device_type == "cuda" else []
    try:
        with (
            memory_freed(setting.device),
            backend_flags(setting.device, setting.threads, tf32=setting.dtype == "tf32"),
            torch.random.fork_rng(random_states),
        ):
            torch.manual_seed(setting.seed)
            if setting.batch_size == "max":
                setting = setting.replace(batch_size=largest_batch_on_cuda(model, setting, size))
            setting = setting.replace(input_size=size)
            times, calls, memory = _time(prepare_model(model, setting, size), clock, setting)
            about = environment(setting.device)
    except Exception as error:
        raise _failure(label_of(name, args), setting, error) from error
    finally:
        if setting.compile is not None:
            torch.compiler.reset()
    measurement = Measurement(
        model=name,
        model_args=args,
        setting=setting,
        **_timings(times, calls),
        memory_allocated=memory[0],
        memory_reserved=memory[1],
        complexity=replace(complexity, uncounted={}, parts=()),
        peaks=peaks,
        environment=about,
        device_state=clock.device_state(),
        wall_seconds=time.monotonic() - start,
    )
    return _Part(measurement, times, calls)


# The first call of a compiled model compiles it; with CUDA graphs, the second warms up and the third records.
_UNTIMED_RUNS = 3

# Seconds for the times of single calls, at most, and their share of the setting's seconds.
_CALL_SECONDS = 0.5
_CALL_SHARE = 0.1


def _time(
    ready: nn.Module, clock: CpuClock, setting: Setting
) -> tuple[StepTimes, CallTimes, tuple[int | None, int | None]]:
    """The times of repetitions and of single calls, and the peak bytes (allocated, reserved) meanwhile."""
    assert isinstance(setting.input_size, tuple)
    start = time.monotonic()
    workload = Workload(ready, setting, setting.input_size, setting.batch_size)
    for _ in range(_UNTIMED_RUNS if setting.compile else 1):
        workload.run()
    # From here on, the memory is what repetitions need: not what autotuning and compilation needed. A graph has its
    # memory from when it is recorded.
    if setting.cuda_graphs:
        workload.capture(clock.reset_memory)
    else:
        clock.reset_memory()
    # Compilation is not part of the seconds; a slow first run is.
    seconds = setting.seconds if setting.compile else max(setting.seconds - (time.monotonic() - start), 0.0)
    names, pace = list(workload.steps), PACES[setting.device_type]
    times = time_until_precise(partial(clock.repeat, workload), names, setting.precision, seconds, pace)
    calls = clock.time_calls(workload, min(_CALL_SECONDS, _CALL_SHARE * setting.seconds))
    return times, calls, clock.memory()


def _failure(label: str, setting: Setting, error: Exception) -> Exception:
    reason = first_line(error)
    if is_out_of_memory(error):
        return RuntimeError(f"{label}: {setting.batch_size} images do not fit into the memory of {setting.device}")
    if is_too_large(error):
        return RuntimeError(f"{label}: {setting.batch_size} images are too many for a kernel: {reason}")
    if "more than 1 value per channel" in reason:
        reason += "; use a larger batch"
    kind = ValueError if isinstance(error, ValueError) else RuntimeError
    return kind(f"{label} fails in {setting.mode} with {setting.dtype} on {setting.device}: {reason}")
