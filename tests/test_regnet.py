"""RegNet: the quantized linear parametrization and the papers' models."""

import math
import re

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st

from timm_regnet_ds import RegNetCfg
from timm_regnet_ds.models.regnet import REGNET_CFGS, fit_group_widths, quantized_linear


def test_stage_form_of_the_published_parameters():
    assert RegNetCfg(13, 24, 36.44, 2.49, 8).block_widths() == (24, 56, *[152] * 4, *[368] * 7)
    cfg = RegNetCfg(23, 80, 49.56, 2.88, 120).stages()
    assert (cfg.depths, cfg.widths, cfg.group_widths) == ((2, 5, 15, 1), (80, 240, 720, 1920), (80, 120, 120, 120))


parameters = {
    "depth": st.integers(1, 64),
    "w0": st.integers(1, 32).map(lambda n: 8 * n),
    "wa": st.floats(0, 256),
    "wm": st.floats(1.05, 3),
}


@given(**parameters)
def test_quantized_widths_follow_the_line(depth, w0, wa, wm):
    widths = quantized_linear(depth, w0, wa, wm)
    assert len(widths) == depth
    assert widths[0] == w0
    assert all(width % 8 == 0 for width in widths)
    assert list(widths) == sorted(widths)
    for j, width in enumerate(widths):
        # Rounding s_j moves a width by at most the square root of wm, rounding to 8 by at most 4.
        line = w0 + wa * j
        assert line / math.sqrt(wm) - 4.001 <= width <= line * math.sqrt(wm) + 4.001


@given(
    **parameters,
    group_width=st.integers(1, 256),
    block=st.sampled_from("xyz"),
    bottle_ratio=st.sampled_from([None, 0.25, 1 / 3, 0.5, 1, 1.5, 2, 2.5, 4, 6]),
)
def test_stage_form_is_the_block_form(depth, w0, wa, wm, group_width, block, bottle_ratio):
    regnet = RegNetCfg(depth, w0, wa, wm, group_width, bottle_ratio, block)
    cfg = regnet.stages()
    assert sum(cfg.depths) == depth
    assert len(cfg.depths) == len(set(regnet.block_widths()))
    for inner, group in zip(cfg.inner_widths, cfg.group_widths, strict=True):
        assert inner % group == 0
        assert group <= group_width


def test_group_widths_are_fitted_as_the_scaling_paper_says():
    # g = w where g > w, and otherwise w becomes divisible by g.
    assert fit_group_widths((24, 56), (1.0, 1.0), (48, 16)) == ((24, 64), (24, 16))
    # Fractions give integers too: the inside of 40 has five groups of 8 and is 2.5 times 16.
    assert fit_group_widths((17,), (2.5,), (8,)) == ((16,), (8,))
    # An inverted bottleneck's inside is a multiple of its multiplier too.
    assert fit_group_widths((16,), (4.0,), (24,)) == ((18,), (24,))


def test_the_generator_gives_the_named_model():
    with torch.device("meta"):
        generated = timm.create_model(
            "regnet", depth=21, w0=16, wa=10.7, wm=2.51, group_width=4, bottle_ratio=4.0, block="z"
        )
        named = timm.create_model("regnetz_500mf")
    assert generated.cfg == named.cfg


def test_fields_of_both_configs_can_be_changed():
    with torch.device("meta"):
        model = timm.create_model("regnetx_200mf", depth=15, stem="cifar", head_width=64, num_classes=10)
    assert sum(model.cfg.depths) == 15
    assert model.stem.conv.stride == (1, 1)
    assert model.num_features == 64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 0}, "depth must be a whole number of at least 1, not 0"),
        ({"depth": -3}, "not -3"),
        ({"depth": 2.5}, "not 2.5"),
        ({"w0": 20}, "w0 must be a multiple of 8, not 20"),
        ({"w0": 0}, "w0 must be a whole number from 1 to 16777216, not 0"),
        ({"wa": -1.0}, "wa must be a finite number at least 0 and at most 1e+06, not -1.0"),
        ({"wm": 1}, "wm must be a finite number above 1 and at most 1000, not 1"),
        ({"wm": 0.5}, "wm must be a finite number above 1 and at most 1000, not 0.5"),
        ({"wm": float("inf")}, "not inf"),
        ({"group_width": 0}, "group_width must be a whole number from 1 to 16777216, not 0"),
        ({"bottle_ratio": -1}, "bottle_ratio must be a finite number at least 0.015625 and at most 1000, not -1"),
        ({"depths": [1, 2]}, "regnet takes no depths: it follows from depth, w0, wa, wm"),
        ({"block": "zz"}, "unknown block 'zz'; did you mean 'z'?"),
        ({"group_width": 8, "block": "basic"}, "block 'basic' has no bottleneck and so takes no group_width"),
    ],
)
def test_invalid_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        timm.create_model("regnet", **arguments)


@pytest.mark.parametrize("name", ["regnetx_200mf", "regnety_16gf"])
def test_pretrained_weights_are_timms_on_the_hub(name):
    cfg = timm.get_pretrained_cfg(f"{name}.pycls_in1k")
    assert (
        cfg.hf_hub_id == {"regnetx_200mf": "timm/regnetx_002", "regnety_16gf": "timm/regnety_160"}[name] + ".pycls_in1k"
    )
    assert cfg.url is None
    assert cfg.architecture == name


@pytest.mark.parametrize("name", sorted({*REGNET_CFGS} - {"regnety_500mf", "regnetz_500mf", "regnetz_4gf"}))
def test_pretrained_weights_are_those_of_the_same_network(name):
    cfg = timm.get_pretrained_cfg(name)
    same = cfg.hf_hub_id.removeprefix("timm/").split(".")[0]
    ours, theirs = (timm.create_model(n, device="meta") for n in (name, same))
    shapes = [{key: tuple(value.shape) for key, value in m.state_dict().items()} for m in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_pretrained_without_weights_is_refused():
    with pytest.raises(RuntimeError, match="No pretrained weights exist for regnetz_500mf"):
        timm.create_model("regnetz_500mf", pretrained=True)


def test_the_image_size_follows_the_stem_and_the_strides():
    with torch.device("meta"):
        small = timm.create_model("regnetx_200mf", stem="cifar", num_classes=10)
        three = timm.create_model("anynet", depths=[1, 1], widths=[8, 16])
        given = timm.create_model("regnet", stem="cifar", pretrained_cfg_overlay={"input_size": (3, 40, 40)})
    assert (small.pretrained_cfg["input_size"], small.pretrained_cfg["pool_size"]) == ((3, 32, 32), (2, 2))
    assert (three.pretrained_cfg["input_size"], three.pretrained_cfg["pool_size"]) == ((3, 224, 224), (28, 28))
    assert given.pretrained_cfg["input_size"] == (3, 40, 40)


def test_the_input_size_is_the_papers():
    assert timm.get_pretrained_cfg("regnetz_500mf").input_size == (3, 224, 224)
    assert timm.get_pretrained_cfg("regnetz_4gf").input_size == (3, 256, 256)
    assert timm.get_pretrained_cfg("regnetz_4gf").pool_size == (8, 8)
