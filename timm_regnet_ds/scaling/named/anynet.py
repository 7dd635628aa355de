"""Scaling an AnyNet: the stem and the head keep their widths (Fast and Accurate Model Scaling, §3.5 and §6)."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from timm_regnet_ds.models.anynet import AnyNetCfg
from timm_regnet_ds.models.regnet import fit_group_width_arrays
from timm_regnet_ds.scaling.arithmetic.rounding import round_depth, round_group_width, round_width
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

__all__ = ["scale_anynet", "scale_anynet_arrays"]

Array = NDArray[Any]

_round_depths, _round_widths, _round_group_widths = (
    np.vectorize(function, otypes=[np.int64]) for function in (round_depth, round_width, round_group_width)
)


def scale_anynet(cfg: AnyNetCfg, multipliers: Multipliers) -> AnyNetCfg:
    """Return ``cfg`` with the depths, widths and group widths of all stages scaled.

    Depthwise convolutions stay depthwise, and convolutions with one group keep one group.
    """
    names = ("depths", "widths", "inner_widths", "bottle_ratios", "group_widths")
    arrays: Any = {name: np.array(getattr(cfg, name)) for name in names}
    scaled = scale_anynet_arrays(**arrays, multipliers=multipliers)
    depths, widths, group_widths = (array.tolist() for array in scaled)
    return replace(cfg, depths=depths, widths=widths, group_widths=group_widths)


def scale_anynet_arrays(
    depths: Array,
    widths: Array,
    inner_widths: Array,
    bottle_ratios: Array,
    group_widths: Array,
    multipliers: Multipliers,
) -> tuple[Array, Array, Array]:
    """Return the depths, widths and group widths of many scaled stages at once; see `scale_anynet`.

    Args:
        depths, widths, inner_widths, bottle_ratios, group_widths: as in `AnyNetCfg`, all of one shape.
        multipliers: multipliers of depth, width and group width.

    Returns:
        Depths, widths and group widths of the scaled stages: int64 arrays of the same shape.
    """
    depths = _round_depths(depths * multipliers.depth)
    if multipliers.width == multipliers.group_width == 1:
        return depths, widths, group_widths
    wanted = _round_group_widths(group_widths * multipliers.group_width)
    # fit_group_width_arrays takes a group width of 0 as one group.
    wanted = np.where(group_widths == inner_widths, 0, np.where(group_widths == 1, 1, wanted))
    return depths, *fit_group_width_arrays(_round_widths(widths * multipliers.width), bottle_ratios, wanted)
