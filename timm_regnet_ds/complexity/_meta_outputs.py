"""Outputs of common operators on the ``meta`` device, for speed: torch's own functions take 10 to 100 times as long.

Each function takes the operator's arguments and returns an empty tensor like the output, or None for arguments that it
does not handle; torch then computes the output.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["META_OUTPUTS"]


def _like(x: Tensor, *_: Any, **__: Any) -> Tensor | None:
    strides = x.stride()  # A stride is 0 where x is expanded; the output has other strides there.
    return None if 0 in strides else torch.empty_strided(x.shape, strides, dtype=x.dtype, device="meta")


def _layer_norm(x: Tensor, shape: list[int], *_: Any) -> Tensor | None:
    return x.new_empty(x.shape) if list(x.shape[-len(shape) :]) == list(shape) else None


def _batch_norm(x: Tensor, weight: Any, bias: Any, mean: Any, *_: Any) -> Tensor | None:
    fits = x.dim() > 1 and all(t is None or t.numel() == x.shape[1] for t in (weight, mean))
    return _like(x) if fits else None


def _broadcast(x: Tensor, other: Any, **_: Any) -> Tensor | None:
    fits = x.is_floating_point()
    if isinstance(other, Tensor):
        pairs = zip(reversed(x.shape), reversed(other.shape), strict=False)
        fits &= other.dtype is x.dtype and other.dim() <= x.dim() and all(m in (1, n) for n, m in pairs)
    return _like(x) if fits else None


def _dropout(x: Tensor, p: float, train: bool) -> Tensor | None:
    return None if train else x


def _itself(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


def _broadcast_in_place(x: Tensor, other: Any, **_: Any) -> Tensor | None:
    return None if _broadcast(x, other) is None else x


def _conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Any = None,
    stride: Any = (1,),
    padding: Any = (0,),
    dilation: Any = (1,),
    groups: int = 1,
) -> Tensor | None:
    inputs = weight.shape[1] * groups
    if x.dim() != 4 or x.shape[1] != inputs or weight.dtype is not x.dtype or isinstance(padding, str):
        return None
    sides = [
        (side + 2 * pad - gap * (kernel - 1) - 1) // step + 1
        for side, kernel, step, pad, gap in zip(
            x.shape[2:], weight.shape[2:], _pair(stride), _pair(padding), _pair(dilation), strict=True
        )
    ]
    return x.new_empty(x.shape[0], weight.shape[0], *sides) if min(sides) > 0 else None


def _pair(values: list[int]) -> list[int]:
    return values if len(values) == 2 else [*values, *values]


def _mean(x: Tensor, dims: Any = None, keepdim: bool = False, **options: Any) -> Tensor | None:
    if not x.is_floating_point() or not dims or options or not all(-x.dim() <= dim < x.dim() for dim in dims):
        return None
    reduced = {dim % x.dim() for dim in dims}
    shape = [1 if i in reduced else n for i, n in enumerate(x.shape) if keepdim or i not in reduced]
    return x.new_empty(shape) if len(reduced) == len(dims) else None


def _vector_norm(x: Tensor, order: Any = 2, dims: Any = None, keepdim: bool = False, **options: Any) -> Tensor | None:
    return _mean(x, dims, keepdim, **options)


def _clamp_min(x: Tensor, low: Any) -> Tensor | None:
    return _like(x) if x.is_floating_point() and isinstance(low, (int, float)) else None


def _linear(x: Tensor, weight: Tensor, *_: Any) -> Tensor | None:
    fits = weight.dim() == 2 and weight.shape[1] == x.shape[-1] and weight.dtype is x.dtype
    return x.new_empty(*x.shape[:-1], weight.shape[0]) if fits else None


def _attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Tensor | None:
    fits = q.shape[:-2] == k.shape[:-2] and k.shape[:-1] == v.shape[:-1] and q.shape[-1] == k.shape[-1]
    return q.new_empty(*q.shape[:-1], v.shape[-1]) if fits else None


_ACTIVATIONS = ("relu", "gelu", "silu", "sigmoid", "hardswish", "hardsigmoid", "hardtanh")
_ARITHMETIC = ("add", "sub", "mul", "div")

META_OUTPUTS: dict[str, Callable[..., Tensor | None]] = {
    **dict.fromkeys(_ACTIVATIONS, _like),
    **dict.fromkeys((f"{name}_" for name in _ACTIVATIONS), _itself),
    **dict.fromkeys(_ARITHMETIC, _broadcast),
    **dict.fromkeys((f"{name}_" for name in _ARITHMETIC), _broadcast_in_place),
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm),
    "batch_norm": _batch_norm,
    "dropout": _dropout,
    "conv2d": _conv2d,
    "mean": _mean,
    "linalg_vector_norm": _vector_norm,
    "clamp_min": _clamp_min,
    "linear": _linear,
    "scaled_dot_product_attention": _attention,
}
