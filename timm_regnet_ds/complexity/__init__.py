"""Flops, parameters and activations of any module, counted at torch's dispatcher without allocating weights.

*Fast and Accurate Model Scaling*, §3: a k×k convolution of width w at resolution r has f = w²r²k², p = k²w²,
a = wr² (Eq. 1), a stage of d of them d times as much (Eq. 2); with groups of width g, and k = 1, it has f = wgr²,
p = wg, a = wr² (Eq. 3). Linear layers and matrix products are counted alike:

| word   | for one image                                                                                       |
|--------|-----------------------------------------------------------------------------------------------------|
| flops  | multiply-adds of convolutions, linear layers and matrix products, attention included; not of biases |
| params | elements of all parameters, a shared one once                                                       |
| acts   | elements of the outputs of those same operations                                                    |

>>> c = measure("regnety_002")
>>> c.flops, c.params, c.acts
(199514080, 3162996, 2168052)
>>> c.by_operator()["conv"].flops, c.by_module(depth=1)["s4"].params
(199146080, 2511454)
"""

import operator
import warnings
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Literal, overload

import torch
from timm.models import create_model, is_model, list_models
from torch import Tensor, nn
from torch.overrides import BaseTorchFunctionMode, TorchFunctionMode

from timm_regnet_ds._check import did_you_mean

from ._copies import Copier, with_values, without_values
from ._results import Breakdown, Complexity, Counts, InputSize, Part, ThopAnswer, times
from ._tally import Tally

try:
    from timm.models import get_model_input_config
except ImportError:  # an older timm, which keeps no record of an input that differs from the pretrained one

    def get_model_input_config(model: nn.Module) -> dict[str, Any]:
        return getattr(model, "pretrained_cfg", {})


__all__ = ["Breakdown", "Complexity", "Counts", "Part", "ThopAnswer", "check_name", "measure", "measure_made"]


def _by_dispatcher(module: nn.Module, size: InputSize, image: Tensor) -> Complexity:
    tally = Tally(module)
    with tally.listening():
        module(image)
    return tally.complexity(size)


def _by_thop(module: nn.Module, size: InputSize, image: Tensor) -> ThopAnswer:
    import thop

    flops, params = thop.profile(module, (image,), verbose=False)
    return ThopAnswer(int(flops), int(params), size)


_COUNTERS: dict[str, Callable[[nn.Module, InputSize, Tensor], Any]] = {"dispatcher": _by_dispatcher, "thop": _by_thop}


@overload
def measure(
    model: str | nn.Module,
    input_size: int | Sequence[int] | None = None,
    *,
    counter: Literal["dispatcher"] = "dispatcher",
) -> Complexity: ...


@overload
def measure(
    model: str | nn.Module, input_size: int | Sequence[int] | None = None, *, counter: Literal["thop"]
) -> ThopAnswer: ...


def measure(
    model: str | nn.Module, input_size: int | Sequence[int] | None = None, *, counter: str = "dispatcher"
) -> Complexity | ThopAnswer:
    """Flops, params and acts of a model for one image, in evaluation mode.

    What runs is a copy without weights, on the ``meta`` device; the module and torch's random state are left as they
    are. Where the module's code looks at values, a copy with weights runs on a random image instead, and a warning
    says so: the numbers hold for that image.

    Args:
        model: name of a timm model, or a module that takes images (N, channels, height, width).
        input_size: (channels, height, width), or the side of a square; by default the timm model's own.
        counter: ``dispatcher``, or ``thop`` for what that package says.

    Raises:
        ValueError: an unknown name or counter, a size that is none, no size for a module that has none of its own,
            or an image that the model refuses.
        TypeError: ``model`` is neither a name nor a module, or is TorchScript.
        ImportError: ``counter="thop"`` without thop.
    """
    if counter not in _COUNTERS:
        raise ValueError(f"unknown counter {counter!r}; there are {', '.join(map(repr, _COUNTERS))}")
    if counter == "thop":
        _require_thop()
    if not isinstance(model, (str, nn.Module)) or isinstance(model, torch.jit.ScriptModule):
        raise TypeError(f"model is a timm model's name or an eager torch.nn.Module, not {type(model).__name__}")
    if isinstance(model, str):
        check_name(model)
        return measure_made(model, partial(create_model, model), input_size, counter)[1]
    return _count(type(model).__name__, model, partial(_copied, model), input_size, counter)


def measure_made(
    label: str,
    make: Callable[[], nn.Module],
    input_size: int | Sequence[int] | None = None,
    counter: str = "dispatcher",
) -> tuple[nn.Module, Any]:
    """What ``make`` builds, on the ``meta`` device where its code allows that, and what `measure` says of it.

    Raises:
        ValueError: as `measure`, and what ``make`` raises.
    """
    module = _built(label, make, (torch.device("meta"), _WeightsOnMeta()))
    return module, _count(label, module, partial(_built, label, make, (torch.device("cpu"),)), input_size, counter)


def _copied(module: nn.Module) -> nn.Module:
    return Copier(with_values).module(module)


def _count(
    label: str,
    module: nn.Module,
    with_weights: Callable[[], nn.Module],
    input_size: int | Sequence[int] | None,
    counter: str,
) -> Any:
    size = _input_size(label, module, input_size)
    dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), None)
    twin = Copier(without_values).module(module).eval()
    try:
        with torch.random.fork_rng([]):
            return _COUNTERS[counter](twin, size, torch.empty(1, *size, dtype=dtype, device="meta"))
    except Exception as error:
        if not _wants_values(error):
            raise _refusal(label, size, error) from error
        warnings.warn(f"{label}: counted for a random image, since {_first_line(error)}", stacklevel=2)
    twin = with_weights().eval()
    device = next((p.device for p in twin.parameters()), torch.device("cpu"))
    image = torch.randn(1, *size, generator=torch.Generator().manual_seed(0)).to(device, dtype)
    try:
        # In any function mode torch.nn's transformer layers leave their fused path, which would hide their products.
        with torch.random.fork_rng([device] if device.type == "cuda" else []), BaseTorchFunctionMode():
            return _COUNTERS[counter](twin, size, image)
    except Exception as error:
        raise _refusal(label, size, error) from error


def _require_thop() -> None:
    try:
        import thop  # noqa: F401
    except ImportError as error:
        raise ImportError(f"counter='thop' needs thop: pip install 'timm-regnet-ds[thop]' ({error})") from error


class _WeightsOnMeta(TorchFunctionMode):
    """For constructors that compute with values: only ``torch.empty``, where layers have weights from, has none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.empty and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


# Operators that change nothing but values; on the ``meta`` device they take most of the time of building a model.
_OF_VALUES = {
    *("uniform_", "normal_", "fill_", "zero_", "erfinv_", "mul_", "add_", "sub_", "div_", "clamp_", "exp_", "copy_"),
    *("kaiming_uniform_", "kaiming_normal_", "xavier_uniform_", "xavier_normal_", "ones_", "zeros_", "constant_"),
}


class _NoValues(TorchFunctionMode):
    """Leaves out the initialization of weights that have no values."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in _OF_VALUES:
            target = args[0] if args else kwargs.get("tensor")
            if isinstance(target, Tensor) and target.is_meta:
                return target
        return func(*args, **kwargs)


def check_name(name: str) -> None:
    """Raise a ValueError for a name that timm does not know."""
    if ":" not in name and not is_model(name.partition(".")[0]):
        raise ValueError(f"timm has no model {name!r}{did_you_mean(name, list_models())}")


def _built(label: str, make: Callable[[], nn.Module], places: Iterable[AbstractContextManager[Any]]) -> nn.Module:
    """The model, built in the first of the places that lets it look at the values it needs."""
    for place in places:
        try:
            with torch.random.fork_rng([]), place, _NoValues():
                return make()
        except Exception as error:
            failure = error
            if not _wants_values(error):
                break
    raise ValueError(f"timm cannot build {label!r}: {_first_line(failure)}") from failure


def _input_size(label: str, module: nn.Module, given: int | Sequence[int] | None) -> InputSize:
    own = get_model_input_config(module).get("input_size") if getattr(module, "pretrained_cfg", None) else None
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
        raise ValueError(f"input_size is (channels, height, width) or one side, all of them positive, not {given!r}")
    return channels, height, width


def _wants_values(error: Exception) -> bool:
    """Whether a model failed for want of the values that tensors on the ``meta`` device do not have."""
    signs = ("meta", "no fake impl", "unsupported scalartype")  # the last from torch 2.5, for autocast on `meta`
    return isinstance(error, NotImplementedError) or any(sign in str(error).lower() for sign in signs)


def _refusal(label: str, size: InputSize, error: Exception) -> ValueError:
    return ValueError(f"{label} refuses an image of size {times(size)}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
