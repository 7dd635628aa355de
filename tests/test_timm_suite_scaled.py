"""timm's own tests of models, run on scaled models of its classes: what the base passes, the scaled model passes.

A few classes, or all of them where the environment says ``TIMM_TESTS=all``.
"""

import functools
import os

import class_models
import pytest
import timm_suite

import timm_regnet_ds as trd

REPRESENTATIVES = ["ResNet", "RegNet", "EfficientNet", "ConvNeXt", "VisionTransformer", "SwinTransformer", "MaxxVit"]

CLASSES = class_models.cheapest()
BASES = [CLASSES[name] for name in (CLASSES if os.environ.get("TIMM_TESTS") == "all" else REPRESENTATIVES)]


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Under names that begin with the base's: timm treats some families by their names."""
    for base in BASES:
        class_models.scaled(base).register(f"{base}_by_2")
        # The base with the same arguments.
        trd.scale(base, 1, strategy="r", base_args=class_models.base_args(base)).register(f"{base}_by_1")


def or_the_base_fails(test):
    """A test that is skipped where the base fails it as well."""

    @functools.wraps(test)
    def tested(model_name, **arguments):
        try:
            test(model_name=model_name, **arguments)
        except Exception:
            try:
                test(model_name=model_name.removesuffix("2") + "1", **arguments)
            except Exception as failure:
                pytest.skip(f"the base fails as well: {str(failure)[:80]}")
            raise

    return tested


found = timm_suite.tests_of([f"{base}_by_2" for base in BASES])
globals().update(
    {name: or_the_base_fails(value) if name.startswith("test_") else value for name, value in found.items()}
)
