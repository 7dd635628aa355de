"""timm's own tests of models, run on this project's.

A small model of each class, or all of them where the environment says ``TIMM_TESTS=all``.
"""

import os

import timm_suite

import timm_regnet_ds as trd

REPRESENTATIVES = [
    "anynet",
    "channelnet",
    "nas_cell",
    "regnety_200mf",
    "regnetz_500mf",
    "rexnet",
    "rexnet_lite_100",
    "rexnet_plain",
]

# `scaled` needs a base; test_timm_suite_scaled.py has it.
ALL = [name for name in trd.list_models() if name != "scaled"]

NAMES = ALL if os.environ.get("TIMM_TESTS") == "all" else REPRESENTATIVES

globals().update(timm_suite.tests_of(NAMES))


def test_timms_tests_are_here():
    tests = {name for name in globals() if name.startswith("test_model_")}
    assert {"test_model_forward", "test_model_backward", "test_model_default_cfgs", "test_model_forward_fx"} <= tests
    assert len(tests) >= 10
