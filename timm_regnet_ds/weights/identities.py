"""Changes added blocks so that they return their input, and can still learn."""

import copy
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .dims import Dim, resolve, same
from .maps import COPY, OLD, Policy, index_map
from .record import run_hooked, tensors

__all__ = ["become_identity", "become_projection"]

# A difference to the block's input below this share of its largest value is rounding.
_ROUNDING = 1e-6

_LAYERS = (nn.Conv2d, nn.Linear, nn.modules.batchnorm._BatchNorm)


# How most blocks become identities.
_ZEROS = "the last layer of each branch is zero"


class _Unit:
    """A module's own parameters, which are set to zero and restored together."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.values = [p.detach().clone() for p in parameters]

    def zero(self) -> None:
        for p in self.parameters:
            p.zero_()

    def restore(self) -> None:
        for p, value in zip(self.parameters, self.values, strict=True):
            p.copy_(value)


@torch.no_grad()
def become_identity(
    block: nn.Module, args: Any, kwargs: Any, shared: Iterable[int] = (), known: dict[str, list[int]] | None = None
) -> str | None:
    """Change as few weights of a block as needed so that it returns its input.

    Args:
        block: in evaluation mode.
        args, kwargs: what it is called with.
        shared: ids of parameters that other modules use too, which stay.
        known: of kinds of blocks, which of their modules were zero in the end: what is tried first. It is extended.

    Returns:
        How it became one, or None where it cannot; then it is as before.
    """
    wanted = tensors(args) or tensors(kwargs)
    if not wanted:
        return None

    # Noise as well: on few images, a gate or a ReLU may happen to hide a branch.
    calls = [(args, kwargs), _noisy(args, kwargs, 1.0), _noisy(args, kwargs, 4.0)]

    def is_identity() -> bool | None:
        for args, kwargs in calls:
            block.train().eval()
            same = _returns_input(block, copy.deepcopy(args), copy.deepcopy(kwargs))
            if not same:
                return same
        return True

    def ratio() -> float | None:
        return _times_input(block, *copy.deepcopy(calls[0]))

    owned = set(shared)
    units = []
    for module in block.modules():
        parameters = [p for p in module.parameters(recurse=False) if id(p) not in owned]
        owned.update(map(id, parameters))
        if parameters:
            units.append(_Unit(parameters))
    if not units:
        return "no weights" if is_identity() else None
    known = {} if known is None else known
    kind = f"{type(block).__name__} {','.join(block.state_dict())}"
    if kind in known:
        for k in known[kind]:
            units[k].zero()
        if is_identity():
            return _ZEROS
    for unit in units:
        unit.zero()
    found = is_identity()
    if found is None:
        how = None
    elif found:
        known[kind] = _restore_most(units, is_identity)
        how = _ZEROS
    else:
        how = _pass_through(block, units, is_identity, ratio)
    if how is None:
        for unit in units:
            unit.restore()
    return how


def _returns_input(block: nn.Module, args: Any, kwargs: Any) -> bool | None:
    """Whether a block returns what it is called with, as its first channels if it returns more channels.

    None where it returns something of another shape.
    """
    wanted = [t.clone() for t in tensors(args) or tensors(kwargs)]
    found = tensors(block(*args, **kwargs))
    if not found or not wanted or _leading(found[0], wanted[0]) is None:
        return None
    pairs = [(_leading(a, b), b) for a, b in zip(found, wanted, strict=False)]
    return all(
        float((a - b).abs().max()) <= _ROUNDING * float(b.abs().max())
        for a, b in pairs
        if a is not None and a.is_floating_point()
    )


def _leading(out: Tensor, like: Tensor) -> Tensor | None:
    """The part of an output that has the shape of an input; None where there is none."""
    if out.shape == like.shape:
        return out
    if out.ndim == like.ndim == 4 and out.shape[1] > like.shape[1] and out.shape[2:] == like.shape[2:]:
        return out[:, : like.shape[1]]
    return None


def _times_input(block: nn.Module, args: Any, kwargs: Any) -> float | None:
    """The number by which a block multiplies its input; None where it does something else."""
    wanted = (tensors(args) or tensors(kwargs))[0].clone()
    found = tensors(block(*args, **kwargs))
    part = _leading(found[0], wanted) if found else None
    if part is None or not wanted.is_floating_point() or not float(wanted.abs().max()):
        return None
    times = float((part * wanted).sum() / (wanted * wanted).sum())
    off = float((part - times * wanted).abs().max())
    return times if abs(times) > 1e-3 and off <= _ROUNDING * float(part.abs().max()) else None


def _noisy(args: Any, kwargs: Any, share: float) -> tuple[Any, Any]:
    """The arguments of a call with noise, relative to their spread, added to the first tensor."""
    args, kwargs = copy.deepcopy((args, kwargs))
    first = (tensors(args) or tensors(kwargs))[0]
    if first.is_floating_point():
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(first.shape, generator=generator, dtype=first.dtype)
        lowest = first.min()  # what an activation has left positive stays positive
        first += noise * share * first.std().nan_to_num().clamp_min(1e-3)
        first.clamp_(min=lowest)
    return args, kwargs


def _restore_most(units: list[_Unit], is_identity: Callable[[], bool | None]) -> list[int]:
    """Restore all units that can be restored while the block stays an identity, the first ones first.

    Returns:
        The indices of those that stay zero.
    """
    zero = []
    for k, unit in enumerate(units):
        unit.restore()
        if not is_identity():
            unit.zero()
            zero.append(k)
    return zero


def _pass_through(
    block: nn.Module, units: list[_Unit], is_identity: Callable[[], bool | None], ratio: Callable[[], float | None]
) -> str | None:
    """Let some layers pass their input on, where a block has no shortcut; all other branches are zero."""
    owned = {id(p) for unit in units for p in unit.parameters}
    layers = [m for m in block.modules() if isinstance(m, _LAYERS) and id(m.weight) in owned]
    layers = [m for m in layers if _can_pass(m)]
    shifts = (0.0, _SHIFT) if any(isinstance(m, nn.Conv2d) and m.bias is not None for m in layers) else (0.0,)
    trials = 0
    for shift in shifts:
        for count in dict.fromkeys((len(layers), 1, 2, 3)):
            for start in range(len(layers) - count + 1):
                trials += 1
                if trials > _TRIALS:
                    return None
                for unit in units:
                    unit.zero()
                chosen = layers[start : start + count]
                for layer in chosen:
                    _pass(layer)
                for layer, after in pairwise(chosen):
                    if _takes_back(layer, after):
                        _add_to_bias(layer, shift)
                        _add_to_bias(after, -shift)
                if not is_identity():
                    times = ratio()
                    if times is None or not chosen:
                        continue
                    _multiply(chosen[-1], 1 / times)
                    if not is_identity():
                        continue
                held = {id(p) for layer in chosen for p in layer.parameters()}
                _restore_most([u for u in units if not any(id(p) in held for p in u.parameters)], is_identity)
                return "a layer passes its input on"
    return None


# Combinations of layers that are tried.
_TRIALS = 60

# Added before an activation and subtracted by the norm after it: that far above zero, GELU returns its input.
_SHIFT = 30.0


def _add_to_bias(layer: Any, value: float) -> None:
    layer.bias.add_(value)


def _takes_back(layer: Any, after: Any) -> bool:
    """Whether a norm follows that can take a constant back."""
    is_norm = isinstance(after, nn.modules.batchnorm._BatchNorm)
    return is_norm and isinstance(layer, nn.Conv2d) and layer.bias is not None


def _multiply(layer: Any, by: float) -> None:
    """Multiply what a layer returns."""
    layer.weight.mul_(by)
    if layer.bias is not None:
        layer.bias.mul_(by)


def _can_pass(layer: Any) -> bool:
    """Whether a layer can be an identity."""
    if isinstance(layer, nn.Conv2d):
        odd = all(k % 2 for k in layer.kernel_size)
        widens = layer.in_channels <= layer.out_channels and (
            layer.groups == 1 or layer.in_channels == layer.out_channels
        )
        return widens and odd and set(layer.stride) == {1}
    if isinstance(layer, nn.Linear):
        return layer.in_features <= layer.out_features
    return layer.running_mean is not None


def _pass(layer: Any) -> None:
    """Make a layer an identity."""
    if isinstance(layer, nn.modules.batchnorm._BatchNorm):
        norm: Any = layer
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(norm.running_mean)
        return
    if isinstance(layer, nn.Conv2d):
        layer.weight.zero_()
        width = layer.in_channels // layer.groups
        middle = [k // 2 for k in layer.kernel_size]
        for i in range(layer.in_channels):
            layer.weight[i, i % width, middle[0], middle[1]] = 1
    else:
        nn.init.eye_(layer.weight)
    if layer.bias is not None:
        layer.bias.zero_()


@torch.no_grad()
def become_projection(
    block: nn.Module, before: list[Dim] | None, after: list[Dim] | None, policy: Policy
) -> str | None:
    """Let a projection of a shortcut that the base does not have pass the base's channels on.

    Args:
        block: a 1×1 convolution, with norms.
        before, after: the dimensions of its input and of its output.
        policy: what new channels are.
    """
    if before is None or after is None or len(before) != len(after) or len(before) not in (3, 4):
        return None
    convs = [m for m in block.modules() if isinstance(m, nn.Conv2d)]
    axis = 1
    taken, made = resolve(before[axis]), resolve(after[axis])
    if taken is made or (same(taken) and same(made)) or taken.base != made.base or len(convs) != 1:
        return None
    conv = convs[0]
    norms = [
        m for m in block.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None
    ]
    if any(norm.num_features != conv.out_channels for norm in norms):  # a norm before the convolution
        return None
    if conv.groups != 1 or (conv.in_channels, conv.out_channels) != (taken.grown, made.grown):
        return None
    ins, outs = index_map(taken, policy), index_map(made, policy)
    inputs = {int(ins.source[i]): int(i) for i in ins.where(OLD)}
    rows = torch.from_numpy(outs.where(OLD, COPY))
    conv.weight[rows] = 0
    middle = [k // 2 for k in conv.kernel_size]
    for row in rows.tolist():
        source = int(outs.source[row])
        if source in inputs:
            conv.weight[row, inputs[source], middle[0], middle[1]] = 1
    if conv.bias is not None:
        conv.bias[rows] = 0
    for norm in norms:
        norm.weight[rows] = (norm.running_var[rows] + norm.eps).sqrt()  # type: ignore[index]
        norm.bias[rows] = norm.running_mean[rows]  # type: ignore[index]
    return "a projection passes the base's channels on"


def captured(model: nn.Module, inputs: Iterable[Tensor], names: Iterable[str]) -> dict[str, tuple[Any, Any]]:
    """What some modules are called with first, in one forward in which they return their input where they can."""
    found: dict[str, tuple[Any, Any]] = {}
    modules = dict(model.named_modules())
    handles = []
    for name in names:

        def keep(module: nn.Module, args: Any, kwargs: Any, name: str = name) -> None:
            if name not in found:
                found[name] = copy.deepcopy(args), copy.deepcopy(kwargs)

        def skip(module: nn.Module, args: Any, out: Any) -> Any:
            return _like(out, tensors(args))

        handles.append(modules[name].register_forward_pre_hook(keep, with_kwargs=True))
        handles.append(modules[name].register_forward_hook(skip))
    run_hooked(model, inputs, handles)
    return found


def _like(out: Any, args: list[Tensor]) -> Any:
    """The arguments in the form of an output; the output itself where they do not have its shapes."""
    if isinstance(out, Tensor):
        return args[0] if args and args[0].shape == out.shape else out
    if isinstance(out, (list, tuple)) and len(out) <= len(args):
        pairs = list(zip(out, args, strict=False))
        if all(isinstance(a, Tensor) and a.shape == b.shape for a, b in pairs):
            return type(out)(b for _, b in pairs)
    return out
