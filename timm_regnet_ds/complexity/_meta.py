"""Building models without weights, on torch's ``meta`` device."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from timm.layers import is_fast_norm, set_fast_norm
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

__all__ = ["build_with_weights", "build_without_weights", "needs_values"]


def build_without_weights(make: Callable[[], nn.Module]) -> nn.Module:
    """What ``make`` returns, with parameters on the ``meta`` device. Torch's random state stays as it is.

    Some constructors look at the values of tensors, which fails on ``meta``. For them, only those tensors are on
    ``meta`` that layers allocate for their weights; the constructor's other tensors are on the CPU.

    Raises:
        Exception: the error that ``make`` raises.
    """
    if is_fast_norm():
        return _build_with_fast_norms(make)
    try:
        return _build(make, torch.device("meta"))
    except Exception as error:
        if not needs_values(error):
            raise
    return _build(make, _AllocateOnMeta())


def _build_with_fast_norms(make: Callable[[], nn.Module]) -> nn.Module:
    """`build_without_weights` after timm's ``set_fast_norm()``.

    Norms become fast when the model is built: some constructors run their layers, and fast norms ask for autocast on
    the device, which ``meta`` lacks.
    """
    set_fast_norm(False)
    try:
        model = build_without_weights(make)
    finally:
        set_fast_norm(True)
    for child in model.modules():
        if hasattr(child, "_fast_norm"):
            vars(child)["_fast_norm"] = True
    return model


def build_with_weights(make: Callable[[], nn.Module]) -> nn.Module:
    """What ``make`` returns on the CPU. Torch's random state stays as it is."""
    return _build(make, torch.device("cpu"))


def _build(make: Callable[[], nn.Module], device: AbstractContextManager[Any]) -> nn.Module:
    with torch.random.fork_rng([]), device, _SkipInitialization():
        return make()


def needs_values(error: Exception) -> bool:
    """Whether a model failed because tensors on the ``meta`` device have no values."""
    # Torch 2.5 gives the last message for autocast on `meta`.
    messages = ("meta", "no fake impl", "unsupported scalartype")
    return isinstance(error, NotImplementedError) or any(message in str(error).lower() for message in messages)


class _AllocateOnMeta(TorchFunctionMode):
    """Puts the tensors of ``torch.empty`` on the ``meta`` device: layers allocate their weights with it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


# Functions that only set values. On the ``meta`` device they do nothing, but take most of the time of building a model.
_INITIALIZERS = {
    *("uniform_", "normal_", "fill_", "zero_", "erfinv_", "mul_", "add_", "sub_", "div_", "clamp_", "exp_", "copy_"),
    *("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_", "ones_", "zeros_", "constant_"),
}


class _SkipInitialization(TorchFunctionMode):
    """Skips the initialization of tensors on the ``meta`` device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _INITIALIZERS:
            target = args[0] if args else kwargs.get("tensor")
            if isinstance(target, Tensor) and target.is_meta:
                return target
        return func(*args, **kwargs)
