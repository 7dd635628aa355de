"""The scaled models that have names, against the figures of Fast and Accurate Model Scaling."""

import functools
from functools import partial

import pytest
import timm
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from timm_regnet_ds import STRATEGIES, AnyNet, AnyNetCfg, measure, resolve_strategy, scale
from timm_regnet_ds.complexity import measure_factory
from timm_regnet_ds.models.efficientnet import EFFICIENTNET_B0, EfficientNetCfg
from timm_regnet_ds.models.regnet import REGNET_CFGS
from timm_regnet_ds.scaling.fitting.target import parse_target
from timm_regnet_ds.scaling.named.anynet import scale_anynet
from timm_regnet_ds.scaling.named.efficientnet import scale_efficientnet
from timm_regnet_ds.scaling.named.models import BASES, FACTORS, PAPER, TARGETS, build_scaled, scaled_cfg
from timm_regnet_ds.scaling.named.nearest_factor import nearest_factor
from timm_regnet_ds.spaces import AnyNetBatch, Frame

# Stage form of the scaled RegNetZ: depths, widths, group width.
STAGES = {
    "regnetz_500mf_dWr_4gf": ((1, 5, 11, 9), (40, 96, 240, 592), 8),
    "regnetz_500mf_dWr_16gf": ((1, 6, 13, 10), (64, 160, 416, 1016), 16),
    "regnetz_4gf_dWr_16gf": ((2, 7, 16, 7), (80, 176, 416, 912), 16),
}


@pytest.mark.parametrize("name", STAGES)
def test_stages_of_the_scaled_regnetz(name):
    with torch.device("meta"):
        cfg = timm.create_model(name).cfg
    assert (cfg.depths, cfg.widths, cfg.group_widths) == (*STAGES[name][:2], (STAGES[name][2],) * 4)
    assert (cfg.stem_width, cfg.head_width) == (32, 1000)


def test_every_strategy_and_target_has_a_name():
    expected = {
        f"{b}_{s}_{t}" for b in BASES for s in STRATEGIES for t in TARGETS if s != "orig" and b != "regnetz_4gf"
    }
    assert set(FACTORS) == expected | {"regnetz_4gf_dWr_16gf"}
    assert all(timm.is_model(name) for name in FACTORS)


@pytest.mark.parametrize("name", sorted(set(FACTORS) - set(PAPER)))
def test_named_models_reach_their_target(name):
    base, strategy, target = name.rsplit("_", 2)
    cfg, resolution = scaled_cfg(base, strategy, FACTORS[name])
    assert flops_of(cfg, resolution) == pytest.approx(parse_target(target).value, rel=0.05)
    assert timm.get_pretrained_cfg(name).input_size == (3, resolution, resolution)


@pytest.mark.parametrize("name", sorted(name for name in set(FACTORS) - set(PAPER) if name.endswith("_1gf")))
def test_named_models_are_what_is_counted(name):
    c = measure(name)
    assert c.flops == flops_of(*scaled_cfg(*name.rsplit("_", 2)[:2], FACTORS[name]))
    assert c.input_size == timm.get_pretrained_cfg(name).input_size


@pytest.mark.parametrize("name", ["regnety_500mf_dwr_8gf", "regnetz_500mf_w_2gf", "efficientnet_b0_dwr_1gf"])
def test_factors_are_what_the_search_finds(name):
    base, strategy, target = name.rsplit("_", 2)

    def flops(factor: float) -> int:
        return flops_of(*scaled_cfg(base, strategy, factor))

    factor = nearest_factor(flops, parse_target(target).value)
    assert factor == FACTORS[name]
    assert flops(factor) == measure(name).flops


@functools.cache
def flops_of(cfg: AnyNetCfg | EfficientNetCfg, resolution: int) -> int:
    """Of RegNets by the arithmetic of the spaces, which other tests compare with `measure`: no model is built."""
    if isinstance(cfg, AnyNetCfg):
        return int(AnyNetBatch.of([cfg], Frame(cfg.block)).complexity(resolution)[0][0])
    return measure_factory("efficientnet", partial(build_scaled, "efficientnet", False, cfg), resolution)[1].flops


@pytest.mark.parametrize("base", BASES)
def test_factor_one_is_the_base(base):
    assert scaled_cfg(base, "dWr", 1.0) == BASES[base]


def test_our_efficientnet_b0_is_timms():
    with torch.device("meta"):
        ours, theirs = build_scaled("efficientnet_b0", False, EFFICIENTNET_B0), timm.create_model("efficientnet_b0")
    shapes = [{key: tuple(value.shape) for key, value in m.state_dict().items()} for m in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_efficientnets_stem_and_head_grow_and_regnets_do_not():
    multipliers = resolve_strategy("w").multipliers(4.0)
    effnet = scale_efficientnet(EFFICIENTNET_B0, multipliers)
    assert (effnet.stem_width, effnet.head_width) == (64, 2560)
    regnet = scale_anynet(REGNET_CFGS["regnetz_500mf"].stages(), multipliers)
    assert (regnet.stem_width, regnet.head_width) == (32, 1000)


@settings(max_examples=20, deadline=None)
@given(factor=st.floats(0.2, 40), strategy=st.sampled_from(list(STRATEGIES)))
@example(factor=2.5, strategy="d")  # a stage of one block comes to lie halfway between 2 and 3
def test_scale_gives_the_papers_efficientnets(factor, strategy):
    cfg, resolution = scaled_cfg("efficientnet_b0", strategy, factor)
    scaled = scale("efficientnet_b0", factor, strategy=strategy)
    args = {
        name: scaled.overrides.get(name, scaled.base_value(name))
        for name in ("block_args", "stem_size", "num_features")
    }
    stages = args["block_args"]
    assert [len(stage) for stage in stages] == [stage.depth for stage in cfg.stages]
    assert [{block["out_chs"] for block in stage} for stage in stages] == [{stage.width} for stage in cfg.stages]
    assert (args["stem_size"], args["num_features"]) == (cfg.stem_width, cfg.head_width)
    assert scaled.input_size == (3, resolution, resolution)


@settings(max_examples=40, deadline=None)
@given(
    name=st.sampled_from(list(REGNET_CFGS)),
    factor=st.floats(0.2, 20),
    strategy=st.one_of(st.sampled_from(list(STRATEGIES)), st.floats(0, 1)),
)
def test_any_regnet_scales_by_any_strategy(name, factor, strategy):
    base = REGNET_CFGS[name].stages()
    multipliers = resolve_strategy(strategy).multipliers(factor)
    scaled = scale_anynet(base, multipliers)
    assert len(AnyNet(scaled, device="meta").feature_info) == 1 + len(base.depths)
    for before, after in zip(base.depths, scaled.depths, strict=True):
        assert after == max(1, round(before * multipliers.depth))
    for before, after, group in zip(base.widths, scaled.widths, scaled.group_widths, strict=True):
        # To a multiple of 8, then of the group width: the paper allows a change by a third.
        assert abs(after - before * multipliers.width) <= max(4, before * multipliers.width / 3) + group


@pytest.mark.parametrize("block", ["x", "basic", "vanilla"])
def test_single_groups_stay_single_and_depthwise_stays_depthwise(block):
    multipliers = resolve_strategy("w").multipliers(4.0)
    dense = scale_anynet(AnyNetCfg([2, 2], [16, 32], block=block), multipliers)
    assert dense.widths == dense.group_widths == (32, 64)
    depthwise = scale_anynet(AnyNetCfg([2, 2], [16, 32], group_widths=1, block="x"), multipliers)
    assert depthwise.group_widths == (1, 1)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("regnetz_500mf_dWr_4gf", {"block": "x"}, "takes no block: scaling sets it"),
        ("regnetz_500mf_dWr_4gf", {"widths": [8]}, "takes no widths"),
        ("efficientnet_b0_dWr_4gf", {"output_stride": 7}, "output_stride 7 is not possible"),
        ("efficientnet_b0_dWr_4gf", {"global_pool": "mean"}, "unknown global_pool 'mean'"),
    ],
)
def test_what_scaled_models_do_not_take_is_refused(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model(name, device="meta", **arguments)


def test_another_base_is_refused():
    with pytest.raises(ValueError, match="unknown base 'regnetz_500m'; did you mean 'regnetz_500mf'"):
        scaled_cfg("regnetz_500m", "dWr", 2.0)


def test_hundreds_of_fresh_blocks_stay_finite():
    model = timm.create_model("efficientnet_b0_d_8gf").eval()
    with torch.no_grad():
        logits = model(torch.randn(1, 3, 32, 32))
    assert logits.isfinite().all()
    assert logits.std() > 0
