"""ReXNet in the sizes that timm lacks, and in any other: timm's own ``RexNet``, which gives Tables 5 and A1.

"Rethinking Channel Dimensions for Efficient Model Design", §4.4, Appendix B.1 (https://arxiv.org/abs/2007.00992).
"""

from typing import Any

from timm.models.rexnet import RexNet
from torch import nn

from timm_regnet_ds._check import check_float

from ._build import build, check_output_stride, data_cfg, register

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


def _create(name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    # RexNet itself divides by zero.
    for argument in {"width_mult", "depth_mult"} & kwargs.keys():
        check_float(argument, kwargs[argument], above=0)
    check_output_stride(kwargs)
    return build(
        RexNet,
        name,
        pretrained,
        feature_maps=5,
        feature_cfg={"flatten_sequential": True},
        **(MODELS[name] | kwargs),
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
