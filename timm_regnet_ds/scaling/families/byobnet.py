"""ByobNet: networks that are configured as lists of blocks of any kind."""

import itertools
import math
from dataclasses import is_dataclass, replace
from typing import Any

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple, round_depth, round_group_width
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .common import fits, norm_unit
from .paths import change_at, map_leaves
from .rules import Args, Custom, Repeats
from .specs import SPECS, ScalingSpec


def _members(stage: Any) -> tuple[Any, ...]:
    return (stage,) if is_dataclass(stage) else tuple(stage)


def _transformer(block: Any) -> bool:
    return "transformer_depth" in (block.block_kwargs or {})


def _byob_depths(args: Args) -> list[float]:
    def depth(block: Any) -> int:
        return block.block_kwargs["transformer_depth"] if _transformer(block) else block.d

    return [sum(map(depth, _members(stage))) for stage in args["model_cfg"].blocks]


def _byob_deeper(args: Args, by: Multipliers) -> Args:
    def deeper(stage: Any) -> Any:
        # RepVGG and MobileOne end with a single wide layer, which stays single.
        if stage is args["model_cfg"].blocks[-1] and _members(stage)[0].type in ("rep", "one"):
            return stage
        if not is_dataclass(stage):
            return type(stage)(map(deeper, stage)) if any(map(_transformer, stage)) else _byob_repeated(stage, by)
        path = "block_kwargs.transformer_depth" if _transformer(stage) else "d"
        return change_at(stage, path, lambda depth: round_depth(depth * by.depth))

    return change_at(args, "model_cfg.blocks.*", deeper) if by.depth != 1 else args


def _byob_repeated(stage: Any, by: Multipliers) -> Any:
    """Scale the depth of a stage: alternating blocks keep alternating, other kinds keep their order and proportions."""
    if stage[0].type == "one":  # a depthwise and a pointwise block form a pair
        pairs = [stage[i : i + 2] for i in range(0, len(stage), 2)]
        repeats = Repeats("pairs", follower=lambda pair: [replace(pair[0], c=pair[1].c), pair[1]])
        return type(stage)(itertools.chain(*repeats.scale({"pairs": pairs}, by)["pairs"]))
    period = next(p for p in range(1, len(stage) + 1) if all(b == stage[i % p] for i, b in enumerate(stage)))
    if 2 < period == len(stage):
        return Repeats("blocks").scale({"blocks": stage}, by)["blocks"]
    return type(stage)(stage[i % period] for i in range(round_depth(len(stage) * by.depth)))


# timm's defaults for the number of heads.
_HEADS = {"bottleneck": 4, "halo": 8, "lambda": 4}


def _attention(block: Any, cfg: Any) -> tuple[str, dict[str, Any]]:
    """Return kind and arguments of a block's attention."""
    kwargs = cfg.self_attn_kwargs if block.self_attn_kwargs is None else block.self_attn_kwargs
    return block.self_attn_layer or cfg.self_attn_layer, kwargs


def _wider_stage(stage: Any, cfg: Any, by: Multipliers) -> Any:
    blocks = _members(stage)
    unit = norm_unit(cfg.norm_layer)
    attending = next((block for block in blocks if block.type == "self_attn"), None)
    kind, kwargs = _attention(attending, cfg) if attending else ("", {})
    heads = kwargs.get("num_heads", _HEADS.get(kind, 1))

    def wider(block: Any) -> Any:
        size, width = block.gs, block.c * by.width
        if isinstance(size, int) and size > 1:
            size = round_group_width(size * by.group_width)
            # The width must be divisible by heads and by group widths: multiples of 4 heads keep the lcm small.
            more = nearest_multiple(heads * by.width, 4) if attending else 1
            c = nearest_multiple(width, math.lcm(unit, fits(math.lcm(size, more, unit if unit > 8 else 1), block.br)))
        elif attending:
            more = nearest_multiple(heads * by.width, 1)
            c = block.c * more // heads
        else:
            c = nearest_multiple(width, unit)
        block = replace(block, c=c, gs=size)
        if attending:
            block = replace(block, self_attn_layer=kind, self_attn_kwargs={**kwargs, "num_heads": more})
        if "transformer_dim" in (block.block_kwargs or {}):
            old = block.block_kwargs.get("num_heads", 4)
            new = nearest_multiple(old * by.width, 1)
            dim = block.block_kwargs["transformer_dim"] * new // old
            block = replace(block, block_kwargs={**block.block_kwargs, "transformer_dim": dim, "num_heads": new})
        return block

    return wider(stage) if is_dataclass(stage) else type(stage)(map(wider, stage))


def _byob_wider(args: Args, by: Multipliers) -> Args:
    if by.width == by.group_width == 1:
        return args
    cfg = args["model_cfg"]
    *stages, last = (_wider_stage(stage, cfg, by) for stage in cfg.blocks)
    if "attn" in cfg.head_type:
        # Attention pooling has heads of 64 channels.
        last = change_at(last, "c", lambda c: nearest_multiple(c, fits(64, cfg.width_factor)))
    new = replace(cfg, blocks=type(cfg.blocks)([*stages, last]))
    unit = norm_unit(cfg.norm_layer)
    for name in ("num_features", "head_hidden_size"):
        if getattr(cfg, name):
            new = replace(new, **{name: nearest_multiple(getattr(cfg, name) * by.width, unit)})
    first = _members(new.blocks[0])[0]
    unit *= {"tiered": 2, "quad": 4, "quad2": 4}.get(cfg.stem_type, 1)
    if cfg.block_kwargs.get("bottle_in"):
        unit = math.lcm(unit, fits(first.gs, first.br))
    new = replace(new, stem_chs=map_leaves(cfg.stem_chs, lambda width: nearest_multiple(width * by.width, unit)))
    return {**args, "model_cfg": new}


def _byob_widths(args: Args) -> list[float]:
    return [_members(stage)[-1].c for stage in args["model_cfg"].blocks]


def _byob_resolution_multiple(args: Args) -> int:
    """Return the multiple of the image's side that halo blocks, transformers' patches, bilinear attention and
    position embeddings need.
    """
    cfg = args["model_cfg"]
    unit = 8 * 32 if cfg.attn_layer == "bat" else 32 if "attn" in cfg.head_type or cfg.aa_layer == "avg" else 4
    stride = 32
    for stage in reversed(cfg.blocks):
        for block in _members(stage):
            kind, kwargs = _attention(block, cfg)
            if block.type == "self_attn":
                unit = math.lcm(unit, stride * kwargs.get("block_size", 8) if kind == "halo" else 32)
            if _transformer(block):
                unit = math.lcm(unit, stride * block.block_kwargs["patch_size"])
        stride //= _members(stage)[0].s
    return unit


SPECS["byobnet.ByobNet"] = ScalingSpec(
    depth=(Custom(_byob_deeper, _byob_depths),),
    width=(Custom(_byob_wider, _byob_widths),),
    multiple=_byob_resolution_multiple,
)
