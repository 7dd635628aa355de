"""Networks that combine convolutions with attention, and their convolutional relatives."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .rules import Args, Custom, Depth, MultiplierArg, Repeats, Width
from .specs import SPECS, ScalingSpec


def _stages(path: str, *multiples: int) -> tuple[Width, ...]:
    """Return a rule for the width of each stage, rounded to its own multiple."""
    return tuple(Width(f"{path}.{i}", multiple) for i, multiple in enumerate(multiples))


def _in_proportion(path: str, multiple: int) -> Custom:
    """Return a rule for widths of stages that rounds only the first: the others keep their ratios to it."""

    def scale(args: Args, by: Multipliers) -> Args:
        first, *_ = widths = args[path]
        new = first if by.width == 1 else nearest_multiple(first * by.width, multiple)
        return {**args, path: type(widths)(width * new // first for width in widths)}

    return Custom(scale, lambda args: list(args[path]))


def _without_multiplier(rule: Depth | Width, multiplier: str, to_int: Callable[[float], int]) -> Custom:
    """Return a rule for numbers that the class multiplies by an argument and rounds.

    The argument is folded into the numbers, the result is scaled, and the class is passed a multiplier of 1.
    """

    def explicit(args: Args) -> Args:
        return {**args, rule.path: tuple(to_int(n * args[multiplier]) for n in args[rule.path]), multiplier: 1.0}

    def scale(args: Args, by: Multipliers) -> Args:
        before = explicit(args)
        after = rule.scale(before, by)
        return args if after == before else after

    return Custom(scale, lambda args: rule.sizes(explicit(args)))


def _but_the_last(rule: Custom, name: str) -> Custom:
    """Return a rule for depths that keeps that of the last stage."""

    def scale(args: Args, by: Multipliers) -> Args:
        after = rule.scale(args, by)
        return args if after == args else {**after, name: (*after[name][:-1], int(rule.sizes(args)[-1]))}

    return Custom(scale, lambda args: rule.sizes(args)[:-1])


_CSPNEXT_DEPTHS = _without_multiplier(Depth("depths"), "deepen_factor", lambda depth: max(1, round(depth)))


def _iformer_depths(args: Args, by: Multipliers) -> Args:
    """Scale both the groups of attention, of three blocks each, and the other blocks of each stage."""
    stages = list(zip(args["depths"], args["attn_groups"], strict=True))
    parts = {"groups": [groups for _, groups in stages], "others": [depth - 3 * groups for depth, groups in stages]}
    for part in parts:
        parts = Depth(part).scale(parts, by)
    depths = tuple(3 * groups + others for groups, others in zip(parts["groups"], parts["others"], strict=True))
    return {**args, "depths": depths, "attn_groups": tuple(parts["groups"])}


_RDNET_LISTS = ("growth_rates", "num_blocks_list", "block_type", "is_downsample_block")


def _rdnet_stages(args: Args) -> list[list[tuple[Any, ...]]]:
    """Return the dense stages of each resolution."""
    stages: list[list[tuple[Any, ...]]] = []
    for dense in zip(*(args[name] for name in _RDNET_LISTS), strict=True):
        if dense[-1] is not False:
            stages.append([])
        stages[-1].append(dense)
    return stages


def _rdnet_depths(args: Args, by: Multipliers) -> Args:
    """Add or remove dense stages of three blocks at the last two resolutions, as the family's variants do."""
    stages: Args = {"stages": _rdnet_stages(args)}
    for path in ("stages.2", "stages.3"):
        stages = Repeats(path, follower=lambda dense: (*dense[:-1], False)).scale(stages, by)
    lists = zip(_RDNET_LISTS, zip(*chain(*stages["stages"]), strict=True), strict=True)
    return {**args, **{name: type(args[name])(values) for name, values in lists}}


def _rdnet_widths(args: Args, by: Multipliers) -> Args:
    return Width("growth_rates").scale(Width("num_init_features").scale(args, by), by)


def _edgenext_widths(args: Args, by: Multipliers) -> Args:
    rule = _in_proportion("dims", 4) if args["downsample_block"] else Width("dims")
    return rule.scale(args, by)


def _lowformer_widths(args: Args, by: Multipliers) -> Args:
    """Scale the widths until estimated flops meet the multiplier.

    Some blocks lose their dense convolutions when they become wider, for which the other widths compensate.
    """
    new, width = args, by.width
    for _ in range(4):
        new = args
        for rule in (*_stages("width_list", 4, 8, 8, 8, 8), Width("head_widths")):
            new = rule.scale(new, replace(by, width=width))
        width *= by.width * _lowformer_width(args)[0] / _lowformer_width(new)[0]
    return args if by.width == 1 else new


def _lowformer_width(args: Args) -> list[float]:
    """Return the square root of estimated flops; blocks with attention of 256 or more channels are not dense."""
    ratio, groups, kernel = args["expand_ratio"], args["expand_groups"], 4 if args.get("small_kernels") else 9
    attention = 3 * args.get("attn", True) + 2 * args["attn_mlp_ratio"] * args.get("attn_mlp", True)
    # Typical numbers of blocks after the one that downsamples. Constants, so that depth does not influence the width.
    blocks = (1.5, 2, 5, 5) if args["depth_list"][0] else (0, 0, 5, 5)
    flops = 0.0
    for stage, width in enumerate(args["width_list"][1:]):
        dense = stage < 2 or width < 256
        block = ratio * ((kernel if dense else 1) / groups + 1) + (attention if stage >= 2 else 0)
        downsample = ratio * (9 / groups / 4 + 1 / 2)
        flops += (downsample + blocks[stage] * block) * width**2 / 4**stage
    return [math.sqrt(flops)]


_LOWFORMER = ScalingSpec(depth=(Depth("depth_list"),), width=(Custom(_lowformer_widths, _lowformer_width),))

SPECS |= {
    "convnext.ConvNeXt": ScalingSpec(
        depth=(Depth("depths"),), width=(Width("dims"), Width("head_hidden_size")), multiple=32
    ),
    # Attention has heads of 32 channels.
    "metaformer.MetaFormer": ScalingSpec(depth=(Depth("depths"),), width=_stages("dims", 8, 8, 32, 32)),
    "inception_next.MetaNeXt": ScalingSpec(depth=(Depth("depths"),), width=(Width("dims"),), multiple=32),
    "mambaout.MambaOut": ScalingSpec(depth=(Depth("depths"),), width=(Width("dims"),)),
    # Attention is between the channels of a head, so wider networks of the family have larger heads. The last block of
    # a stage cannot also be its first one.
    "edgenext.EdgeNeXt": ScalingSpec(
        depth=(Depth("depths", minimum=2),),
        width=(Custom(_edgenext_widths, lambda args: list(args["dims"])),),
        multiple=32,
    ),
    "swiftformer.SwiftFormer": ScalingSpec(depth=(Depth("layers"),), width=(Width("embed_dims"),)),
    # Queries have half of the third stage's channels and a quarter of the fourth's; heads must divide them.
    "iformer.IFormer": ScalingSpec(
        depth=(Custom(_iformer_depths, lambda args: list(args["depths"])),), width=_stages("dims", 8, 8, 16, 32)
    ),
    # Grouped convolutions double the channels, and the fourth stage has heads of 32 channels. The last stage has few
    # positions: padding one more row or column would cost much.
    "fastvit.FastVit": ScalingSpec(
        depth=(Depth("layers"),),
        width=(_in_proportion("embed_dims", 4),),
        multiple=lambda args: 4 if len(args["layers"]) == 4 else 16,
    ),
    # Every second block has squeeze-and-excitation.
    "repvit.RepVit": ScalingSpec(depth=(Depth("depth", multiple=2),), width=(Width("embed_dim"),)),
    # The stem's first convolution has an eighth of the first stage's channels.
    "shvit.SHViT": ScalingSpec(depth=(Depth("depth"),), width=(*_stages("embed_dim", 32, 8, 8), Width("partial_dim"))),
    # As in SHViT. The numbers of hidden states are the same at all widths of the family.
    "efficientvim.EfficientViM": ScalingSpec(depth=(Depth("depths"),), width=_stages("embed_dim", 32, 8, 8)),
    "cpubone.CPUBone": _LOWFORMER,
    "lowformer.LowFormer": _LOWFORMER,
    "csatv2.CSATv2": ScalingSpec(
        depth=(Depth("depths"), Depth("transformer_depths")), width=(Width("dims"),), multiple=64
    ),
    "starnet.StarNet": ScalingSpec(depth=(Depth("depths"),), width=(Width("base_dim", 4),)),
    "fasternet.FasterNet": ScalingSpec(depth=(Depth("depths"),), width=(Width("embed_dim"),), multiple=32),
    "lcnetv2.LCNetV2": ScalingSpec(
        depth=(Depth("depths"),), exact_depth=(Depth("depths.3"),), width=(MultiplierArg("scale"),)
    ),
    "rdnet.RDNet": ScalingSpec(
        depth=(Custom(_rdnet_depths, lambda args: [len(stage) for stage in _rdnet_stages(args)]),),
        width=(Custom(_rdnet_widths, lambda args: [stage[0][0] for stage in _rdnet_stages(args)]),),
        multiple=32,
    ),
    "cspnext.CspNext": ScalingSpec(
        depth=(_CSPNEXT_DEPTHS,),
        exact_depth=(_but_the_last(_CSPNEXT_DEPTHS, "depths"),),
        width=(_without_multiplier(Width("channels"), "widen_factor", int),),
    ),
}
