"""The number formats in which models are counted, and autocast's rules for them.

The ``meta`` device has no autocast, so that the counter applies the rules itself: those of CUDA, from the lists in
torch's documentation ("CUDA Ops that can autocast"). Elsewhere, operators run in the formats of their arguments.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

__all__ = ["AUTOCAST", "DTYPES", "AutocastRule", "Cast", "rule_in_fast_norm"]

# For each number format: that of weights and images, and that of products under autocast. The names are those of
# `timm_regnet_ds.bench`. float16 stands for bfloat16 too, since both have two bytes.
DTYPES: dict[str, tuple[torch.dtype, torch.dtype | None]] = {
    "fp32": (torch.float32, None),
    "tf32": (torch.float32, None),
    "bf16": (torch.bfloat16, None),
    "fp16": (torch.float16, None),
    "amp": (torch.float32, torch.float16),
    "amp_bf16": (torch.float32, torch.float16),
}

Cast = Callable[[Tensor, torch.dtype | None], Tensor]  # to a format; None is that of products
AutocastRule = Callable[[Any, Any, Cast], tuple[Any, Any]]  # (args, kwargs, cast) -> args, kwargs


def _map(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    return type(value)(_map(v, change) for v in value) if type(value) in (list, tuple) else value


def _all_to(dtype: torch.dtype | None, args: Any, kwargs: Any, cast: Cast) -> tuple[Any, Any]:
    def change(tensor: Tensor) -> Tensor:
        return cast(tensor, dtype)

    return _map(args, change), {name: _map(value, change) for name, value in kwargs.items()}


def _to_products(args: Any, kwargs: Any, cast: Cast) -> tuple[Any, Any]:
    return _all_to(None, args, kwargs, cast)


def _to_float32(args: Any, kwargs: Any, cast: Cast) -> tuple[Any, Any]:
    return _all_to(torch.float32, args, kwargs, cast)


def _norm_to_float32(args: Any, kwargs: Any, cast: Cast) -> tuple[Any, Any]:
    return _to_float32(args, kwargs, cast)


def _return_float32(args: Any, kwargs: Any, cast: Cast) -> tuple[Any, Any]:
    """The operator itself returns float32, so that no cast runs before it."""
    given = kwargs.get("dtype") is not None or any(isinstance(arg, torch.dtype) for arg in args)
    is_half = args[0].dtype in (torch.float16, torch.bfloat16)
    return args, kwargs if given or not is_half else {**kwargs, "dtype": torch.float32}


def _to_widest(args: Any, kwargs: Any, cast: Cast) -> tuple[Any, Any]:
    formats: list[torch.dtype] = []

    def note(tensor: Tensor) -> Tensor:
        formats.append(tensor.dtype)
        return tensor

    _map((args, *kwargs.values()), note)
    return _to_float32(args, kwargs, cast) if torch.float32 in formats else (args, kwargs)


_TABLE: tuple[tuple[AutocastRule, str], ...] = (
    (_to_products, "conv1d conv2d conv3d conv_tbc conv_transpose1d conv_transpose2d conv_transpose3d convolution"),
    (_to_products, "_convolution prelu addmm addmv addr matmul einsum mm mv linalg_vecdot linear addbmm baddbmm bmm"),
    (_to_products, "chain_matmul linalg_multi_dot scaled_dot_product_attention lstm_cell gru_cell"),
    (_to_float32, "acos asin cosh erfinv exp expm1 log log10 log2 log1p reciprocal rsqrt sinh tan pow softplus"),
    (_norm_to_float32, "layer_norm native_layer_norm group_norm rms_norm"),
    (_to_float32, "cosine_similarity cdist pdist dist renorm norm"),
    (_to_float32, "logsumexp upsample_nearest1d upsample_nearest2d upsample_nearest3d upsample_linear1d"),
    (_to_float32, "upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d _upsample_bilinear2d_aa"),
    (_to_float32, "_upsample_bicubic2d_aa _upsample_nearest_exact1d _upsample_nearest_exact2d"),
    (_return_float32, "prod softmax log_softmax cumprod cumsum linalg_vector_norm linalg_matrix_norm sum"),
    (_to_widest, "addcdiv addcmul atan2 bilinear cross dot grid_sampler index_put tensordot scatter_add vdot"),
)
AUTOCAST = {name: rule for rule, names in _TABLE for name in names.split()}


def rule_in_fast_norm(rule: AutocastRule) -> AutocastRule:
    """The rule inside a layer of timm that was built with ``set_fast_norm()``: norms run in the format of products."""
    return _to_products if rule is _norm_to_float32 else rule
