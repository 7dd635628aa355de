"""EfficientNet, MobileNet V1 to V5 and other networks whose blocks timm decodes from the same kind of strings."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from timm.layers import make_divisible

from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers
from timm_regnet_ds.scaling.named.efficientnet import scale_depth, scale_width

from .rules import Args, Custom, nearest_depth, repeat
from .specs import SPECS, ScalingSpec
from .wrappers import WRAPPERS, Wrapper

_WIDTHS = ("out_chs", "force_in_chs")
_PLAIN_CONV = {"block_type": "cn", "skip": False}


def _deeper(scale_depth: Callable[[int, Multipliers], int]) -> Callable[[Args, Multipliers], Args]:
    """Return a function that scales the depths of all stages.

    Stages of plain convolutions stay as they are, since they belong to stems and heads.
    """

    def scale(args: Args, multipliers: Multipliers) -> Args:
        stages = [
            stage
            if all(_PLAIN_CONV.items() <= block.items() for block in stage)
            else repeat(stage, scale_depth(len(stage), multipliers))
            for stage in args["block_args"]
        ]
        return args | {"block_args": stages}

    return scale


def _wider(args: Args, multipliers: Multipliers) -> Args:
    """Scale every stage, the stem and the head, starting from the widths after the class's own width multiplier."""
    if multipliers.width == multipliers.group_width == 1:
        return args
    own = args.get("round_chs_fn") or as_given
    multiple = getattr(own, "keywords", {}).get("divisor", 8)

    def width(channels: int) -> int:
        return scale_width(channels, multipliers, multiple)

    new: Args = {"round_chs_fn": as_given}
    if args.get("stem_size"):
        new["stem_size"] = width(args["stem_size"] if args.get("fix_stem") else own(args["stem_size"]))
    if args.get("num_features"):
        new["num_features"] = width(args["num_features"])
    in_chs, stages = new.get("stem_size", 0), []
    for stage in args["block_args"]:
        blocks = []
        for old in stage:
            block = old | {name: width(own(old[name])) for name in _WIDTHS if old.get(name)}
            if old.get("num_heads"):
                block["num_heads"] = max(1, round(old["num_heads"] * multipliers.width))
            if old.get("group_size", 1) > 1:
                block["group_size"] = _group_size(block, in_chs, old["group_size"] * multipliers.group_width)
            in_chs = block["out_chs"]
            blocks.append(block)
        stages.append(blocks)
    return args | new | {"block_args": stages}


def _group_size(block: dict[str, Any], in_chs: int, wanted: float) -> int:
    """Return the divisor of the channels of the block's grouped convolution that is nearest to ``wanted``."""
    inner = make_divisible(in_chs * block.get("exp_ratio", 1))
    # A grouped expansion also divides the input channels.
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


EFFICIENTNET_SPEC = ScalingSpec(
    depth=(Custom(_deeper(lambda depth, multipliers: nearest_depth(depth, multipliers.depth)), _depths),),
    width=(Custom(_wider, _widths),),
)

# A base of the scaling paper: it scales to the very models that `named` registers.
SPECS["efficientnet_b0"] = replace(
    EFFICIENTNET_SPEC, depth=(Custom(_deeper(scale_depth), _depths),), round_independently=True
)
SPECS |= dict.fromkeys(
    (
        *("efficientnet.EfficientNet", "efficientnet.EfficientNetFeatures"),
        *("mobilenetv3.MobileNetV3", "mobilenetv3.MobileNetV3Features"),
    ),
    EFFICIENTNET_SPEC,
) | dict.fromkeys(
    ("mobilenetv5.MobileNetV5", "mobilenetv5.MobileNetV5Encoder"),
    replace(EFFICIENTNET_SPEC, multiple=32),
)
