"""``measure``: the complexity of a model, given by name, as a module or as a function that builds it."""

import operator
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, overload

import timm
import torch
from timm.models import create_model, is_model, list_models
from torch import Tensor, nn
from torch.overrides import BaseTorchFunctionMode

from timm_regnet_ds.common.check import check_choice, did_you_mean
from timm_regnet_ds.common.text import first_line, format_size

from ._autocast import DTYPES
from ._copies import Copier, with_values, without_values
from ._counter import DispatchCounter
from ._meta import build_with_weights, build_without_weights, needs_values
from ._results import Complexity, InputSize, ThopAnswer

__all__ = ["check_name", "measure", "measure_factory"]


def _count_by_dispatch(module: nn.Module, size: InputSize, image: Tensor, dtype: str) -> Complexity:
    counter = DispatchCounter(module, DTYPES[dtype][1])
    with counter.track_modules():
        module(image)
    return counter.complexity(size, dtype)


def _count_by_thop(module: nn.Module, size: InputSize, image: Tensor, dtype: str) -> ThopAnswer:
    import thop

    flops, params = thop.profile(module, (image,), verbose=False)
    return ThopAnswer(int(flops), int(params), size)


_COUNTERS: dict[str, Callable[[nn.Module, InputSize, Tensor, str], Any]] = {
    "dispatcher": _count_by_dispatch,
    "thop": _count_by_thop,
}


@overload
def measure(
    model: str | nn.Module,
    input_size: int | Sequence[int] | None = None,
    *,
    counter: Literal["dispatcher"] = "dispatcher",
    dtype: str = "fp32",
) -> Complexity: ...


@overload
def measure(
    model: str | nn.Module,
    input_size: int | Sequence[int] | None = None,
    *,
    counter: Literal["thop"],
    dtype: Literal["fp32"] = "fp32",
) -> ThopAnswer: ...


def measure(
    model: str | nn.Module,
    input_size: int | Sequence[int] | None = None,
    *,
    counter: str = "dispatcher",
    dtype: str = "fp32",
) -> Complexity | ThopAnswer:
    """Flops, params, acts and bytes of a model for one image, in evaluation mode.

    A copy of the model without weights runs on the ``meta`` device; the model itself and torch's random state stay as
    they are. If the model's code looks at the values of tensors, a copy with weights runs on a random image instead.
    The counts then hold for that image, and a warning says so.

    Args:
        model: the name of a timm model, or a module that takes images (N, channels, height, width).
        input_size: (channels, height, width), or the side of a square image; by default the timm model's own size.
        counter: ``dispatcher``, or ``thop`` for the counts of the package thop, which are those of ``fp32`` alone.
        dtype: the number format in which bytes are counted, whatever the format of a module's own weights: ``fp32`` or
            ``tf32``; ``bf16`` or ``fp16``, model and images in that format; ``amp``, autocast on CUDA, where products
            run in 16 bits, norms in float32, and casts count. As for `timm_regnet_ds.bench`.

    Raises:
        ValueError: an unknown name, counter or dtype, a dtype for thop, an invalid size, no size for a module that is
            not a timm model, or a model that fails on an image of that size.
        TypeError: ``model`` is neither a name nor a module, or it is a TorchScript module.
        ImportError: ``counter="thop"``, and thop is not installed.
    """
    if counter not in _COUNTERS:
        raise ValueError(f"unknown counter {counter!r}; allowed: {', '.join(map(repr, _COUNTERS))}")
    check_choice("dtype", dtype, DTYPES)
    if counter == "thop":
        if dtype != "fp32":
            raise ValueError(
                f"dtype is the format in which bytes are counted, and thop counts none: leave {dtype!r} out"
            )
        _require_thop()
    if not isinstance(model, (str, nn.Module)) or isinstance(model, torch.jit.ScriptModule):
        raise TypeError(f"model must be a timm model's name or an eager torch.nn.Module, not {type(model).__name__}")
    if isinstance(model, str):
        check_name(model)
        return measure_factory(model, partial(create_model, model), input_size, counter, dtype)[1]
    copy = partial(Copier(with_values).module, model)
    return _count_with_fallback(type(model).__name__, model, copy, input_size, counter, dtype)


def measure_factory(
    label: str,
    make: Callable[[], nn.Module],
    input_size: int | Sequence[int] | None = None,
    counter: str = "dispatcher",
    dtype: str = "fp32",
) -> tuple[nn.Module, Any]:
    """Build a model with ``make``, without weights, and measure it.

    Args:
        label: what errors call the model.
        make: builds the model. It is called again if the model has to run with weights.
        input_size, counter, dtype: as for `measure`.

    Returns:
        The model, with parameters on the ``meta`` device, and what `measure` returns for it.

    Raises:
        ValueError: as `measure`, or ``make`` fails.
    """
    module = _build(label, build_without_weights, make)
    make_with_weights = partial(_build, label, build_with_weights, make)
    return module, _count_with_fallback(label, module, make_with_weights, input_size, counter, dtype)


def _build(
    label: str, build: Callable[[Callable[[], nn.Module]], nn.Module], make: Callable[[], nn.Module]
) -> nn.Module:
    try:
        return build(make)
    except Exception as error:
        raise ValueError(f"timm cannot build {label!r}: {first_line(error)}") from error


def _count_with_fallback(
    label: str,
    module: nn.Module,
    make_with_weights: Callable[[], nn.Module],
    input_size: int | Sequence[int] | None,
    counter: str,
    dtype: str,
) -> Any:
    """Count on the ``meta`` device or, if the model needs the values of tensors, with weights and a random image."""
    size = _input_size(label, module, input_size)
    of_weights, _ = DTYPES[dtype]
    twin = Copier(partial(without_values, dtype=of_weights)).module(module).eval()
    try:
        with torch.random.fork_rng([]):
            return _COUNTERS[counter](twin, size, torch.empty(1, *size, dtype=of_weights, device="meta"), dtype)
    except Exception as error:
        if not needs_values(error):
            raise _refusal(label, size, error) from error
        warnings.warn(f"{label}: counted for a random image, since {first_line(error)}", stacklevel=2)
    twin = make_with_weights().to(of_weights).eval()
    device = next((p.device for p in twin.parameters()), torch.device("cpu"))
    image = torch.randn(1, *size, generator=torch.Generator().manual_seed(0)).to(device, of_weights)
    try:
        # Inside any function mode, torch.nn's transformer layers avoid their fused path, which hides their products.
        with torch.random.fork_rng([device] if device.type == "cuda" else []), BaseTorchFunctionMode():
            return _COUNTERS[counter](twin, size, image, dtype)
    except Exception as error:
        raise _refusal(label, size, error) from error


def _require_thop() -> None:
    try:
        import thop  # noqa: F401
    except ImportError as error:
        raise ImportError(f"counter='thop' needs thop: pip install 'timm-regnet-ds[thop]' ({error})") from error


def check_name(name: str) -> None:
    """Raise a ValueError for a name that timm does not know."""
    if ":" not in name and not is_model(name.partition(".")[0]):
        raise ValueError(f"timm has no model {name!r}{did_you_mean(name, list_models())}")


def _input_config(module: Any) -> dict[str, Any]:
    # An older timm does not record the input size that a model was created for.
    of_timm = getattr(timm.models, "get_model_input_config", None)
    config: dict[str, Any] = of_timm(module) if of_timm else module.pretrained_cfg
    return config


def _input_size(label: str, module: nn.Module, given: int | Sequence[int] | None) -> InputSize:
    own = _input_config(module).get("input_size") if getattr(module, "pretrained_cfg", None) else None
    if given is None and own is None:
        raise ValueError(f"{label} has no input size of its own: pass input_size=(channels, height, width)")
    size = own if given is None else given
    if not isinstance(size, Sequence):
        size = (own[0] if own else 3, size, size)
    try:
        channels, height, width = map(operator.index, size)
    except (TypeError, ValueError):
        channels = height = width = 0
    if min(channels, height, width) < 1 or isinstance(given, (bool, str)):
        raise ValueError(
            f"input_size must be (channels, height, width) or one side, with positive integers, not {given!r}"
        )
    return channels, height, width


def _refusal(label: str, size: InputSize, error: Exception) -> ValueError:
    return ValueError(f"{label} fails on an image of size {format_size(size)}: {first_line(error)}")
