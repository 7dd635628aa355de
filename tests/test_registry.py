"""Registration: timm's names stay timm's, ours are listed in a fixed order."""

import importlib
import sys
import types
import warnings

import pytest
import timm
from timm.models import is_model, model_entrypoint

import timm_regnet_ds as trd
from timm_regnet_ds.models._build import ModelEntry, register
from timm_regnet_ds.scaling import user_models


@pytest.fixture
def family(monkeypatch):
    module = types.ModuleType("timm_regnet_ds_test_family")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def test_a_name_that_timm_has_is_left_to_timm(family):
    before = model_entrypoint("resnet18")
    with pytest.warns(UserWarning, match="timm already has a model 'resnet18'"):
        register(family.__name__, lambda *_: None, {"resnet18": ModelEntry("Ours.")})
    assert model_entrypoint("resnet18") is before
    assert not hasattr(family, "resnet18")
    assert timm.get_pretrained_cfg("resnet18").first_conv == "conv1"


def test_a_reload_registers_nothing_twice():
    before = model_entrypoint("regnetz_500mf")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        importlib.reload(trd.models.regnet)
    assert model_entrypoint("regnetz_500mf") is before


def test_entrypoints_look_like_timms():
    entrypoint = model_entrypoint("regnetz_500mf")
    assert (entrypoint.__name__, entrypoint.__module__) == ("regnetz_500mf", "timm_regnet_ds.models.regnet")
    assert "500mf" in entrypoint.__doc__
    assert trd.models.regnet.regnetz_500mf is entrypoint


def test_timm_lists_them_apart():
    of_package = set(timm.list_models(module="timm_regnet_ds"))
    # Other tests name scaled models, which are listed there too, and take some away again.
    named = {
        name for name in of_package if not is_model(name) or model_entrypoint(name).__module__ == user_models.__name__
    }
    assert set(trd.list_models()) == of_package - named
    for module in ("regnet", "rexnet", "efficientnet"):
        assert not of_package & set(timm.list_models(module=module))
    assert "anynet" not in timm.list_modules()


def test_the_same_weights_are_listed_once():
    assert not set(trd.list_models()) & {name.partition(".")[0] for name in timm.list_models(pretrained=True)}
    assert "regnetx_002.pycls_in1k" in timm.list_models("regnetx_002*", pretrained=True)


def test_ours_are_listed_from_small_to_large():
    assert trd.list_models("regnetx_*")[:5] == [f"regnetx_{s}" for s in ("200mf", "400mf", "600mf", "800mf", "1_6gf")]
    assert set(trd.list_models()) <= set(timm.list_models())
    assert "resnet18" not in trd.list_models()
    assert len(trd.list_models()) == len(set(trd.list_models()))


@pytest.mark.parametrize("name", ["rexnet_lite_100", "rexnet_plain", "nas_cell", "channelnet"])
def test_layers_can_be_replaced(name):
    model = timm.create_model(name, act_layer="gelu", norm_layer="groupnorm1", device="meta")
    kinds = {type(module).__name__ for module in model.modules()}
    assert any("GELU" in kind for kind in kinds)
    assert any("GroupNorm1" in kind for kind in kinds)
    assert not any("ReLU" in kind or "SiLU" in kind or "BatchNorm" in kind for kind in kinds)
    for wrong in ("act_layer", "norm_layer"):
        with pytest.raises(ValueError, match=f"timm has no {wrong} 'nothing'"):
            timm.create_model(name, device="meta", **{wrong: "nothing"})
