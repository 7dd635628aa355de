"""Networks configured as a flat list of layers: VGG, Xception and SelecSLS."""

import itertools
from typing import Any

from timm_regnet_ds.scaling.arithmetic.rounding import round_depth
from timm_regnet_ds.scaling.arithmetic.strategy import Multipliers

from .common import width_multiplier
from .paths import change_at
from .rules import Args, Custom, Together, Width
from .specs import SPECS, ScalingSpec


def _vgg_runs(args: Args) -> list[tuple[Any, int]]:
    """Return (width, number of layers) of each run of equal widths; ``M`` is max pooling."""
    return [(width, len(list(run))) for width, run in itertools.groupby(args["model_cfg"])]


def _vgg_deeper(args: Args, by: Multipliers) -> Args:
    layers = [[w] * (1 if w == "M" else round_depth(count * by.depth)) for w, count in _vgg_runs(args)]
    return {**args, "model_cfg": type(args["model_cfg"])(itertools.chain(*layers))}


def _xception_deeper(args: Args, by: Multipliers) -> Args:
    """Repeat the blocks in the middle, which keep resolution and width."""
    blocks = args["block_cfg"]
    middle = [i for i, block in enumerate(blocks) if block["stride"] == 1 and block["in_chs"] == block["out_chs"]]
    first, count = middle[0], max(1, len(middle) + round_depth(len(blocks) * by.depth) - len(blocks))
    return {**args, "block_cfg": [*blocks[:first], *[blocks[first]] * count, *blocks[middle[-1] + 1 :]]}


def _xception_stem(base: Args, new: Args, _: float) -> Args:
    """The first block keeps its input channels: the stem is hard-coded."""
    first, *others = new["block_cfg"]
    return {**new, "block_cfg": [{**first, "in_chs": base["block_cfg"][0]["in_chs"]}, *others]}


def _selecsls_deeper(args: Args, by: Multipliers) -> Args:
    """Repeat the blocks between the first of a stage, which reduces the resolution, and the last, which widens."""
    cfg = args["model_cfg"]
    starts = [i for i, (*_, is_first, _) in enumerate(cfg["features"]) if is_first]
    features: list[Any] = []
    ends = []
    for start, end in zip(starts, [*starts[1:], len(cfg["features"])], strict=True):
        first, last = cfg["features"][start], cfg["features"][end - 1]
        count = max(2, round_depth((end - start) * by.depth))
        features += [first, *[(*last[:3], first[3], *last[4:])] * (count - 2), last]
        ends.append(f"features.{len(features) - 1}")
    names = iter(ends)
    info = [{**f, "module": next(names)} if "features" in f["module"] else f for f in cfg["feature_info"]]
    return {**args, "model_cfg": {**cfg, "features": features, "feature_info": info}}


def _selecsls_stem(base: Args, new: Args, _: float) -> Args:
    """The first block keeps its input channels: the stem is hard-coded."""
    stem = base["model_cfg"]["features"][0][0]
    new = change_at(new, "model_cfg.features.0.0", lambda _: stem)
    return change_at(new, "model_cfg.feature_info.0.num_chs", lambda _: stem)


SPECS |= {
    "vgg.VGG": ScalingSpec(
        depth=(Custom(_vgg_deeper, lambda args: [count for width, count in _vgg_runs(args) if width != "M"]),),
        width=(
            Together((Width("model_cfg"), width_multiplier("mlp_ratio", 4096))).measured_by(
                lambda args: [width for width, _ in _vgg_runs(args) if width != "M"]
            ),
        ),
        multiple=32,  # pooling drops a last odd row
    ),
    "xception_aligned.XceptionAligned": ScalingSpec(
        depth=(Custom(_xception_deeper, lambda args: [len(args["block_cfg"])]),),
        width=(
            Together((Width("block_cfg.*.in_chs"), Width("block_cfg.*.out_chs"))).measured_by(
                lambda args: [block["in_chs"] for block, _ in itertools.groupby(args["block_cfg"][1:])]
            ),
        ),
        make_consistent=_xception_stem,
    ),
    "selecsls.SelecSls": ScalingSpec(
        depth=(Custom(_selecsls_deeper, lambda args: [len(args["model_cfg"]["features"])]),),
        width=(
            Together(
                (
                    *(Width(f"model_cfg.features.*.{i}") for i in range(4)),
                    *(Width(f"model_cfg.head.*.{i}") for i in range(2)),
                    Width("model_cfg.num_features"),
                    Width("model_cfg.feature_info.*.num_chs"),
                )
            ).measured_by(lambda args: [info["num_chs"] for info in args["model_cfg"]["feature_info"][1:]]),
        ),
        make_consistent=_selecsls_stem,
    ),
}
