"""Networks of convolutions and attention."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import chain
from typing import Any

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .axes import AXES, Axes
from .rules import Args, Depth, Factor, Repeats, Rewrite, Width


def _stages(path: str, *multiples: int) -> tuple[Width, ...]:
    """Widths of stages, each a multiple of its own number."""
    return tuple(Width(f"{path}.{i}", multiple) for i, multiple in enumerate(multiples))


def _in_proportion(path: str, multiple: int) -> Rewrite:
    """Widths of stages of which only the first is rounded: the others keep their ratios to it."""

    def scale(args: Args, by: Multipliers) -> Args:
        first, *_ = widths = args[path]
        new = first if by.width == 1 else nearest_multiple(first * by.width, multiple)
        return {**args, path: type(widths)(width * new // first for width in widths)}

    return Rewrite(scale, lambda args: list(args[path]))


def _explicit(rule: Depth | Width, factor: str, whole: Callable[[float], int]) -> Rewrite:
    """Numbers that the class multiplies by a factor and makes whole: what comes of it is scaled, and the factor 1."""

    def explicit(args: Args) -> Args:
        return {**args, rule.path: tuple(whole(n * args[factor]) for n in args[rule.path]), factor: 1.0}

    def scale(args: Args, by: Multipliers) -> Args:
        before = explicit(args)
        after = rule.scale(before, by)
        return args if after == before else after

    return Rewrite(scale, lambda args: rule.numbers(explicit(args)))


def _iformer_depths(args: Args, by: Multipliers) -> Args:
    """A group of attention is three of a stage's blocks, the others are convolutions: either number grows."""
    stages = list(zip(args["depths"], args["attn_groups"], strict=True))
    parts = {"groups": [groups for _, groups in stages], "others": [depth - 3 * groups for depth, groups in stages]}
    for part in parts:
        parts = Depth(part).scale(parts, by)
    depths = tuple(3 * groups + others for groups, others in zip(parts["groups"], parts["others"], strict=True))
    return {**args, "depths": depths, "attn_groups": tuple(parts["groups"])}


_RDNET_LISTS = ("growth_rates", "num_blocks_list", "block_type", "is_downsample_block")


def _rdnet_stages(args: Args) -> list[list[tuple[Any, ...]]]:
    """The dense stages of each resolution."""
    stages: list[list[tuple[Any, ...]]] = []
    for dense in zip(*(args[name] for name in _RDNET_LISTS), strict=True):
        if dense[-1] is not False:
            stages.append([])
        stages[-1].append(dense)
    return stages


def _rdnet_depths(args: Args, by: Multipliers) -> Args:
    """The family grows by dense stages of three blocks, at the last two resolutions."""
    stages: Args = {"stages": _rdnet_stages(args)}
    for path in ("stages.2", "stages.3"):
        stages = Repeats(path, again=lambda dense: (*dense[:-1], False)).scale(stages, by)
    lists = zip(_RDNET_LISTS, zip(*chain(*stages["stages"]), strict=True), strict=True)
    return {**args, **{name: type(args[name])(values) for name, values in lists}}


def _rdnet_widths(args: Args, by: Multipliers) -> Args:
    return Width("growth_rates").scale(Width("num_init_features").scale(args, by), by)


def _edgenext_widths(args: Args, by: Multipliers) -> Args:
    rule = _in_proportion("dims", 4) if args["downsample_block"] else Width("dims")
    return rule.scale(args, by)


def _lowformer_widths(args: Args, by: Multipliers) -> Args:
    """Widths that grow as flops see it: where blocks lose their dense convolutions, others have to make up for it."""
    new, width = args, by.width
    for _ in range(4):
        new = args
        for rule in (*_stages("width_list", 4, 8, 8, 8, 8), Width("head_widths")):
            new = rule.scale(new, replace(by, width=width))
        width *= by.width * _lowformer_width(args)[0] / _lowformer_width(new)[0]
    return args if by.width == 1 else new


def _lowformer_width(args: Args) -> list[float]:
    """All stages' width as flops see it: from 256 channels on, a block with attention has no dense convolution."""
    ratio, groups, kernel = args["expand_ratio"], args["expand_groups"], 4 if args.get("small_kernels") else 9
    attention = 3 * args.get("attn", True) + 2 * args["attn_mlp_ratio"] * args.get("attn_mlp", True)
    # About how many blocks follow the one that downsamples: no number of them may change a width.
    blocks = (1.5, 2, 5, 5) if args["depth_list"][0] else (0, 0, 5, 5)
    flops = 0.0
    for stage, width in enumerate(args["width_list"][1:]):
        dense = stage < 2 or width < 256
        block = ratio * ((kernel if dense else 1) / groups + 1) + (attention if stage >= 2 else 0)
        downsample = ratio * (9 / groups / 4 + 1 / 2)
        flops += (downsample + blocks[stage] * block) * width**2 / 4**stage
    return [math.sqrt(flops)]


_LOWFORMER = Axes(depth=(Depth("depth_list"),), width=(Rewrite(_lowformer_widths, _lowformer_width),))

AXES |= {
    "convnext.ConvNeXt": Axes(depth=(Depth("depths"),), width=(Width("dims"), Width("head_hidden_size")), multiple=32),
    # Attention has heads of 32 channels.
    "metaformer.MetaFormer": Axes(depth=(Depth("depths"),), width=_stages("dims", 8, 8, 32, 32)),
    "inception_next.MetaNeXt": Axes(depth=(Depth("depths"),), width=(Width("dims"),), multiple=32),
    "mambaout.MambaOut": Axes(depth=(Depth("depths"),), width=(Width("dims"),)),
    # Attention is between the channels of a head: the family's wider networks have larger heads. The last block of a
    # stage cannot also be its first one.
    "edgenext.EdgeNeXt": Axes(
        depth=(Depth("depths", least=2),),
        width=(Rewrite(_edgenext_widths, lambda args: list(args["dims"])),),
        multiple=32,
    ),
    "swiftformer.SwiftFormer": Axes(depth=(Depth("layers"),), width=(Width("embed_dims"),)),
    # Queries have a half of the third stage's channels, and a quarter of the fourth's.
    "iformer.IFormer": Axes(
        depth=(Rewrite(_iformer_depths, lambda args: list(args["depths"])),), width=_stages("dims", 8, 8, 16, 32)
    ),
    # Grouped convolutions double the channels, and the fourth stage has whole heads of 32. Of few positions in the last
    # stage, a cut one costs as much as a whole one.
    "fastvit.FastVit": Axes(
        depth=(Depth("layers"),),
        width=(_in_proportion("embed_dims", 4),),
        multiple=lambda args: 4 if len(args["layers"]) == 4 else 16,
    ),
    # Every other block has squeeze-and-excitation.
    "repvit.RepVit": Axes(depth=(Depth("depth", multiple=2),), width=(Width("embed_dim"),)),
    # The stem's first convolution has an eighth of the first stage's channels.
    "shvit.SHViT": Axes(depth=(Depth("depth"),), width=(*_stages("embed_dim", 32, 8, 8), Width("partial_dim"))),
    # Likewise; the numbers of hidden states are the family's at all widths.
    "efficientvim.EfficientViM": Axes(depth=(Depth("depths"),), width=_stages("embed_dim", 32, 8, 8)),
    "cpubone.CPUBone": _LOWFORMER,
    "lowformer.LowFormer": _LOWFORMER,
    "csatv2.CSATv2": Axes(depth=(Depth("depths"), Depth("transformer_depths")), width=(Width("dims"),), multiple=64),
    "starnet.StarNet": Axes(depth=(Depth("depths"),), width=(Width("base_dim", 4),)),
    "fasternet.FasterNet": Axes(depth=(Depth("depths"),), width=(Width("embed_dim"),), multiple=32),
    "lcnetv2.LCNetV2": Axes(depth=(Depth("depths"),), width=(Factor("scale"),)),
    "rdnet.RDNet": Axes(
        depth=(Rewrite(_rdnet_depths, lambda args: [len(stage) for stage in _rdnet_stages(args)]),),
        width=(Rewrite(_rdnet_widths, lambda args: [stage[0][0] for stage in _rdnet_stages(args)]),),
        multiple=32,
    ),
    "cspnext.CspNext": Axes(
        depth=(_explicit(Depth("depths"), "deepen_factor", lambda depth: max(1, round(depth))),),
        width=(_explicit(Width("channels"), "widen_factor", int),),
    ),
}
