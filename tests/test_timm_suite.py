"""timm's own tests of models, run on this project's.

A small model of each class, or all of them where the environment says ``TIMM_TESTS=all``.
"""

import os

import pytest
import timm_suite

import timm_regnet_ds as trd

# Registered names that are small, and others scaled to a tenth of their flops.
REPRESENTATIVES = ["anynet", "channelnet", "regnety_200mf", "rexnet_plain"]
SCALED = {f"{name}_small": name for name in ("nas_cell", "regnetz_500mf", "rexnet", "rexnet_lite_100")}

# `scaled` needs a base; test_timm_suite_scaled.py has it.
ALL = [name for name in trd.list_models() if name != "scaled"]

NAMES = ALL if os.environ.get("TIMM_TESTS") == "all" else [*REPRESENTATIVES, *SCALED]

globals().update(timm_suite.tests_of(NAMES))


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Under names that begin with the base's: timm treats some families by their names."""
    for name, base in SCALED.items():
        trd.scale(base, 0.1, strategy="dw").register(name)


def test_timms_tests_are_here():
    tests = {name for name in globals() if name.startswith("test_model_")}
    assert {"test_model_forward", "test_model_backward", "test_model_default_cfgs", "test_model_forward_fx"} <= tests
    assert len(tests) >= 10
