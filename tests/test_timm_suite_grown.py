"""timm's own tests of models, run on models that have inherited their weights."""

import pytest
import timm
import timm_suite
import torch

import timm_regnet_ds as trd

# How small models of two kinds grow. fx of torch 2.5 does not trace timm's own test_vit either.
GROWN = {"test_resnet": "dw", "test_vit": "w"}
if tuple(map(int, torch.__version__.split(".")[:2])) < (2, 6):
    del GROWN["test_vit"]


@pytest.fixture(scope="module", autouse=True)
def registered():
    """Under names that begin with the base's: timm treats some families by their names."""
    for base, strategy in GROWN.items():
        register(base, strategy)


def register(base: str, strategy: str) -> None:
    s = trd.scale(base, 4, strategy=strategy, inherit_exactly=True)
    create = s.create
    grown = create(inherit=timm.create_model(base), exact=True)
    weights = grown.state_dict()

    def inheriting(pretrained: bool = False, **kwargs: object) -> object:
        model = create(pretrained, **kwargs)
        own = model.state_dict()
        fitting = {key: value for key, value in weights.items() if key in own and own[key].shape == value.shape}
        model.load_state_dict(fitting, strict=False)
        vars(model)["inherited"] = grown.inherited
        return model

    vars(s)["create"] = inheriting
    s.register(f"{base}_grown")


globals().update(timm_suite.tests_of([f"{base}_grown" for base in GROWN]))


def test_timms_tests_are_here():
    tests = {name for name in globals() if name.startswith("test_model_")}
    assert {"test_model_forward", "test_model_backward", "test_model_default_cfgs", "test_model_forward_fx"} <= tests
