"""Saved models come back: those of tests/saved in every later version, and sizes that do not fit are named."""

import json

import pytest
import saved_models
import timm
import torch

import timm_regnet_ds as trd
from timm_regnet_ds.scaling.building.base import base_of
from timm_regnet_ds.scaling.building.saved import changes_from_saved, saved_sizes

KINDS = sorted(path.stem for path in saved_models.SAVED.glob("*.json"))


def test_every_kind_has_a_file():
    assert set(KINDS) >= saved_models.MODELS.keys()


@pytest.mark.parametrize("name", KINDS)
def test_a_saved_model_comes_back_to_equal_logits(name, tmp_path):
    model, saved = saved_models.load(name, tmp_path)
    assert {key: list(value.shape) for key, value in model.state_dict().items()} == saved["shapes"]
    found = torch.tensor(saved_models.logits(model, saved["image_size"]))
    torch.testing.assert_close(found, torch.tensor(saved["logits"]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [kind for kind in KINDS if kind.startswith("scaled") and "before" not in kind])
def test_a_scaled_model_is_built_from_its_sizes_alone(name, tmp_path, monkeypatch):
    from importlib import import_module

    # As if rounding had changed: nothing is scaled again.
    monkeypatch.setattr(import_module("timm_regnet_ds.scaling.entrypoint"), "scale", None)
    model, saved = saved_models.load(name, tmp_path)
    again = timm.create_model("scaled", **json.loads(json.dumps(model._model_args)))
    assert {key: list(value.shape) for key, value in again.state_dict().items()} == saved["shapes"]


# An argument of each kind: plain lists, items of a list, an object in place of a function, a class, a module.
@pytest.mark.parametrize(
    "name", ["resnet18", "tinynet_e", "legacy_seresnet18", "regnetz_b16", "nextvit_small", "vit_tiny_r_s16_p8_224"]
)
def test_sizes_survive_json(name):
    model = trd.scale(name, 2)
    sizes = json.loads(json.dumps(saved_sizes(model._base, model._changes, model.input_size)))
    assert changes_from_saved(base_of(name, {}, None), sizes) == model._changes


SIZES = {"input_size": [3, 224, 224], "args": {"layers": [2, 2, 2, 3]}}


@pytest.mark.parametrize(
    ("base", "sizes", "message"),
    [
        ("resnet18", {"args": {}}, "do not fit resnet18: 'input_size' is missing"),
        ("resnet18", {**SIZES, "input_size": [3, 224]}, "input_size is .3, 224., not"),
        ("resnet18", {**SIZES, "input_size": [3, 224, 0]}, "input_size must be a whole number"),
        ("resnet18", {**SIZES, "args": {"layer": [2, 2, 2, 3]}}, "it has no argument 'layer'; did you mean 'layers'"),
        ("resnet18", {**SIZES, "args": {"layers": {"like": 1}}}, "layers has the fields like"),
        ("resnet18", {**SIZES, "args": {"block": {"wrapper": "wide"}}}, "block is saved as 'wide'"),
        ("vit_tiny_patch16_224", {**SIZES, "args": {"depth": [1, 2]}}, r"depth is \[1, 2\], where the base has 12"),
        ("regnetz_500mf", {**SIZES, "args": {"model_cfg": 3}}, "model_cfg is 3, where the base has a AnyNetCfg"),
        ("regnetz_500mf", {**SIZES, "args": {"model_cfg": {"width": [8]}}}, "model_cfg has no field 'width'; did you"),
        ("tinynet_e", {**SIZES, "args": {"block_args": [[{"like": 9}]]}}, r"like item 9, but the base has \d items"),
        ("resnet18", [1], "sizes are what a saved model's config has"),
    ],
)
def test_sizes_that_do_not_fit_the_base_are_named(base, sizes, message):
    with pytest.raises(ValueError, match=message):
        timm.create_model("scaled", base=base, sizes=sizes)


def test_a_class_that_json_cannot_hold_is_saved_by_its_recipe():
    model = trd.scale("resnet18", 2)
    changes = type(model._changes)({**model._changes.args, "layers": object()}, model._changes.pretrained_cfg)
    assert saved_sizes(model._base, changes, model.input_size) is None
