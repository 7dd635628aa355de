"""Vision transformers of several resolutions."""

import math
from collections.abc import Callable
from typing import Any

from ..axes import AXES, Axes
from ..paths import change_at, map_leaves
from ..rules import Args, Depth, Heads, Width

Finish = Callable[[Args, Args, float], Args]


def _windows(path: str) -> Finish:
    """Windows that grow with the image fit its maps as they did: no padding."""

    def finish(base: Args, scaled: Args, ratio: float) -> Args:
        return change_at(scaled, path, lambda sizes: map_leaves(sizes, lambda size: size and round(size * ratio)))

    return finish


def _dim_head(args: Args) -> int:
    size: int = args["model_cfg"].transformer_cfg.dim_head
    return size


def _vit_blocks(base: Args, scaled: Args, ratio: float) -> Args:
    """Of the deeper last stage the same share is attention, and where blocks have each their mlp ratio, so still."""
    share = base["num_vit"] / base["depths"][-1]
    mlp_ratios = scaled["mlp_ratios"]
    if isinstance(mlp_ratios, tuple):
        mlp_ratios = tuple(map(_spread, mlp_ratios, scaled["depths"]))
    return scaled | {"num_vit": max(1, round(share * scaled["depths"][-1])), "mlp_ratios": mlp_ratios}


def _spread(items: Any, count: int) -> Any:
    """As many of a sequence's items as ``count``, evenly; what is no sequence stays."""
    return tuple(items[i * len(items) // count] for i in range(count)) if isinstance(items, tuple) else items


_LEVIT = Axes(depth=(Depth("depth"),), width=(Width("embed_dim", 16), Width("num_heads", 1)), multiple=16)

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
    "swin_transformer.SwinTransformer": Axes(
        depth=(Depth("depths", multiple=2),),
        width=(Heads("num_heads", "embed_dim"),),
        multiple=32,
        finish=_windows("window_size"),
    ),
    "swin_transformer_v2.SwinTransformerV2": Axes(
        depth=(Depth("depths", multiple=2),),
        width=(Heads("num_heads", "embed_dim"),),
        multiple=32,
        finish=_windows("window_size"),
    ),
    "swin_transformer_v2_cr.SwinTransformerV2Cr": Axes(
        depth=(Depth("depths", multiple=2),), width=(Heads("num_heads", "embed_dim"),), multiple=32
    ),
    "nest.Nest": Axes(depth=(Depth("depths"),), width=(Heads("num_heads", "embed_dims"),), multiple=16),
    "twins.Twins": Axes(
        # Windows and global attention alternate, where there are windows.
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
        # All sizes of the family have the same number of heads.
        depth=(Depth("serial_depths"), Depth("parallel_depth")),
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
    "gcvit.GlobalContextVit": Axes(
        depth=(Depth("depths"),), width=(Heads("num_heads", "embed_dim"),), multiple=32
    ),
    "focalnet.FocalNet": Axes(depth=(Depth("depths"),), width=(Width("embed_dim"),), multiple=32),
    "levit.Levit": _LEVIT,
    "levit.LevitDistilled": _LEVIT,
    "efficientformer_v2.EfficientFormerV2": Axes(
        depth=(Depth("depths"),), width=(Width("embed_dims"),), multiple=32, finish=_vit_blocks
    ),
    "efficientvit_mit.EfficientVit": _EFFICIENTVIT,
    "efficientvit_mit.EfficientVitLarge": _EFFICIENTVIT,
    "efficientvit_msra.EfficientVitMsra": Axes(
        # Heads come one after the other: all sizes of the family have 2 to 4.
        depth=(Depth("depth"),),
        width=tuple(Width(f"embed_dim.{i}", lambda args, i=i: math.lcm(8, args["num_heads"][i])) for i in range(3)),
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
    ),
}
