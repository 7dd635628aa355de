"""Vision transformers and mixers with one resolution, and those that start with convolutions or pool between blocks."""

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .patch_embeddings import (
    Convolutions,
    convolutions_depths,
    convolutions_width,
    deeper_convolutions,
    wider_convolutions,
)
from .paths import change_at, leaves, map_leaves, value_at
from .rules import Args, Custom, Depth, Heads, Width, spread
from .specs import SPECS, ScalingSpec


def _exact_ratio(hidden: int, width: int) -> float:
    """Return a ratio such that ``int(width * ratio) == hidden`` despite rounding."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else math.nextafter(ratio, math.inf)


def _round_mlp_hidden(base: Args, new: Args, _: float, cfg: str = "") -> Args:
    """Set the MLP ratio so that the hidden width is a multiple of 8."""
    width, ratio = value_at(new, f"{cfg}embed_dim"), value_at(new, f"{cfg}mlp_ratio")
    hidden = nearest_multiple(width * ratio, 8)
    if width == value_at(base, f"{cfg}embed_dim") or int(width * ratio) == hidden:
        return new
    return change_at(new, f"{cfg}mlp_ratio", lambda _: _exact_ratio(hidden, width))


def _in_ratio_to(name: str, width: str, multiple: int) -> Callable[[Args, Args, float], Args]:
    """Return a function that keeps the ratio of the width ``name`` to the width ``width``."""

    def make_consistent(base: Args, new: Args, _: float) -> Args:
        if new[width] == base[width] or not base[name]:
            return new
        return {**new, name: nearest_multiple(base[name] * new[width] / base[width], multiple)}

    return make_consistent


def _moved(block: int, depths: Any, new: Any) -> int:
    """Return the new index of a block that is not the first of its stage, after the depths of stages changed."""
    stage = next(i for i in range(len(depths)) if block < sum(depths[: i + 1]))
    position = (block + 1 - sum(depths[:stage])) * new[stage] / depths[stage]
    return sum(new[:stage]) + max(2, round(position)) - 1


def _few_heads(heads: str, size: Callable[[Args], int], write: Callable[[Args, int, int], Args]) -> Custom:
    """Return a rule for models with few heads: the size of heads grows too, as it does between the family's variants.

    Args:
        heads: path of the number of heads of the first stage.
        size: returns the channels per head, given the arguments.
        write: (arguments, number of heads, size) -> new arguments.
    """

    def scale(args: Args, by: Multipliers) -> Args:
        if by.width == 1:
            return args
        count, channels = value_at(args, heads), size(args)
        wanted = count * channels * by.width

        def cost(number: int) -> float:
            new = nearest_multiple(wanted / number, 8)
            return abs(math.log(number * new / wanted)) + 0.2 * abs(math.log(new / channels))

        number = min(range(1, math.ceil(2 * count * by.width) + 1), key=cost)
        return write(args, number, nearest_multiple(wanted / number, 8))

    return Custom(scale, lambda args: [value_at(args, heads) * size(args)])


def _pit_heads(args: Args, number: int, size: int) -> Args:
    heads = type(args["heads"])(h * number // args["heads"][0] for h in args["heads"])
    return {**args, "heads": heads, "base_dims": type(args["base_dims"])([size] * len(heads))}


FEW_HEADS = _few_heads(
    "num_heads",
    lambda args: args["embed_dim"] // args["num_heads"],
    lambda args, number, size: {**args, "num_heads": number, "embed_dim": number * size},
)


def _vit_unit(args: Args) -> int:
    found = Convolutions.of(args)
    return args["patch_size"] * (found.stride if found else 1)


def _eva_heads(args: Args) -> Heads:
    """Return a rule that keeps the ratio of query heads to key-value heads."""
    keys = leaves(args.get("num_kv_heads") or args["num_heads"])
    return Heads("num_heads", "embed_dim", math.lcm(*(args["num_heads"] // heads for heads in keys)))


def _eva(base: Args, new: Args, ratio: float) -> Args:
    new, keys = _round_mlp_hidden(base, new, ratio), base.get("num_kv_heads")
    if keys:
        keys = keys if isinstance(keys, int) else type(keys)(spread(keys, new["depth"]))
        new = {**new, "num_kv_heads": map_leaves(keys, lambda heads: heads * new["num_heads"] // base["num_heads"])}
    return new


def _sam(base: Args, new: Args, ratio: float) -> Args:
    deeper = new["depth"] / base["depth"]
    new = {**new, "global_attn_indexes": [max(1, round((i + 1) * deeper)) - 1 for i in base["global_attn_indexes"]]}
    if _sam_windows(base) == 1:
        new["window_size"] = round(base["window_size"] * ratio)
    return new


def _sam_windows(args: Args) -> int:
    """Return the number of windows along a side; if it is 1, the window grows with the image."""
    return -(-args["img_size"] // (args["patch_size"] * args["window_size"]))


def _hieradet(base: Args, new: Args, _: float) -> Args:
    if new["stages"] == base["stages"]:
        return new
    moved = (_moved(block, base["stages"], new["stages"]) for block in base["global_att_blocks"])
    return {**new, "global_att_blocks": tuple(dict.fromkeys(moved))}


def _hieradet_unit(args: Args) -> int:
    """Return the multiple of the image's side into which the windows of all stages fit."""
    return args["patch_stride"][0] * math.lcm(*(2**stage * side for stage, side in enumerate(args["window_spec"])))


def _crossvit_unit(args: Args) -> int:
    """Return the multiple of the image's side for which the patches of each branch fit its own scaled image."""
    branches = zip(args["img_scale"], args["patch_size"], strict=True)
    return math.lcm(*((Fraction(scale).limit_denominator(100) / patch).denominator for scale, patch in branches))


VIT = ScalingSpec(
    depth=(Depth("depth"),),
    width=(Heads("num_heads", "embed_dim"),),
    multiple=lambda args: args["patch_size"],
)
# Vision-language encoders that merge blocks of k x k patches, and classifiers on them.
QWEN3 = replace(VIT, multiple=lambda args: args["patch_size"] * args["merge_size"], make_consistent=_round_mlp_hidden)
DEEPSEEK = replace(
    VIT,
    multiple=lambda args: args["patch_size"] * (args["downsample_ratio"] if "align" in _pools(args) else 1),
    make_consistent=_round_mlp_hidden,
)
GEMMA4 = replace(
    VIT,
    multiple=lambda args: args["patch_size"] * (args["pooling_kernel_size"] if "soft" in _pools(args) else 1),
    make_consistent=_in_ratio_to("intermediate_size", "embed_dim", 8),
)


def _pools(args: Args) -> tuple[str, ...]:
    return args["global_pool"], args.get("encoder_pool", "")


SPECS |= {
    "vision_transformer.VisionTransformer": ScalingSpec(
        depth=(Depth("depth"), Custom(deeper_convolutions, convolutions_depths)),
        width=(Heads("num_heads", "embed_dim"), Custom(wider_convolutions, convolutions_width)),
        multiple=_vit_unit,
        make_consistent=_round_mlp_hidden,
    ),
    "eva.Eva": replace(
        VIT,
        width=(Custom(lambda args, by: _eva_heads(args).scale(args, by), lambda args: [args["embed_dim"]]),),
        make_consistent=_eva,
    ),
    "beit.Beit": VIT,
    "cait.Cait": VIT,
    "xcit.Xcit": VIT,
    "vision_transformer_relpos.VisionTransformerRelPos": replace(
        VIT, make_consistent=_in_ratio_to("rel_pos_dim", "embed_dim", 8)
    ),
    "vision_transformer_sam.VisionTransformerSAM": replace(
        VIT,
        multiple=lambda args: args["patch_size"] * (args["window_size"] if _sam_windows(args) > 1 else 1),
        make_consistent=_sam,
    ),
    "convit.ConVit": ScalingSpec(
        depth=(Depth("depth"),),
        width=(Width("num_heads", multiple=1),),  # embed_dim is the size of a head
        multiple=lambda args: args["patch_size"],
        make_consistent=lambda base, new, _: {
            **new,
            "local_up_to_layer": round(base["local_up_to_layer"] * new["depth"] / base["depth"]),
        },
    ),
    "naflexvit.NaFlexVit": ScalingSpec(
        depth=(Depth("cfg.depth"),),
        width=(Heads("cfg.num_heads", "cfg.embed_dim"),),
        multiple=lambda args: args["cfg"].patch_size,
        make_consistent=partial(_round_mlp_hidden, cfg="cfg."),
    ),
    "qwen3_vit.Qwen3VitEncoder": QWEN3,
    "qwen3_vit.Qwen3VitClassifier": QWEN3,
    "deepseek_vit.DeepseekVitEncoder": DEEPSEEK,
    "deepseek_vit.DeepseekVitClassifier": DEEPSEEK,
    "gemma4_vit.Gemma4VitEncoder": GEMMA4,
    "gemma4_vit.Gemma4VitClassifier": GEMMA4,
    "tnt.TNT": replace(
        VIT, width=(Heads("num_heads_outer", "embed_dim"),), make_consistent=_in_ratio_to("inner_dim", "embed_dim", 4)
    ),
    "crossvit.CrossVit": ScalingSpec(
        # Only the branch of large patches scales; the other has one block per stage, which counts as depth too.
        depth=(Depth("depth.*.1").measured_by(lambda args: [sum(stage) for stage in args["depth"]]),),
        width=(Heads("num_heads", "embed_dim"),),
        multiple=_crossvit_unit,
    ),
    "mlp_mixer.MlpMixer": ScalingSpec(
        depth=(Depth("num_blocks"),), width=(Width("embed_dim", multiple=16),), multiple=lambda args: args["patch_size"]
    ),
    "convmixer.ConvMixer": ScalingSpec(
        depth=(Depth("depth"),), width=(Width("dim"),), multiple=lambda args: args["patch_size"]
    ),
    "volo.VOLO": ScalingSpec(
        depth=(Depth("layers"),),
        width=(Heads("num_heads", "embed_dims"), Width("stem_hidden_dim")),
        multiple=lambda args: args["patch_size"] * args["pooling_scale"],
    ),
    "pit.PoolingVisionTransformer": ScalingSpec(
        depth=(Depth("depth"),),
        width=(_few_heads("heads.0", lambda args: args["base_dims"][0], _pit_heads),),
        multiple=lambda args: args["stride"] * 2 ** (len(args["depth"]) - 1),
    ),
    "visformer.Visformer": ScalingSpec(
        depth=(Depth("depth"),),
        width=(FEW_HEADS,),
        multiple=32,
        make_consistent=_in_ratio_to("init_channels", "embed_dim", 8),
    ),
    "sequencer.Sequencer2d": ScalingSpec(
        depth=(Depth("layers"),),
        # The width is the concatenation of two directions of two LSTMs.
        width=(Width("embed_dims", multiple=32), Width("hidden_sizes")),
        multiple=lambda args: math.prod(args["patch_sizes"]),
    ),
    "hiera.Hiera": ScalingSpec(
        depth=(Depth("stages"),),
        width=(FEW_HEADS,),
        multiple=lambda args: args["patch_stride"][0] * args["mask_unit_size"][0],
    ),
    "hieradet_sam2.HieraDet": ScalingSpec(
        depth=(Depth("stages", minimum=2),),  # the first block of a stage pools and has no global attention
        width=(FEW_HEADS,),
        multiple=_hieradet_unit,
        make_consistent=_hieradet,
    ),
}
