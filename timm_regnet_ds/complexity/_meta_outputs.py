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


def _linear(x: Tensor, weight: Tensor, *_: Any) -> Tensor | None:
    fits = weight.dim() == 2 and weight.shape[1] == x.shape[-1] and weight.dtype is x.dtype
    return x.new_empty(*x.shape[:-1], weight.shape[0]) if fits else None


def _attention(q: Tensor, k: Tensor, v: Tensor, *_: Any, **__: Any) -> Tensor | None:
    fits = q.shape[:-2] == k.shape[:-2] and k.shape[:-1] == v.shape[:-1] and q.shape[-1] == k.shape[-1]
    return q.new_empty(*q.shape[:-1], v.shape[-1]) if fits else None


META_OUTPUTS: dict[str, Callable[..., Tensor | None]] = {
    **dict.fromkeys(("relu", "gelu", "silu", "sigmoid", "hardswish", "hardsigmoid", "hardtanh"), _like),
    **dict.fromkeys(("add", "sub", "mul", "div"), _broadcast),
    **dict.fromkeys(("layer_norm", "rms_norm"), _layer_norm),
    "batch_norm": _batch_norm,
    "dropout": _dropout,
    "linear": _linear,
    "scaled_dot_product_attention": _attention,
}
