"""ReXNet in the sizes that timm lacks, and in any other: timm's own ``RexNet``, which gives Tables 5 and A1.

"Rethinking Channel Dimensions for Efficient Model Design", §4.4, Appendix B.1 (https://arxiv.org/abs/2007.00992).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from timm.models.rexnet import RexNet
from torch import nn

from timm_regnet_ds._check import number

from ._build import build, data_cfg, register
from ._sequential import check_output_stride, check_pool

__all__ = ["RexNet"]

# Arguments of RexNet by name; the generator "rexnet" leaves them to the caller.
MODELS: dict[str, dict[str, float]] = {
    "rexnet": {},
    "rexnet_090": {"width_mult": 0.9},
    "rexnet_110": {"width_mult": 1.1},
    "rexnet_120": {"width_mult": 1.2},
    "rexnet_140": {"width_mult": 1.4},
    "rexnet_220": {"width_mult": 2.2},
}


# What is checked before RexNet, which asserts or divides by zero, sees it.
_CHECKS: dict[str, Callable[[Any], object]] = {
    "width_mult": partial(number, "width_mult", above=0),
    "depth_mult": partial(number, "depth_mult", above=0),
    "output_stride": check_output_stride,
    "global_pool": check_pool,
}


def _create(name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    for argument in _CHECKS.keys() & kwargs.keys():
        _CHECKS[argument](kwargs[argument])
    return build(
        RexNet,
        name,
        pretrained,
        feature_maps=5,
        feature_cfg={"flatten_sequential": True},
        **MODELS[name],
        **kwargs,
    )


register(
    __name__,
    _create,
    cfgs={name: data_cfg() for name in MODELS},
    docs={
        name: f"ReXNet (×{row['width_mult']}), Table A1."
        if row
        else "ReXNet of any size: ``width_mult`` multiplies the widths of ×1.0, ``depth_mult`` its depths."
        for name, row in MODELS.items()
    },
)
