"""EfficientNet, MobileNet V1 to V5 and what timm decodes from the same strings into lists of blocks."""

import math
from dataclasses import replace
from typing import Any

from timm.layers import make_divisible

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .axes import AXES, Axes
from .rules import Args, Repeats, Rewrite
from .wrappers import WRAPPERS, Wrapper

WIDTHS = ("out_chs", "force_in_chs")
FIXED = {"block_type": "cn", "skip": False}


def _deeper(args: Args, multipliers: Multipliers) -> Args:
    """Every stage deeper, but for plain convolutions, which are stems and heads."""
    repeated = Repeats("stage")
    stages = [
        stage
        if all(FIXED.items() <= block.items() for block in stage)
        else repeated.scale({"stage": stage}, multipliers)["stage"]
        for stage in args["block_args"]
    ]
    return args | {"block_args": stages}


def _wider(args: Args, multipliers: Multipliers) -> Args:
    """Every stage, the stem and the head wider; what the class's own multiplier makes of widths is where they start."""
    if multipliers.width == 1:
        return args
    own = args.get("round_chs_fn") or as_given
    multiple = getattr(own, "keywords", {}).get("divisor", 8)

    def width(channels: int) -> int:
        return nearest_multiple(channels * multipliers.width, multiple)

    new: Args = {"round_chs_fn": as_given}
    if args.get("stem_size"):
        new["stem_size"] = width(args["stem_size"] if args.get("fix_stem") else own(args["stem_size"]))
    if args.get("num_features"):
        new["num_features"] = width(args["num_features"])
    in_chs, stages = new.get("stem_size", 0), []
    for stage in args["block_args"]:
        blocks = []
        for old in stage:
            block = old | {name: width(own(old[name])) for name in WIDTHS if old.get(name)}
            if old.get("num_heads"):
                block["num_heads"] = max(1, round(old["num_heads"] * multipliers.width))
            if old.get("group_size", 1) > 1:
                block["group_size"] = _group_size(block, in_chs, old["group_size"] * multipliers.group_width)
            in_chs = block["out_chs"]
            blocks.append(block)
        stages.append(blocks)
    return args | new | {"block_args": stages}


def _group_size(block: dict[str, Any], in_chs: int, wanted: float) -> int:
    """The one nearest to ``wanted`` that divides the channels of the block's grouped convolution."""
    inner = make_divisible(in_chs * block.get("exp_ratio", 1))
    # A grouped expansion divides what comes in as well.
    inputs = in_chs if block["block_type"] == "er" else inner
    sizes = [size for size in range(1, inner + 1) if inner % size == 0 and inputs % (inner // size) == 0]
    return min(sizes, key=lambda size: abs(math.log(size / wanted)))


def as_given(channels: float, *_: Any, **__: Any) -> int:
    """A ``round_chs_fn`` that leaves channels as they are."""
    return int(channels)


WRAPPERS["unrounded"] = Wrapper(as_given, lambda args: as_given)


def _depths(args: Args) -> list[float]:
    return [len(stage) for stage in args["block_args"]]


def _widths(args: Args) -> list[float]:
    own = args.get("round_chs_fn") or as_given
    return [own(stage[-1]["out_chs"]) for stage in args["block_args"]]


BLOCKS = Axes(depth=(Rewrite(_deeper, _depths),), width=(Rewrite(_wider, _widths),))

# The paper's base. Its rows come out with every number rounded by itself.
AXES["efficientnet_b0"] = replace(BLOCKS, each_by_itself=True)
AXES |= dict.fromkeys(
    (
        *("efficientnet.EfficientNet", "efficientnet.EfficientNetFeatures"),
        *("mobilenetv3.MobileNetV3", "mobilenetv3.MobileNetV3Features"),
    ),
    BLOCKS,
) | dict.fromkeys(
    ("mobilenetv5.MobileNetV5", "mobilenetv5.MobileNetV5Encoder"),
    replace(BLOCKS, multiple=32),
)
