"""`bench`: the time of a model, its memory, and how near it comes to what the device can do."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from timm.models import create_model
from torch import nn

from timm_regnet_ds._memory import is_out_of_memory
from timm_regnet_ds._text import first_line
from timm_regnet_ds.complexity import Complexity, Counts, check_name, measure, measure_factory

from .batches import largest_batch
from .ceilings import Ceilings, measure_ceilings
from .devices import clock_of, release, switches
from .environment import environment
from .measurement import Measurement, label_of
from .sampling import Repetitions, repeat
from .setting import Setting
from .workload import Work, prepared

__all__ = ["bench", "bench_named"]


def bench(
    model_or_name: str | nn.Module,
    *,
    setting: Setting | None = None,
    model_args: Any = None,
    ceilings: Ceilings | None = None,
    **settings: Any,
) -> Measurement:
    """Measure the time of a model.

    >>> bench("regnetx_200mf", batch_size=1, device="cpu", seconds=2).setting.input_size
    (3, 224, 224)

    Args:
        model_or_name: name of a timm model, or a module that takes images; a module is left as it is.
        setting: how to measure.
        model_args: arguments of ``timm.create_model``, for a name.
        ceilings: the device's own best, where that is known; otherwise it is measured.
        **settings: the same as fields of `Setting`, in place of ``setting`` or of some of its fields.

    Raises:
        ValueError: an unknown name or device, a setting that there is not, an image that the model refuses.
        TypeError: neither a name nor a module, or a setting that is none.
        RuntimeError: the model fails to run, or no batch fits.
    """
    setting = Setting(**settings) if setting is None else setting.settled(**settings)
    args = dict(model_args or {})
    if isinstance(model_or_name, str):
        name = model_or_name
        model, complexity = _made(name, args, setting)
    else:
        if args:
            raise ValueError("model_args go with a model's name: the module is built already")
        model, name = model_or_name, type(model_or_name).__name__
        complexity = measure(model_or_name, setting.input_size)
    ceilings = ceilings or measure_ceilings(setting.device, setting.dtype, setting.threads)
    return _measured(model, name, args, complexity, setting, ceilings)[0]


def bench_named(
    name: str, model_args: Mapping[str, Any], setting: Setting, ceilings: Ceilings
) -> tuple[Measurement, Repetitions]:
    """`bench` of a model by its name, and the repetitions that the measurement is made from."""
    model, complexity = _made(name, dict(model_args), setting)
    return _measured(model, name, model_args, complexity, setting, ceilings)


def _made(name: str, args: dict[str, Any], setting: Setting) -> tuple[nn.Module, Complexity]:
    check_name(name)
    with torch.random.fork_rng([]):
        torch.manual_seed(setting.seed)
        model = create_model(name, **args)
    make = partial(create_model, name, **args)
    return model, measure_factory(label_of(name, args), make, setting.input_size)[1]


def _measured(
    model: nn.Module,
    name: str,
    args: Mapping[str, Any],
    complexity: Complexity,
    setting: Setting,
    ceilings: Ceilings,
) -> tuple[Measurement, Repetitions]:
    size, clock = complexity.input_size, clock_of(setting.device)
    try:
        with switches(setting.device, setting.threads, tf32=setting.dtype == "tf32"), torch.random.fork_rng():
            torch.manual_seed(setting.seed)
            if setting.batch_size == "max":
                setting = setting.settled(batch_size=_largest(model, setting, size))
            setting = setting.settled(input_size=size)
            ready = prepared(model, setting, size)
            release(setting.device)
            clock.reset_memory()
            repetitions = _repeated(Work(ready, setting, size, setting.batch_size), clock, setting)
            memory = clock.memory()
            about = environment(setting.device)
    except Exception as error:
        raise _failure(label_of(name, args), setting, error) from error
    finally:
        if setting.compile is not None:
            torch.compiler.reset()
        release(setting.device)
    measurement = Measurement(
        name,
        args,
        setting,
        repetitions.whole,
        repetitions.steps,
        repetitions.warm_up,
        repetitions.settled,
        repetitions.reached,
        *memory,
        Counts(complexity.flops, complexity.params, complexity.acts),
        complexity.operators,
        ceilings,
        about,
    )
    return measurement, repetitions


# torch.compile's first call compiles; with CUDA graphs the second warms up, and the third records.
_UNTIMED = 3


def _largest(model: nn.Module, setting: Setting, size: tuple[int, int, int]) -> int:
    # Compiling for each batch that is tried would take longer than all the rest.
    ready = prepared(model, setting.settled(compile=None), size)

    def attempt(batch: int) -> None:
        work = Work(ready, setting, size, batch)
        work.run()
        work.run()  # now the optimizer has its state

    return largest_batch(attempt, setting.device, setting.seconds)


def _repeated(work: Work, clock: Any, setting: Setting) -> Repetitions:
    steps = list(work.steps.values())

    def run() -> list[float]:
        work.next()
        times: list[float] = clock.time(steps)
        return times

    for _ in range(_UNTIMED if setting.compile else 1):
        work.run()
    return repeat(run, list(work.steps), setting.precision, setting.seconds)


def _failure(label: str, setting: Setting, error: Exception) -> Exception:
    if is_out_of_memory(error):
        return RuntimeError(f"{label}: {setting.batch_size} images do not fit into the memory of {setting.device}")
    first = first_line(error)
    if "more than 1 value per channel" in first:
        first += "; use a larger batch"
    kind = ValueError if isinstance(error, ValueError) else RuntimeError
    return kind(f"{label} fails in {setting.mode} with {setting.dtype} on {setting.device}: {first}")
