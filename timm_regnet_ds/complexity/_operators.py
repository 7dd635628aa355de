"""What is known about torch's operators: formulas for flops and acts, in a table that `register_formula` extends.

Modules run in inference mode. There the dispatcher sees `linear` and `scaled_dot_product_attention` as one call each,
before a backend is chosen. Other composite operators are decomposed.
"""

import functools
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ._autocast import AUTOCAST, AutocastRule
from ._meta_outputs import META_OUTPUTS

__all__ = ["KINDS", "Formula", "OperatorInfo", "operator_info", "register_formula"]

Formula = Callable[[Any, Any], tuple[int, int]]  # (arguments, output) of an operator -> flops, acts


def _conv(args: Any, out: Tensor) -> tuple[int, int]:
    """Arguments (input, weight, …) with weight (out, in / groups, *kernel)."""
    return out.numel() * args[1].shape[1:].numel(), out.numel()


def _conv_transpose(args: Any, out: Tensor) -> tuple[int, int]:
    """Arguments (input, weight, …) with weight (in, out / groups, *kernel).

    Every element of the input is multiplied by one whole kernel for each output channel of its group.
    """
    return args[0].numel() * args[1].shape[1:].numel(), out.numel()


def _convolution(args: Any, out: Tensor) -> tuple[int, int]:
    """Arguments (input, weight, bias, stride, padding, dilation, transposed, …)."""
    return (_conv_transpose if args[6] else _conv)(args, out)


def _product(args: Any, out: Tensor) -> tuple[int, int]:
    """Arguments (a, b, …): every element of the output is an inner product along the last dimension of a."""
    return out.numel() * args[0].shape[-1], out.numel()


def _product_added(args: Any, out: Tensor) -> tuple[int, int]:
    """Arguments (bias, a, b, …)."""
    return _product(args[1:], out)


def _attention(args: Any, out: Any) -> tuple[int, int]:
    """Arguments (query, key, value, …): both products, QKᵀ and softmax(·)V, as if they were written out."""
    query, _, value = args[:3]
    out = out if isinstance(out, Tensor) else out[0]  # Fused kernels return more than their output.
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
FORMULAS = {f"aten::{name}": (kind, formula) for kind, formula, names in _TABLE for name in names.split()}
KINDS = ("conv", "linear", "matmul", "attention")

# Patterns of torch's operators that do multiply-adds and have no formula. They also name those of later versions.
UNCOUNTED = (
    *("*conv[123]d*", "*convolution*", "conv_*", "*mm", "*mm_*", "*mv", "*matmul*", "*_linear*", "_trilinear"),
    *("addr*", "*attention*", "*encoder_layer*", "*rnn*", "_fft_*", "*linalg_*", "*cholesky*", "*solve"),
    *("geqrf", "ormqr", "*grid_sampler*", "_[cp]dist_forward"),
)
NOT_MULTIPLY_ADDS = {"linalg_vector_norm", "linalg_cross", "_linalg_check_errors"}
# Composite operators that are one kernel on a GPU, so that what they are made of moves no bytes of its own.
ONE_KERNEL = {"layer_norm", "rms_norm", "batch_norm", "group_norm", "softmax", "log_softmax", "dropout"}
# Operators that neither read nor write elements, although they return no view.
MOVES_NOTHING = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "_unsafe_view", "lift_fresh"}
# Operators that do not read their first argument: it is overwritten, or only its shape is of interest.
READS_NOT_FIRST = {
    *("copy_", "fill_", "zero_", "uniform_", "normal_", "bernoulli_", "zeros_like", "ones_like", "full_like"),
    *("rand_like", "randn_like", "new_zeros", "new_ones", "new_full"),
}
# Operators that read as many elements of their first argument as they return.
LOOKS_UP = {"embedding", "index", "index_select", "gather", "take", "_unsafe_index"}
# Operators of other namespaces may do multiply-adds, so those without a formula are reported as uncounted.
TORCH_NAMESPACES = {"aten", "prim", "prims", "profiler"}


def register_formula(name: str, formula: Formula, kind: str = "other") -> None:
    """Tell `measure` how to count an operator that it reports as uncounted.

    Args:
        name: the operator's full name, as in ``Complexity.uncounted``: ``torchvision::deform_conv2d``. An earlier
            formula for it is replaced.
        formula: called with the operator's arguments (a tuple) and its output, returns the integers (flops, acts) for
            them. Flops are multiply-adds.
        kind: the operator's row in ``Complexity.by_operator()``: ``conv``, ``linear``, ``matmul``, ``attention``,
            ``other``, or a new name.

    Raises:
        ValueError: ``name`` has no namespace, or ``kind`` is empty.
        TypeError: ``formula`` is not callable.

    >>> def deform_conv2d(args, out):
    ...     weight = args[1]  # (out, in / groups, *kernel)
    ...     return out.numel() * weight.shape[1:].numel(), out.numel()
    >>> register_formula("torchvision::deform_conv2d", deform_conv2d, kind="conv")
    """
    namespace, _, operator = name.partition("::")
    if not namespace or not operator:
        raise ValueError(f"name must be an operator's full name such as 'torchvision::deform_conv2d', not {name!r}")
    if not isinstance(kind, str) or not kind:
        raise ValueError(f"kind must be a name such as 'conv', not {kind!r}")
    if not callable(formula):
        raise TypeError(f"formula must be a function of an operator's arguments and output, not {formula!r}")
    FORMULAS[name] = (kind, formula)
    operator_info.cache_clear()


class OperatorInfo(NamedTuple):
    """What the tables say about an operator.

    Attributes:
        counted: kind and formula, if there is a formula.
        meta_output: computes the output on the ``meta`` device, if the table has a function for it.
        is_composite: whether the operator is made of others that are to be counted in its place.
        is_uncounted: whether it does, or may do, multiply-adds and has no formula.
        is_kernel: whether it computes, rather than returning a view of its input or memory without values.
        in_place: whether it writes to an argument.
        reads_first: whether it reads its first argument.
        looks_up: whether it reads only as many elements of its first argument as it returns.
        autocast: what autocast does to its arguments, if anything.
    """

    counted: tuple[str, Formula] | None
    meta_output: Callable[..., Tensor | None] | None
    is_composite: bool
    is_uncounted: bool
    is_kernel: bool
    in_place: bool
    reads_first: bool
    looks_up: bool
    autocast: AutocastRule | None


@functools.cache
def operator_info(func: Any) -> OperatorInfo:
    """Look an operator (``torch._ops.OpOverload``) up in the tables."""
    full_name = func._schema.name
    namespace, _, name = full_name.partition("::")
    is_torchs = namespace in TORCH_NAMESPACES
    counted = FORMULAS.get(full_name) or FORMULAS.get(full_name.removesuffix("_"))  # with `_`: works in place
    meta_output = META_OUTPUTS.get(name) if is_torchs and "out" not in func._overloadname else None
    is_leaf = bool(counted) or (is_torchs and name in ONE_KERNEL)
    is_composite = not is_leaf and torch._C._dispatch_has_kernel_for_dispatch_key(
        func.name(), "CompositeImplicitAutograd"
    )
    does_multiply_adds = name not in NOT_MULTIPLY_ADDS and any(fnmatchcase(name, pattern) for pattern in UNCOUNTED)
    is_uncounted = not is_leaf and not is_composite and (does_multiply_adds or not is_torchs)
    return OperatorInfo(
        counted=counted,
        meta_output=meta_output,
        is_composite=is_composite,
        is_uncounted=is_uncounted,
        is_kernel=not _is_view(func) and name not in MOVES_NOTHING,
        in_place=func._schema.is_mutable,
        reads_first=name not in READS_NOT_FIRST,
        looks_up=name in LOOKS_UP,
        autocast=AUTOCAST.get(name) if is_torchs else None,
    )


def _is_view(func: Any) -> bool:
    """Whether an operator returns a view of its input."""
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
