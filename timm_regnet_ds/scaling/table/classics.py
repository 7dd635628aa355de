"""Convolutional networks whose stages are lists or configs, and those that have them in code."""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, is_dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

from timm.models.regnet import adjust_widths_groups_comp, generate_regnet

from ..axes import AXES, Axes
from ..paths import change_at, map_leaves
from ..rounding import nearest_multiple, round_depth, round_group_width
from ..rules import Args, Depth, Grouped, Repeats, Rewrite, Rule, Width
from ..strategy import Multipliers


@dataclass(frozen=True)
class _Where:
    """A rule for those models of a class whose arguments fulfil a condition."""

    condition: Callable[[Args], bool]
    rule: Rule

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        return self.rule.scale(args, multipliers) if self.condition(args) else args

    def numbers(self, args: Args) -> list[float]:
        return self.rule.numbers(args) if self.condition(args) else []


@dataclass(frozen=True)
class _Counted:
    """Rules whose growth other numbers tell better than those that they scale."""

    rules: tuple[Rule, ...]
    grown: Callable[[Args], list[float]]

    def scale(self, args: Args, multipliers: Multipliers) -> Args:
        for rule in self.rules:
            args = rule.scale(args, multipliers)
        return args

    def numbers(self, args: Args) -> list[float]:
        return self.grown(args)


def _factor(name: str, channels: int) -> Rewrite:
    """A factor that the class applies to so many channels, of which multiples of 8 become."""

    def scale(args: Args, by: Multipliers) -> Args:
        if by.width == 1:
            return args
        return {**args, name: nearest_multiple(channels * args[name] * by.width, 8) / channels}

    return Rewrite(scale, lambda args: [channels * args[name]])


def _fits(unit: int, ratio: float) -> int:
    """The least number of channels which times ``ratio`` is a multiple of ``unit``."""
    exact = Fraction(ratio).limit_denominator(1000)
    wanted = unit * exact.denominator
    return wanted // math.gcd(exact.numerator, wanted)


def _norm_unit(norm: Any) -> int:
    """Of what channels are multiples under a norm: most that are not by batch have 32 groups."""
    size = norm.keywords.get("group_size") if isinstance(norm, partial) else None
    if size:
        return math.lcm(8, size)
    return 8 if any(kind in str(norm).lower() for kind in ("batch", "response")) else 32


# Residual networks.


def _resnet_unit(args: Args) -> int:
    splits = (args["block_args"] or {}).get("radix", 1) * args["block_reduce_first"]
    grouped = _fits(splits, args["base_width"] / 64) if args["cardinality"] * splits > 1 else 1
    return math.lcm(_norm_unit(args["norm_layer"]), grouped)


def _resnetv2_unit(args: Args, ratio: float) -> int:
    return math.lcm(8, _fits(_norm_unit(args["norm_layer"]), ratio * args["width_factor"]))


def _nfnet_unit(args: Args) -> int:
    cfg = args["model_cfg"]
    return math.lcm(8, _fits(cfg.group_size, cfg.bottle_ratio)) if cfg.group_size and not cfg.reg else 8


AXES |= {
    "resnet.ResNet": Axes(
        depth=(Depth("layers"),),
        width=(
            Width("channels", _resnet_unit),
            _Where(lambda args: "deep" in args["stem_type"], Width("stem_width")),  # of the other, 64 is in code
        ),
        multiple=lambda args: 32 if "Avg" in str(args["aa_layer"]) else 4,  # which drops a last odd row
    ),
    "resnetv2.ResNetV2": Axes(
        depth=(Depth("layers"),),
        width=(
            Width("channels", lambda args: _resnetv2_unit(args, args["bottle_ratio"])),
            Width("stem_chs", lambda args: _resnetv2_unit(args, 0.5 if args["stem_type"] in ("deep", "tiered") else 1)),
        ),
    ),
    "nfnet.NormFreeNet": Axes(
        depth=(Depth("model_cfg.depths"),),
        width=(
            Grouped("model_cfg.group_size"),
            Width("model_cfg.channels", _nfnet_unit),
            Width("model_cfg.stem_chs", lambda args: 32 if "quad" in args["model_cfg"].stem_type else 8),
            Width("model_cfg.num_features"),
        ),
    ),
    "tresnet.TResNet": Axes(depth=(Depth("layers"),), width=(_factor("width_factor", 64),)),
}


@dataclass(frozen=True)
class _Expansion:
    """Takes planes that are written in code to the channels that a wider block gives."""

    wider: "_Wider"

    def __rmul__(self, planes: int) -> int:
        return self.wider.planes(planes) * int(self.wider.block.expansion)


@dataclass(frozen=True)
class _Wider:
    """Makes blocks of the same class with more planes."""

    block: Any
    width: float
    multiple: int

    @property
    def expansion(self) -> _Expansion:
        return _Expansion(self)

    def planes(self, planes: int) -> int:
        return nearest_multiple(planes * self.width, self.multiple)

    def __call__(self, inplanes: int, planes: int, *args: Any, **kwargs: Any) -> Any:
        return self.block(inplanes, self.planes(planes), *args, **kwargs)


def _senet_wider(args: Args, by: Multipliers) -> Args:
    block = args["block"]
    if by.width == 1:
        return args
    if not isinstance(block, _Wider):
        block = _Wider(block, 1.0, math.lcm(8, _fits(args["groups"], 2)))
    return {**args, "block": replace(block, width=float(f"{block.width * by.width:.6g}"))}


AXES["senet.SENet"] = Axes(
    depth=(Depth("layers"),),
    width=(
        Rewrite(_senet_wider, lambda args: [planes * args["block"].expansion for planes in (64, 128, 256, 512)]),
        Width("inplanes"),
    ),
)


# Networks that say an image's way block by block.


def _vgg_runs(args: Args) -> list[tuple[Any, int]]:
    return [(width, len(list(run))) for width, run in itertools.groupby(args["model_cfg"])]


def _vgg_deeper(args: Args, by: Multipliers) -> Args:
    layers = [[w] * (1 if w == "M" else round_depth(count * by.depth)) for w, count in _vgg_runs(args)]
    return {**args, "model_cfg": type(args["model_cfg"])(itertools.chain(*layers))}


def _xception_deeper(args: Args, by: Multipliers) -> Args:
    """The blocks in the middle, which keep resolution and width, become more."""
    blocks = args["block_cfg"]
    middle = [i for i, block in enumerate(blocks) if block["stride"] == 1 and block["in_chs"] == block["out_chs"]]
    first, count = middle[0], max(1, len(middle) + round_depth(len(blocks) * by.depth) - len(blocks))
    return {**args, "block_cfg": [*blocks[:first], *[blocks[first]] * count, *blocks[middle[-1] + 1 :]]}


def _xception_stem(base: Args, new: Args, _: float) -> Args:
    first, *others = new["block_cfg"]
    return {**new, "block_cfg": [{**first, "in_chs": base["block_cfg"][0]["in_chs"]}, *others]}


def _selecsls_deeper(args: Args, by: Multipliers) -> Args:
    """A stage's first block reduces the resolution and its last one widens; those between become more."""
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
    stem = base["model_cfg"]["features"][0][0]
    new = change_at(new, "model_cfg.features.0.0", lambda _: stem)
    return change_at(new, "model_cfg.feature_info.0.num_chs", lambda _: stem)


AXES |= {
    "vgg.VGG": Axes(
        depth=(Rewrite(_vgg_deeper, lambda args: [count for width, count in _vgg_runs(args) if width != "M"]),),
        width=(
            _Counted(
                (Width("model_cfg"), _factor("mlp_ratio", 4096)),
                lambda args: [width for width, _ in _vgg_runs(args) if width != "M"],
            ),
        ),
        multiple=32,  # pooling drops a last odd row
    ),
    "xception_aligned.XceptionAligned": Axes(
        depth=(Rewrite(_xception_deeper, lambda args: [len(args["block_cfg"])]),),
        width=(
            _Counted(
                (Width("block_cfg.*.in_chs"), Width("block_cfg.*.out_chs")),
                lambda args: [block["in_chs"] for block, _ in itertools.groupby(args["block_cfg"][1:])],
            ),
        ),
        finish=_xception_stem,
    ),
    "selecsls.SelecSls": Axes(
        depth=(Rewrite(_selecsls_deeper, lambda args: [len(args["model_cfg"]["features"])]),),
        width=(
            _Counted(
                (
                    *(Width(f"model_cfg.features.*.{i}") for i in range(4)),
                    *(Width(f"model_cfg.head.*.{i}") for i in range(2)),
                    Width("model_cfg.num_features"),
                    Width("model_cfg.feature_info.*.num_chs"),
                ),
                lambda args: [info["num_chs"] for info in args["model_cfg"]["feature_info"][1:]],
            ),
        ),
        finish=_selecsls_stem,
    ),
}


# Networks that gather what the layers of a block or of a stage give.


def _csp_unit(args: Args) -> int:
    stages = args["model_cfg"].stages
    return math.lcm(8, _fits(min(stages.groups), stages.block_ratio[-1] * stages.bottle_ratio[-1]))


def _csp_depthwise(base: Args, new: Args, _: float) -> Args:
    """Where some stages alone have groups, these are of one channel, and remain so; widths then keep their ratios."""
    old, stages = base["model_cfg"].stages, new["model_cfg"].stages
    if len(set(old.groups)) == 1 or stages.out_chs == old.out_chs:
        return new
    by = Fraction(stages.out_chs[0], old.out_chs[0])
    out_chs, groups = (tuple(n if n == 1 else int(n * by) for n in numbers) for numbers in (old.out_chs, old.groups))
    return change_at(new, "model_cfg.stages", lambda stages: replace(stages, out_chs=out_chs, groups=groups))


# Of blocks whose widths grow by a quarter of the first where resolution halves.
_SLOWER = (1.0, 0.39, 0.14, 0.05)


def _vovnet_blocks(args: Args) -> list[float]:
    return [n * weight for n, weight in zip(args["model_cfg"]["block_per_stage"], _SLOWER, strict=True)]


def _vovnet_layers(args: Args) -> list[float]:
    return [args["model_cfg"]["layer_per_block"] + 1]  # and the one that gathers them


def _hgnet_blocks(args: Args) -> list[float]:
    cfg = args["model_cfg"]
    weights = _SLOWER if cfg["stem_type"] == "v1" else (1, 1, 1, 1)
    return [cfg[f"stage{i}"][3] * weight for i, weight in enumerate(weights, 1)]


def _dla_blocks(args: Args) -> list[float]:
    return [2**n for n in args["levels"][2:]]


def _dla_weighed(args: Args) -> list[float]:
    first, *others = _dla_blocks(args)
    return [4 * first if args["channels"][2] == args["channels"][3] else first, *others]


def _dla_deeper(args: Args, by: Multipliers) -> Args:
    """A tree one level deeper has twice as many blocks: of the nearest levels, those with the sum wanted."""
    convs, trees = args["levels"][:2], args["levels"][2:]
    more = math.log2(by.depth)
    choices = [{max(1, n + math.floor(more)), max(1, n + math.ceil(more))} for n in trees]
    wanted = by.depth * sum(_dla_blocks(args))
    best = min(itertools.product(*map(sorted, choices)), key=lambda levels: abs(sum(2**n for n in levels) - wanted))
    return {**args, "levels": type(args["levels"])([*convs, *best])}


def _dla_unit(args: Args) -> int:
    return math.lcm(8, _fits(2, args["base_width"] / 64)) if args["cardinality"] > 1 else 8


# Blocks of a DenseNet see what all before them gave: flops grow with the number of layers to a power of 1.6.
_DENSE = 0.3


def _densenet_wider(args: Args, by: Multipliers) -> Args:
    growth = by.width * by.depth**-_DENSE
    return {**args, "growth_rate": nearest_multiple(args["growth_rate"] * growth, 4)} if growth != 1 else args


def _dpn_wider(args: Args, by: Multipliers) -> Args:
    """The path of the residuals has its width in code: what reads it and writes it grows by more instead."""
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
    """Of each stage the channels of the path that grows, midway, and of the residuals' path, which is read twice."""
    for i, inc in enumerate(args["inc_sec"]):
        yield 8 * inc, 2 * (64 if args["small"] else 256) * 2**i


def _dpn_widths(args: Args) -> list[float]:
    return [math.sqrt(args["k_r"] * (inner + outer)) for inner, outer in _dpn_paths(args)]


AXES |= {
    "cspnet.CspNet": Axes(
        depth=(Depth("model_cfg.stages.depth"),),
        width=(Width("model_cfg.stages.out_chs", _csp_unit), Width("model_cfg.stem.out_chs")),
        multiple=lambda args: 32 if any(args["model_cfg"].stages.avg_down) else 4,
        finish=_csp_depthwise,
    ),
    "hgnet.HighPerfGpuNet": Axes(
        depth=(_Counted(tuple(Depth(f"model_cfg.stage{i}.3") for i in range(1, 5)), _hgnet_blocks),),
        width=(
            Width("model_cfg.stem_chs"),
            *(Width(f"model_cfg.stage{stage}.{i}") for stage in range(1, 5) for i in range(3)),
        ),
    ),
    "vovnet.VovNet": Axes(
        depth=(
            _Where(
                lambda args: not args["model_cfg"]["depthwise"],
                _Counted((Depth("model_cfg.block_per_stage"),), _vovnet_blocks),
            ),
            # The depthwise ones of timm take no second block in a stage.
            _Where(
                lambda args: args["model_cfg"]["depthwise"],
                _Counted((Depth("model_cfg.layer_per_block"),), _vovnet_layers),
            ),
        ),
        width=(
            Width("model_cfg.stem_chs", lambda args: _norm_unit(args["norm_layer"])),
            Width("model_cfg.stage_conv_chs", lambda args: _norm_unit(args["norm_layer"])),
            Width("model_cfg.stage_out_chs", lambda args: _norm_unit(args["norm_layer"])),
        ),
        multiple=32,
    ),
    "dla.DLA": Axes(
        depth=(Rewrite(_dla_deeper, _dla_weighed),),
        width=(Width("channels.0"), Width("channels.1"), *(Width(f"channels.{i}", _dla_unit) for i in range(2, 6))),
        multiple=32,
    ),
    "densenet.DenseNet": Axes(
        depth=(Depth("block_config"),),
        width=(Rewrite(_densenet_wider, lambda args: [args["growth_rate"] * sum(args["block_config"]) ** _DENSE]),),
        multiple=32,  # pooling drops a last odd row
    ),
    "dpn.DPN": Axes(depth=(Depth("k_sec"),), width=(Rewrite(_dpn_wider, _dpn_widths),)),
}


# RegNet: widths and depths of the stages follow from a line.


def _regnet_widths(args: Args) -> list[float]:
    cfg = args["model_cfg"]
    widths, stages, groups = generate_regnet(cfg.wa, cfg.w0, cfg.wm, cfg.depth, cfg.group_size)
    ratios = [cfg.bottle_ratio] * stages
    return list(adjust_widths_groups_comp(sorted(set(widths)), ratios, groups, cfg.group_min_ratio)[0])


def _with_line(args: Args, **changes: Any) -> Args:
    """The line through the same number of stages as before."""
    cfg = args["model_cfg"]
    last = math.log(1 + cfg.wa * (cfg.depth - 1) / cfg.w0) / math.log(cfg.wm)
    new = replace(cfg, **changes)
    slope = new.w0 * (new.wm**last - 1) / (new.depth - 1)
    return {**args, "model_cfg": replace(new, wa=float(f"{slope:.6g}"))}


def _regnet_deeper(args: Args, by: Multipliers) -> Args:
    if by.depth == 1:
        return args
    depth = round_depth(args["model_cfg"].depth * by.depth)
    while len(_regnet_widths(new := _with_line(args, depth=depth))) < 4:
        depth += 1
    return new


def _regnet_wider(args: Args, by: Multipliers) -> Args:
    if by.width == 1:
        return args
    cfg = args["model_cfg"]
    w0 = nearest_multiple(cfg.w0 * by.width, 8)
    group_size, unit = cfg.group_size * by.group_width, _norm_unit(cfg.norm_layer)
    size = round_group_width(group_size) if unit == 8 else nearest_multiple(group_size, unit)
    # What rounding the first width took away, or added, the slope makes up for in the last one.
    wm = float(f"{cfg.wm * (cfg.w0 * by.width / w0) ** (1 / 3):.4g}")
    new = _with_line(args, w0=w0, wm=wm, group_size=size)
    return new if len(_regnet_widths(new)) == 4 else _with_line(args, w0=w0, group_size=size)


AXES["regnet.RegNet"] = Axes(
    depth=(Rewrite(_regnet_deeper, lambda args: [args["model_cfg"].depth]),),
    width=(Rewrite(_regnet_wider, _regnet_widths), Width("model_cfg.num_features")),
)


# ByobNet: blocks of any kind.


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
        # RepVGG and MobileOne have a single wide layer at the end.
        if stage is args["model_cfg"].blocks[-1] and _members(stage)[0].type in ("rep", "one"):
            return stage
        if not is_dataclass(stage):
            return type(stage)(map(deeper, stage)) if any(map(_transformer, stage)) else _byob_repeated(stage, by)
        path = "block_kwargs.transformer_depth" if _transformer(stage) else "d"
        return change_at(stage, path, lambda depth: round_depth(depth * by.depth))

    return change_at(args, "model_cfg.blocks.*", deeper) if by.depth != 1 else args


def _byob_repeated(stage: Any, by: Multipliers) -> Any:
    """A stage whose blocks alternate goes on to; another has its kinds of blocks in their shares."""
    if stage[0].type == "one":  # a depthwise block and a pointwise one are one
        pairs = [stage[i : i + 2] for i in range(0, len(stage), 2)]
        repeats = Repeats("pairs", again=lambda pair: [replace(pair[0], c=pair[1].c), pair[1]])
        return type(stage)(itertools.chain(*repeats.scale({"pairs": pairs}, by)["pairs"]))
    period = next(p for p in range(1, len(stage) + 1) if all(b == stage[i % p] for i, b in enumerate(stage)))
    if 2 < period == len(stage):
        return Repeats("blocks").scale({"blocks": stage}, by)["blocks"]
    return type(stage)(stage[i % period] for i in range(round_depth(len(stage) * by.depth)))


# What timm takes where a block does not say a number of heads.
_HEADS = {"bottleneck": 4, "halo": 8, "lambda": 4}


def _attention(block: Any, cfg: Any) -> tuple[str, dict[str, Any]]:
    """Kind and arguments of a block's attention."""
    kwargs = cfg.self_attn_kwargs if block.self_attn_kwargs is None else block.self_attn_kwargs
    return block.self_attn_layer or cfg.self_attn_layer, kwargs


def _wider_stage(stage: Any, cfg: Any, by: Multipliers) -> Any:
    blocks = _members(stage)
    unit = _norm_unit(cfg.norm_layer)
    attending = next((block for block in blocks if block.type == "self_attn"), None)
    kind, kwargs = _attention(attending, cfg) if attending else ("", {})
    heads = kwargs.get("num_heads", _HEADS.get(kind, 1))

    def wider(block: Any) -> Any:
        size, width = block.gs, block.c * by.width
        if isinstance(size, int) and size > 1:
            size = round_group_width(size * by.group_width)
            # Heads, too, must divide the width that groups do: with many kinds of them little would.
            more = nearest_multiple(heads * by.width, 4) if attending else 1
            c = nearest_multiple(width, math.lcm(unit, _fits(math.lcm(size, more, unit if unit > 8 else 1), block.br)))
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
    if by.width == 1:
        return args
    cfg = args["model_cfg"]
    *stages, last = (_wider_stage(stage, cfg, by) for stage in cfg.blocks)
    if "attn" in cfg.head_type:
        # Its heads are of 64 channels.
        last = change_at(last, "c", lambda c: nearest_multiple(c, _fits(64, cfg.width_factor)))
    new = replace(cfg, blocks=type(cfg.blocks)([*stages, last]))
    unit = _norm_unit(cfg.norm_layer)
    for name in ("num_features", "head_hidden_size"):
        if getattr(cfg, name):
            new = replace(new, **{name: nearest_multiple(getattr(cfg, name) * by.width, unit)})
    first = _members(new.blocks[0])[0]
    unit *= {"tiered": 2, "quad": 4, "quad2": 4}.get(cfg.stem_type, 1)
    if cfg.block_kwargs.get("bottle_in"):
        unit = math.lcm(unit, _fits(first.gs, first.br))
    new = replace(new, stem_chs=map_leaves(cfg.stem_chs, lambda width: nearest_multiple(width * by.width, unit)))
    return {**args, "model_cfg": new}


def _byob_widths(args: Args) -> list[float]:
    return [_members(stage)[-1].c for stage in args["model_cfg"].blocks]


def _byob_side(args: Args) -> int:
    """What halos' blocks, transformers' patches and bilinear attention divide, and positions are made for."""
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


AXES["byobnet.ByobNet"] = Axes(
    depth=(Rewrite(_byob_deeper, _byob_depths),),
    width=(Rewrite(_byob_wider, _byob_widths),),
    multiple=_byob_side,
)


# Networks that have their structure in code.

_IN_CODE = {"depth": "its class has its blocks in code", "width": "its class has its channels in code"}

AXES |= {
    "inception_v3.InceptionV3": Axes(missing=_IN_CODE),
    "inception_v4.InceptionV4": Axes(missing=_IN_CODE),
    "inception_resnet_v2.InceptionResnetV2": Axes(missing=_IN_CODE),
    "xception.Xception": Axes(missing=_IN_CODE),
    "nasnet.NASNetALarge": Axes(width=(Width("num_features", 8 * 24), Width("stem_size")), missing=_IN_CODE),
    "pnasnet.PNASNet5Large": Axes(missing=_IN_CODE),
}
