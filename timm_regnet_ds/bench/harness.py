"""`bench`: the time of a model, its memory, and what fraction of the device's peaks it reaches."""

import functools
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import nn

from timm_regnet_ds.common.memory import is_out_of_memory
from timm_regnet_ds.common.text import first_line
from timm_regnet_ds.complexity import Complexity

from .batches import ModelLoader, largest_batch_on_cpu, largest_batch_on_cuda
from .devices import CpuClock, backend_flags, clock_of, free_memory
from .environment import environment
from .loading import label_of, load_model, load_pickled, pickle_model
from .measurement import Measurement
from .peaks import DevicePeaks, measure_peaks
from .sampling import StepTimes, time_until_precise
from .setting import Setting
from .worker import Worker, WorkerEndedError
from .workload import Workload, prepare_model

__all__ = ["bench", "bench_named", "with_batch_size"]


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
            setting = with_batch_size(worker, label_of(name, args), load, setting)
    peaks = peaks or _peaks_here(setting.device, setting.dtype, setting.threads)
    return _bench(model, name, args, complexity, setting, peaks)[0]


def bench_named(
    name: str, model_args: Mapping[str, Any], setting: Setting, peaks: DevicePeaks
) -> tuple[Measurement, StepTimes]:
    """`bench` of a model by its name, with the times of all repetitions. On the CPU, the batch size is a number."""
    model, complexity = load_model(name, model_args, setting.input_size, setting.seed, setting.dtype)
    return _bench(model, name, model_args, complexity, setting, peaks)


def with_batch_size(worker: Worker, label: str, load: ModelLoader, setting: Setting) -> Setting:
    """The setting with the largest batch size, if it asks for that on the CPU; otherwise the same setting.

    Args:
        worker: tries the batches.
        label: how errors call the model.
        load: builds the model; see `largest_batch_on_cpu`.
        setting: how the model is measured.

    Raises:
        ValueError, RuntimeError: as `bench`.
    """
    if setting.batch_size != "max" or setting.device_type != "cpu":
        return setting
    try:
        return setting.replace(batch_size=largest_batch_on_cpu(worker, load, setting))
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
) -> tuple[Measurement, StepTimes]:
    size, clock = complexity.input_size, clock_of(setting.device)
    try:
        with backend_flags(setting.device, setting.threads, tf32=setting.dtype == "tf32"), torch.random.fork_rng():
            torch.manual_seed(setting.seed)
            if setting.batch_size == "max":
                setting = setting.replace(batch_size=largest_batch_on_cuda(model, setting, size))
            setting = setting.replace(input_size=size)
            ready = prepare_model(model, setting, size)
            free_memory(setting.device)
            clock.reset_memory()
            times = _time(Workload(ready, setting, size, setting.batch_size), clock, setting)
            memory_allocated, memory_reserved = clock.memory()
            about = environment(setting.device)
    except Exception as error:
        raise _failure(label_of(name, args), setting, error) from error
    finally:
        if setting.compile is not None:
            torch.compiler.reset()
        free_memory(setting.device)
    measurement = Measurement(
        model=name,
        model_args=args,
        setting=setting,
        timing=times.total,
        steps=times.steps,
        warm_up=times.warm_up,
        warm_up_steady=times.warm_up_steady,
        precision_met=times.precision_met,
        memory_allocated=memory_allocated,
        memory_reserved=memory_reserved,
        complexity=replace(complexity, uncounted={}, parts=()),
        peaks=peaks,
        environment=about,
    )
    return measurement, times


# The first call of a compiled model compiles it; with CUDA graphs, the second warms up and the third records.
_UNTIMED_RUNS = 3


def _time(workload: Workload, clock: CpuClock, setting: Setting) -> StepTimes:
    steps = list(workload.steps.values())

    def run() -> list[float]:
        workload.load_next_batch()
        return clock.time(steps)

    for _ in range(_UNTIMED_RUNS if setting.compile else 1):
        workload.run()
    return time_until_precise(run, list(workload.steps), setting.precision, setting.seconds)


def _failure(label: str, setting: Setting, error: Exception) -> Exception:
    if is_out_of_memory(error):
        return RuntimeError(f"{label}: {setting.batch_size} images do not fit into the memory of {setting.device}")
    reason = first_line(error)
    if "more than 1 value per channel" in reason:
        reason += "; use a larger batch"
    kind = ValueError if isinstance(error, ValueError) else RuntimeError
    return kind(f"{label} fails in {setting.mode} with {setting.dtype} on {setting.device}: {reason}")
