"""Configurations that would hang or fill a machine are refused before anything is built."""

import pytest
import timm
import torch

import timm_regnet_ds as trd
from timm_regnet_ds.common.size_limit import MAX_BLOCKS
from timm_regnet_ds.populations.sweep.plan import Plan
from timm_regnet_ds.spaces import get_space

HUGE = 10**400


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("regnet", {"depth": 10**9}, r"the network would have 1\.0e\+09 blocks \(allowed: up to 8192\)"),
        ("regnet", {"depth": HUGE}, r"the network would have more than 1e308 blocks \(allowed: up to 8192\)"),
        ("regnet", {"w0": 8 * 10**12}, "w0 must be a whole number from 1 to 16777216, not 8000000000000"),
        ("regnet", {"w0": 2**23}, r"would have about 1\.\de\+16 params, more than memory could hold \(allowed: up to"),
        ("regnet", {"bottle_ratio": 1e300}, "bottle_ratio must be a finite number at least 0.015625 and at most 1000"),
        ("regnet", {"bottle_ratio": 1e-300}, "bottle_ratio must be a finite number at least 0.015625"),
        ("regnet", {"wa": HUGE}, "wa must be a finite number at least 0 and at most 1e"),
        ("regnet", {"wm": 1e300}, "wm must be a finite number above 1 and at most 1000"),
        ("regnet", {"num_classes": 10**12}, "num_classes must be a whole number from 0 to 16777216"),
        ("regnet", {"in_chans": HUGE}, "in_chans must be a whole number from 1 to 16777216, not 1000"),
        ("regnet", {"act_layer": 3}, "timm has no act_layer 3"),
        ("anynet", {"depths": [10**6], "widths": [8]}, r"the network would have 1\.0e\+06 blocks"),
        ("anynet", {"depths": [1], "widths": [HUGE]}, "widths must be a whole number from 1 to 16777216"),
        ("anynet", {"depths": [1, 1], "widths": [2**23, 2**24]}, "more than memory could hold"),
        ("anynet", {"depths": [1], "widths": [8], "bottle_ratios": 1e300}, "bottle_ratios must be a finite number"),
        ("nas_cell", {"depth": 10**6}, r"would have 4\.0e\+06 blocks"),
        ("nas_cell", {"width": 2**22}, "more than memory could hold"),
        ("channelnet", {"widths": [8] * (MAX_BLOCKS + 1)}, "would have 8193 blocks"),
        ("channelnet", {"widths": [2**20, 2**20]}, "more than memory could hold"),
        ("rexnet", {"depth_mult": 10**6}, r"rexnet would have 1\.6e\+07 blocks"),
        ("rexnet", {"width_mult": 1e5}, r"rexnet would have about 4\.8e\+16 params"),
        ("anynet", {"depths": [1], "widths": [2**17], "se_ratio": 1e3, "group_widths": 1}, "more than memory"),
        ("anynet", {"depths": [1], "widths": [2**15], "head_width": 2**24, "group_widths": 1}, "more than memory"),
        ("anynet", {"depths": [1], "widths": [8], "group_widths": HUGE}, "would have more than 1e308 params"),
        ("rexnet", {"width_mult": 1e200}, "width_mult must be a finite number above 0 and at most 1"),
        ("rexnet", {"depth_mult": 1e308}, "depth_mult must be a finite number above 0 and at most 1"),
        ("rexnet", {"ch_div": 0}, "ch_div must be a whole number of at least 1, not 0"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_generators_refuse_what_is_too_large(name, args, message):
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        timm.create_model(name, **args)


def test_the_deepest_network_is_built():
    with torch.device("meta"):
        model = timm.create_model("anynet", depths=[1000], widths=[8], block="vanilla")
    assert model.cfg.depths == (1000,)


def nested(levels):
    args = {"base": "test_resnet", "factor": 1.1}
    for _ in range(levels - 1):
        args = {"base": "scaled", "base_args": args, "factor": 1.1}
    return args


def test_scaled_models_inside_each_other():
    with torch.device("meta"):
        assert timm.create_model("scaled", **nested(3))
        for levels in (4, 30):
            with pytest.raises(ValueError, match=rf"{levels} scaled models inside each other \(allowed: up to 3\)"):
                timm.create_model("scaled", **nested(levels))


def test_samples_and_plans_fit_into_memory(tmp_path):
    with pytest.raises(ValueError, match="n must be a whole number from 1 to 10000000, not 1000000000"):
        get_space("regnetx").sample(10**9)
    with pytest.raises(ValueError, match="models must be a whole number from 1 to 1000000, not 100000000000"):
        Plan(spaces=("regnetx",), output=tmp_path / "rows.jsonl", dataset="synthetic", models=10**11)


@pytest.mark.parametrize("factor", [HUGE, 1e300])
def test_factors_of_scaling(factor):
    with pytest.raises(ValueError, match=r"must be a finite number|more than memory could hold"):
        trd.scale("test_resnet", factor)


def test_a_tag_that_there_is_not():
    with pytest.raises(ValueError, match="nope"):
        trd.scale("resnet50.nope", 2)
