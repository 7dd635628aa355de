"""Vision transformers with several resolutions."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from timm.layers import to_2tuple
from timm.models.efficientformer import Attention, EfficientFormer, MetaBlock1d
from timm.models.nextvit import NextViT

from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .paths import change_at, map_leaves
from .rules import Args, Custom, Depth, Heads, Width, spread
from .specs import SPECS, ScalingSpec

Finish = Callable[[Args, Args, float], Args]


def _windows(path: str) -> Finish:
    """Scale window sizes with the image, as the families' own variants do, so that no padding becomes necessary."""

    def make_consistent(base: Args, scaled: Args, ratio: float) -> Args:
        return change_at(scaled, path, lambda sizes: map_leaves(sizes, lambda size: size and round(size * ratio)))

    return make_consistent


def _dim_head(args: Args) -> int:
    size: int = args["model_cfg"].transformer_cfg.dim_head
    return size


def _unit_of_heads(stage: int) -> Callable[[Args], int]:
    return lambda args: math.lcm(8, args["num_heads"][stage])


def _vit_blocks(base: Args, scaled: Args, ratio: float) -> Args:
    """Keep the proportion of attention in the last stage, and spread mlp ratios that are listed per block."""
    depth, vit = scaled["depths"][-1], base["num_vit"]
    mlp_ratios = scaled["mlp_ratios"]
    if isinstance(mlp_ratios, tuple):
        mlp_ratios = tuple(
            tuple(spread(ratios, depth)) if isinstance(ratios, tuple) else ratios
            for ratios, depth in zip(mlp_ratios, scaled["depths"], strict=True)
        )
    return scaled | {"num_vit": max(min(1, vit), round(vit * depth / base["depths"][-1])), "mlp_ratios": mlp_ratios}


def _constant_size(number: float) -> Custom:
    """Return a rule that scales nothing but counts as ``number`` blocks or channels.

    It stands for flops that stay: stems, reductions between stages, attention of a fixed width.
    """
    return Custom(lambda args, by: args, lambda args: [number])


def _efficientformer(**args: Any) -> EfficientFormer:
    """Build an EfficientFormer whose attention fits the image size; timm's is made for images of 224."""
    model = EfficientFormer(**args)
    resolution = tuple(side // 32 for side in to_2tuple(args.get("img_size") or 224))
    for block in model.stages[-1].blocks:
        if isinstance(block, MetaBlock1d) and resolution != (7, 7):
            weight = block.token_mixer.qkv.weight
            mixer = Attention(weight.shape[1], resolution=resolution, device=weight.device, dtype=weight.dtype)
            block.token_mixer = mixer.apply(model._init_weights)
    return model


# The output channels of stages that are hard-coded in NextViT.
_NEXTVIT = (96, 192, 256, 384, 512, 768, 1024)


def _nextvit(channels: tuple[int, ...] = _NEXTVIT, **args: Any) -> NextViT:
    """Build a NextViT with other channels: they replace the hard-coded ones at the moment when these are assigned."""
    replacement = dict(zip(_NEXTVIT, channels, strict=True))

    class Wider(NextViT):
        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, map_leaves(value, replacement.__getitem__) if name == "stage_out_chs" else value)

    model = Wider(**args)
    model.__class__ = NextViT
    return model


def _nextvit_wider(args: Args, by: Multipliers) -> Args:
    channels = {"channels": args.get("channels", _NEXTVIT)}
    return args if by.width == 1 else args | Width("channels", 32).scale(channels, by)


def _keep_width_ratios(base: Args, scaled: Args, ratio: float) -> Args:
    """Scale all widths by the same ratio in networks of ConvNeXt blocks.

    Their depthwise convolutions also widen, so each width must stay a multiple of the one before.
    """
    cfg = base["model_cfg"]
    if cfg.conv_cfg.block_type != "convnext":
        return scaled
    before, now = cfg.embed_dim[0], scaled["model_cfg"].embed_dim[0]
    widths = (cfg.embed_dim, cfg.stem_width, cfg.head_hidden_size)
    names = ("embed_dim", "stem_width", "head_hidden_size")
    wider = map_leaves(widths, lambda width: width and width * now // before)
    return scaled | {"model_cfg": replace(scaled["model_cfg"], **dict(zip(names, wider, strict=True)))}


# Blocks come in pairs; the second of a pair shifts its windows.
_SWIN = ScalingSpec(
    depth=(Depth("depths", multiple=2),),
    width=(Heads("num_heads", "embed_dim"),),
    multiple=32,
    make_consistent=_windows("window_size"),
)

# Some models of the family have numbers of heads that are not proportional to the widths.
_LEVIT = ScalingSpec(
    depth=(Depth("depth"), _constant_size(6)), width=(Width("embed_dim", 16), Width("num_heads", 1)), multiple=16
)

# Stages of convolutions, then stages of attention with heads of one size.
_EFFICIENTVIT = ScalingSpec(
    depth=(Depth("depths"),),
    width=(
        *(Width(f"widths.{i}") for i in range(3)),
        *(Width(f"widths.{i}", lambda args: args["head_dim"]) for i in (3, 4)),
        Width("head_widths"),
    ),
    multiple=32,
)

SPECS |= {
    "swin_transformer.SwinTransformer": _SWIN,
    "swin_transformer_v2.SwinTransformerV2": _SWIN,
    # The class itself derives its windows from the image size.
    "swin_transformer_v2_cr.SwinTransformerV2Cr": replace(_SWIN, make_consistent=None),
    "nest.Nest": ScalingSpec(depth=(Depth("depths"),), width=(Heads("num_heads", "embed_dims"),), multiple=16),
    "twins.Twins": ScalingSpec(
        depth=(Depth("depths"),),
        width=(Heads("num_heads", "embed_dims"),),
        multiple=32,
        make_consistent=_windows("wss"),
    ),
    "pvt_v2.PyramidVisionTransformerV2": ScalingSpec(
        depth=(Depth("depths"),), width=(Heads("num_heads", "embed_dims"),), multiple=32
    ),
    "mvitv2.MultiScaleVit": ScalingSpec(
        depth=(Depth("model_cfg.depths"),), width=(Heads("model_cfg.num_heads", "model_cfg.embed_dim"),), multiple=32
    ),
    "coat.CoaT": ScalingSpec(
        depth=(Depth("serial_depths"), Depth("parallel_depth")),
        # All models of the family have the same number of heads.
        width=(Width("embed_dims", lambda args: args["num_heads"]),),
        multiple=32,
    ),
    "davit.DaVit": ScalingSpec(
        depth=(Depth("depths"),),
        width=(Heads("num_heads", "embed_dims"),),
        # Windows are 7 for images of 224 and 12 for images of 768.
        multiple=lambda args: 32 if args["window_size"] == 7 else 64,
        make_consistent=_windows("window_size"),
    ),
    "gcvit.GlobalContextVit": ScalingSpec(
        depth=(Depth("depths"),), width=(Heads("num_heads", "embed_dim"),), multiple=32
    ),
    "focalnet.FocalNet": ScalingSpec(depth=(Depth("depths"),), width=(Width("embed_dim"),), multiple=32),
    "levit.Levit": _LEVIT,
    "levit.LevitDistilled": _LEVIT,
    "efficientformer.EfficientFormer": ScalingSpec(
        depth=(Depth("depths"),),
        width=(Width("embed_dims"),),
        multiple=32,
        make_consistent=_vit_blocks,
        model_factory=_efficientformer,
    ),
    "efficientformer_v2.EfficientFormerV2": ScalingSpec(
        depth=(Depth("depths"),),
        # Attention has 8 heads of 128 for all widths.
        width=(Width("embed_dims"), _constant_size(8 * 128)),
        multiple=32,
        make_consistent=_vit_blocks,
    ),
    "efficientvit_mit.EfficientVit": _EFFICIENTVIT,
    "efficientvit_mit.EfficientVitLarge": replace(_EFFICIENTVIT, depth=(Depth("depths"), _constant_size(9))),
    "efficientvit_msra.EfficientVitMsra": ScalingSpec(
        depth=(Depth("depth"), _constant_size(6)),
        # Heads run one after the other (cascaded): all models of the family have 2 to 4, so their number stays.
        width=tuple(Width(f"embed_dim.{stage}", _unit_of_heads(stage)) for stage in range(3)),
        multiple=32,
        make_consistent=_windows("window_size"),
    ),
    "tiny_vit.TinyVit": ScalingSpec(
        depth=(Depth("depths"),),
        exact_depth=tuple(Depth(f"depths.{i}") for i in (1, 2, 3)),
        width=(Heads("num_heads", "embed_dims"),),
        multiple=32,
        make_consistent=_windows("window_sizes"),
    ),
    "maxxvit.MaxxVit": ScalingSpec(
        depth=(Depth("model_cfg.depths"),),
        width=(
            Width("model_cfg.embed_dim", _dim_head),
            Width("model_cfg.stem_width"),
            Width("model_cfg.head_hidden_size", _dim_head),
        ),
        multiple=32,
        make_consistent=_keep_width_ratios,
    ),
    "nextvit.NextViT": ScalingSpec(
        # In the third stage every fifth block is attention.
        depth=(*(Depth(f"depths.{i}") for i in (0, 1, 3)), Depth("depths.2", multiple=5)),
        exact_depth=tuple(Depth(f"depths.{i}") for i in (0, 1, 3)),
        width=(Width("stem_chs"), Custom(_nextvit_wider, lambda args: list(args.get("channels", _NEXTVIT)))),
        multiple=32,
        model_factory=_nextvit,
    ),
}
