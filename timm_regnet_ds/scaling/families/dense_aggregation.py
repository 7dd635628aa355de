"""Networks that concatenate the outputs of a block's or a stage's layers: DenseNet, DLA, VoVNet and others."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .common import fits, norm_unit
from .paths import change_at, map_leaves
from .rules import Args, Custom, Depth, Together, Width
from .specs import SPECS, ScalingSpec


def _csp_unit(args: Args) -> int:
    stages = args["model_cfg"].stages
    return math.lcm(8, fits(min(stages.groups), stages.block_ratio[-1] * stages.bottle_ratio[-1]))


def _csp_depthwise(base: Args, new: Args, _: float) -> Args:
    """If only some stages have groups, these are depthwise and stay so; all widths then keep their ratios."""
    old, stages = base["model_cfg"].stages, new["model_cfg"].stages
    if len(set(old.groups)) == 1 or stages.out_chs == old.out_chs:
        return new
    by = Fraction(stages.out_chs[0], old.out_chs[0])
    out_chs, groups = (tuple(n if n == 1 else int(n * by) for n in numbers) for numbers in (old.out_chs, old.groups))
    return change_at(new, "model_cfg.stages", lambda stages: replace(stages, out_chs=out_chs, groups=groups))


# Flops of a block in each stage, relative to the first stage: widths grow more slowly than the resolution falls.
_BLOCK_FLOPS = (1.0, 0.39, 0.14, 0.05)


def _depthwise(args: Args) -> bool:
    return bool(args["model_cfg"]["depthwise"])


def _vovnet_blocks(args: Args) -> list[float]:
    return [n * weight for n, weight in zip(args["model_cfg"]["block_per_stage"], _BLOCK_FLOPS, strict=True)]


def _vovnet_layers(args: Args) -> list[float]:
    return [args["model_cfg"]["layer_per_block"] + 1]  # the last one is the convolution that follows the concatenation


def _hgnet_blocks(args: Args) -> list[float]:
    cfg = args["model_cfg"]
    weights = _BLOCK_FLOPS if cfg["stem_type"] == "v1" else (1, 1, 1, 1)
    return [cfg[f"stage{i}"][3] * weight for i, weight in enumerate(weights, 1)]


def _dla_blocks(args: Args) -> list[float]:
    return [2**n for n in args["levels"][2:]]


def _dla_weighted_blocks(args: Args) -> list[float]:
    """Return the numbers of blocks; the first counts four times where its width is that of the next stage."""
    first, *others = _dla_blocks(args)
    return [4 * first if args["channels"][2] == args["channels"][3] else first, *others]


def _dla_deeper(args: Args, by: Multipliers) -> Args:
    """Choose the levels of the trees whose sum of blocks is nearest; one level more doubles the blocks of a tree."""
    convs, trees = args["levels"][:2], args["levels"][2:]
    more = math.log2(by.depth)
    choices = [{max(1, n + math.floor(more)), max(1, n + math.ceil(more))} for n in trees]
    wanted = by.depth * sum(_dla_blocks(args))
    best = min(itertools.product(*map(sorted, choices)), key=lambda levels: abs(sum(2**n for n in levels) - wanted))
    return {**args, "levels": type(args["levels"])([*convs, *best])}


def _dla_unit(args: Args) -> int:
    return math.lcm(8, fits(2, args["base_width"] / 64)) if args["cardinality"] > 1 else 8


# Flops of a DenseNet grow as the number of layers to this power: each layer reads the outputs of all layers before it.
_DENSENET_EXPONENT = 1.6


def _dpn_wider(args: Args, by: Multipliers) -> Args:
    """The width of the residual path is hard-coded: the other widths grow by more to compensate."""
    if by.width == 1:
        return args
    share = sum(inner / (inner + outer) for inner, outer in _dpn_paths(args)) / 4
    growth = (math.sqrt((1 - share) ** 2 + 4 * share * by.width**2) - (1 - share)) / (2 * share)
    group = args["k_r"] // args["groups"]
    k_r = nearest_multiple(args["k_r"] * growth, math.lcm(8, group))
    new = {**args, "k_r": k_r, "groups": k_r // group}
    for name in ("inc_sec", "num_init_features"):
        new[name] = map_leaves(args[name], lambda width: nearest_multiple(width * growth, 8))
    return new


def _dpn_paths(args: Args) -> Iterator[tuple[float, float]]:
    """Yield each stage's channels: of the dense path at its middle, and of the residual path, which is read twice."""
    for i, inc in enumerate(args["inc_sec"]):
        yield 8 * inc, 2 * (64 if args["small"] else 256) * 2**i


def _dpn_widths(args: Args) -> list[float]:
    return [math.sqrt(args["k_r"] * (inner + outer)) for inner, outer in _dpn_paths(args)]


SPECS |= {
    "cspnet.CspNet": ScalingSpec(
        depth=(Depth("model_cfg.stages.depth"),),
        width=(Width("model_cfg.stages.out_chs", _csp_unit), Width("model_cfg.stem.out_chs")),
        multiple=lambda args: 32 if any(args["model_cfg"].stages.avg_down) else 4,
        make_consistent=_csp_depthwise,
    ),
    "hgnet.HighPerfGpuNet": ScalingSpec(
        depth=(Together(tuple(Depth(f"model_cfg.stage{i}.3") for i in range(1, 5))).measured_by(_hgnet_blocks),),
        width=(
            Width("model_cfg.stem_chs"),
            *(Width(f"model_cfg.stage{stage}.{i}") for stage in range(1, 5) for i in range(3)),
        ),
    ),
    "vovnet.VovNet": ScalingSpec(
        depth=(
            # In timm's depthwise VoVNets a stage cannot have a second block: their blocks get more layers.
            Depth("model_cfg.block_per_stage").measured_by(_vovnet_blocks).when(lambda args: not _depthwise(args)),
            Depth("model_cfg.layer_per_block").measured_by(_vovnet_layers).when(_depthwise),
        ),
        width=(
            Width("model_cfg.stem_chs", lambda args: norm_unit(args["norm_layer"])),
            Width("model_cfg.stage_conv_chs", lambda args: norm_unit(args["norm_layer"])),
            Width("model_cfg.stage_out_chs", lambda args: norm_unit(args["norm_layer"])),
        ),
        multiple=32,
    ),
    "dla.DLA": ScalingSpec(
        depth=(Custom(_dla_deeper, _dla_weighted_blocks),),
        width=(Width("channels.0"), Width("channels.1"), *(Width(f"channels.{i}", _dla_unit) for i in range(2, 6))),
        multiple=32,
    ),
    "densenet.DenseNet": ScalingSpec(
        depth=(Depth("block_config").measured_by(lambda args: [sum(args["block_config"]) ** _DENSENET_EXPONENT]),),
        width=(Width("growth_rate", 4),),
        multiple=32,  # pooling drops a last odd row
    ),
    "dpn.DPN": ScalingSpec(depth=(Depth("k_sec"),), width=(Custom(_dpn_wider, _dpn_widths),)),
}
