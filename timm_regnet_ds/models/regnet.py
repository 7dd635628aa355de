"""RegNet: stage widths and depths from a quantized linear function.

Designing Network Design Spaces (§3.3, Eqs. 2 to 4; models of Figures 11 and 12) and Fast and Accurate Model Scaling
(§6.1, Table 6: RegNetZ).
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray
from timm.models import get_arch_pretrained_cfgs
from torch import nn

from timm_regnet_ds.common.check import check_choice, check_float, check_int
from timm_regnet_ds.common.quantized_linear import QUANTUM, quantized_linear_widths
from timm_regnet_ds.common.size_limit import MAX_WIDTH, check_blocks

from ._blocks import BLOCKS
from ._build import ModelEntry, default_cfg, refuse_fields, register, take_fields
from .anynet import MAX_RATIO, AnyNetCfg, build_anynet

__all__ = [
    "REGNET_CFGS",
    "RESOLUTIONS",
    "SAME_IN_TIMM",
    "RegNetCfg",
    "fit_group_width_arrays",
    "fit_group_widths",
    "quantized_linear",
]


@dataclass(frozen=True)
class RegNetCfg:
    """The six parameters of a RegNet (Eqs. 2 to 4) and the type of its blocks.

    Args:
        depth: number of blocks d, at most 8,192.
        w0: width of the first block, a multiple of 8, at most 2²⁴.
        wa: slope of the widths, from 0 to a million.
        wm: ratio of the widths of neighbouring stages, more than 1, at most 1,000.
        group_width: channels per group g. ``None``: a single group.
        bottle_ratio: width inside a bottleneck divided by the width (1/b of the papers), from 1/64 to 1,000. ``None``:
            the default of the block.
        block: ``x``, ``y``, ``z``, ``vanilla`` or ``basic``.

    Raises:
        ValueError: a value outside these bounds.
    """

    depth: int = 13
    w0: int = 24
    wa: float = 36.44
    wm: float = 2.49
    group_width: int | None = None
    bottle_ratio: float | None = None
    block: str = "x"

    def __post_init__(self) -> None:
        spec = check_choice("block", self.block, BLOCKS)
        check_blocks("the network", check_int("depth", self.depth))
        if check_int("w0", self.w0, maximum=MAX_WIDTH) % QUANTUM:
            raise ValueError(f"w0 must be a multiple of {QUANTUM}, not {self.w0}")
        check_float("wa", self.wa, minimum=0, maximum=1e6)
        check_float("wm", self.wm, above=1, maximum=1e3)
        if self.group_width is not None:
            check_int("group_width", self.group_width, maximum=MAX_WIDTH)
        if self.bottle_ratio is not None:
            # Rounded to a fraction whose denominator is at most 64, it must not become 0.
            check_float("bottle_ratio", self.bottle_ratio, minimum=1 / 64, maximum=MAX_RATIO)
        if not spec.bottleneck:
            self._refuse_bottleneck()

    def _refuse_bottleneck(self) -> None:
        for name in ("group_width", "bottle_ratio"):
            if getattr(self, name) is not None:
                raise ValueError(f"block {self.block!r} has no bottleneck and so takes no {name}")

    def block_widths(self) -> tuple[int, ...]:
        """Width of each of the ``depth`` blocks."""
        return quantized_linear(self.depth, self.w0, self.wa, self.wm)

    def stages(self, **rest: Any) -> AnyNetCfg:
        """The same network as an `AnyNetCfg`, with group widths that divide.

        Args:
            **rest: further fields of `AnyNetCfg`.
        """
        runs = [(width, len(list(run))) for width, run in groupby(self.block_widths())]
        widths, depths = tuple(w for w, _ in runs), tuple(d for _, d in runs)
        spec = BLOCKS[self.block]
        if spec.bottleneck:
            ratio = spec.bottle_ratio if self.bottle_ratio is None else self.bottle_ratio
            widths, group_widths = fit_group_widths(widths, (ratio,) * len(runs), (self.group_width,) * len(runs))
            rest = {"bottle_ratios": ratio, "group_widths": group_widths, **rest}
        return AnyNetCfg(depths, widths, block=self.block, **rest)


def quantized_linear(depth: int, w0: int, wa: float, wm: float, quantum: int = QUANTUM) -> tuple[int, ...]:
    """Width of each block j < depth: w0 · wm^round(s_j), where w0 + wa·j = w0 · wm^s_j (Eqs. 2 to 4).

    Args:
        depth: number of blocks d.
        w0: width of the first block.
        wa: slope, at least 0.
        wm: ratio of neighbouring widths, more than 1.
        quantum: divisor of the widths.
    """
    return tuple(quantized_linear_widths(depth, w0, wa, wm, quantum).tolist())


def fit_group_widths(
    widths: tuple[int, ...], bottle_ratios: tuple[float, ...], group_widths: tuple[int | None, ...]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Widths and group widths, one per stage, changed so that each group width divides the width inside the block.

    A group width larger than the width inside the block becomes that width. The width inside the block becomes the
    nearest multiple of the group width for which the block's own width is an integer.

    Args:
        widths: width of each stage.
        bottle_ratios: width inside the blocks divided by the width, for each stage.
        group_widths: channels per group, for each stage. ``None``: a single group.
    """
    wanted = np.array([group_width or 0 for group_width in group_widths])
    fitted, fitted_groups = fit_group_width_arrays(np.array(widths), np.array(bottle_ratios), wanted)
    return tuple(fitted.tolist()), tuple(fitted_groups.tolist())


def fit_group_width_arrays(
    widths: NDArray[Any], bottle_ratios: NDArray[Any], group_widths: NDArray[Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """`fit_group_widths` of arrays, which are broadcast; a group width of 0 is a single group."""
    ratios, indices = np.unique(bottle_ratios, return_inverse=True)
    fractions = [Fraction(ratio).limit_denominator(64) for ratio in ratios.tolist()]
    numerators, denominators = (
        np.array(values)[indices.reshape(bottle_ratios.shape)]
        for values in ([f.numerator for f in fractions], [f.denominator for f in fractions])
    )
    inner = np.maximum(1, widths * numerators // denominators)
    group_widths = np.where(group_widths == 0, inner, np.minimum(group_widths, inner))
    # A multiple of the ratio's numerator divided by the ratio is an integer.
    multiples = group_widths if (numerators == 1).all() else np.lcm(group_widths, numerators)
    inner = np.maximum(multiples, np.rint(inner / multiples).astype(np.int64) * multiples)
    return inner * denominators // numerators, group_widths


# Figures 11 and 12: depth, w0, wa, wm, group width.
_PUBLISHED = {
    "x": {
        "200mf": (13, 24, 36.44, 2.49, 8),
        "400mf": (22, 24, 24.48, 2.54, 16),
        "600mf": (16, 48, 36.97, 2.24, 24),
        "800mf": (16, 56, 35.73, 2.28, 16),
        "1_6gf": (18, 80, 34.01, 2.25, 24),
        "3_2gf": (25, 88, 26.31, 2.25, 48),
        "4gf": (23, 96, 38.65, 2.43, 40),
        "6_4gf": (17, 184, 60.83, 2.07, 56),
        "8gf": (23, 80, 49.56, 2.88, 120),
        "12gf": (19, 168, 73.36, 2.37, 112),
        "16gf": (22, 216, 55.59, 2.1, 128),
        "32gf": (23, 320, 69.86, 2.0, 168),
    },
    "y": {
        "200mf": (13, 24, 36.44, 2.49, 8),
        "400mf": (16, 48, 27.89, 2.09, 8),
        # Not printed. This is the only network of the design space whose rounded complexity is that of Fast and
        # Accurate Model Scaling, Table 6, and, scaled, that of Table 7 (`timm-regnet-ds space recover`). All wa from
        # 27.1 to 29.2 with wm from 2.776 to 2.786 give this network.
        "500mf": (17, 32, 28.0, 2.78, 4),
        "600mf": (15, 48, 32.54, 2.32, 16),
        "800mf": (14, 56, 38.84, 2.4, 16),
        "1_6gf": (27, 48, 20.71, 2.65, 24),
        "3_2gf": (21, 80, 42.63, 2.66, 24),
        "4gf": (22, 96, 31.41, 2.24, 64),
        "6_4gf": (25, 112, 33.22, 2.27, 72),
        "8gf": (17, 192, 76.82, 2.19, 56),
        "12gf": (19, 168, 73.36, 2.37, 112),
        "16gf": (18, 200, 106.23, 2.48, 112),
        "32gf": (20, 232, 115.89, 2.53, 232),
    },
    # Not printed. These give all numbers that the paper prints for RegNetZ and its scaled models.
    "z": {
        "500mf": (21, 16, 10.7, 2.51, 4),
        "4gf": (28, 48, 14.5, 2.226, 8),
    },
}

REGNET_CFGS = {
    f"regnet{block}_{size}": RegNetCfg(*parameters, block=block)
    for block, sizes in _PUBLISHED.items()
    for size, parameters in sizes.items()
}

RESOLUTIONS = {"regnetz_4gf": 256}

# timm's names of the same networks, for which it has weights.
SAME_IN_TIMM = {
    f"regnet{block}_{size}": f"regnet{block}_{number}"
    for block in "xy"
    for size, number in zip(
        (size for size in _PUBLISHED[block] if size != "500mf"),
        ("002", "004", "006", "008", "016", "032", "040", "064", "080", "120", "160", "320"),
        strict=True,
    )
}


def _pretrained_cfgs(name: str) -> dict[str, Any]:
    """Pretrained configs by tag: those of timm with weights on the Hub, otherwise one without weights."""
    in_timm = get_arch_pretrained_cfgs(SAME_IN_TIMM[name]) if name in SAME_IN_TIMM else {}
    on_hub = [cfg for cfg in in_timm.values() if cfg.hf_hub_id is not None]
    if on_hub:
        return {cfg.tag: replace(cfg, url=None, architecture=name) for cfg in on_hub}
    return {"": default_cfg(RESOLUTIONS.get(name, 224))}


DERIVED_FIELDS = ("depths", "widths", "bottle_ratios", "group_widths")


def _create_regnet(variant: str, pretrained: bool, **kwargs: Any) -> nn.Module:
    refuse_fields(variant, kwargs, DERIVED_FIELDS, "it follows from depth, w0, wa, wm, group_width and bottle_ratio")
    cfg = replace(REGNET_CFGS.get(variant, RegNetCfg()), **take_fields(RegNetCfg, kwargs))
    return build_anynet(variant, pretrained, cfg.stages(**take_fields(AnyNetCfg, kwargs)), **kwargs)


register(
    __name__,
    _create_regnet,
    {
        "regnet": ModelEntry("A RegNet from the fields of `RegNetCfg`."),
        **{name: ModelEntry(f"{name}: {cfg}.", _pretrained_cfgs(name)) for name, cfg in REGNET_CFGS.items()},
    },
)
