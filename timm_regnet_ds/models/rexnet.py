"""ReXNet in the sizes of Tables 5 and A1 that timm lacks, and in any other size: timm's own ``RexNet``.

"Rethinking Channel Dimensions for Efficient Model Design", §4.4, Appendix B.1 (https://arxiv.org/abs/2007.00992).
"""

import math
from typing import Any

from timm.models.rexnet import RexNet
from torch import nn

from timm_regnet_ds.common.check import check_float, check_int
from timm_regnet_ds.common.size_limit import MAX_WIDTH, check_blocks, check_elements

from ._build import ModelEntry, build, check_output_stride, register

__all__ = ["RexNet"]

# Arguments of RexNet by registered name; for "rexnet" the caller gives them.
MODELS: dict[str, dict[str, float]] = {
    "rexnet": {},
    "rexnet_090": {"width_mult": 0.9},
    "rexnet_110": {"width_mult": 1.1},
    "rexnet_120": {"width_mult": 1.2},
    "rexnet_140": {"width_mult": 1.4},
    "rexnet_220": {"width_mult": 2.2},
}


def _create_rexnet(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    # RexNet itself divides by zero, and numbers near the largest float overflow.
    for argument in {"width_mult", "depth_mult"} & kwargs.keys():
        check_float(argument, kwargs[argument], above=0, maximum=MAX_WIDTH)
    if "ch_div" in kwargs:
        check_int("ch_div", kwargs["ch_div"])
    width, depth = kwargs.get("width_mult", 1.0), kwargs.get("depth_mult", 1.0)
    check_blocks(variant, math.ceil(16 * depth))
    check_elements(variant, 4.8e6 * width**2 * depth)  # ReXNet ×1.0 has 4.8 million
    check_output_stride(kwargs)
    feature_cfg = {"flatten_sequential": True}
    return build(RexNet, variant, pretrained, feature_cfg=feature_cfg, **(MODELS[variant] | kwargs))


def _doc(args: dict[str, float]) -> str:
    if args:
        return f"ReXNet (×{args['width_mult']}), Table A1."
    return "ReXNet of any size: ``width_mult`` multiplies the widths of ×1.0, ``depth_mult`` its depths."


register(__name__, _create_rexnet, {name: ModelEntry(_doc(args)) for name, args in MODELS.items()})
