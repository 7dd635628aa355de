"""timm's own tests of models, run on this project's.

One model of each family and size, or all of them where the environment says ``TIMM_TESTS=all``.
"""

import os

import timm_suite

import timm_regnet_ds as trd

REPRESENTATIVES = [
    "anynet",
    "regnet",
    "regnetx_200mf",
    "regnetx_8gf",
    "regnety_400mf",
    "regnety_4gf",
    "regnetz_500mf",
    "regnetz_4gf",
    "regnetz_500mf_dWr_4gf",
    "regnetz_500mf_d_1gf",
    "efficientnet_b0_dWr_4gf",
    "rexnet",
    "rexnet_090",
    "rexnet_220",
    "rexnet_plain",
    "rexnet_lite_100",
    "rexnet_lite_200",
    "nas_cell",
]

NAMES = trd.list_models() if os.environ.get("TIMM_TESTS") == "all" else REPRESENTATIVES

globals().update(timm_suite.tests_of(NAMES))


def test_timms_tests_are_here():
    tests = {name for name in globals() if name.startswith("test_model_")}
    assert {"test_model_forward", "test_model_backward", "test_model_default_cfgs", "test_model_forward_fx"} <= tests
    assert len(tests) >= 10
