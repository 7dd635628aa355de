"""Weights that do not fill a model are an error, however they are loaded and whatever the number of classes is."""

import pytest
import timm
import torch
from safetensors.torch import save_file

MODELS = {
    "regnet": ("regnet", {"depth": 4, "w0": 8, "wa": 8.0, "wm": 2.0, "group_width": 8}),
    "scaled": ("scaled", {"base": "test_resnet", "factor": 2.0, "strategy": "dw"}),
    "scaled-features": ("scaled", {"base": "test_efficientnet", "factor": 2.0, "strategy": "dw"}),
}


def without_the_first(state):
    return {key: value for i, (key, value) in enumerate(state.items()) if i > 8}


def with_another(state):
    return state | {"another.weight": torch.zeros(1)}


def of_another_model(state):
    return timm.create_model("test_vit").state_dict()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Folders by model and by what was done to the weights."""

    def save(name, change):
        architecture, args = MODELS[name]
        folder = tmp_path_factory.mktemp("model")
        torch.manual_seed(0)
        model = timm.create_model(architecture, **args, num_classes=7)
        timm.models.save_for_hf(model, str(folder), model_args={"num_classes": 7, **args}, safe_serialization=True)
        state = {key: value.clone() for key, value in model.state_dict().items()}
        save_file(change(state) if change else state, folder / "model.safetensors")
        return folder, state

    changes = {"whole": None, **{f.__name__: f for f in (without_the_first, with_another, of_another_model)}}
    return {(name, label): save(name, change) for name in MODELS for label, change in changes.items()}


def load(name, way, folder, **kwargs):
    if way == "local-dir":
        return timm.create_model(f"local-dir:{folder}", pretrained=True, **kwargs)
    architecture, args = MODELS[name]
    overlay = {"file": str(folder / "model.safetensors"), "num_classes": 7}
    return timm.create_model(
        architecture, **args, pretrained=True, pretrained_cfg_overlay=overlay, **{"num_classes": 7, **kwargs}
    )


@pytest.mark.parametrize("way", ["local-dir", "overlay"])
@pytest.mark.parametrize("num_classes", [7, 3])
@pytest.mark.parametrize("name", ["regnet", "scaled"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("without_the_first", r"belong to another model \(\d+ tensors missing from them: .* more\)"),
        ("with_another", r"belong to another model \(1 tensor not of this model: another\.weight\)"),
        ("of_another_model", r"belong to another model \(\d+ tensors missing .* more; \d+ tensors not of .* more\)"),
    ],
)
def test_weights_of_another_model_are_refused(name, way, num_classes, change, message, saved):
    folder, _ = saved[name, change]
    with pytest.raises(ValueError, match=message):
        load(name, way, folder, num_classes=num_classes)


@pytest.mark.parametrize("way", ["local-dir", "overlay"])
@pytest.mark.parametrize("arguments", [{}, {"num_classes": 3}, {"num_classes": 0}, {"features_only": True}], ids=str)
@pytest.mark.parametrize("name", MODELS)
def test_the_classifier_may_differ(name, way, arguments, saved):
    folder, state = saved[name, "whole"]
    model = load(name, way, folder, **arguments)
    classifier = () if not arguments else ("head.fc", "fc", "classifier")
    loaded = {key.replace("_", "."): value for key, value in model.state_dict().items()}
    compared = 0
    for key, value in state.items():
        if not key.startswith(classifier) and key.replace("_", ".") in loaded:
            assert torch.equal(loaded[key.replace("_", ".")], value)
            compared += 1
    assert compared > len(state) / 2
    assert not model._load_state_dict_post_hooks
