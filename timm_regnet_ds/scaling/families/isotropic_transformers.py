"""Vision transformers and mixers of one resolution, and those that begin with convolutions or pool on the way."""

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

from timm_regnet_ds.scaling.arithmetic.rounding import nearest_multiple
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .axes import AXES, Axes
from .patch_embeddings import (
    Convolutions,
    convolutions_depths,
    convolutions_width,
    deeper_convolutions,
    wider_convolutions,
)
from .paths import change_at, leaves, map_leaves, value_at
from .rules import Args, Depth, Heads, Rewrite, Width


def _ratio(whole: int, of: int) -> float:
    """The ratio of which ``int(of * ratio)`` is ``whole``."""
    ratio = whole / of
    return ratio if int(of * ratio) == whole else math.nextafter(ratio, math.inf)


def _whole_mlp(base: Args, new: Args, _: float, cfg: str = "") -> Args:
    """Hidden widths of the MLPs are multiples of 8, also where ratios are odd ones."""
    width, ratio = value_at(new, f"{cfg}embed_dim"), value_at(new, f"{cfg}mlp_ratio")
    hidden = nearest_multiple(width * ratio, 8)
    if width == value_at(base, f"{cfg}embed_dim") or int(width * ratio) == hidden:
        return new
    return change_at(new, f"{cfg}mlp_ratio", lambda _: _ratio(hidden, width))


def _along(name: str, width: str, multiple: int) -> Callable[[Args, Args, float], Args]:
    """A width that keeps its ratio to another."""

    def finish(base: Args, new: Args, _: float) -> Args:
        if new[width] == base[width] or not base[name]:
            return new
        return {**new, name: nearest_multiple(base[name] * new[width] / base[width], multiple)}

    return finish


def _spread(blocks: Any, depth: int) -> Any:
    """What is said block by block, for another number of blocks."""
    return type(blocks)(blocks[(2 * i + 1) * len(blocks) // (2 * depth)] for i in range(depth))


def _moved(block: int, depths: Any, new: Any) -> int:
    """The index of a block, not the first of its stage, among stages of new depths."""
    stage = next(i for i in range(len(depths)) if block < sum(depths[: i + 1]))
    place = (block + 1 - sum(depths[:stage])) * new[stage] / depths[stage]
    return sum(new[:stage]) + max(2, round(place)) - 1


def _few_heads(heads: str, size: Callable[[Args], int], write: Callable[[Args, int, int], Args]) -> Rewrite:
    """Widths of so few heads that their size has to grow as well, as it does between the family's variants.

    Args:
        heads: the number of heads of the first stage.
        size: their size, from the arguments.
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

    return Rewrite(scale, lambda args: [value_at(args, heads) * size(args)])


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
    """A head of keys goes with as many of queries as before."""
    keys = leaves(args["num_kv_heads"] or args["num_heads"])
    return Heads("num_heads", "embed_dim", math.lcm(*(args["num_heads"] // heads for heads in keys)))


def _eva(base: Args, new: Args, ratio: float) -> Args:
    new, keys = _whole_mlp(base, new, ratio), base["num_kv_heads"]
    if keys:
        keys = keys if isinstance(keys, int) else _spread(keys, new["depth"])
        new = {**new, "num_kv_heads": map_leaves(keys, lambda heads: heads * new["num_heads"] // base["num_heads"])}
    return new


def _sam(base: Args, new: Args, ratio: float) -> Args:
    deeper = new["depth"] / base["depth"]
    new = {**new, "global_attn_indexes": [max(1, round((i + 1) * deeper)) - 1 for i in base["global_attn_indexes"]]}
    if _sam_windows(base) == 1:
        new["window_size"] = round(base["window_size"] * ratio)
    return new


def _sam_windows(args: Args) -> int:
    """Windows along a side; a single one grows with the image."""
    return -(-args["img_size"] // (args["patch_size"] * args["window_size"]))


def _hieradet(base: Args, new: Args, _: float) -> Args:
    if new["stages"] == base["stages"]:
        return new
    moved = (_moved(block, base["stages"], new["stages"]) for block in base["global_att_blocks"])
    return {**new, "global_att_blocks": tuple(dict.fromkeys(moved))}


def _hieradet_unit(args: Args) -> int:
    """The windows of all stages fit."""
    return args["patch_stride"][0] * math.lcm(*(2**stage * side for stage, side in enumerate(args["window_spec"])))


def _crossvit_unit(args: Args) -> int:
    """Each branch sees the image at its own scale, which its patches have to fit."""
    branches = zip(args["img_scale"], args["patch_size"], strict=True)
    return math.lcm(*((Fraction(scale).limit_denominator(100) / patch).denominator for scale, patch in branches))


VIT = Axes(
    depth=(Depth("depth"),),
    width=(Heads("num_heads", "embed_dim"),),
    multiple=lambda args: args["patch_size"],
)
# Vision-language encoders, and classifiers on them, that join blocks of k x k patches.
QWEN3 = replace(VIT, multiple=lambda args: args["patch_size"] * args["merge_size"], finish=_whole_mlp)
DEEPSEEK = replace(
    VIT,
    multiple=lambda args: args["patch_size"] * (args["downsample_ratio"] if "align" in _pools(args) else 1),
    finish=_whole_mlp,
)
GEMMA4 = replace(
    VIT,
    multiple=lambda args: args["patch_size"] * (args["pooling_kernel_size"] if "soft" in _pools(args) else 1),
    finish=_along("intermediate_size", "embed_dim", 8),
)


def _pools(args: Args) -> tuple[str, ...]:
    return args["global_pool"], args.get("encoder_pool", "")


AXES |= {
    "vision_transformer.VisionTransformer": Axes(
        depth=(Depth("depth"), Rewrite(deeper_convolutions, convolutions_depths)),
        width=(Heads("num_heads", "embed_dim"), Rewrite(wider_convolutions, convolutions_width)),
        multiple=_vit_unit,
        finish=_whole_mlp,
    ),
    "eva.Eva": replace(
        VIT,
        width=(Rewrite(lambda args, by: _eva_heads(args).scale(args, by), lambda args: [args["embed_dim"]]),),
        finish=_eva,
    ),
    "beit.Beit": VIT,
    "cait.Cait": VIT,
    "xcit.Xcit": VIT,
    "vision_transformer_relpos.VisionTransformerRelPos": replace(VIT, finish=_along("rel_pos_dim", "embed_dim", 8)),
    "vision_transformer_sam.VisionTransformerSAM": replace(
        VIT,
        multiple=lambda args: args["patch_size"] * (args["window_size"] if _sam_windows(args) > 1 else 1),
        finish=_sam,
    ),
    "convit.ConVit": Axes(
        depth=(Depth("depth"),),
        width=(Width("num_heads", multiple=1),),  # embed_dim is a head's size
        multiple=lambda args: args["patch_size"],
        finish=lambda base, new, _: {
            **new,
            "local_up_to_layer": round(base["local_up_to_layer"] * new["depth"] / base["depth"]),
        },
    ),
    "naflexvit.NaFlexVit": Axes(
        depth=(Depth("cfg.depth"),),
        width=(Heads("cfg.num_heads", "cfg.embed_dim"),),
        multiple=lambda args: args["cfg"].patch_size,
        finish=partial(_whole_mlp, cfg="cfg."),
    ),
    "qwen3_vit.Qwen3VitEncoder": QWEN3,
    "qwen3_vit.Qwen3VitClassifier": QWEN3,
    "deepseek_vit.DeepseekVitEncoder": DEEPSEEK,
    "deepseek_vit.DeepseekVitClassifier": DEEPSEEK,
    "gemma4_vit.Gemma4VitEncoder": GEMMA4,
    "gemma4_vit.Gemma4VitClassifier": GEMMA4,
    "tnt.TNT": replace(VIT, width=(Heads("num_heads_outer", "embed_dim"),), finish=_along("inner_dim", "embed_dim", 4)),
    "crossvit.CrossVit": Axes(
        # The branch of small patches has one block a stage in all of them; it counts.
        depth=(Rewrite(Depth("depth.*.1").scale, lambda args: [sum(stage) for stage in args["depth"]]),),
        width=(Heads("num_heads", "embed_dim"),),
        multiple=_crossvit_unit,
    ),
    "mlp_mixer.MlpMixer": Axes(
        depth=(Depth("num_blocks"),), width=(Width("embed_dim", multiple=16),), multiple=lambda args: args["patch_size"]
    ),
    "convmixer.ConvMixer": Axes(
        depth=(Depth("depth"),), width=(Width("dim"),), multiple=lambda args: args["patch_size"]
    ),
    "volo.VOLO": Axes(
        depth=(Depth("layers"),),
        width=(Heads("num_heads", "embed_dims"), Width("stem_hidden_dim")),
        multiple=lambda args: args["patch_size"] * args["pooling_scale"],
    ),
    "pit.PoolingVisionTransformer": Axes(
        depth=(Depth("depth"),),
        width=(_few_heads("heads.0", lambda args: args["base_dims"][0], _pit_heads),),
        multiple=lambda args: args["stride"] * 2 ** (len(args["depth"]) - 1),
    ),
    "visformer.Visformer": Axes(
        depth=(Depth("depth"),),
        width=(FEW_HEADS,),
        multiple=32,
        finish=_along("init_channels", "embed_dim", 8),
    ),
    "sequencer.Sequencer2d": Axes(
        depth=(Depth("layers"),),
        # Two directions of two LSTMs make up the width.
        width=(Width("embed_dims", multiple=32), Width("hidden_sizes")),
        multiple=lambda args: math.prod(args["patch_sizes"]),
    ),
    "hiera.Hiera": Axes(
        depth=(Depth("stages"),),
        width=(FEW_HEADS,),
        multiple=lambda args: args["patch_stride"][0] * args["mask_unit_size"][0],
    ),
    "hieradet_sam2.HieraDet": Axes(
        depth=(Depth("stages", least=2),),  # the first of a stage pools, and then has no global attention
        width=(FEW_HEADS,),
        multiple=_hieradet_unit,
        finish=_hieradet,
    ),
}
