"""Weights in files: saved and loaded by timm; broken and foreign ones refused."""

import json

import pytest
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

ARGUMENTS = {"depth": 4, "w0": 16, "wa": 12.0, "wm": 2.0, "group_width": 4, "num_classes": 5}


@pytest.fixture
def saved(tmp_path):
    arguments = {"block": "z", **ARGUMENTS}
    model = timm.create_model("regnet", **arguments).eval()
    # timm before 1.0.31 does not remember the arguments itself.
    save_for_hf(model, str(tmp_path), model_args=arguments, safe_serialization=True)
    return model, tmp_path


def test_round_trip_through_a_directory(saved):
    model, directory = saved
    again = timm.create_model(f"local-dir:{directory}", pretrained=True).eval()
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(model(images), again(images))
    assert again.cfg == model.cfg
    assert sorted(path.name for path in directory.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("anynet", {"depths": [1, 2], "widths": [8, 16], "strides": [1, 2], "block": "basic", "stem": "cifar"}),
        ("regnetz_500mf_dWr_4gf", {}),
        ("rexnet_lite_100", {"drop_path_rate": 0.1}),
    ],
)
def test_what_is_recorded_builds_the_same_model(name, arguments, tmp_path):
    model = timm.create_model(name, num_classes=5, **arguments)
    save_for_hf(model, str(tmp_path), model_args={"num_classes": 5, **arguments}, safe_serialization=True)
    with torch.device("meta"):
        again = timm.create_model(f"local-dir:{tmp_path}")
    shapes = [{key: value.shape for key, value in m.state_dict().items()} for m in (model, again)]
    assert shapes[0] == shapes[1]


def test_a_checkpoint_path(saved):
    model, directory = saved
    path = str(directory / "model.safetensors")
    again = timm.create_model("regnet", block="z", checkpoint_path=path, **ARGUMENTS).eval()
    images = torch.randn(2, 3, 64, 64)
    assert torch.equal(model(images), again(images))


@pytest.mark.parametrize("left", [0, 4, 100, -100])
def test_a_truncated_file_is_refused(saved, left):
    _, directory = saved
    path = directory / "model.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(ValueError, match="regnet: the weights file is not a complete safetensors file"):
        timm.create_model(f"local-dir:{directory}", pretrained=True)
    # timm reads this one itself.
    with pytest.raises(SafetensorError):
        timm.create_model("regnet", block="z", checkpoint_path=str(path), **ARGUMENTS)


def test_weights_of_another_model_are_refused(saved):
    _, directory = saved
    config = json.loads((directory / "config.json").read_text())
    config["model_args"]["block"] = "y"
    (directory / "config.json").write_text(json.dumps(config))
    message = r"regnet: the weights belong to another model \(15 tensors missing from them: s1\.b1\.downsample"
    with pytest.raises(ValueError, match=message):
        timm.create_model(f"local-dir:{directory}", pretrained=True)


def test_weights_of_another_width_are_refused(saved):
    _, directory = saved
    path = directory / "model.safetensors"
    weights = load_file(path)
    weights["head.fc.weight"] = torch.zeros(5, 3)
    save_file(weights, path)
    with pytest.raises(ValueError, match=r"another model.*size mismatch for head\.fc\.weight"):
        timm.create_model(f"local-dir:{directory}", pretrained=True)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        timm.create_model("regnet", checkpoint_path=str(tmp_path / "none.safetensors"))
