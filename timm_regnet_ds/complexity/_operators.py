"""What is known about operators: an entry in a table for each.

A module runs in inference mode: there the dispatcher shows `linear` or `scaled_dot_product_attention` whole, before
a backend is chosen. Any other composite operator is taken apart.
"""

import functools
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._outputs import OUTPUTS

__all__ = ["KINDS", "Formula", "known"]

Formula = Callable[[Any, Any], tuple[int, int]]  # (arguments, output) of an operator -> flops, acts


def _conv(args: Any, out: Tensor) -> tuple[int, int]:
    """(input, weight, …) with weight (out, in / groups, *kernel)."""
    return out.numel() * args[1].shape[1:].numel(), out.numel()


def _conv_transpose(args: Any, out: Tensor) -> tuple[int, int]:
    """(input, weight, …) with weight (in, out / groups, *kernel); every element of the input meets whole kernels."""
    return args[0].numel() * args[1].shape[1:].numel(), out.numel()


def _convolution(args: Any, out: Tensor) -> tuple[int, int]:
    """(input, weight, bias, stride, padding, dilation, transposed, …)."""
    return (_conv_transpose if args[6] else _conv)(args, out)


def _product(args: Any, out: Tensor) -> tuple[int, int]:
    """(a, b, …); every element of the output is an inner product along the last dimension of a."""
    return out.numel() * args[0].shape[-1], out.numel()


def _product_added(args: Any, out: Tensor) -> tuple[int, int]:
    """(bias, a, b, …)."""
    return _product(args[1:], out)


def _attention(args: Any, out: Any) -> tuple[int, int]:
    """(query, key, value, …): QKᵀ and softmax(·)V as if written out. A fused kernel returns more than its output."""
    query, _, value = args[:3]
    out = out if isinstance(out, Tensor) else out[0]
    keys, width = value.shape[-2:]
    rows = out.numel() // width
    return rows * keys * (query.shape[-1] + width), rows * (keys + width)


_TABLE: tuple[tuple[str, Formula, str], ...] = (
    ("conv", _conv, "conv1d conv2d conv3d"),
    ("conv", _conv_transpose, "conv_transpose1d conv_transpose2d conv_transpose3d"),
    ("conv", _convolution, "convolution _convolution convolution_overrideable"),
    ("linear", _product, "linear"),
    ("matmul", _product, "matmul mm bmm mv dot vdot"),
    ("matmul", _product_added, "addmm baddbmm addmv"),
    ("attention", _attention, "scaled_dot_product_attention _scaled_dot_product_attention_math"),
    ("attention", _attention, "_scaled_dot_product_flash_attention _scaled_dot_product_flash_attention_for_cpu"),
    ("attention", _attention, "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention"),
    ("attention", _attention, "_scaled_dot_product_fused_attention_overrideable"),
)
FORMULAS = {name: (kind, formula) for kind, formula, names in _TABLE for name in names.split()}
KINDS = ("conv", "linear", "matmul", "attention", "other")

# Operators that do multiply-adds and have no formula; patterns, so that those of a later torch are named as well.
UNCOUNTED = (
    *("*conv[123]d*", "*convolution*", "conv_*", "*mm", "*mm_*", "*mv", "*matmul*", "*_linear*", "_trilinear"),
    *("addr*", "*attention*", "*encoder_layer*", "*rnn*", "_fft_*", "*linalg_*", "*cholesky*", "*solve"),
    *("geqrf", "ormqr", "*grid_sampler*", "_[cp]dist_forward"),
)
NOT_MULTIPLY_ADDS = {"linalg_vector_norm", "linalg_cross", "_linalg_check_errors"}
OWN_NAMESPACES = {"aten", "prim", "prims", "profiler"}  # nobody here knows what the operators of others do


class Known(NamedTuple):
    """What the tables say about an operator."""

    counted: tuple[str, Formula] | None
    output: Callable[..., Tensor | None] | None
    composite: bool
    uncounted: bool
    computes: bool


@functools.cache
def known(func: Any) -> Known:
    namespace, _, name = func._schema.name.partition("::")
    own = namespace in OWN_NAMESPACES
    counted = FORMULAS.get(name.removesuffix("_")) if own else None
    output = OUTPUTS.get(name) if own and "out" not in func._overloadname else None
    composite = not counted and torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    multiplies = name not in NOT_MULTIPLY_ADDS and any(fnmatchcase(name, pattern) for pattern in UNCOUNTED)
    unknown = not counted and not composite and (multiplies or not own)
    return Known(counted, output, composite, unknown, not _is_view(func))


def _is_view(func: Any) -> bool:
    """Whether an operator returns its input, seen otherwise."""
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
