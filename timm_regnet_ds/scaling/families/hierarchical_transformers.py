"""Vision transformers of several resolutions."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from timm.layers import to_2tuple
from timm.models.efficientformer import Attention, EfficientFormer, MetaBlock1d
from timm.models.nextvit import NextViT

from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .axes import AXES, Axes
from .paths import change_at, map_leaves
from .rules import Args, Depth, Heads, Rewrite, Width

Finish = Callable[[Args, Args, float], Args]


def _windows(path: str) -> Finish:
    """Windows grow with the image, as in the families' own variants: they fit its maps as they did, without padding."""

    def finish(base: Args, scaled: Args, ratio: float) -> Args:
        return change_at(scaled, path, lambda sizes: map_leaves(sizes, lambda size: size and round(size * ratio)))

    return finish


def _dim_head(args: Args) -> int:
    size: int = args["model_cfg"].transformer_cfg.dim_head
    return size


def _unit_of_heads(stage: int) -> Callable[[Args], int]:
    return lambda args: math.lcm(8, args["num_heads"][stage])


def _vit_blocks(base: Args, scaled: Args, ratio: float) -> Args:
    """The same share of the last stage is attention; mlp ratios that are said block by block follow the depths."""
    depth, vit = scaled["depths"][-1], base["num_vit"]
    mlp_ratios = scaled["mlp_ratios"]
    if isinstance(mlp_ratios, tuple):
        mlp_ratios = tuple(map(_spread, mlp_ratios, scaled["depths"]))
    return scaled | {"num_vit": max(min(1, vit), round(vit * depth / base["depths"][-1])), "mlp_ratios": mlp_ratios}


def _spread(ratios: Any, count: int) -> Any:
    """As many as ``count``, evenly, where there is one a block."""
    return tuple(ratios[i * len(ratios) // count] for i in range(count)) if isinstance(ratios, tuple) else ratios


def _beside(number: float) -> Rewrite:
    """What does not scale, and counts as so many blocks or as a width: stems, reductions, attention of fixed size."""
    return Rewrite(lambda args, by: args, lambda args: [number])


def _efficientformer(**args: Any) -> EfficientFormer:
    """With attention for maps of the image's size; timm's is for those of 224."""
    model = EfficientFormer(**args)
    resolution = tuple(side // 32 for side in to_2tuple(args.get("img_size") or 224))
    for block in model.stages[-1].blocks:
        if isinstance(block, MetaBlock1d) and resolution != (7, 7):
            weight = block.token_mixer.qkv.weight
            mixer = Attention(weight.shape[1], resolution=resolution, device=weight.device, dtype=weight.dtype)
            block.token_mixer = mixer.apply(model._init_weights)
    return model


# Those in NextViT's code.
_NEXTVIT = (96, 192, 256, 384, 512, 768, 1024)


def _nextvit(channels: tuple[int, ...] = _NEXTVIT, **args: Any) -> NextViT:
    """With other channels: they take their places as the class's own are set."""
    instead = dict(zip(_NEXTVIT, channels, strict=True))

    class Wider(NextViT):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, map_leaves(value, instead.__getitem__) if name == "stage_out_chs" else value)

    model = Wider(**args)
    model.__class__ = NextViT
    return model


def _nextvit_wider(args: Args, by: Multipliers) -> Args:
    channels = {"channels": args.get("channels", _NEXTVIT)}
    return args if by.width == 1 else args | Width("channels", 32).scale(channels, by)


def _by_first_width(base: Args, scaled: Args, ratio: float) -> Args:
    """Of ConvNeXt blocks, which widen depthwise, each width stays a multiple of the one before."""
    cfg = base["model_cfg"]
    if cfg.conv_cfg.block_type != "convnext":
        return scaled
    before, now = cfg.embed_dim[0], scaled["model_cfg"].embed_dim[0]
    widths = (cfg.embed_dim, cfg.stem_width, cfg.head_hidden_size)
    names = ("embed_dim", "stem_width", "head_hidden_size")
    wider = map_leaves(widths, lambda width: width and width * now // before)
    return scaled | {"model_cfg": replace(scaled["model_cfg"], **dict(zip(names, wider, strict=True)))}


# Blocks come in pairs, of which the second shifts its windows.
_SWIN = Axes(
    depth=(Depth("depths", multiple=2),),
    width=(Heads("num_heads", "embed_dim"),),
    multiple=32,
    finish=_windows("window_size"),
)

# Heads are not in proportion to widths in all of the family.
_LEVIT = Axes(depth=(Depth("depth"), _beside(6)), width=(Width("embed_dim", 16), Width("num_heads", 1)), multiple=16)

# Stages of convolutions, then stages of attention with heads of one size.
_EFFICIENTVIT = Axes(
    depth=(Depth("depths"),),
    width=(
        *(Width(f"widths.{i}") for i in range(3)),
        *(Width(f"widths.{i}", lambda args: args["head_dim"]) for i in (3, 4)),
        Width("head_widths"),
    ),
    multiple=32,
)

AXES |= {
    "swin_transformer.SwinTransformer": _SWIN,
    "swin_transformer_v2.SwinTransformerV2": _SWIN,
    # Its windows are a share of the image by themselves.
    "swin_transformer_v2_cr.SwinTransformerV2Cr": replace(_SWIN, finish=None),
    "nest.Nest": Axes(depth=(Depth("depths"),), width=(Heads("num_heads", "embed_dims"),), multiple=16),
    "twins.Twins": Axes(
        depth=(Depth("depths"),),
        width=(Heads("num_heads", "embed_dims"),),
        multiple=32,
        finish=_windows("wss"),
    ),
    "pvt_v2.PyramidVisionTransformerV2": Axes(
        depth=(Depth("depths"),), width=(Heads("num_heads", "embed_dims"),), multiple=32
    ),
    "mvitv2.MultiScaleVit": Axes(
        depth=(Depth("model_cfg.depths"),), width=(Heads("model_cfg.num_heads", "model_cfg.embed_dim"),), multiple=32
    ),
    "coat.CoaT": Axes(
        depth=(Depth("serial_depths"), Depth("parallel_depth")),
        # All sizes of the family have the same number of heads.
        width=(Width("embed_dims", lambda args: args["num_heads"]),),
        multiple=32,
    ),
    "davit.DaVit": Axes(
        depth=(Depth("depths"),),
        width=(Heads("num_heads", "embed_dims"),),
        # Windows are 7 at 224 or 12 at 768.
        multiple=lambda args: 32 if args["window_size"] == 7 else 64,
        finish=_windows("window_size"),
    ),
    "gcvit.GlobalContextVit": Axes(depth=(Depth("depths"),), width=(Heads("num_heads", "embed_dim"),), multiple=32),
    "focalnet.FocalNet": Axes(depth=(Depth("depths"),), width=(Width("embed_dim"),), multiple=32),
    "levit.Levit": _LEVIT,
    "levit.LevitDistilled": _LEVIT,
    "efficientformer.EfficientFormer": Axes(
        depth=(Depth("depths"),),
        width=(Width("embed_dims"),),
        multiple=32,
        finish=_vit_blocks,
        builder=_efficientformer,
    ),
    "efficientformer_v2.EfficientFormerV2": Axes(
        depth=(Depth("depths"),),
        # Attention has 8 heads of 128 for all widths.
        width=(Width("embed_dims"), _beside(8 * 128)),
        multiple=32,
        finish=_vit_blocks,
    ),
    "efficientvit_mit.EfficientVit": _EFFICIENTVIT,
    "efficientvit_mit.EfficientVitLarge": replace(_EFFICIENTVIT, depth=(Depth("depths"), _beside(9))),
    "efficientvit_msra.EfficientVitMsra": Axes(
        depth=(Depth("depth"), _beside(6)),
        # Heads come one after the other: all sizes of the family have 2 to 4.
        width=tuple(Width(f"embed_dim.{stage}", _unit_of_heads(stage)) for stage in range(3)),
        multiple=32,
        finish=_windows("window_size"),
    ),
    "tiny_vit.TinyVit": Axes(
        depth=(Depth("depths"),),
        width=(Heads("num_heads", "embed_dims"),),
        multiple=32,
        finish=_windows("window_sizes"),
    ),
    "maxxvit.MaxxVit": Axes(
        depth=(Depth("model_cfg.depths"),),
        width=(
            Width("model_cfg.embed_dim", _dim_head),
            Width("model_cfg.stem_width"),
            Width("model_cfg.head_hidden_size", _dim_head),
        ),
        multiple=32,
        finish=_by_first_width,
    ),
    "nextvit.NextViT": Axes(
        # Of the third stage every fifth block is attention.
        depth=(*(Depth(f"depths.{i}") for i in (0, 1, 3)), Depth("depths.2", multiple=5)),
        width=(Width("stem_chs"), Rewrite(_nextvit_wider, lambda args: list(args.get("channels", _NEXTVIT)))),
        multiple=32,
        builder=_nextvit,
    ),
}
